//! The context of one request while it is served: its deadline, the degradations reported so far, and whether a fault was injected.
//!
//! A layer opens a [`Scope`] around the future of a request and makes it the current one while that future is polled
//! ([`Scope::enter`]). All code inside, including a handler's outbound calls, can read [`deadline()`] and call
//! [`report`]. Retries and chains give each attempt a scope of its own, and only the chosen attempt's reports [move
//! up](Scope::pass_on_reports).
//!
//! The current scope is a thread-local that is set during polls, so opening one allocates nothing and needs no runtime.
//! The drawback: it doesn't cross `tokio::spawn` or `spawn_blocking`, and doesn't cover a response body streamed later.
//! There, pass it on by hand:
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
//!         scope::report(Degradation::new(chain, source, 1, Reason::TIMEOUT, Freshness::Degraded));
//!     }
//!     .in_scope(handle),
//! );
//! # task
//! # });
//! # task.await.unwrap();
//! # assert_eq!(scope.take_reports().len(), 1);
//! # }
//! ```
//!
//! # Who reads reports
//!
//! A report needs a reader, such as the degradation headers, which label the response. A reader enters its scope with
//! [`Scope::enter_as_reader`], so code inside knows that there is one. If a report has no reader, because the layer is
//! missing or because the task was spawned without a handle, a `WARN` is logged once for each chain. Otherwise degraded
//! responses would go out unlabelled, unnoticed.
//!
//! # Injected faults
//!
//! A layer that makes calls fail on purpose marks them by [`inject_fault`]. The mark reaches the scopes of everything inside the
//! call, and the scopes around it as they are left. Whatever remembers or shares results asks [`has_injected_fault`], and leaves
//! such a call out: a fault injected here must not degrade other instances, replace stored answers, or use up a job's attempts.
//!
//! # Shadow calls
//!
//! A layer that makes a call whose answer nobody gets, such as a drill of a fallback, makes it in a [`shadow`]. All of it counts as
//! hit by an injected fault, so nothing of it is remembered or shared. It is outside of any scope, so it reports nothing to a
//! caller. Whatever judges a dependency asks [`is_shadow`], and counts such a call as neutral.
//!
//! # When time begins
//!
//! A layer that limits the time of a call opens a scope with a [`Limit`]. Its time begins when it is first needed: when
//! the call is first pending, or when [`deadline()`] or [`time_left`] is called. The time of all outer scopes begins at
//! the same moment, so that a stack of limits reads the clock once, and a call that is ready at once doesn't read it at
//! all. Inside a scope whose time has begun, time begins at once.

use std::{
    cell::Cell,
    mem::{self, ManuallyDrop},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    Deadline, Degradation, Limit, SetBy,
    deadline::{Moment, Time},
};

mod unread;

pub use unread::unread_chains;

thread_local! {
    // Never dropped, so that an access is one instruction. Nothing leaks: outside of any scope there are no reports.
    static CURRENT: ManuallyDrop<Current> = const { ManuallyDrop::new(Current::none()) };
    static ENDED_BY: Cell<Option<EndedBy>> = const { Cell::new(None) };
}

/// The thread's current scope. Small, because every poll of every layer sets and restores it.
struct Current {
    time: Cell<Time>,
    /// When a limit last began here. Read where a limit started inside a scope that is left.
    begun: Cell<Moment>,
    /// Whether a reader further out sees the reports made here.
    is_read: Cell<bool>,
    /// What kind of call all of this runs inside.
    mark: Cell<Mark>,
    reports: Cell<Option<Box<Reports>>>,
}

/// What kind of call something runs inside. Ordered: a shadow counts as hit by a fault, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    /// An ordinary one.
    None,
    /// One that was hit by an injected fault.
    InjectedFault,
    /// One whose answer nobody gets.
    Shadow,
}

impl Current {
    const fn none() -> Self {
        Self {
            time: Cell::new(Time::NO_SCOPE),
            begun: Cell::new(Moment::NONE),
            is_read: Cell::new(false),
            mark: Cell::new(Mark::None),
            reports: Cell::new(None),
        }
    }

