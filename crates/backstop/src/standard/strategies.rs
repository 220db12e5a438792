//! Strategies that are chosen for several parts at once.

use backstop_kit::{ProblemDetails, Strategies, WithClassifier};

use crate::{BulkheadBuilder, CircuitBreakerBuilder, PropagateDeadlineBuilder, RetryBuilder, TimeoutBuilder};

/// The builder of a part whose classifier can be chosen.
#[expect(unnameable_types, reason = "only a bound")]
pub trait ChooseClassifier {
    /// The builder with the classifier `C`.
    type With<C>;

    /// Chooses it.
    fn choose<C>(self, classify: C) -> Self::With<C>;
}

impl<J: WithClassifier, R, U, K, A> ChooseClassifier for RetryBuilder<Strategies<J, R, U, K, A>> {
    type With<C> = RetryBuilder<Strategies<J::With<C>, R, U, K, A>>;

    fn choose<C>(self, classify: C) -> Self::With<C> {
        self.classify(classify)
    }
}

impl<J: WithClassifier, R, U, K, A> ChooseClassifier for CircuitBreakerBuilder<Strategies<J, R, U, K, A>> {
    type With<C> = CircuitBreakerBuilder<Strategies<J::With<C>, R, U, K, A>>;

    fn choose<C>(self, classify: C) -> Self::With<C> {
        self.classify(classify)
    }
}

/// The builder of a part that can reject with a problem document.
#[expect(unnameable_types, reason = "only a bound")]
pub trait ChooseProblemDetails {
    /// The builder with problem documents.
    type With;

    /// Chooses them.
    fn choose(self) -> Self::With;
}

impl<J, R, U, K, A> ChooseProblemDetails for CircuitBreakerBuilder<Strategies<J, R, U, K, A>> {
    type With = CircuitBreakerBuilder<Strategies<J, ProblemDetails, U, K, A>>;

    fn choose(self) -> Self::With {
        self.problem_details()
    }
}

impl<R, U> ChooseProblemDetails for BulkheadBuilder<R, U> {
    type With = BulkheadBuilder<ProblemDetails, U>;

    fn choose(self) -> Self::With {
        self.problem_details()
    }
}

impl<J, R, U, K, A> ChooseProblemDetails for TimeoutBuilder<Strategies<J, R, U, K, A>> {
    type With = TimeoutBuilder<Strategies<J, ProblemDetails, U, K, A>>;

    fn choose(self) -> Self::With {
        self.problem_details()
    }
}

impl<R> ChooseProblemDetails for PropagateDeadlineBuilder<R> {
    type With = PropagateDeadlineBuilder<ProblemDetails>;

    fn choose(self) -> Self::With {
        self.problem_details()
    }
}
