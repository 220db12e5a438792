//! What a function's errors count as.

use std::{any::Any, error::Error, fmt, ops::DerefMut};

use backstop_core::{ErrorRef, Outcome, Rejection, ResultClassify, judge_error, see_through_as};
use http::StatusCode;

use super::CallError;

/// An error of a function that layers protect. They look into it for a [`Rejection`], for errors that have a rule, and for
/// the log.
///
/// | `Kind` | types |
/// |---|---|
/// | [`IsError`] | everything that implements [`Error`] |
/// | [`HoldsError`] | boxed errors, and boxes like `anyhow::Error` and `eyre::Report` |
/// | [`IsNoError`] | `String`, `&'static str`, `StatusCode`, `()`, where there is nothing to look into |
///
/// The compiler infers `Kind`. For another type that isn't an error, choose a `Kind` of your own:
///
/// ```
/// use backstop_kit::function::FunctionError;
///
/// struct ExitCode(u8);
/// struct IsExitCode;
///
/// impl FunctionError<IsExitCode> for ExitCode {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't an error that layers can look into",
    note = "implement `std::error::Error` for it: then a rejection among its causes is found",
    note = "if it can't be an error, implement `FunctionError<Kind>` for it with a `Kind` of your own"
)]
pub trait FunctionError<Kind>: Sized + 'static {
    /// The error that this is, or holds.
    fn as_error(&self) -> Option<&(dyn Error + 'static)> {
        None
    }
}

/// The kind of [`FunctionError`] that implements [`Error`].
#[derive(Debug)]
pub enum IsError {}

/// The kind of [`FunctionError`] that is a box of an error.
#[derive(Debug)]
pub enum HoldsError {}

/// The kind of [`FunctionError`] that is no error.
#[derive(Debug)]
pub enum IsNoError {}

impl<E: Error + 'static> FunctionError<IsError> for E {
    fn as_error(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

// Not by `Deref`: an `Arc` of an error is an error itself, too.
impl<E: DerefMut<Target: DynError> + 'static> FunctionError<HoldsError> for E {
    fn as_error(&self) -> Option<&(dyn Error + 'static)> {
        Some((**self).get())
    }
}

/// What a box of an error holds.
pub trait DynError {
    /// The error.
    fn get(&self) -> &(dyn Error + 'static);
}

impl DynError for dyn Error {
    fn get(&self) -> &(dyn Error + 'static) {
        self
    }
}

impl DynError for dyn Error + Send {
    fn get(&self) -> &(dyn Error + 'static) {
        self
    }
}

impl DynError for dyn Error + Send + Sync {
    fn get(&self) -> &(dyn Error + 'static) {
        self
    }
}

impl FunctionError<IsNoError> for String {}
impl FunctionError<IsNoError> for &'static str {}
impl FunctionError<IsNoError> for StatusCode {}
impl FunctionError<IsNoError> for () {}

/// A guard in a guard. If `E` is an error, so is this.
impl<E: FunctionError<HoldsError>> FunctionError<HoldsError> for CallError<E> {
    fn as_error(&self) -> Option<&(dyn Error + 'static)> {
        error_in_call(self)
    }
}

impl<E: FunctionError<IsNoError>> FunctionError<IsNoError> for CallError<E> {
    fn as_error(&self) -> Option<&(dyn Error + 'static)> {
        error_in_call(self)
    }
}

fn error_in_call<E: FunctionError<Kind>, Kind>(error: &CallError<E>) -> Option<&(dyn Error + 'static)> {
    match error {
        CallError::Rejected(rejection) => Some(rejection),
        CallError::Failed(error) => error.as_error(),
    }
}

/// What an error counts as.
pub trait JudgeError<E> {
    /// What a rule says, or `None` without a rule for this error. Not asked about errors that hold a rejection.
    fn outcome(&self, error: &E) -> Option<Outcome>;

    /// Looks into an error.
    fn error_ref<'a>(&self, error: &'a E) -> ErrorRef<'a>;

    /// Prepares for what other layers do with a [`CallError`] of this error.
    fn register(&self) {}

    /// Whether a rule makes some error transient.
    fn has_transient(&self) -> bool {
        false
    }