    /// Enters a scope with this much time. Returns the time of the outer one.
    #[inline]
    fn push(&self, inner: Time) -> Time {
        let outer = self.time.get();
        if inner.max(outer).deadline().is_some() && inner.min(outer).is_limit() {
            return self.push_late(inner);
        }
        self.time.replace(inner.min(outer))
    }

    /// Enters a scope when the time of only one of the two has begun: begins the other one too.
    #[cold]
    fn push_late(&self, inner: Time) -> Time {
        let now = Moment::now();
        self.begin_at(now);
        let outer = self.time.get();
        self.time.replace(inner.begun_at(now).min(outer))
    }

    /// Leaves the scope, restores the outer one, and returns how much time the scope had in the end.
    #[inline]
    fn pop(&self, outer: Time) -> Time {
        let inner = self.time.replace(outer);
        if outer.is_limit() && !inner.is_limit() {
            // An inner limit has begun, so the outer ones begin too.
            self.begin_at(self.begun.get());
        }
        inner
    }

    /// Begins the time of this scope and of all outer ones. Returns its end, if it has one.
    fn begin(&self) -> Option<Deadline> {
        if self.time.get().is_limit() {
            self.begin_at(Moment::now());
        }
        self.time.get().deadline()
    }

    fn begin_at(&self, moment: Moment) {
        if self.time.get().is_limit() {
            self.begun.set(moment);
            self.time.set(self.time.get().begun_at(moment));
        }
    }

    /// Calls `f` with the reports, if there is a scope.
    fn with_reports<R>(&self, f: impl FnOnce(&mut Reports) -> R) -> Option<R> {
        (self.time.get() != Time::NO_SCOPE).then(|| {
            let mut reports = self.reports.take().unwrap_or_default();
            let result = f(&mut reports);
            self.reports.set(Some(reports));
            result
        })
    }

    #[cold]
    fn mark_injected_fault(&self) {
        self.with_reports(|reports| reports.has_injected_fault = true);
    }
}

/// The reports of a scope. Boxed, and made on first use, because most requests report nothing.
#[derive(Debug, Default)]
struct Reports {
    here: Vec<Degradation>,
    /// Reports from other tasks.
    elsewhere: Option<Arc<Shared>>,
    has_injected_fault: bool,
}

/// What other tasks report. Handles hold it weakly: reports made after the scope ended have no reader.
#[derive(Debug, Default)]
struct Shared {
    reports: Mutex<Vec<Degradation>>,
    has_injected_fault: AtomicBool,
}

impl Shared {
    fn take(&self) -> Vec<Degradation> {
        mem::take(&mut self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn append(&self, reported: &mut Vec<Degradation>) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).append(reported);
    }
}

/// A scope: one request's, or one attempt's. While it is entered, its contents are in the thread-local.
#[derive(Debug)]
pub struct Scope {
    time: Time,
    reports: Option<Box<Reports>>,
}

impl Scope {
    /// A scope with no deadline of its own.
    #[must_use]
    pub const fn new() -> Self {
        Self { time: Time::ENDLESS, reports: None }
    }

    /// A scope with this deadline, or the outer scope's deadline if that is earlier.
    #[must_use]
    pub const fn narrowed(deadline: Deadline) -> Self {
        Self { time: Time::until(deadline), reports: None }
    }

    /// A scope whose time ends this long after it [begins](self#when-time-begins), or at the outer scope's deadline if
    /// that is earlier.
    #[must_use]
    pub const fn limited(limit: Limit) -> Self {
        Self { time: Time::limited(limit), reports: None }
    }

    /// This scope's deadline. If its time hasn't begun, this begins it.
    ///
    /// The outer scope's limit is included once this scope was [entered](Self::enter).
    pub fn begin(&mut self) -> Option<Deadline> {
        if self.time.is_limit() {
            let now = Moment::now();
            // The time of the outer scopes begins, too.
            CURRENT.with(|current| current.begin_at(now));
            self.time = self.time.begun_at(now);
        }
        self.time.deadline()
    }

