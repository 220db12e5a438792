//! The default classifier, for HTTP and gRPC.

use std::{error::Error, fmt};

use http::StatusCode;

use crate::{
    Blame, Classify, ErrorRef, Outcome, Pushback, Reason, Rejection, Verdict,
    error_ref::Views,
    grpc::{self, GrpcCode},
    retry_after, transport,
};

/// Judges HTTP and gRPC results. The default of every layer.
///
/// | result | verdict | transient |
/// |---|---|---|
/// | 1xx, 2xx, 3xx; gRPC `OK` | success | – |
/// | 408, 429, 425 | neutral | yes |
/// | gRPC `RESOURCE_EXHAUSTED` | neutral | if the server said when to retry |
/// | other 4xx; gRPC codes that [blame the caller](GrpcCode::blames_caller) | success, the caller's fault | no |
/// | 502, 503, 504; gRPC `UNAVAILABLE` | failure | yes |
/// | 500 and other 5xx; other gRPC codes | failure | no, but see [`transient`](Self::transient) |
/// | the request's own body failed, as the client's error says | neutral, the caller's fault | no |
/// | any other error of the transport | failure | yes |
/// | a [`Rejection`] of a layer further in | [its outcome](Rejection::outcome) | by its outcome |
///
/// It never says "certainly not processed": the result may come from a service that did more than this one call.
/// Retries and chains get proof in another way. `Retry-After` and `grpc-retry-pushback-ms` become part of the outcome.
/// A gRPC status is read from the headers (a Trailers-Only response). If the request was gRPC but the response isn't
/// (an HTML page, a 429 from a proxy), layers that know this pass the response with the gRPC status that [its HTTP
/// status maps to](https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
///
/// ```
/// use backstop_core::{Classify, HttpClassify, Outcome};
/// use http::{Response, StatusCode};
///
/// let judge = HttpClassify::new().transient(StatusCode::INTERNAL_SERVER_ERROR);
/// let mut response = Response::new(());
/// *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
/// assert_eq!(judge.classify(Ok(&response)), Outcome::failure().transient());
/// ```
#[derive(Clone, Default)]
pub struct HttpClassify {
    statuses: Vec<(StatusCode, Override)>,
    codes: Vec<(GrpcCode, Override)>,
    views: Views,
}

#[derive(Clone, Copy, Debug)]
enum Override {
    /// Worth repeating.
    Transient,
    /// Not worth repeating.
    Lasting,
    /// Not an answer.
    Unanswered,
}

impl HttpClassify {
    /// The rules of the table above.
    #[must_use]
    pub const fn new() -> Self {
        Self { statuses: Vec::new(), codes: Vec::new(), views: Views::new() }
    }

    /// Treats `status` as worth retrying.
    #[must_use]
    pub fn transient(mut self, status: StatusCode) -> Self {
        self.statuses.push((status, Override::Transient));
        self
    }

    /// Treats `status` as not worth retrying.
    #[must_use]
    pub fn lasting(mut self, status: StatusCode) -> Self {
        self.statuses.push((status, Override::Lasting));
        self
    }

    /// Treats `status` as no answer, so a fallback tries the next provider. The status says nothing about the service's
    /// health.
    #[must_use]
    pub fn unanswered(mut self, status: StatusCode) -> Self {
        self.statuses.push((status, Override::Unanswered));
        self
    }

    /// Treats a gRPC status as worth retrying.
    #[must_use]
    pub fn transient_code(mut self, code: GrpcCode) -> Self {
        self.codes.push((code, Override::Transient));
        self
    }

    /// Treats a gRPC status as not worth retrying.
    #[must_use]
    pub fn lasting_code(mut self, code: GrpcCode) -> Self {
        self.codes.push((code, Override::Lasting));
        self
    }

    /// Treats a gRPC status as no answer, so a fallback tries the next provider.
    #[must_use]
    pub fn unanswered_code(mut self, code: GrpcCode) -> Self {
        self.codes.push((code, Override::Unanswered));
        self
    }

