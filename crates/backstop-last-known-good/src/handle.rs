//! The handle: what is stored, as answers.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use backstop_core::Name;
use backstop_kit::{Answer, LeftOut, WrapBody};
use bytes::Bytes;
use http::{
    HeaderMap, Method, Response, StatusCode, Uri,
    header::{AGE, CONTENT_LENGTH},
    request,
};
use http_body_util::{BodyExt, Full};

use crate::{
    MokaStore, Store,
    cache_control::CacheControl,
    entry::Entry,
    layer::Shared,
    rules::tells_of_content,
    shelf::Place,
    target::{Root, Target},
    telemetry,
};

/// Gives stored answers, and forgets them: made by [`LastKnownGoodLayer::handle`](crate::LastKnownGoodLayer::handle).
pub struct LastKnownGoodHandle<St = MokaStore> {
    shared: Arc<Shared<St>>,
}

impl<St: Store> LastKnownGoodHandle<St> {
    pub(crate) const fn new(shared: Arc<Shared<St>>) -> Self {
        Self { shared }
    }

    /// The stored answer to a request of this head, as a provider of a chain gives it.
    ///
    /// It is [stale](backstop_core::Freshness::Stale) by its true age, has an `Age` that tells the same, and otherwise the
    /// fields that it was stored with: its own `Date`, `Cache-Control` and validators. To a HEAD it is a stored GET's,
    /// without the body, and with the length of that.
    ///
    /// The head must be what the layer saw of the same request, so give this to `Provider::head` of a chain that stands
    /// directly around the layer. What such a chain leaves out of the head counts too, by its extension
    /// [`LeftOut`](backstop_kit::LeftOut). A head that you took off its request yourself doesn't tell whether there was a
    /// body: give it only where there was none.
    ///
    /// # Errors
    /// [`NotStored`] says why there is none.
    ///
    /// # Cancellation
    /// Dropping the future does no harm.
    pub fn answer<B: WrapBody>(
        &self,
        head: request::Parts,
    ) -> impl Future<Output = Result<Answer<Response<B>>, NotStored>> + Send + use<B, St> {
        let shared = Arc::clone(&self.shared);
        async move {
            let answer = shared.answer(&head).await;
            match &answer {
                Ok((_, age)) => telemetry::served(&shared.shelf.name, *age),
                Err(reason) => telemetry::not_served(&shared.shelf.name, *reason),
            }
            answer.map(|(response, age)| Answer::stale(response, age))
        }
    }

    /// The stored answer that may be given in place of the service's, though that is well.
    pub(crate) async fn servable<B: WrapBody>(&self, head: &request::Parts) -> Option<Servable<B>> {
        let shared = &self.shared;
        let (key, entry) = shared.find(head).await.ok()?;
        let age = shared.shelf.clock.now().since(entry.terms.made);
        let within = |seconds: u32| age < Duration::from_secs(seconds.into());
        if !within(entry.terms.revalidate_until) || age >= shared.shelf.max_stale {
            return None;
        }
        let window = if within(entry.terms.fresh) { Window::Fresh } else { Window::Stale };
        Some(Servable { key, response: shared.response(&entry, age, &Method::GET).ok()?, age, window })
    }

    pub(crate) fn name(&self) -> &Name {
        &self.shared.shelf.name
    }

    /// Forgets what is stored of this URI, whosever it is.
    ///
    /// It has the authority that requests have in theirs or in `Host`, if they have one: `http://shop.example/list`.
    pub async fn invalidate(&self, uri: &Uri) {
        let roots = Target::of(uri, &HeaderMap::new()).roots_to_forget(self.name());
        self.shared.shelf.forget_targets(&roots, "asked").await;
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &St {
        self.shared.shelf.store()
    }
}

impl LastKnownGoodHandle {
    /// Forgets everything. What is on its way when this is called isn't stored.
    pub fn clear(&self) {
        self.shared.shelf.removals.count_all();
        self.store().clear();
    }

    /// How many entries are stored: answers, and what leads to them.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.store().len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store().is_empty()
    }
}

