//! The service that accepts jobs.

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{Outcome, Reason, Rejection, grpc::GrpcCode, scope};
use backstop_kit::{WrapBody, problem_response, proof::Entered};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION},
    request::Parts,
};
use http_body_util::{BodyExt, Full};
use tokio::time::timeout_at;
use tower_service::Service;

use super::{
    HttpQueue, Why, callers_fault,
    headers::{idempotency_key, prefers_async},
};
use crate::{DeferError, JobKind, JobState, NotAccepted, Receipt, telemetry};

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// How long before its deadline a caller is told that nothing is known, rather than cut off and asked elsewhere.
const MARGIN: Duration = Duration::from_millis(5);
/// When a repeat with the same key is worth it.
const REPEAT_AFTER: Duration = Duration::from_secs(5);

const REUSED: Why = Why("this idempotency key belongs to another request");
const TOO_LONG: Why = Why("the request is too long to be processed later");
const NO_KEY: Why = Why("the header Idempotency-Key is required");
const MALFORMED: Why = Why("the header Idempotency-Key must be one non-empty string in double quotes");
const NOBODYS: Why = Why("an idempotency key needs a known principal");
const UNKNOWN: Why = Why("it isn't known whether the request was accepted: if it was, a repeat is another job");
const UNKNOWN_KEYED: Why =
    Why("it isn't known whether the request was accepted: repeat it with the same idempotency key");

type BoxError = Box<dyn Error + Send + Sync>;

/// Makes a job of each request, and accepts it: see [`HttpQueue::accept`].
pub struct Accept<T, F, R> {
    http: HttpQueue<T>,
    make: F,
    body: PhantomData<fn() -> R>,
}

/// What a function that makes jobs may return: `T`, or a `Result` of it. An error means that there is no job.
pub trait IntoJob<T> {
    /// The job, or why there is none.
    ///
    /// # Errors
    /// The function's own.
    fn into_job(self) -> Result<T, Box<dyn Error + Send + Sync>>;
}

impl<T: JobKind> IntoJob<T> for T {
    fn into_job(self) -> Result<T, BoxError> {
        Ok(self)
    }
}

impl<T: JobKind, E: Into<BoxError>> IntoJob<T> for Result<T, E> {
    fn into_job(self) -> Result<T, BoxError> {
        self.map_err(Into::into)
    }
}

/// No job was accepted. Its source says why: a [`Rejection`] by the queue, or the error of the function that makes jobs.
#[derive(Debug)]
pub struct NotQueued(BoxError);

impl fmt::Display for NotQueued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no job was accepted: {}", self.0)
    }
}