    /// Whether an attempt that our time limit ended may be repeated.
    fn repeats_timeouts(&self) -> bool {
        false
    }
}

/// No rules: only what an error of a certain type is, or holds.
#[derive(Clone, Copy)]
pub struct ErrorView {
    view: View,
    register: fn(),
}

/// Returns the error that a value of a certain type is, or holds.
type View = fn(&dyn Any) -> Option<&(dyn Error + 'static)>;

impl ErrorView {
    /// Looks into errors of type `E`.
    #[must_use]
    pub const fn of<E: FunctionError<Kind>, Kind>() -> Self {
        Self { view: view::<E, Kind>, register: register::<E, Kind> }
    }
}

fn view<E: FunctionError<Kind>, Kind>(value: &dyn Any) -> Option<&(dyn Error + 'static)> {
    value.downcast_ref::<E>()?.as_error()
}

/// Lets layers that know the type of an error only as `'static` look into a `CallError<E>`.
fn register<E: FunctionError<Kind>, Kind>() {
    see_through_as::<CallError<E>>(|value| error_in_call(value.downcast_ref::<CallError<E>>()?));
}

impl<E: 'static> JudgeError<E> for ErrorView {
    fn outcome(&self, _: &E) -> Option<Outcome> {
        None
    }

    fn error_ref<'a>(&self, error: &'a E) -> ErrorRef<'a> {
        (self.view)(error).map_or_else(|| ErrorRef::new(error), |found| ErrorRef::with_error(error, found))
    }

    fn register(&self) {
        (self.register)();
    }
}

impl fmt::Debug for ErrorView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ErrorView")
    }
}

/// A rule before others: errors for which `applies` is true count as `outcome`.
#[derive(Clone, Copy)]
pub struct ErrorRule<A, R> {
    applies: A,
    outcome: Outcome,
    others: R,
}

impl<A, R> ErrorRule<A, R> {
    /// This rule, then `others`.
    pub const fn new(applies: A, outcome: Outcome, others: R) -> Self {
        Self { applies, outcome, others }
    }
}

impl<E, A: Fn(&E) -> bool, R: JudgeError<E>> JudgeError<E> for ErrorRule<A, R> {
    fn outcome(&self, error: &E) -> Option<Outcome> {
        if (self.applies)(error) { Some(self.outcome) } else { self.others.outcome(error) }
    }

    fn error_ref<'a>(&self, error: &'a E) -> ErrorRef<'a> {
        self.others.error_ref(error)
    }

    fn register(&self) {
        self.others.register();
    }

    #[inline]
    fn has_transient(&self) -> bool {
        self.outcome.transient || self.others.has_transient()
    }

    #[inline]
    fn repeats_timeouts(&self) -> bool {
        self.others.repeats_timeouts()
    }
}

impl<A, R: fmt::Debug> fmt::Debug for ErrorRule<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorRule")
            .field("outcome", &self.outcome)
            .field("others", &self.others)
            .finish_non_exhaustive()
    }
}

/// What an error counts as. If it holds a rejection, it counts as that says, and is transient only if `errors` repeats timeouts
/// or `repeat_timeouts` is true. Otherwise a rule decides.
///
/// Without a rule it counts as for [`ResultClassify`], except that it is never transient: a function may be half done when it
/// fails, and nobody but its author knows whether it may run again.
pub(super) fn judge<E, R: JudgeError<E>>(errors: &R, error: &E, repeat_timeouts: bool) -> Outcome {
    let found = errors.error_ref(error);
    if let Some(rejection) = Rejection::in_error(found) {
        return judge_rejection::<E, _>(rejection, errors, repeat_timeouts);
    }
    errors.outcome(error).unwrap_or_else(|| {
        let mut outcome = judge_error::<(), _>(&ResultClassify::new(), found);
        outcome.transient = false;
        outcome
    })
}

/// What a rejection counts as. It is transient only if timeouts are repeated.
pub(super) fn judge_rejection<E, R: JudgeError<E>>(
    rejection: &Rejection,
    errors: &R,
    repeat_timeouts: bool,
) -> Outcome {
    let mut outcome = rejection.outcome();
    outcome.transient &= repeat_timeouts || errors.repeats_timeouts();
    outcome
}
