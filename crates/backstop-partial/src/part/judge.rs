//! Which results of a part are answers.

use std::any::Any;

use backstop_core::{
    Classify, Degradation, HttpClassify, Outcome, Reason, Rejection, ResultClassify, judge_error, scope,
};
use backstop_kit::{Answer, ErrorText, function::JudgeError};
use http::StatusCode;

use super::failure::Miss;

/// Decides whether a part's result is an answer. A part chooses its judge by [`response`](super::Part::response) or
/// [`answer`](super::Part::answer).
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't judge a part's `{O}`",
    note = "a part's future resolves to a `Result` whose error can go from thread to thread"
)]
pub trait PartJudge<O> {
    /// What an answer has.
    type Value;

    /// The answer, or why it isn't one.
    #[doc(hidden)]
    fn judge(&self, output: O, errors: &ErrorText) -> Result<Answer<Self::Value>, Box<Miss>>;
}

/// Every `Ok` is an answer. `J` are the rules for errors.
#[derive(Clone, Copy, Debug)]
pub struct OfResult<J>(pub(super) J);

/// A response that is a success is an answer.
#[derive(Clone, Copy, Debug)]
pub struct OfResponse<J>(pub(super) J);

/// Every `Ok` is an answer, with a freshness.
#[derive(Clone, Copy, Debug)]
pub struct OfAnswer<J>(pub(super) J);

impl<T, E: Send + 'static, J: JudgeError<E>> PartJudge<Result<T, E>> for OfResult<J> {
    type Value = T;

    #[inline]
    fn judge(&self, output: Result<T, E>, errors: &ErrorText) -> Result<Answer<T>, Box<Miss>> {
        output.map(Answer::from).map_err(|error| miss(&self.0, error, errors))
    }
}

impl<T, E: Send + 'static, J: JudgeError<E>> PartJudge<Result<Answer<T>, E>> for OfAnswer<J> {
    type Value = T;

    #[inline]
    fn judge(&self, output: Result<Answer<T>, E>, errors: &ErrorText) -> Result<Answer<T>, Box<Miss>> {
        output.map_err(|error| miss(&self.0, error, errors))
    }
}

impl<B, E, J> PartJudge<Result<http::Response<B>, E>> for OfResponse<J>
where
    B: Send + 'static,
    E: Send + 'static,
    J: JudgeError<E>,
{
    type Value = http::Response<B>;

    fn judge(
        &self,
        output: Result<http::Response<B>, E>,
        errors: &ErrorText,
    ) -> Result<Answer<Self::Value>, Box<Miss>> {
        let response = output.map_err(|error| miss(&self.0, error, errors))?;
        let miss = match Rejection::in_response(&response) {
            Some(rejection) => Miss::rejected(rejection),
            None => {
                let classify = HttpClassify::new();
                let outcome = classify.classify(Ok(&response));
                if outcome.answers_for_another() {
                    adopt_degradation(&response);
                    return Ok(response.into());
                }
                let mut miss = Miss::failed(classify.reason(Ok(&response)), outcome);
                if outcome.blame.is_some() {
                    miss.status.0 = response.status();
                }
                miss
            }
        };
        Err(Box::new(Miss { original: Some(Box::new(response)), ..miss }))
    }
}

/// Reports the degradation that a response carries, which may come from another task, unless it has been reported.
fn adopt_degradation<B>(response: &http::Response<B>) {
    if let Some(carried) = response.extensions().get::<Degradation>()
        && !scope::degradations().iter().any(|reported| reported.is(carried))
    {
        scope::report(carried.clone());
    }
}

/// Why `error` isn't an answer. A rejection among its causes counts as it says; a rule decides for any other error.
#[cold]
fn miss<E: Send + 'static, J: JudgeError<E>>(rules: &J, error: E, errors: &ErrorText) -> Box<Miss> {
    let seen = rules.error_ref(&error);
    let miss = match Rejection::in_error(seen) {
        Some(rejection) => Miss::rejected(rejection),
        None => {
            let classify = ResultClassify::new();
            let outcome = rules.outcome(&error).unwrap_or_else(|| judge_error::<(), _>(&classify, seen));
            match (&error as &dyn Any).downcast_ref::<StatusCode>() {
                Some(status) => of_status(*status, outcome),
                None => Miss::failed(Classify::<()>::reason(&classify, Err(seen)), outcome),
            }
        }
    };
    let text = errors.of(seen);
    Box::new(Miss { error: text, original: Some(Box::new(error)), ..miss })
}

/// A `StatusCode` as an error counts as a response of that status, unless a rule said that the caller is to blame.
fn of_status(status: StatusCode, outcome: Outcome) -> Miss {
    let mut response = http::Response::new(());
    *response.status_mut() = status;
    let judged = HttpClassify::new().classify(Ok(&response));
    // A success is no reason to fail.
    let outcome = if outcome.blame.is_some() || judged.answers_for_another() { outcome } else { judged };
    let mut miss = Miss::failed(Reason::status(status), outcome);
    if outcome.blame.is_some() {
        miss.status.0 = status;
    }
    miss
}
