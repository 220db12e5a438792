//! What surrounds one request while it is served: its deadline, and the degradations reported so far.
//!
//! A layer opens a [`Scope`] around the future of a request and makes it the current one while that future is polled
//! ([`Scope::enter`]). Whatever runs inside, however deep in a handler's own outbound calls, reads [`deadline()`] and
//! calls [`report`]. Retries and chains give each attempt a scope of its own, and only the chosen attempt's reports
//! [move up](Scope::commit).
//!
//! The current scope is a thread-local that is set during polls, so opening one allocates nothing and needs no runtime.
//! The price: it doesn't cross `tokio::spawn`, `spawn_blocking`, or a response body that is streamed later. There,
//! carry it over by hand:
//!
//! ```
//! use backstop_core::{Degradation, Freshness, Reason, name, scope::{self, InScope, Scope}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let mut scope = Scope::new();
//! # let task = scope.enter(|| {
//! let handle = scope::handle();
//! let task = tokio::spawn(
//!     async {
//!         let (chain, source) = (name!("prices"), name!("cached"));
//!         scope::report(Degradation::new(chain, source, 1, Reason::Timeout, Freshness::Degraded));
//!     }
//!     .in_scope(handle),
//! );
//! # task
//! # });
//! # task.await.unwrap();
//! # assert_eq!(scope.take_reports().len(), 1);
//! # }
//! ```

use std::{
    cell::{Cell, RefCell},
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use crate::{Deadline, Degradation, SetBy};

thread_local! {
    static CURRENT: RefCell<Option<State>> = const { RefCell::new(None) };
    static ENDED_BY: Cell<Option<SetBy>> = const { Cell::new(None) };
}

/// A scope: one request's, or one attempt's.
#[derive(Debug)]
pub struct Scope {
    /// While this scope is entered, what it displaced stands here, and its own state in the thread-local.
    state: Option<State>,
}

#[derive(Debug, Default)]
struct State {
    deadline: Option<Deadline>,
    reports: Vec<Degradation>,
    shared: Option<Shared>,
}

/// Reports that come from other tasks.
type Shared = Arc<Mutex<Vec<Degradation>>>;

impl Scope {
    /// A scope without a deadline.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: Some(State { deadline: None, reports: Vec::new(), shared: None }) }
    }

    /// A scope with the current one's deadline.
    #[must_use]
    pub fn inherit() -> Self {
        Self::with_deadline(deadline())
    }

    /// A scope with the current one's deadline, or with `limit` where that is earlier.
    #[must_use]
    pub fn narrowed(limit: Deadline) -> Self {
        Self::with_deadline(Some(limit.narrowed_by(deadline())))
    }

    fn with_deadline(deadline: Option<Deadline>) -> Self {
        Self { state: Some(State { deadline, ..State::default() }) }
    }

    /// Takes `limit` for the deadline where that is earlier.
    pub fn narrow(&mut self, limit: Option<Deadline>) {
        if let (Some(limit), Some(state)) = (limit, &mut self.state) {
            state.deadline = Some(limit.narrowed_by(state.deadline));
        }
    }

    /// This scope's deadline.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        self.state.as_ref()?.deadline
    }

    /// Makes this the current scope while `f` runs, and the former one again after it, also when `f` panics.
    pub fn enter<R>(&mut self, f: impl FnOnce() -> R) -> R {
        struct Entered<'a>(&'a mut Scope);

        impl Drop for Entered<'_> {
            fn drop(&mut self) {
                self.0.swap();
            }
        }

        self.swap();
        let _entered = Entered(self);
        f()
    }

    fn swap(&mut self) {
        // Where the thread is being torn down there is no current scope any more, and nobody to report to.
        _ = CURRENT.try_with(|current| mem::swap(&mut *current.borrow_mut(), &mut self.state));
    }

    /// Takes what was reported so far, in order; what came from other tasks comes last.
    pub fn take_reports(&mut self) -> Vec<Degradation> {
        let Some(state) = &mut self.state else {
            return Vec::new();
        };
        let mut reports = mem::take(&mut state.reports);
        if let Some(shared) = &state.shared {
            reports.append(&mut shared.lock().unwrap_or_else(PoisonError::into_inner));
        }
        reports
    }

    /// Ends this scope and moves what was reported in it to the current one: this attempt was chosen.
    pub fn commit(mut self) {
        self.take_reports().into_iter().for_each(report);
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self::new()
    }
}

