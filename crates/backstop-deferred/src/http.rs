//! Accepting jobs over HTTP.
//!
//! | `defer` | answer | a fallback chain |
//! |---|---|---|
//! | accepted | 202 | ends with it |
//! | not accepted: full, too long, invalid | an error that proves that no job exists | asks the next provider |
//! | not accepted: the key has another payload | 422 | ends with it |
//! | the key is missing, malformed, or nobody's | 400 | ends with it |
//! | unknown, or cut off by the chain's deadline | 503 | ends with it |

mod accept;
mod headers;
#[cfg(feature = "axum")]
mod routes;

use std::{fmt, sync::Arc};

use backstop_core::{Blame, ConfigError, Name, Outcome, Reason, Rejection, RejectionDetail, grpc::GrpcCode};
use http::{StatusCode, request::Parts};

pub use self::{
    accept::{Accept, IntoJob, NotQueued},
    headers::{MalformedKey, idempotency_key},
};
use crate::{Deferred, JobKind};

type Principal = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

/// A queue, as HTTP shows it: see [`Deferred::http`].
pub struct HttpQueue<T> {
    deferred: Deferred<T>,
    settings: Arc<Settings>,
}

#[derive(Clone)]
struct Settings {
    path: String,
    message: String,
    keys: Option<Keys>,
    visible_to: Option<Principal>,
    for_reconciliation: bool,
}

#[derive(Clone)]
struct Keys {
    are_required: bool,
    principal: Principal,
}

/// Builds an [`HttpQueue`]: see [`Deferred::http`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct HttpQueueBuilder<T> {
    deferred: Deferred<T>,
    settings: Settings,
    ignores_keys: bool,
}

impl<T: JobKind> Deferred<T> {
    /// Accepts jobs, and shows what became of them, over HTTP.
    ///
    /// ```
    /// use axum::{Router, body::Body, http::{Request, StatusCode}, response::IntoResponse, routing::post};
    /// use backstop_deferred::{Deferred, JobKind, MemoryJobStore, Name, name};
    /// use backstop_fallback::{FallbackChain, FallbackLayer};
    /// # use {serde::{Deserialize, Serialize}, tower::ServiceExt};
    ///
    /// #[derive(Deserialize, Serialize)]
    /// struct Email {
    ///     to: String,
    /// }
    ///
    /// impl JobKind for Email {
    ///     const KIND: Name = name!("email");
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).build()?;
    /// // A user's keys are that user's. Here a proxy has checked who it is.
    /// let user = |head: &axum::http::request::Parts| {
    ///     Some(head.headers.get("x-user")?.to_str().ok()?.to_owned())
    /// };
    /// let http = emails.http().require_key(user).build()?;
    ///
    /// let queue = http.provider(name!("queue"), |_: Request<Body>| async { Email { to: "ada@example.com".to_owned() } });
    /// let instead = FallbackChain::builder("emails").repeat_if(|_: &Request<Body>| true).provider(queue).build()?;
    /// let app: Router = Router::new()
    ///     .route("/emails", post(|| async { StatusCode::SERVICE_UNAVAILABLE }))
    ///     .layer(FallbackLayer::new(name!("mail_service"), instead))
    ///     .merge(http.routes());
    ///
    /// let request = Request::post("/emails").header("x-user", "ada").header("idempotency-key", "\"17\"");
    /// let response = app.clone().oneshot(request.body(Body::empty())?).await?;
    /// assert_eq!(response.status(), StatusCode::ACCEPTED);
    ///
    /// let job = response.headers()["location"].to_str()?.to_owned();
    /// let response = app.oneshot(Request::get(job).body(Body::empty())?).await?;
    /// assert_eq!(response.status(), StatusCode::OK);
    /// # Ok(())
    /// # }
    /// ```
    pub fn http(&self) -> HttpQueueBuilder<T> {
        let settings = Settings {
            path: "/jobs".to_owned(),
            message: "Your request was accepted and will be processed later".to_owned(),
            keys: None,
            visible_to: None,
            for_reconciliation: false,
        };
        HttpQueueBuilder { deferred: self.clone(), settings, ignores_keys: false }
    }
}