    /// Follows `source()` of your own error type, so that its causes are judged.
    #[must_use]
    pub fn see_through<E: Error + 'static>(mut self) -> Self {
        self.views.add::<E>();
        self
    }

    #[inline]
    fn judge_response<B>(&self, response: &http::Response<B>) -> Outcome {
        let status = response.status();
        let code = grpc::status_in_headers(response.headers());
        // The path of every healthy response: one header lookup, and one look at a list that is nearly always empty.
        let plain = status.as_u16() < 400 && code.is_none_or(|code| code == GrpcCode::OK);
        if plain && self.statuses.is_empty() {
            return Outcome::success();
        }
        self.judge_unless_plain(response, code)
    }

    fn judge_unless_plain<B>(&self, response: &http::Response<B>, code: Option<GrpcCode>) -> Outcome {
        if let Some(rejection) = Rejection::in_response(response) {
            return rejection.outcome();
        }
        let status = response.status();
        match code {
            Some(code) => apply(&self.codes, code, judge_code(code, grpc::pushback(response.headers()))),
            None => apply(&self.statuses, status, judge_status(status, response.headers())),
        }
    }

    pub(crate) fn judge_error(&self, error: ErrorRef<'_>) -> Outcome {
        let error = self.views.see(error);
        if let Some(rejection) = Rejection::in_error(error) {
            return rejection.outcome();
        }
        if transport::is_request_body(error) {
            return Outcome::neutral().blaming(Blame::Request);
        }
        let outcome = match transport::status(error) {
            Some((code, pushback)) => apply(&self.codes, code, judge_code(code, pushback)),
            None => Outcome::failure().transient(),
        };
        if transport::is_unprocessed(error) { outcome.transient() } else { outcome }
    }

    pub(crate) fn error_reason(&self, error: ErrorRef<'_>) -> Reason {
        let error = self.views.see(error);
        match (Rejection::in_error(error), transport::status(error)) {
            (Some(rejection), _) => rejection.reason(),
            (None, _) if transport::is_request_body(error) => Reason::REQUEST_BODY,
            (None, Some((code, _))) => Reason::grpc(code),
            (None, None) => Reason::ERROR,
        }
    }
}

impl<B> Classify<http::Response<B>> for HttpClassify {
    #[inline]
    fn classify(&self, result: Result<&http::Response<B>, ErrorRef<'_>>) -> Outcome {
        match result {
            Ok(response) => self.judge_response(response),
            Err(error) => self.judge_error(error),
        }
    }

    fn reason(&self, result: Result<&http::Response<B>, ErrorRef<'_>>) -> Reason {
        match result {
            Ok(response) => {
                if let Some(rejection) = Rejection::in_response(response) {
                    return rejection.reason();
                }
                grpc::status_in_headers(response.headers())
                    .map_or_else(|| Reason::status(response.status()), Reason::grpc)
            }
            Err(error) => self.error_reason(error),
        }
    }
}

fn judge_status(status: StatusCode, headers: &http::HeaderMap) -> Outcome {
    let outcome = match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Outcome::neutral().transient(),
        StatusCode::TOO_EARLY => Outcome::neutral().transient().blaming(Blame::EarlyData),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Outcome::failure().transient()
        }
        _ if status.is_client_error() => Outcome::callers_fault(),
        _ if status.as_u16() < 400 => return Outcome::success(),
        // 5xx, and numbers from 600 on, which HTTP doesn't define (RFC 9110 §15: treat as 5xx).
        _ => Outcome::failure(),
    };
    outcome.pushback(retry_after(headers).map(Pushback::After))
}

fn judge_code(code: GrpcCode, pushback: Option<Pushback>) -> Outcome {
    let outcome = match code {
        GrpcCode::OK => return Outcome::success(),
        GrpcCode::UNAVAILABLE => Outcome::failure().transient(),
        GrpcCode::RESOURCE_EXHAUSTED if matches!(pushback, Some(Pushback::After(_))) => Outcome::neutral().transient(),
        GrpcCode::RESOURCE_EXHAUSTED => Outcome::neutral(),
        _ if code.blames_caller() => Outcome::callers_fault(),
        _ => Outcome::failure(),
    };
    outcome.pushback(pushback)
}

/// Applies the overrides. A later one for the same status wins.
fn apply<T: Copy + PartialEq>(overrides: &[(T, Override)], of: T, outcome: Outcome) -> Outcome {
    overrides.iter().filter(|(key, _)| *key == of).fold(outcome, |mut outcome, (_, change)| {
        match change {
            Override::Transient => outcome.transient = true,
            Override::Lasting => outcome.transient = false,
            Override::Unanswered if outcome.verdict == Verdict::Success => {
                outcome.verdict = Verdict::Neutral;
                // Cleared, because a neutral outcome that blames the request would be an answer.
                outcome.blame = None;
            }
            Override::Unanswered => {}
        }
        outcome
    })
}

impl fmt::Debug for HttpClassify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClassify")
            .field("statuses", &self.statuses)
            .field("codes", &self.codes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