fn current<R>(f: impl FnOnce(&mut State) -> R) -> Option<R> {
    CURRENT.try_with(|current| current.borrow_mut().as_mut().map(f)).ok().flatten()
}

/// The current scope's deadline.
#[must_use]
pub fn deadline() -> Option<Deadline> {
    current(|state| state.deadline).flatten()
}

/// The time left until the current scope's deadline; `None` where there is none, zero when it has passed.
#[must_use]
pub fn time_left() -> Option<Duration> {
    deadline().map(|deadline| deadline.left())
}

/// Reports a degradation in the current scope. Where there is none, nobody is listening, and nothing happens.
///
/// Call it while a future is polled, not in [`Service::call`](tower_service::Service::call): a buffer further out runs
/// that elsewhere.
pub fn report(degradation: Degradation) {
    current(|state| state.reports.push(degradation));
}

/// The current scope, to be carried to another task by [`InScope::in_scope`].
#[must_use]
pub fn handle() -> ScopeHandle {
    let (deadline, reports) =
        current(|state| (state.deadline, Arc::clone(state.shared.get_or_insert_default()))).unzip();
    ScopeHandle { deadline: deadline.flatten(), reports }
}

/// A scope, as another task needs it: made by [`handle`].
///
/// What is reported through it counts until the scope's own request has been answered; later reports are lost.
#[derive(Clone, Debug)]
pub struct ScopeHandle {
    deadline: Option<Deadline>,
    reports: Option<Shared>,
}

/// Carries a scope to where its thread-local doesn't reach.
pub trait InScope: Future + Sized {
    /// Runs this future in the scope of `handle`.
    fn in_scope(self, handle: ScopeHandle) -> InScopeFuture<Self> {
        InScopeFuture { inner: self, scope: Scope::with_deadline(handle.deadline), reports: handle.reports }
    }
}

impl<F: Future> InScope for F {}

pin_project_lite::pin_project! {
    /// A future that runs in the scope of another task, see [`InScope`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct InScopeFuture<F> {
        #[pin]
        inner: F,
        scope: Scope,
        reports: Option<Shared>,
    }
}

impl<F: Future> Future for InScopeFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let poll = this.scope.enter(|| this.inner.poll(cx));
        let mut reported = this.scope.take_reports();
        if let (Some(reports), false) = (this.reports, reported.is_empty()) {
            reports.lock().unwrap_or_else(PoisonError::into_inner).append(&mut reported);
        }
        poll
    }
}

/// Runs `drop_it`, which drops a future because a time limit passed, and lets whatever is dropped know whose limit it
/// was: see [`ended_by`].
///
/// A timer that drops a call looks like any other cancellation from the inside, though it is proof of a call that hung.
pub fn end<R>(set_by: SetBy, drop_it: impl FnOnce() -> R) -> R {
    struct Restore(Option<SetBy>);

    impl Drop for Restore {
        fn drop(&mut self) {
            _ = ENDED_BY.try_with(|ended_by| ended_by.set(self.0));
        }
    }

    let _restore = Restore(ENDED_BY.try_with(|ended_by| ended_by.replace(Some(set_by))).ok().flatten());
    drop_it()
}

/// Asked in a `Drop`: whose time limit it is that drops this, if any.
#[must_use]
pub fn ended_by() -> Option<SetBy> {
    ENDED_BY.try_with(Cell::get).ok().flatten()
}

#[cfg(test)]
mod tests;
