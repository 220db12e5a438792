//! What a function's errors count as.

use backstop_core::{ErrorRef, Outcome, ResultClassify, judge_error};

/// What an error counts as, if there is a rule for it.
pub trait JudgeError<E> {
    /// `None` without a rule for this error.
    fn outcome(&self, error: &E) -> Option<Outcome>;

    /// Whether an attempt that our time limit ended may be repeated.
    fn repeats_timeouts(&self) -> bool {
        false
    }
}

/// No rules.
impl<E> JudgeError<E> for () {
    fn outcome(&self, _: &E) -> Option<Outcome> {
        None
    }
}

impl<E, R: JudgeError<E>> JudgeError<E> for &R {
    fn outcome(&self, error: &E) -> Option<Outcome> {
        R::outcome(self, error)
    }

    fn repeats_timeouts(&self) -> bool {
        R::repeats_timeouts(self)
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

    fn repeats_timeouts(&self) -> bool {
        self.others.repeats_timeouts()
    }
}

impl<A, R: std::fmt::Debug> std::fmt::Debug for ErrorRule<A, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ErrorRule")
            .field("outcome", &self.outcome)
            .field("others", &self.others)
            .finish_non_exhaustive()
    }
}

/// What an error without a rule counts as: as for [`ResultClassify`], except that it is never transient.
///
/// A function may be half done when it fails, and nobody but its author knows whether it may run again.
#[must_use]
pub fn judge_function_error<E: 'static>(error: &E) -> Outcome {
    let mut outcome = judge_error::<(), _>(&ResultClassify::new(), ErrorRef::new(error));
    outcome.transient = false;
    outcome
}