    /// Gives this scope no more time than `other` has.
    pub fn narrow(&mut self, other: &Self) {
        let (lesser, greater) = (self.time.min(other.time), self.time.max(other.time));
        self.time = match greater.deadline() {
            // Only what has begun can be compared with a deadline.
            Some(_) if lesser.is_limit() => lesser.begun_at(Moment::now()).min(greater),
            _ => lesser,
        };
    }

    /// This scope's deadline, if its time has begun. Doesn't begin it.
    #[must_use]
    pub fn deadline_if_begun(&self) -> Option<Deadline> {
        self.time.deadline()
    }

    /// Makes this the current scope while `f` runs. Restores the previous one afterwards, even if `f` panics.
    ///
    /// The previous scope's deadline applies inside as well: if it is earlier, it becomes this scope's deadline.
    #[inline]
    pub fn enter<R>(&mut self, f: impl FnOnce() -> R) -> R {
        self.enter_with(None, f)
    }

    /// As [`enter`](Self::enter), for a layer that reads the reports made inside, such as one that labels responses.
    ///
    /// Every scope inside has that reader too. See [who reads reports](self#who-reads-reports).
    #[inline]
    pub fn enter_as_reader<R>(&mut self, f: impl FnOnce() -> R) -> R {
        self.enter_with(Some(true), f)
    }

    /// Sets whether reports are read inside. `None` leaves that as it is.
    #[inline]
    fn enter_with<R>(&mut self, is_read: Option<bool>, f: impl FnOnce() -> R) -> R {
        let _entered = self.entered_with(is_read);
        f()
    }

    /// As [`enter`](Self::enter), until the guard is dropped. Use it in `Service::call`, where moving a request into a
    /// closure would copy it.
    #[inline]
    pub fn entered(&mut self) -> EnteredScope<'_> {
        self.entered_with(None)
    }

    /// As [`enter_as_reader`](Self::enter_as_reader), until the guard is dropped.
    #[inline]
    pub fn entered_as_reader(&mut self) -> EnteredScope<'_> {
        self.entered_with(Some(true))
    }

    #[inline]
    fn entered_with(&mut self, is_read: Option<bool>) -> EnteredScope<'_> {
        let (outside, was_read) = self.push(is_read);
        EnteredScope { scope: self, outside, was_read }
    }

    #[inline]
    fn push(&mut self, is_read: Option<bool>) -> (Time, Option<bool>) {
        CURRENT.with(|current| {
            current.reports.swap(Cell::from_mut(&mut self.reports));
            let outside = current.push(self.time);
            if current.mark.get() != Mark::None {
                current.mark_injected_fault();
            }
            (outside, is_read.map(|is_read| current.is_read.replace(is_read)))
        })
    }

    /// Takes what was reported so far, in order. Reports from other tasks come last.
    #[inline]
    pub fn take_reports(&mut self) -> Vec<Degradation> {
        self.reports.as_mut().map_or_else(Vec::new, |reports| reports.take())
    }

    /// Whether an [injected fault](self#injected-faults) has hit a call in this scope.
    #[inline]
    #[must_use]
    pub fn has_injected_fault(&self) -> bool {
        self.reports.as_ref().is_some_and(|reports| reports.has_injected_fault())
    }

    /// Moves what was reported in this scope to the current one, because this attempt was chosen.
    #[inline]
    pub fn pass_on_reports(&mut self) {
        if let Some(reports) = &mut self.reports {
            pass_on(reports.take());
        }
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self::new()
    }
}

/// The guard of [`Scope::entered`].
#[derive(Debug)]
#[must_use = "the scope is left when this is dropped"]
pub struct EnteredScope<'a> {
    scope: &'a mut Scope,
    /// The time of the outer scope. While this scope is entered, its own field holds the reports of the outer one.
    outside: Time,
    /// Whether the outer scope has a reader, if that was changed.
    was_read: Option<bool>,
}