impl<T: JobKind> HttpQueueBuilder<T> {
    /// Where the status of jobs is: `Location` is this path, a slash and the job's id. `/jobs` unless set.
    ///
    /// One or more segments of letters, digits, `-`, `_`, `.` and `~`, each after a slash.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.settings.path = path.into();
        self
    }

    /// The text for people in the body of a 202.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.settings.message = message.into();
        self
    }

    /// Accepts the request header `Idempotency-Key`: the same key and job again is the first job again, with 202 and its state. Another job under
    /// the same key is a 422.
    ///
    /// Keys belong to the principal that `principal` finds in the request, such as a user whose login another layer has checked.
    /// Never use what a caller can choose freely: one could learn the jobs of another by trying keys. `None` makes a request with a
    /// key a 400.
    ///
    /// The header is a string as structured fields have it (RFC 9651 §3.3.3), such as `"8e03978e"`, quotes included, as
    /// [its draft](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/) says. Parameters aren't allowed.
    pub fn accept_key(self, principal: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.keys(Keys { are_required: false, principal: Arc::new(principal) })
    }

    /// Like [`accept_key`](Self::accept_key). A request without a key is a 400.
    pub fn require_key(self, principal: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.keys(Keys { are_required: true, principal: Arc::new(principal) })
    }

    fn keys(mut self, keys: Keys) -> Self {
        self.settings.keys = Some(keys);
        self
    }

    /// Ignores the request header `Idempotency-Key`: a repeated request is another job. Callers who send the header believe that a
    /// repeat is safe, so this is only for queues whose callers know otherwise, or that accept no jobs over HTTP.
    pub fn without_keys(mut self) -> Self {
        self.settings.keys = None;
        self.ignores_keys = true;
        self
    }

    /// Shows a job only to the principal who asked for it. To everybody who knows its id unless set.
    ///
    /// To all others, and to requests without a principal, a job is a 404, as if it didn't exist. A job that wasn't accepted over HTTP
    /// belongs to its [`owner`](crate::Defer::owner); a job without one is shown to nobody.
    pub fn visible_to(mut self, principal: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.settings.visible_to = Some(Arc::new(principal));
        self
    }

    /// These jobs find out what became of a request that may have been processed, and don't process it again. So their
    /// [provider](HttpQueue::provider) is asked [only then](backstop_fallback::Provider::only_if_processed).
    #[cfg(feature = "fallback")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fallback")))]
    pub const fn for_reconciliation(mut self) -> Self {
        self.settings.for_reconciliation = true;
        self
    }

    /// The queue.
    ///
    /// # Errors
    /// [`ConfigError`] if the path isn't allowed, or if it isn't set what becomes of keys: by [`require_key`](Self::require_key),
    /// [`accept_key`](Self::accept_key) or [`without_keys`](Self::without_keys).
    pub fn build(self) -> Result<HttpQueue<T>, ConfigError> {
        let Self { deferred, settings, ignores_keys } = self;
        if settings.keys.is_none() && !ignores_keys {
            return Err(ConfigError::new("keys", "not set", "require_key, accept_key or without_keys"));
        }
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
        let is_segment = |segment: &str| !segment.is_empty() && segment.chars().all(is_allowed);
        if !settings.path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_segment)) {
            let allowed = "segments of letters, digits, '-', '_', '.' and '~', each after a '/'";
            return Err(ConfigError::new("path", settings.path, allowed));
        }
        Ok(HttpQueue { deferred, settings: Arc::new(settings) })
    }
}

impl<T: JobKind> HttpQueue<T> {
    fn name(&self) -> &Name {
        &self.deferred.queue.name
    }
}

/// Why a request is refused, in a text for callers.
#[derive(Debug)]
struct Why(&'static str);

impl RejectionDetail for Why {
    fn describe(&self, _: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A refusal that blames the caller.
fn callers_fault(by: &Name, status: StatusCode, reason: Reason, why: &'static Why) -> Rejection {
    let outcome = Outcome::success().blaming(Blame::Request).ending_chain();
    Rejection::new(by.clone(), reason, outcome).with_status(status, GrpcCode::INVALID_ARGUMENT).with_static_detail(why)
}

impl<T> Clone for HttpQueue<T> {
    fn clone(&self) -> Self {
        Self { deferred: self.deferred.clone(), settings: Arc::clone(&self.settings) }
    }
}

impl<T> fmt::Debug for HttpQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpQueue").field("deferred", &self.deferred).field("settings", &self.settings).finish()
    }
}

impl<T> fmt::Debug for HttpQueueBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpQueueBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("path", &self.path)
            .field("key_is_required", &self.keys.as_ref().map(|keys| keys.are_required))
            .field("is_limited_to_owners", &self.visible_to.is_some())
            .field("for_reconciliation", &self.for_reconciliation)
            .finish_non_exhaustive()
    }
}
