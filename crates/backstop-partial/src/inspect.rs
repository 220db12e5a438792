//! What an operator's inventory shows of an aggregate.

use backstop_core::{Inspect, Name, Value};

use crate::{AggregateHandle, FailingPart};

impl Inspect for AggregateHandle {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        "aggregate"
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![("total", self.total().into()), ("max_concurrent", self.max_concurrent().into())]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        let failing = |FailingPart { part, duration, last_reason, pages, failures, .. }| {
            Value::Map(vec![
                ("part", part.into()),
                ("for", duration.into()),
                ("last_reason", last_reason.into()),
                ("pages", pages.into()),
                ("failures", failures.into()),
            ])
        };
        vec![("failing", self.failing().into_iter().map(failing).collect())]
    }
}
