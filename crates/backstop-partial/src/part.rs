//! A part: its name, its future, and what happens when it fails.

use std::{borrow::Cow, fmt, time::Duration};

use backstop_core::{Name, Outcome};
use backstop_kit::function::{ErrorRule, ErrorView, FunctionError, JudgeError};

mod failure;
mod judge;
mod recovery;
pub(crate) mod slot;

pub(crate) use failure::NOT_STARTED_MISS;
pub use failure::{Miss, PartFailure};
pub use judge::{OfAnswer, OfResponse, OfResult, PartJudge};
pub use recovery::{Optional, Or, OrDefault, OrElse, Recover, Required, Undecided};

use slot::Slot;

/// One part of a page: see [`part`].
#[derive(Clone)]
#[must_use = "a part does nothing unless it is gathered"]
pub struct Part<F, J, R = Undecided> {
    name: Name,
    future: F,
    judge: J,
    recovery: R,
    timeout: Option<Duration>,
    warning: Option<Cow<'static, str>>,
}

/// A part of a page: `future`, under a name.
///
/// The future resolves to a `Result`. It may be a call through a guard, a fallback chain's `execute`, or a query: whatever
/// [has an error](FunctionError) that layers can look into. Say what happens if it fails, and gather it:
///
/// ```
/// use backstop_partial::{Aggregate, name, part};
///
/// # async fn recent_orders() -> Result<Vec<u32>, std::io::Error> { Ok(vec![7]) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dashboard = Aggregate::new(name!("dashboard"));
/// let orders = part(name!("orders"), recent_orders()).or(Vec::new()).warn("Your orders are missing");
/// assert_eq!(dashboard.gather((orders,)).await?.into_data(), (vec![7],));
/// # Ok(())
/// # }
/// ```
///
/// For a future that can't fail, write `async { Ok::<_, Infallible>(…) }`.
pub const fn part<F, T, E, Kind>(name: Name, future: F) -> Part<F, OfResult<ErrorView>>
where
    F: Future<Output = Result<T, E>>,
    E: FunctionError<Kind>,
{
    let judge = OfResult(ErrorView::of::<E, Kind>());
    Part { name, future, judge, recovery: Undecided, timeout: None, warning: None }
}

impl<F, J> Part<F, J> {
    /// The page is nothing without this part: if it fails, so does the page.
    ///
    /// See [when a required part fails](crate#when-a-required-part-fails).
    pub fn required(self) -> Part<F, J, Required> {
        self.recovering(Required)
    }

    /// If this part fails, `value` takes its place.
    ///
    /// Never invent a quantity: a balance that isn't known is not 0. Make such a part [optional](Self::optional).
    pub fn or<V>(self, value: V) -> Part<F, J, Or<V>> {
        self.recovering(Or(Some(value)))
    }

    /// If this part fails, what `value` returns takes its place.
    pub fn or_else<V, G: FnOnce(&PartFailure) -> V>(self, value: G) -> Part<F, J, OrElse<G>> {
        self.recovering(OrElse(Some(value)))
    }

    /// If this part fails, the default of its type takes its place.
    ///
    /// For collections, not for numbers: see [`or`](Self::or).
    pub fn or_default(self) -> Part<F, J, OrDefault> {
        self.recovering(OrDefault)
    }

    /// The part is an `Option`: `None` if it fails.
    pub fn optional(self) -> Part<F, J, Optional> {
        self.recovering(Optional)
    }
}

impl<F, J, R> Part<F, J, R> {
    /// The longest time that this part may take. Unless set, the [total](crate::AggregateBuilder::total) alone limits it.
    ///
    /// It begins when the part is first pending.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What users read in [`warnings`](crate::PageStatus::warnings) if this part fails. Unless set, nothing: for parts that
    /// nobody misses. The page is labelled as degraded in any case.
    pub fn warn(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.warning = Some(text.into());
        self
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    fn recovering<R2>(self, recovery: R2) -> Part<F, J, R2> {
        let Self { name, future, judge, recovery: _, timeout, warning } = self;
        Part { name, future, judge, recovery, timeout, warning }
    }

    fn judged_by<J2>(self, judge: impl FnOnce(J) -> J2) -> Part<F, J2, R> {
        let Self { name, future, judge: before, recovery, timeout, warning } = self;
        Part { name, future, judge: judge(before), recovery, timeout, warning }
    }
}

impl<F, J, R> Part<F, OfResult<J>, R> {
    /// An error for which `applies` is true blames the caller: a row that doesn't exist, or isn't theirs.
    ///
    /// It fails this part as any other error does. If the part is [required](Part::required), the error is the
    /// [page's answer](crate#when-a-required-part-fails), and not a 503.
    #[expect(clippy::wrong_self_convention, reason = "reads as the rule that it adds")]
    pub fn is_answer<T, E, A>(self, applies: A) -> Part<F, OfResult<ErrorRule<A, J>>, R>
    where
        F: Future<Output = Result<T, E>>,
        J: JudgeError<E>,
        A: Fn(&E) -> bool,
    {
        self.judged_by(|OfResult(others)| OfResult(ErrorRule::new(applies, Outcome::callers_fault(), others)))
    }

    /// The future resolves to an HTTP response: a client's call. A response that isn't a success fails this part, with its
    /// status as the reason.
    ///
    /// **Without this, every response is an answer, a 503 too.** The time of the part ends with the head of the response. To
    /// limit its body as well, read it in the part's future.
    pub fn response<B, E>(self) -> Part<F, OfResponse<J>, R>
    where
        F: Future<Output = Result<http::Response<B>, E>>,
    {
        self.judged_by(|OfResult(errors)| OfResponse(errors))
    }

    /// The future resolves to an [`Answer`](backstop_kit::Answer): a value whose freshness is known, such as a stored copy
    /// and its age. The part has the value, and the page is labelled with the freshness.
    pub fn answer<T, E>(self) -> Part<F, OfAnswer<J>, R>
    where
        F: Future<Output = Result<backstop_kit::Answer<T>, E>>,
    {
        self.judged_by(|OfResult(errors)| OfAnswer(errors))
    }
}

impl<F, J, R> fmt::Debug for Part<F, J, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .field("warning", &self.warning)
            .finish_non_exhaustive()
    }
}

/// A part that says what happens when it fails.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be gathered",
    label = "what if it fails?",
    note = "say what happens when the part fails: `.required()`, `.or(value)`, `.or_else(…)`, `.or_default()` or `.optional()`",
    note = "the value of `.or(…)` and `.or_else(…)` has the type of the part's own"
)]
pub trait GatherPart {
    /// What the page has of it.
    type Value;
    /// The part while it runs.
    #[doc(hidden)]
    type Slot: slot::TakeValue<Value = Self::Value>;

    #[doc(hidden)]
    fn into_slot(self) -> Self::Slot;
}

impl<F, J, R> GatherPart for Part<F, J, R>
where
    F: Future,
    J: PartJudge<F::Output>,
    R: Recover<J::Value>,
{
    type Value = R::Value;
    type Slot = Slot<F, J, R, J::Value>;

    #[inline]
    fn into_slot(self) -> Self::Slot {
        Slot::new(self)
    }
}
