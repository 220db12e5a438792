//! Actions of operators, and the end of their effects.
//!
//! | an action | the effect that an earlier one left on the same component |
//! |---|---|
//! | has an effect with the same end | is replaced: it ends at the new time |
//! | is that end | has ended |
//! | is another operation | ends at its time |
//!
//! An effect is noted before the operation runs, because its caller may go while it runs. Only a refusal, which changes nothing,
//! brings back the one before.

mod effects;
mod request;
mod ring;

use std::{
    collections::HashSet,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use backstop_core::{Inspect, Lasts, Operation, OperationError, OperationRequest, Reach};
use futures_util::future::join_all;
use http::StatusCode;
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use self::{
    effects::{Effect, Effects},
    ring::{ActionResult, Ring},
};
pub(crate) use self::{request::read, ring::Action};
use crate::{Inventory, routes::Problem};

/// How long an operation may take.
const LIMIT: Duration = Duration::from_secs(10);
/// When the end of an effect is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long nothing is looked at while there are no effects. An action that has one ends this wait.
const IDLE: Duration = Duration::from_secs(60 * 60);

/// All actions on an inventory.
pub(crate) struct Actions {
    inventory: Arc<Inventory>,
    state: Mutex<State>,
    changed: Notify,
    /// How many futures end effects.
    enders: AtomicUsize,
}

#[derive(Default)]
struct State {
    ring: Ring,
    effects: Effects,
    busy: HashSet<usize>,
}

impl Actions {
    pub(crate) fn new(inventory: Arc<Inventory>) -> Self {
        Self { inventory, state: Mutex::default(), changed: Notify::new(), enders: AtomicUsize::new(0) }
    }

    /// The last actions, the newest first.
    pub(crate) fn all(&self) -> Vec<Action> {
        self.state().ring.all()
    }

    /// Runs an operation of the component at `index`, and returns what it reached, and its record.
    pub(crate) async fn act(
        &self,
        index: usize,
        target: &dyn Inspect,
        operation: Operation,
        request: OperationRequest,
    ) -> Result<(Reach, Option<Action>), Problem> {
        let Some(busy) = self.begin(index) else {
            let detail = "another action on the same component is running; try again when it has ended";
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        };
        if matches!(operation.lasts, Lasts::Until(_)) && self.enders.load(SeqCst) == 0 {
            let detail = "nothing would end the effect of this action: the service doesn't run `Admin::run`";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        }
        let (seq, earlier) = self.note(index, target, operation, &request);
        let result = run(target, &request).await;
        match &result {
            Ok(_) => _ = self.state().effects.remove(index, operation.name),
            Err(OperationError::Invalid(_)) => self.restore(index, operation, earlier),
            // It may have run.
            Err(_) => {}
        }
        let action = self.finish(target, &request, seq, &result);
        drop(busy);
        match result {
            Ok(reach) => Ok((reach, action)),
            Err(OperationError::Invalid(error)) => Err(Problem::from(&error)),
            Err(error) => {
                let detail = format!("{error}; the action may have had an effect");
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
            }
        }
    }

    /// Ends effects when their time is over.
    pub(crate) fn end_effects(self: Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        // It counts from now on, not from its first poll.
        let ender = Ender::new(self);
        async move {
            let actions = &ender.0;
            loop {
                let changed = actions.changed.notified();
                let next = actions.state().effects.next().unwrap_or_else(|| Instant::now() + IDLE);
                _ = timeout_at(next, changed).await;
                let due = actions.state().effects.due(Instant::now(), AGAIN);
                join_all(due.into_iter().map(|effect| actions.end(effect))).await;
            }
        }
    }

    async fn end(&self, effect: Effect) {
        let Some(target) = self.inventory.iter().nth(effect.target) else { return };
        // An action runs, and may replace this effect. If it doesn't, this is tried again.
        let Some(_busy) = self.begin(effect.target) else { return };
        // One that has ended since then may have replaced it.
        if !self.state().effects.has(&effect) {
            return;
        }
        let Effect { target: index, end, operation, who, .. } = effect;
        let request = OperationRequest::new(end, who, format!("the time of `{operation}` is over"));
        let seq = self.state().ring.push(target, &request);
        let result = run(target, &request).await;
        // Trying again helps only where something failed.
        if !matches!(result, Err(OperationError::Unavailable(_))) {
            self.state().effects.remove(index, end);
        }
        self.finish(target, &request, seq, &result);
    }

    /// Marks the component as busy. `None` if it is.
    fn begin(&self, index: usize) -> Option<Busy<'_>> {
        // Not `then_some`, which would make and drop it where there is one already.
        self.state().busy.insert(index).then(|| Busy { actions: self, index })
    }

    fn note(
        &self,
        index: usize,
        target: &dyn Inspect,
        operation: Operation,
        request: &OperationRequest,
    ) -> (u64, Option<Effect>) {
        let mut state = self.state();
        let seq = state.ring.push(target, request);
        let mut earlier = None;
        if let (Lasts::Until(end), Some(time)) = (operation.lasts, request.time()) {
            let (until, who) = (Instant::now() + time, request.who().to_owned());
            earlier = state.effects.insert(Effect { target: index, end, operation: operation.name, who, until });
            self.changed.notify_waiters();
        }
        (seq, earlier)
    }

    fn restore(&self, index: usize, operation: Operation, earlier: Option<Effect>) {
        if let Lasts::Until(end) = operation.lasts {
            let mut state = self.state();
            state.effects.remove(index, end);
            if let Some(earlier) = earlier {
                state.effects.insert(earlier);
                self.changed.notify_waiters();
            }
        }
    }

    fn finish(
        &self,
        target: &dyn Inspect,
        request: &OperationRequest,
        seq: u64,
        result: &Result<Reach, OperationError>,
    ) -> Option<Action> {
        let (kind, name, operation) = (target.kind(), target.name(), request.name());
        let (who, reason) = (request.who(), request.reason());
        let (word, result) = match result {
            Ok(reach) => {
                tracing::info!(target: "backstop::admin", kind, %name, operation, who, reason, scope = reach.as_str(), "an operator acted");
                ("done", ActionResult::Done(*reach))
            }
            Err(error) => {
                tracing::warn!(target: "backstop::admin", kind, %name, operation, who, reason, %error, "an operator's action failed");
                match error {
                    OperationError::Invalid(_) => ("refused", ActionResult::Refused(error.to_string())),
                    _ => ("failed", ActionResult::Failed(error.to_string())),
                }
            }
        };
        let fields = [("action", operation), ("who", who), ("reason", reason), ("result", word)];
        let fields = fields.map(|(field, text)| (field, text.to_owned().into()));
        self.inventory.log().push(name.clone(), kind, fields.into());
        let mut state = self.state();
        state.ring.finish(seq, result);
        state.ring.get(seq)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(target: &dyn Inspect, request: &OperationRequest) -> Result<Reach, OperationError> {
    let late = |_| OperationError::Unavailable(format!("it took longer than {LIMIT:?}"));
    timeout(LIMIT, target.operate(request)).await.map_err(late)?
}

/// A component that an action runs on.
struct Busy<'a> {
    actions: &'a Actions,
    index: usize,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.actions.state().busy.remove(&self.index);
    }
}

/// A future that ends effects.
struct Ender(Arc<Actions>);

impl Ender {
    fn new(actions: Arc<Actions>) -> Self {
        actions.enders.fetch_add(1, SeqCst);
        Self(actions)
    }
}

impl Drop for Ender {
    fn drop(&mut self) {
        self.0.enders.fetch_sub(1, SeqCst);
    }
}
