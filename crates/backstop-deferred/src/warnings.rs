//! Warnings about single jobs, of which an outage can cause many: at most one in a minute.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const BETWEEN: Duration = Duration::from_secs(60);

/// Warnings of one sort.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    unsaid: u64,
}

impl Warnings {
    /// If a warning is due now, how many weren't due since the last one.
    pub(crate) fn due(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| last.elapsed() < BETWEEN) {
            state.unsaid += 1;
            return None;
        }
        let unsaid = state.unsaid;
        *state = State { last: Some(Instant::now()), unsaid: 0 };
        Some(unsaid)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_is_due_in_a_minute_and_the_next_counts_those_between() {
        let warnings = Warnings::default();
        assert_eq!([warnings.due(), warnings.due(), warnings.due()], [Some(0), None, None]);
        advance(BETWEEN).await;
        assert_eq!([warnings.due(), warnings.due()], [Some(2), None]);
        advance(BETWEEN).await;
        assert_eq!(warnings.due(), Some(1));
    }
}