/// A stored answer, and the key that it is stored under.
pub(crate) struct Servable<B> {
    pub(crate) key: Vec<u8>,
    pub(crate) response: Response<B>,
    pub(crate) age: Duration,
    pub(crate) window: Window,
}

/// How an answer stands by its own `stale-while-revalidate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    Fresh,
    Stale,
}

impl<St: Store> Shared<St> {
    async fn find(&self, head: &request::Parts) -> Result<(Vec<u8>, Entry), NotStored> {
        // What a chain has left out of the head was said of the request all the same.
        let left_out: Option<&LeftOut> = head.extensions.get();
        let none = HeaderMap::new();
        let fields = [&head.headers, left_out.map_or(&none, LeftOut::headers)];
        if left_out.is_some_and(LeftOut::has_body) || fields.iter().any(|fields| tells_of_content(fields)) {
            return Err(NotStored::Missing);
        }
        let root = Root::of(&self.shelf.name, &head.uri, &head.headers).ok_or(NotStored::Missing)?;
        let place = Place { root, owner: self.owner(head) };
        self.shelf.find(place, &fields).await
    }

    async fn answer<B: WrapBody>(&self, head: &request::Parts) -> Result<(Response<B>, Duration), NotStored> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(NotStored::Method);
        }
        let (_, entry) = self.find(head).await?;
        let age = self.shelf.clock.now().since(entry.terms.made);
        if age >= self.longest(&entry, &head.headers) {
            return Err(NotStored::TooStale);
        }
        Ok((self.response(&entry, age, &head.method)?, age))
    }

    fn response<B: WrapBody>(&self, entry: &Entry, age: Duration, method: &Method) -> Result<Response<B>, NotStored> {
        response(entry, age, method).ok_or_else(|| self.shelf.garbage())
    }

    /// The age up to which an answer may be given. A request's own `stale-if-error` counts too (RFC 5861 §4); its other
    /// directives ask for the primary to be asked, which it was.
    fn longest(&self, entry: &Entry, headers: &HeaderMap) -> Duration {
        let asked = CacheControl::of_request(headers).stale_if_error;
        let asked = asked.map_or(u32::MAX, |longer| entry.terms.fresh.saturating_add(longer));
        Duration::from_secs(entry.terms.until.min(asked).into()).min(self.shelf.max_stale)
    }
}

/// The answer that is stored as `entry`, to GET or HEAD. `None` where its head is garbage.
fn response<B: WrapBody>(entry: &Entry, age: Duration, method: &Method) -> Option<Response<B>> {
    let mut headers = entry.headers()?;
    headers.insert(AGE, age.as_secs().into());
    let mut body = entry.body();
    if *method == Method::HEAD {
        // A server takes the length of the body that it is given, which is empty, unless it is told that of the GET's (RFC
        // 9110 §8.6).
        if !headers.contains_key(CONTENT_LENGTH) && entry.status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_LENGTH, body.len().into());
        }
        body = Bytes::new();
    }
    let body = if body.is_empty() { B::default() } else { B::wrap(Full::new(body).map_err(|never| match never {})) };
    let mut response = Response::new(body);
    *response.status_mut() = entry.status;
    *response.headers_mut() = headers;
    Some(response)
}

/// Why there is no stored answer. It tells nothing of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotStored {
    /// None is stored that fits the request.
    Missing,
    /// The one that is stored is too old to be served.
    TooStale,
    /// Answers to requests of this method aren't stored: only those to GET, which serve HEAD too.
    Method,
    /// The store failed, took too long, or gave back garbage.
    StoreFailed,
}

impl fmt::Display for NotStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no answer is stored for this request",
            Self::TooStale => "the stored answer is too old",
            Self::Method => "answers to requests of this method aren't stored",
            Self::StoreFailed => "the store failed",
        })
    }
}

impl Error for NotStored {}

impl<St> Clone for LastKnownGoodHandle<St> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<St> fmt::Debug for LastKnownGoodHandle<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug(f.debug_struct("LastKnownGoodHandle"))
    }
}
