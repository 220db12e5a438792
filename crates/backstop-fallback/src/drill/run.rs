//! The run of a drill, on the user's executor.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use backstop_core::{Level, Reason};
use tokio::time::{Instant, sleep_until};

use super::{Conditions, DrillCall, drills::Turn};
use crate::{control::Control, miss::ProviderMiss, panics::Panics, telemetry};

/// How often a run that waits looks whether a reload has changed the time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a drill ended.
pub(crate) enum DrillResult {
    Answered,
    Failed(ProviderMiss),
    /// The provider wasn't asked, for this reason.
    Skipped(Reason),
    /// A live call took precedence.
    Interrupted,
}

/// Drills the provider, and waits until the next drill is due, so that no request has to look at the clock.
pub(super) async fn run(turn: Turn, provider: usize, call: DrillCall, conditions: Conditions) {
    let is_drained = {
        let (mut drained, mut drill) = ((conditions.drain)(), pin!(drill(&turn, provider, call, &conditions)));
        poll_fn(|cx| match drained.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => drill.as_mut().poll(cx).map(|()| false),
        })
        .await
    };
    if is_drained {
        turn.end_drills();
    }
}

async fn drill(turn: &Turn, provider: usize, call: DrillCall, conditions: &Conditions) {
    // Later than its turn, if the executor is busy.
    let began = turn.begin();
    if let Some(control) = turn.control() {
        let result = ask(&control, provider, call, conditions).await;
        telemetry::drilled(&control, provider, &result);
    }
    while let Some(due) = turn.control().and_then(|control| control.drill_every()).map(|every| began + every) {
        let now = Instant::now();
        if now >= due {
            return;
        }
        sleep_until(due.min(now + LOOK_EVERY)).await;
    }
}

async fn ask(control: &Control, provider: usize, call: DrillCall, conditions: &Conditions) -> DrillResult {
    if let Err(reason) = conditions.check(control, provider) {
        return DrillResult::Skipped(reason);
    }
    control.drills.park(call);
    match poll_fn(|cx| control.drills.poll(cx)).await {
        None => DrillResult::Interrupted,
        Some(Ok(())) => DrillResult::Answered,
        // A layer inside refused it.
        Some(Err(failed)) if failed.miss.outcome.unprocessed => DrillResult::Skipped(failed.miss.reason),
        Some(Err(failed)) => DrillResult::Failed(failed),
    }
}

impl Conditions {
    /// Why the provider must not be drilled now.
    fn check(&self, control: &Control, provider: usize) -> Result<(), Reason> {
        if control.episodes.current().is_some() {
            return Err(Reason::new("degraded"));
        }
        let name = control.providers.get(provider);
        let is_closed = || {
            let mut circuits = self.circuits.iter().filter(|(of, _)| name.is_some_and(|name| name == of.as_str()));
            circuits.all(|(_, is_closed)| is_closed())
        };
        // A closure that panics says nothing good.
        match Panics::Catch.run(|| ((self.level)() == Level::Healthy, is_closed())) {
            Ok((true, true)) => Ok(()),
            Ok((true, false)) => Err(Reason::CIRCUIT_OPEN),
            Ok((false, _)) => Err(Reason::new("level")),
            Err(_) => Err(Reason::new("panic")),
        }
    }
}