impl Error for NotQueued {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// The response of the rejection, with a problem document. A 500 for an error of the function.
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl axum::response::IntoResponse for NotQueued {
    fn into_response(self) -> axum::response::Response {
        match Rejection::in_error(backstop_core::ErrorRef::new(&self.0)) {
            Some(rejection) => problem_response(rejection.clone()),
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// What the headers of a request say.
struct Asked {
    prefers_async: bool,
    /// The principal, and the key.
    key: Option<(String, String)>,
    owner: Option<String>,
}

impl<T: JobKind> HttpQueue<T> {
    /// A service that makes a job of each request by `make`, and accepts it. It answers with 202 and the headers and body of the
    /// table, and it is a provider of a [fallback chain](Self::provider), or called by a handler.
    ///
    /// | | |
    /// |---|---|
    /// | `Location` | where the status of the job is |
    /// | `Preference-Applied: respond-async` | if the request has `Prefer: respond-async` (RFC 7240) |
    /// | `Cache-Control: no-store` | |
    /// | `{"status": "queued", "job_id": "…", "message": "…"}` | JSON. The same request again under its key gets the [state](crate::JobState) of its job, without a message if that is done or failed |
    ///
    /// All else has a problem document (RFC 9457):
    ///
    /// | | status | reason | in a fallback chain |
    /// |---|---|---|---|
    /// | the queue is full | 503 with `Retry-After`, as an error | `queue-full` | the next provider: no job exists |
    /// | the job is too long | 413, as an error | `job-too-long` | the next provider: no job exists |
    /// | nobody gets the answer, as in a [drill](scope#shadow-calls): `make` isn't called | 503, as an error | `shadow` | no job exists |
    /// | the job can't be stored | 500, as an error | `job-invalid` | the next provider: no job exists |
    /// | the key belongs to another request | 422 | `key-reused` | the end |
    /// | the key is missing or malformed, or there is no principal | 400 | `key-required`, `key-malformed`, `key-without-principal` | the end |
    /// | nobody knows whether the job exists | 503; with a key with `Retry-After` | `job-unknown` | the end |
    ///
    /// An error is [proof](backstop_kit::proof) that there is no job, so the next provider of a chain is asked even after a `POST`.
    /// `make` must do nothing but make a job. The answer comes before the [deadline](scope::deadline), so that a chain never
    /// takes a slow store for a queue that did nothing.
    ///
    /// # Errors
    /// The service's error is [`NotQueued`].
    ///
    /// # Cancellation
    /// If a call is dropped, nobody knows whether the job exists.
    pub fn accept<F, R>(&self, make: F) -> Accept<T, F, R> {
        Accept { http: self.clone(), make, body: PhantomData }
    }

    /// A provider of a fallback chain that [accepts](Self::accept) a job for each request.
    ///
    /// After a request that may have been processed, it is asked only if the jobs are
    /// [for reconciliation](super::HttpQueueBuilder::for_reconciliation).
    #[cfg(feature = "fallback")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fallback")))]
    pub fn provider<F, Fut, B, R>(
        &self,
        name: backstop_core::Name,
        make: F,
    ) -> backstop_fallback::Provider<Request<B>, Response<R>>
    where
        F: Fn(Request<B>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output: IntoJob<T>> + Send + 'static,
        B: Send + 'static,
        R: WrapBody,
    {
        let provider = backstop_fallback::Provider::service(name, self.accept(make));
        if self.settings.for_reconciliation { provider.only_if_processed() } else { provider }
    }

    fn read(&self, head: &Parts) -> Result<Asked, Rejection> {
        let bad = |reason, why| callers_fault(self.name(), StatusCode::BAD_REQUEST, Reason::new(reason), why);
        let key = match &self.settings.keys {
            None => None,
            Some(keys) => match idempotency_key(&head.headers) {
                Ok(Some(key)) => {
                    let principal = (keys.principal)(head);
                    Some((principal.ok_or_else(|| bad("key-without-principal", &NOBODYS))?, key))
                }
                Ok(None) if keys.are_required => return Err(bad("key-required", &NO_KEY)),
                Ok(None) => None,
                Err(_) => return Err(bad("key-malformed", &MALFORMED)),
            },
        };
        let owner = self.settings.visible_to.as_ref().and_then(|principal| principal(head));
        Ok(Asked { prefers_async: prefers_async(&head.headers), key, owner })
    }

    /// A call whose answer nobody gets accepts no job.
    fn in_shadow(&self) -> Rejection {
        Rejection::refused(self.name().clone(), Reason::new("shadow"))
    }

    async fn defer<R: WrapBody>(&self, job: T, asked: &Asked) -> Result<Response<R>, Rejection> {
        let mut defer = self.deferred.defer(&job);
        if let Some((principal, key)) = &asked.key {
            defer = defer.key(principal, key);
        }
        if let Some(owner) = &asked.owner {
            defer = defer.owner(owner);
        }
        let accepted = match scope::deadline() {
            Some(deadline) => timeout_at(deadline.earlier_by(MARGIN).instant(), defer.into_future()).await.ok(),
            None => Some(defer.await),
        };
        let by = self.name().clone();
        match accepted {
            Some(Ok(receipt)) => Ok(self.accepted(receipt, asked.prefers_async)),
            Some(Err(DeferError::NotAccepted(NotAccepted::KeyReused))) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                Ok(problem_response(callers_fault(self.name(), status, Reason::new("key-reused"), &REUSED)))
            }
            Some(Err(DeferError::NotAccepted(NotAccepted::Full { retry_after }))) => {
                Err(Rejection::refused(by, Reason::new("queue-full")).with_retry_after(Some(retry_after)))
            }
            Some(Err(DeferError::NotAccepted(NotAccepted::TooLong { .. }))) => {
                let refused = Rejection::refused(by, Reason::new("job-too-long")).with_static_detail(&TOO_LONG);
                Err(refused.with_status(StatusCode::PAYLOAD_TOO_LARGE, GrpcCode::INVALID_ARGUMENT))
            }
            Some(Err(DeferError::NotAccepted(NotAccepted::Invalid(_)))) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Err(Rejection::refused(by, Reason::new("job-invalid")).with_status(status, GrpcCode::INTERNAL))
            }
            Some(Err(DeferError::NotAccepted(NotAccepted::Shadow))) => Err(self.in_shadow()),
            unknown @ (None | Some(Err(DeferError::Unknown(_)))) => {
                let error = unknown.and_then(Result::err).map(|error| error.to_string());
                telemetry::not_known(self.name().as_str(), error.as_deref().unwrap_or("the deadline passed"));
                let (why, wait) =
                    if asked.key.is_some() { (&UNKNOWN_KEYED, Some(REPEAT_AFTER)) } else { (&UNKNOWN, None) };
                let rejection = Rejection::new(by, Reason::new("job-unknown"), Outcome::failure().ending_chain());
                Ok(problem_response(rejection.with_retry_after(wait).with_static_detail(why)))
            }
        }
    }

    fn accepted<R: WrapBody>(&self, receipt: Receipt, prefers_async: bool) -> Response<R> {
        let Receipt { id, state, .. } = receipt;
        let job_id = id.to_string();
        let location = format!("{}/{job_id}", self.settings.path);
        let mut body = serde_json::json!({ "status": state.as_str(), "job_id": job_id });
        if matches!(state, JobState::Queued | JobState::Running) {
            body["message"] = self.settings.message.as_str().into();
        }
        let mut response = Response::new(json_body(&body));
        *response.status_mut() = StatusCode::ACCEPTED;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // A checked path and hexadecimal digits.
        headers.extend(HeaderValue::try_from(location).map(|location| (LOCATION, location)));
        if prefers_async {
            headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static("respond-async"));
        }
        response
    }
}

pub(super) fn json_body<R: WrapBody>(json: &serde_json::Value) -> R {
    R::wrap(Full::<Bytes>::from(json.to_string()).map_err(|never: Infallible| match never {}))
}

impl<T, F, Fut, B, R> Service<Request<B>> for Accept<T, F, R>
where
    T: JobKind,
    F: Fn(Request<B>) -> Fut,
    Fut: Future<Output: IntoJob<T>> + Send + 'static,
    R: WrapBody,
{
    type Response = Response<R>;
    type Error = NotQueued;
    // Boxed: it comes after a failure, and a store is slower.
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, NotQueued>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NotQueued>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut entered = Entered::now();
        if scope::is_shadow() {
            let refused = NotQueued(self.http.in_shadow().into());
            return Box::pin(async move {
                entered.polled();
                entered.prove();
                Err(refused)
            });
        }
        let (head, body) = request.into_parts();
        let asked = match self.http.read(&head) {
            Ok(asked) => asked,
            Err(rejection) => return Box::pin(async { Ok(problem_response(rejection)) }),
        };
        let making = (self.make)(Request::from_parts(head, body));
        let http = self.http.clone();
        Box::pin(async move {
            entered.polled();
            let job = making.await.into_job().map_err(NotQueued)?;
            http.defer(job, &asked).await.map_err(|rejection| {
                entered.prove();
                NotQueued(rejection.into())
            })
        })
    }
}

impl<T, F: Clone, R> Clone for Accept<T, F, R> {
    fn clone(&self) -> Self {
        Self { http: self.http.clone(), make: self.make.clone(), body: PhantomData }
    }
}

impl<T, F, R> fmt::Debug for Accept<T, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accept").field("http", &self.http).finish_non_exhaustive()
    }
}
