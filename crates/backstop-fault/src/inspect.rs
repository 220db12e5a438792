//! What an operator's inventory shows of a fault layer.

use std::future;

use backstop_core::{EventLog, Inspect, Name, Operation, OperationFuture, OperationRequest, Value};

use crate::{FaultHandle, operate, telemetry};

impl Inspect for FaultHandle {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        telemetry::KIND
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        let settings = self.injector().settings();
        vec![
            ("armed", settings.armed.into()),
            ("max_share", settings.max_share.into()),
            ("max_held", settings.max_held.into()),
            ("unsafe_methods", settings.unsafe_methods.into()),
            ("never_on", settings.never_on().map(str::to_owned).collect()),
        ]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        let status = self.status();
        let run = status.run.map(|run| {
            Value::Map(vec![
                ("run", run.id.number().into()),
                ("fault", run.kind.as_str().into()),
                ("what", run.what.into()),
                ("share", run.share.into()),
                ("seed", run.seed.into()),
                ("who", run.who.into()),
                ("reason", run.reason.into()),
                ("remaining", run.remaining.into()),
                ("heartbeat_within", run.heartbeat_within.into()),
                ("calls", run.calls.into()),
                ("hits", run.hits.into()),
            ])
        });
        let injected = status.injected.into_iter().map(|(kind, calls)| (kind.as_str(), calls.into())).collect();
        vec![
            ("run", run.into()),
            ("last_ended", status.last.map(|last| last.why.to_string()).into()),
            ("held", status.held.into()),
            ("not_held", status.not_held.into()),
            ("injected", Value::Map(injected)),
        ]
    }

    fn operations(&self) -> &'static [Operation] {
        operate::OPERATIONS
    }

    fn operate<'a>(&'a self, request: &'a OperationRequest) -> OperationFuture<'a> {
        Box::pin(future::ready(operate::run(self, request)))
    }

    fn report_to(&self, log: &EventLog) {
        _ = self.injector().log.set(log.clone());
    }
}
