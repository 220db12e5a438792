//! What an operator's inventory shows of a chain.

use std::future;

use backstop_core::{
    EventLog, Inspect, Name, Operation, OperationError, OperationFuture, OperationRequest, Reach, Value,
};

use backstop_kit::check_request;

use crate::{FallbackHandle, FallbackStatus, LastProven, telemetry};

const PROVIDER: &str = "a provider of the chain";
const SHARE: &str = "0 to 1";
const OPERATIONS: &[Operation] = &[
    Operation::until("force", "stop-forcing").arguments(&[("provider", PROVIDER), ("share", SHARE)]),
    Operation::once("stop-forcing"),
];

impl Inspect for FallbackHandle {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        telemetry::KIND
    }

    /// What the chain asks first: the service that its layer wraps, or its first provider.
    fn dependency(&self) -> &Name {
        self.primary()
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("providers", self.all_providers().collect()),
            ("total", self.total().into()),
            ("last_may_fail", self.last_may_fail().into()),
            ("drill_every", self.drill_every().into()),
        ]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        let (FallbackStatus { episode, last_proven, .. }, forcing) = (self.status(), self.forcing());
        let proven = last_proven.into_iter().filter_map(|(provider, last)| {
            let LastProven { at, by } = last?;
            Some(Value::Map(vec![("provider", provider.into()), ("at", at.into()), ("by", by.as_str().into())]))
        });
        let mut state = vec![
            ("degraded", episode.is_some().into()),
            ("forced", forcing.as_ref().map(|forcing| &forcing.provider).into()),
            ("forced_share", forcing.as_ref().map(|forcing| forcing.share).into()),
            // Unix time in seconds, and who asked it.
            ("last_proven", Value::List(proven.collect())),
        ];
        if let Some(episode) = episode {
            state.extend([
                ("degraded_for", episode.duration.into()),
                ("last_reason", episode.last_reason.as_str().into()),
                ("last_primary_answer", episode.last_primary_answer.into()),
                ("calls", episode.calls.into()),
                ("degraded_answers", episode.degraded.into()),
                ("unanswered", episode.exhausted.into()),
            ]);
        }
        state
    }

    fn operations(&self) -> &'static [Operation] {
        OPERATIONS
    }

    fn operate<'a>(&'a self, request: &'a OperationRequest) -> OperationFuture<'a> {
        Box::pin(future::ready(run(self, request)))
    }

    fn report_to(&self, log: &EventLog) {
        _ = self.control().log.set(log.clone());
    }
}

fn run(handle: &FallbackHandle, request: &OperationRequest) -> Result<Reach, OperationError> {
    check_request(request, OPERATIONS)?;
    match request.name() {
        "force" => {
            let (provider, share) = (request.text("provider", PROVIDER)?, request.number("share", SHARE)?);
            handle.force_by(provider, share, Some(request))?;
        }
        "stop-forcing" => handle.stop_forcing_by(Some(request)),
        _ => return Err(request.unknown(OPERATIONS)),
    }
    Ok(Reach::Instance)
}
