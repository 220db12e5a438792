//! How a layer judges a result: by its type first, then by the classifier.

use std::mem;

use backstop_core::{
    Classify, Degradation, ErrorRef, HttpClassify, Outcome, Reason, Rejection, ResultClassify, grpc, judge_error,
};
use http::{HeaderMap, Request, Response, StatusCode};

use crate::{RequestFacts, Upload, caching};

/// Decides what a result counts as: a [`Rejection`] counts as it says itself, and the classifier judges everything else.
///
/// [`HttpJudge`] is for HTTP responses, [`PlainJudge`] for answers of any type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't judge a `{Res}`",
    note = "the default, `Http`, judges an `http::Response` of any body",
    note = "for functions and other services choose `.plain()`: every `Ok` is a success",
    note = "for anything else give the layer a closure by `.classify_fn(|result| …)`"
)]
pub trait Judge<Res> {
    /// What this result counts as.
    ///
    /// The answer is the same afterwards. It is mutable so that a judge can show its classifier another form of it for a
    /// moment.
    fn outcome(&self, request: RequestFacts, result: Result<&mut Res, ErrorRef<'_>>) -> Outcome;

    /// Why this result isn't an answer. Called only if it isn't.
    fn reason(&self, request: RequestFacts, result: Result<&mut Res, ErrorRef<'_>>) -> Reason;

    /// Whether this answer only makes sense if the caller asked for it.
    ///
    /// HTTP's 1xx, 206 and 304 answer an upgrade, a range and a condition. Requests to further providers
    /// [have none of those](crate::CopyAs), so such a status doesn't answer them.
    fn is_unasked(&self, _answer: &Res) -> bool {
        false
    }

    /// The error in an answer, for answers that hold one, as a function's result does. For the log.
    fn error<'a>(&self, _answer: &'a Res) -> Option<ErrorRef<'a>> {
        None
    }

    /// Marks an answer as degraded, and keeps it out of caches if necessary. By default, does nothing.
    fn label(&self, _answer: &mut Res, _degradation: &Degradation) {}
}

/// What a [`Judge`] needs to know about a request. It reads that before the call, which consumes the request.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't judge the calls of a `{Req}`",
    note = "the default, `Http`, judges the calls of an `http::Request` whose body is `'static`",
    note = "for functions and other services choose `.plain()`"
)]
pub trait JudgeRequest<Req> {
    /// Whether it is a gRPC call.
    fn is_grpc(&self, _request: &Req) -> bool {
        false
    }

    /// Adds to `known` the facts that the protocol knows, for a [copying strategy](crate::CopyRequest) that doesn't.
    ///
    /// A strategy that clones requests of any type can't see that a request is `CONNECT`, or must never be repeated.
    fn facts(&self, _request: &Req, known: RequestFacts) -> RequestFacts {
        known
    }

    /// Watches the request's body while it is sent. If a call fails because of it, that isn't the service's failure.
    fn watch(&self, _request: &mut Req) -> Option<Upload> {
        None
    }
}

/// A judge whose classifier can be replaced.
pub trait WithClassifier {
    /// This judge with the classifier `C`.
    type With<C>;

    /// Creates the judge with this classifier.
    fn with_classifier<C>(classify: C) -> Self::With<C>;
}

/// Judges HTTP responses by the classifier `C`.
///
/// A [`Rejection`] by a layer further in counts as it says itself. If a gRPC call is answered without gRPC, the classifier
/// sees the gRPC status that the HTTP status maps to.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct HttpJudge<C = HttpClassify> {
    /// Judges everything that isn't a rejection.
    pub classify: C,
}

impl<C> WithClassifier for HttpJudge<C> {
    type With<C2> = HttpJudge<C2>;

    fn with_classifier<C2>(classify: C2) -> HttpJudge<C2> {
        HttpJudge { classify }
    }
}