impl Drop for EnteredScope<'_> {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| {
            self.scope.time = current.pop(self.outside);
            if let Some(was_read) = self.was_read {
                current.is_read.set(was_read);
            }
            current.reports.swap(Cell::from_mut(&mut self.scope.reports));
            if self.scope.has_injected_fault() {
                current.mark_injected_fault();
            }
        });
    }
}

impl Reports {
    #[cold]
    fn has_injected_fault(&self) -> bool {
        self.has_injected_fault
            || self.elsewhere.as_ref().is_some_and(|elsewhere| elsewhere.has_injected_fault.load(Relaxed))
    }

    fn so_far(&self) -> Vec<Degradation> {
        let mut reports = self.here.clone();
        if let Some(elsewhere) = &self.elsewhere {
            reports.extend_from_slice(&elsewhere.reports.lock().unwrap_or_else(PoisonError::into_inner));
        }
        reports
    }

    #[cold]
    fn take(&mut self) -> Vec<Degradation> {
        let mut reports = mem::take(&mut self.here);
        if let Some(elsewhere) = &self.elsewhere {
            reports.append(&mut elsewhere.take());
        }
        reports
    }
}

/// The current scope's deadline. If its time hasn't begun, it does now.
#[must_use]
pub fn deadline() -> Option<Deadline> {
    CURRENT.with(|current| current.begin())
}

/// The time left until the current scope's deadline. `None` if there is none, zero if it has passed.
#[must_use]
pub fn time_left() -> Option<Duration> {
    deadline().map(|deadline| deadline.left())
}

/// The current scope's deadline, if it has passed.
///
/// Does not start a limit that hasn't started.
#[must_use]
#[inline]
pub fn passed() -> Option<Deadline> {
    CURRENT.with(|current| current.time.get().deadline()).filter(Deadline::has_passed)
}

/// How the current scope limits time. Unlike [`deadline()`], this doesn't begin its time.
#[must_use]
#[inline]
pub fn limit() -> CurrentLimit {
    let time = CURRENT.with(|current| current.time.get());
    match (time.limit(), time.deadline()) {
        (Some(limit), _) => CurrentLimit::NotBegun(limit),
        (None, Some(_)) => CurrentLimit::Begun,
        (None, None) => CurrentLimit::Endless,
    }
}

/// How the current scope limits time: see [`limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CurrentLimit {
    /// It doesn't, or there is no scope.
    Endless,
    /// By this limit, whose time hasn't begun.
    NotBegun(Limit),
    /// By a [`deadline()`]: its time has begun.
    Begun,
}

/// Reports a degradation in the current scope. If [nobody reads it](self#who-reads-reports), a `WARN` is logged, once for
/// each chain.
///
/// Call it while a future is polled, not in a service's `call`, which a buffer further out runs in another task.
pub fn report(degradation: Degradation) {
    CURRENT.with(|current| {
        if !current.is_read.get() {
            unread::warn(&degradation);
        }
        current.with_reports(|reports| reports.here.push(degradation));
    });
}

/// What has been reported in the current scope so far, in order. Reports from other tasks come last.
///
/// A handler calls it at the end, to say in its body what is degraded. That includes the calls that it made itself, but not
/// reports made further out, or by calls that are still running. The reports stay in the scope, for the headers.
///
/// ```
/// use backstop_core::{Degradation, Freshness, Reason, Scope, name, scope};
///
/// Scope::new().enter_as_reader(|| {
///     assert!(scope::degradations().is_empty());
///     scope::report(Degradation::new(name!("prices"), name!("cached"), 1, Reason::TIMEOUT, Freshness::Degraded));
///     assert_eq!(scope::degradations()[0].path().to_string(), "cached");
/// });
/// assert!(scope::degradations().is_empty());
/// ```
#[must_use]
pub fn degradations() -> Vec<Degradation> {
    CURRENT.with(|current| {
        let reports = current.reports.take();
        let so_far = reports.as_ref().map_or_else(Vec::new, |reports| reports.so_far());
        current.reports.set(reports);
        so_far
    })
}

