//! What an operator's inventory shows of a chain.

use backstop_core::{ConfigError, Inspect, Name, Value};

use crate::FallbackHandle;

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

    fn operations(&self) -> &'static [&'static str] {
        &["stop-forcing"]
    }

    fn operate(&self, operation: &str) -> Result<(), ConfigError> {
        if operation != "stop-forcing" {
            return Err(ConfigError::new("operation", operation.to_owned(), "stop-forcing"));
        }
        self.stop_forcing();
        Ok(())
    }
}
