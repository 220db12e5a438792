//! What an operator's inventory shows of a queue.

use backstop_core::{EventLog, Inspect, Name, Value};

use crate::{DeferredConfig, DeferredHandle, counted::Halt};

pub(crate) const KIND: &str = "deferred";

impl Inspect for DeferredHandle {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        let DeferredConfig {
            name: _,
            max_pending,
            max_payload,
            store_timeout,
            expires_after,
            keep_done,
            max_attempts,
            first_wait,
            max_wait,
            max_concurrent,
            grace,
            max_dead,
            max_dead_bytes,
            keep_dead,
        } = self.config();
        vec![
            ("max_pending", max_pending.into()),
            ("max_payload", max_payload.into()),
            ("store_timeout", store_timeout.into()),
            ("expires_after", expires_after.into()),
            ("keep_done", keep_done.into()),
            ("max_attempts", max_attempts.into()),
            ("first_wait", first_wait.into()),
            ("max_wait", max_wait.into()),
            ("max_concurrent", max_concurrent.into()),
            ("grace", grace.into()),
            ("max_dead", max_dead.into()),
            ("max_dead_bytes", max_dead_bytes.into()),
            ("keep_dead", keep_dead.into()),
        ]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        let halt = self.queue().halt();
        let counted = self.queue().counted();
        vec![
            ("queued", counted.queued.records.into()),
            ("running", counted.running.records.into()),
            ("dead", counted.dead.records.into()),
            ("dead_bytes", counted.dead.bytes.into()),
            ("oldest", counted.oldest.into()),
            ("halted", halt.map(Halt::as_str).into()),
        ]
    }

    fn report_to(&self, log: &EventLog) {
        _ = self.queue().log.set(log.clone());
    }
}