/// Moves reports that were [taken](Scope::take_reports) from an inner scope to the current one.
///
/// As [`Scope::pass_on_reports`], for a layer that reads them in between. They don't count as new reports.
pub fn pass_on(mut reports: Vec<Degradation>) {
    if !reports.is_empty() {
        CURRENT.with(|current| current.with_reports(|outside| outside.here.append(&mut reports)));
    }
}

/// Whether a layer of this process may inject faults.
static MAY_INJECT_FAULTS: AtomicBool = AtomicBool::new(false);

/// Says that a layer of this process may [inject faults](self#injected-faults) from now on. For that layer, before it does.
pub fn allow_injected_faults() {
    MAY_INJECT_FAULTS.store(true, Relaxed);
}

/// Whether a layer of this process may [inject faults](self#injected-faults). If not, nothing needs to be asked about them.
///
/// A layer that must know about faults inside of it, even where no scope is open around it, opens one of its own then.
#[inline]
#[must_use]
pub fn may_inject_faults() -> bool {
    MAY_INJECT_FAULTS.load(Relaxed)
}

/// Runs `f`, which is part of a call that an [injected fault](self#injected-faults) has hit. Marks the current scope, what `f`
/// enters, and the scopes around.
///
/// ```
/// use backstop_core::{Scope, scope};
///
/// let mut outer = Scope::new();
/// let mut attempt = Scope::new();
/// outer.enter(|| attempt.enter(|| scope::inject_fault(|| assert!(scope::has_injected_fault()))));
/// assert!(attempt.has_injected_fault() && outer.has_injected_fault());
/// assert!(!scope::has_injected_fault());
/// ```
///
/// Outside of any scope, the mark ends with `f`.
pub fn inject_fault<R>(f: impl FnOnce() -> R) -> R {
    CURRENT.with(|current| current.mark_injected_fault());
    run_marked(Mark::InjectedFault, f)
}

/// Runs `f`, which is part of a [call whose answer nobody gets](self#shadow-calls). The current scope isn't seen inside, and sees
/// nothing of it.
///
/// ```
/// use backstop_core::{Scope, scope};
///
/// let mut scope = Scope::new();
/// scope.enter(|| scope::shadow(|| assert!(scope::is_shadow() && scope::has_injected_fault())));
/// assert!(!scope.has_injected_fault() && !scope::is_shadow());
/// ```
pub fn shadow<R>(f: impl FnOnce() -> R) -> R {
    struct Outside {
        time: Time,
        begun: Moment,
        is_read: bool,
        reports: Option<Box<Reports>>,
    }

    impl Drop for Outside {
        fn drop(&mut self) {
            CURRENT.with(|current| {
                current.time.set(self.time);
                current.begun.set(self.begun);
                current.is_read.set(self.is_read);
                current.reports.set(self.reports.take());
            });
        }
    }

    allow_injected_faults();
    let _outside = CURRENT.with(|current| Outside {
        time: current.time.replace(Time::NO_SCOPE),
        begun: current.begun.replace(Moment::NONE),
        is_read: current.is_read.replace(false),
        reports: current.reports.take(),
    });
    run_marked(Mark::Shadow, f)
}

/// Whether this runs inside a [call whose answer nobody gets](self#shadow-calls).
#[inline]
#[must_use]
pub fn is_shadow() -> bool {
    // In most processes there are none.
    may_inject_faults() && CURRENT.with(|current| current.mark.get() == Mark::Shadow)
}

fn run_marked<R>(mark: Mark, f: impl FnOnce() -> R) -> R {
    struct Restore(Mark);

    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.with(|current| current.mark.set(self.0));
        }
    }

    let _restore = CURRENT.with(|current| Restore(current.mark.replace(current.mark.get().max(mark))));
    f()
}

/// Whether an [injected fault](self#injected-faults) has hit a call in the current scope, or one that this runs inside.
#[must_use]
pub fn has_injected_fault() -> bool {
    CURRENT.with(|current| {
        let reports = current.reports.take();
        let is_hit = reports.as_ref().is_some_and(|reports| reports.has_injected_fault());
        current.reports.set(reports);
        is_hit || current.mark.get() != Mark::None
    })
}

