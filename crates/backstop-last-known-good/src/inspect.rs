//! What an operator's inventory shows of stored answers.

use std::future;

use backstop_core::{Inspect, Name, Operation, OperationError, OperationFuture, OperationRequest, Reach, Value};

use crate::{LastKnownGoodHandle, Store};

const OPERATIONS: &[Operation] = &[Operation::once("clear")];

impl<St: Store> Inspect for LastKnownGoodHandle<St> {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        "last-known-good"
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        let mut settings = vec![("max_stale", self.max_stale().into())];
        settings.extend(self.max_stale_while_open().map(|age| ("max_stale_while_open", age.into())));
        settings
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        vec![("entries", self.len().into())]
    }

    fn operations(&self) -> &'static [Operation] {
        OPERATIONS
    }

    fn operate<'a>(&'a self, request: &'a OperationRequest) -> OperationFuture<'a> {
        Box::pin(future::ready(run(self, request)))
    }
}

fn run<St: Store>(handle: &LastKnownGoodHandle<St>, request: &OperationRequest) -> Result<Reach, OperationError> {
    match request.name() {
        "clear" => handle.clear(),
        _ => return Err(request.unknown(OPERATIONS)),
    }
    Ok(Reach::Instance)
}
