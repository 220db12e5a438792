//! What an operator's inventory shows of a chain.

use std::future;

use backstop_core::{Inspect, Name, Operation, OperationError, OperationFuture, OperationRequest, Reach, Value};

use crate::FallbackHandle;

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
        "fallback"
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![("providers", self.providers().collect()), ("total", self.total().into())]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        let (episode, forcing) = (self.status().episode, self.forcing());
        let mut state = vec![
            ("degraded", episode.is_some().into()),
            ("forced", forcing.as_ref().map(|forcing| &forcing.provider).into()),
            ("forced_share", forcing.as_ref().map(|forcing| forcing.share).into()),
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
}

fn run(handle: &FallbackHandle, request: &OperationRequest) -> Result<Reach, OperationError> {
    match request.name() {
        "force" => {
            handle.force(request.text("provider", PROVIDER)?, request.number("share", SHARE)?)?;
        }
        "stop-forcing" => handle.stop_forcing(),
        _ => return Err(request.unknown(OPERATIONS)),
    }
    Ok(Reach::Instance)
}
