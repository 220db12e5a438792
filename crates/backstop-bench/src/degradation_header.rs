//! The degradation headers, where nothing is degraded.

use backstop::{DegradationHeaderLayer, PropagateDegradationLayer, name};
use tower::layer::util::Identity;

use crate::{
    http::calls_through,
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section =
    Section { name: "degradation-header", tables: &[Table::new("A healthy answer", contenders)], others: &[] };

fn contenders() -> Vec<Contender> {
    vec![
        Contender::new("bare", || calls_through(Identity::new())),
        Contender::new("ours, at the edge", || calls_through(DegradationHeaderLayer::new()))
            .target("20 ns, 0 allocations"),
        Contender::new("ours, around a client", || calls_through(PropagateDegradationLayer::new(name!("bench")))),
    ]
}
