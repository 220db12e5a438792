//! What an operator's inventory shows of stored answers.

use std::future;

use backstop_core::{
    EventLog, Inspect, Name, Operation, OperationError, OperationFuture, OperationRequest, Reach, Value,
};
use backstop_kit::check_request;

use crate::{LastKnownGoodHandle, Store, telemetry};

const KIND: &str = "last-known-good";

const OPERATIONS: &[Operation] = &[Operation::once("clear")];

impl<St: Store> Inspect for LastKnownGoodHandle<St> {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        KIND
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

    fn report_to(&self, log: &EventLog) {
        self.report_to(log);
    }
}

fn run<St: Store>(handle: &LastKnownGoodHandle<St>, request: &OperationRequest) -> Result<Reach, OperationError> {
    check_request(request, OPERATIONS)?;
    telemetry::cleared(handle.name(), KIND, request, handle.event_log());
    handle.clear();
    Ok(Reach::Instance)
}

#[cfg(test)]
mod tests {
    use backstop_core::name;

    use super::*;
    use crate::LastKnownGoodLayer;

    #[tokio::test]
    async fn an_operator_who_clears_is_in_both_logs_with_who_and_why() {
        let handle = LastKnownGoodLayer::new(name!("prices")).handle();
        let (of, log, logs): (&dyn Inspect, _, _) =
            (&handle, EventLog::new(8), backstop_test::Logs::up_to(tracing::Level::INFO));
        of.report_to(&log);
        let _guard = logs.listen();
        for request in [OperationRequest::new("clear", "ada", ""), OperationRequest::new("explode", "ada", "why")] {
            assert!(of.operate(&request).await.is_err());
        }
        assert!(log.after(0).is_empty());
        assert_eq!(of.operate(&OperationRequest::new("clear", "ada", "wrong prices")).await, Ok(Reach::Instance));
        let fields = [("operation", "clear".into()), ("who", "ada".into()), ("reason", "wrong prices".into())];
        assert_eq!((log.after(0)[0].kind, log.after(0)[0].fields.as_slice()), ("last-known-good", fields.as_slice()));
        let line = logs.take().only();
        assert_eq!((line.field("who"), line.field("reason")), (Some("ada"), Some("wrong prices")));
    }
}