#[diagnostic::do_not_recommend]
impl<B, C: Classify<Response<B>>> Judge<Response<B>> for HttpJudge<C> {
    #[inline]
    fn outcome(&self, request: RequestFacts, result: Result<&mut Response<B>, ErrorRef<'_>>) -> Outcome {
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => return judge_error(&self.classify, error),
        };
        if let Some(rejection) = Rejection::in_response(answer) {
            return rejection.outcome();
        }
        if request.is_grpc()
            && let Some(mapped) = grpc::mapped_from_http(answer)
        {
            return with_headers(answer, mapped, |answer| self.classify.classify(Ok(answer)));
        }
        self.classify.classify(Ok(answer))
    }

    fn reason(&self, request: RequestFacts, result: Result<&mut Response<B>, ErrorRef<'_>>) -> Reason {
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => return self.classify.reason(Err(error)),
        };
        if let Some(rejection) = Rejection::in_response(answer) {
            return rejection.reason();
        }
        match grpc::mapped_from_http(answer).filter(|_| request.is_grpc()) {
            Some(mapped) => with_headers(answer, mapped, |answer| reason_of(&self.classify, answer)),
            None => reason_of(&self.classify, answer),
        }
    }

    fn is_unasked(&self, answer: &Response<B>) -> bool {
        let status = answer.status();
        status.is_informational() || matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED)
    }

    /// The rejection that a response was made from.
    fn error<'a>(&self, answer: &'a Response<B>) -> Option<ErrorRef<'a>> {
        Rejection::in_response(answer).map(ErrorRef::new)
    }

    /// Sets `Cache-Control`, and adds the degradation as an extension, for the layer that writes the other headers.
    fn label(&self, answer: &mut Response<B>, degradation: &Degradation) {
        caching::set_headers(answer.headers_mut(), degradation.freshness());
        answer.extensions_mut().insert(degradation.clone());
    }
}

#[diagnostic::do_not_recommend]
impl<B: 'static, C> JudgeRequest<Request<B>> for HttpJudge<C> {
    #[inline]
    fn is_grpc(&self, request: &Request<B>) -> bool {
        grpc::is_grpc_request(request)
    }

    #[inline]
    fn facts(&self, request: &Request<B>, known: RequestFacts) -> RequestFacts {
        known.completed_by(request)
    }

    #[inline]
    fn watch(&self, request: &mut Request<B>) -> Option<Upload> {
        Upload::of_any(request.body_mut())
    }
}

/// The classifier's reason. A closure can only say `error`, so the status says more.
fn reason_of<B, C: Classify<Response<B>> + ?Sized>(classify: &C, answer: &Response<B>) -> Reason {
    match classify.reason(Ok(answer)) {
        Reason::ERROR => HttpClassify::new().reason(Ok(answer)),
        reason => reason,
    }
}

/// Calls `f` with the answer under other headers.
#[cold]
fn with_headers<B, R>(answer: &mut Response<B>, headers: HeaderMap, f: impl FnOnce(&Response<B>) -> R) -> R {
    let own = mem::replace(answer.headers_mut(), headers);
    let result = f(answer);
    *answer.headers_mut() = own;
    result
}

/// Judges answers of any type by the classifier `C` alone.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct PlainJudge<C = ResultClassify> {
    /// Judges everything except errors that hold a [`Rejection`].
    pub classify: C,
}

impl<C> WithClassifier for PlainJudge<C> {
    type With<C2> = PlainJudge<C2>;

    fn with_classifier<C2>(classify: C2) -> PlainJudge<C2> {
        PlainJudge { classify }
    }
}

#[diagnostic::do_not_recommend]
impl<Res, C: Classify<Res>> Judge<Res> for PlainJudge<C> {
    #[inline]
    fn outcome(&self, _: RequestFacts, result: Result<&mut Res, ErrorRef<'_>>) -> Outcome {
        match result {
            Ok(answer) => self.classify.classify(Ok(answer)),
            Err(error) => judge_error(&self.classify, error),
        }
    }

    fn reason(&self, _: RequestFacts, result: Result<&mut Res, ErrorRef<'_>>) -> Reason {
        self.classify.reason(result.map(|answer| &*answer))
    }
}

impl<Req, C> JudgeRequest<Req> for PlainJudge<C> {}

#[cfg(test)]
mod tests;