/// A handle of the current scope, for another task: see [`InScope::in_scope`].
#[must_use]
pub fn handle() -> ScopeHandle {
    let share = |reports: &mut Reports| Arc::downgrade(reports.elsewhere.get_or_insert_default());
    let (is_read, reports) = CURRENT.with(|current| (current.is_read.get(), current.with_reports(share)));
    ScopeHandle {
        deadline: deadline(),
        is_read,
        mark: CURRENT.with(|current| current.mark.get()),
        reports: reports.unwrap_or_default(),
    }
}

/// A scope's handle for another task: see [`handle`].
///
/// Reports made through it count until the scope's request has been answered. [Nobody reads](self#who-reads-reports) later
/// ones.
#[derive(Clone, Debug)]
pub struct ScopeHandle {
    deadline: Option<Deadline>,
    is_read: bool,
    mark: Mark,
    reports: Weak<Shared>,
}

/// Runs a future in the scope of another task.
pub trait InScope: Future + Sized {
    /// Runs this future in the scope of `handle`.
    fn in_scope(self, handle: ScopeHandle) -> InScopeFuture<Self> {
        let scope = handle.deadline.map_or_else(Scope::new, Scope::narrowed);
        let ScopeHandle { is_read, mark, reports, .. } = handle;
        InScopeFuture { inner: self, scope, is_read, mark, reports }
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
        is_read: bool,
        mark: Mark,
        reports: Weak<Shared>,
    }
}

impl<F: Future> Future for InScopeFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let is_read = *this.is_read && this.reports.strong_count() > 0;
        let poll = || this.inner.poll(cx);
        let poll = this.scope.enter_with(Some(is_read), || match *this.mark {
            Mark::None => poll(),
            mark => {
                CURRENT.with(|current| current.mark_injected_fault());
                run_marked(mark, poll)
            }
        });
        let mut reported = this.scope.take_reports();
        let is_hit = this.scope.has_injected_fault();
        if (is_hit || !reported.is_empty())
            && let Some(shared) = this.reports.upgrade()
        {
            shared.has_injected_fault.fetch_or(is_hit, Relaxed);
            shared.append(&mut reported);
        }
        poll
    }
}

/// Why a layer ended a call early: see [`ended_by`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndedBy {
    /// Our own limit passed.
    OurLimit,
    /// The caller's limit passed, and it was the shorter one.
    CallersLimit,
    /// Another call for the same request answered first, such as a hedge.
    Replaced,
}

impl EndedBy {
    /// Whether the call counts as a failure of the service: only if our own limit ended it. Otherwise it is neutral.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::OurLimit)
    }
}

/// A limit ended the call.
impl From<SetBy> for EndedBy {
    fn from(set_by: SetBy) -> Self {
        match set_by {
            SetBy::Us => Self::OurLimit,
            SetBy::Caller => Self::CallersLimit,
        }
    }
}

/// Runs `drop_it`, which drops a call early. Meanwhile, [`ended_by`] returns `why`.
///
/// Otherwise, layers inside couldn't tell a call that hung until its time limit from one whose caller left.
pub fn end<R>(why: impl Into<EndedBy>, drop_it: impl FnOnce() -> R) -> R {
    struct Restore(Option<EndedBy>);

    impl Drop for Restore {
        fn drop(&mut self) {
            _ = ENDED_BY.try_with(|ended_by| ended_by.set(self.0));
        }
    }

    let why = Some(why.into());
    let _restore = Restore(ENDED_BY.try_with(|ended_by| ended_by.replace(why)).ok().flatten());
    drop_it()
}

/// Why a call is being dropped. Call it in `Drop`. `None` if no layer ends the call: the caller left, for example.
#[must_use]
pub fn ended_by() -> Option<EndedBy> {
    ENDED_BY.try_with(Cell::get).ok().flatten()
}

#[cfg(test)]
mod tests;
