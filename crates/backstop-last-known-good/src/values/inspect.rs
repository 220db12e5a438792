//! What an operator's inventory shows of remembered values.

use std::{future, hash::Hash};

use backstop_core::{
    EventLog, Inspect, Name, Operation, OperationError, OperationFuture, OperationRequest, Reach, Value,
};
use backstop_kit::check_request;

use super::LastKnownValues;
use crate::telemetry;

const KIND: &str = "last-known-values";
const OPERATIONS: &[Operation] = &[Operation::once("clear")];

impl<K, V> Inspect for LastKnownValues<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![("max_stale", self.max_stale().into()), ("max_entries", self.inner.max_entries.into())]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        vec![("entries", self.len().into())]
    }

    fn operations(&self) -> &'static [Operation] {
        OPERATIONS
    }

    fn operate<'a>(&'a self, request: &'a OperationRequest) -> OperationFuture<'a> {
        let cleared = || -> Result<Reach, OperationError> {
            check_request(request, OPERATIONS)?;
            telemetry::cleared(self.name(), KIND, request, self.inner.log.get());
            self.clear();
            Ok(Reach::Instance)
        };
        Box::pin(future::ready(cleared()))
    }

    fn report_to(&self, log: &EventLog) {
        _ = self.inner.log.set(log.clone());
    }
}
