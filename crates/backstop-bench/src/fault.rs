//! Injected faults, while none is injected.

use backstop::{Fault, FaultLayer, FaultRun, name};
use tower::layer::util::Identity;

use crate::{
    http::calls_through,
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section =
    Section { name: "fault", tables: &[Table::new("A call through a fault layer", contenders)], others: &[] };

fn contenders() -> Vec<Contender> {
    let armed = || FaultLayer::builder("bench").arm().without_health().build().expect("a configuration");
    vec![
        Contender::new("bare", || calls_through(Identity::new())),
        Contender::new("inert", || calls_through(FaultLayer::new(name!("bench")))).target("3 ns, 0 allocations"),
        Contender::new("armed", move || calls_through(armed())).target("3 ns, 0 allocations"),
        Contender::new("while a run hits other calls", move || {
            let layer = armed();
            let run = FaultRun::new(Fault::Error, 0.05, "bench", "to measure").path_prefix("/other");
            layer.handle().start(run).expect("a run");
            calls_through(layer)
        }),
    ]
}
