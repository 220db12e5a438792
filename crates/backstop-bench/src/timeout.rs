//! The limits of time, where the service is ready at once.

use std::time::Duration;

use backstop::{TimeoutLayer, name};
use tower::layer::util::Identity;

use crate::{
    http::calls_through,
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section =
    Section { name: "timeout", tables: &[Table { title: "Answered at once", contenders }], others: &[] };

fn contenders() -> Vec<Contender> {
    vec![
        Contender::new("bare", || calls_through(Identity::new())),
        Contender::new("ours, timeout", || calls_through(TimeoutLayer::new(name!("bench")))).target("35 ns"),
        Contender::new("tower::timeout", || calls_through(tower::timeout::TimeoutLayer::new(Duration::from_secs(1)))),
    ]
}
