//! The handle.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, EventLog, Name};
use backstop_kit::{Answer, LeftOut, WrapBody};
use bytes::Bytes;
use http::{
    HeaderMap, Method, Response, StatusCode, Uri,
    header::{AGE, CONTENT_LENGTH},
    request,
};
use http_body_util::{BodyExt, Full};

use crate::{
    LastKnownGoodConfig, MokaStore, NotStored, Store,
    cache_control::CacheControl,
    entry::Entry,
    layer_state::LayerState,
    path::Partition,
    rules::announces_content,
    target::{Target, TargetKey},
    telemetry,
    tier::Found,
};

/// Finds and removes stored answers: made by [`LastKnownGoodLayer::handle`](crate::LastKnownGoodLayer::handle).
pub struct LastKnownGoodHandle<St = MokaStore> {
    shared: Arc<LayerState<St>>,
}

impl<St: Store> LastKnownGoodHandle<St> {
    pub(crate) const fn new(shared: Arc<LayerState<St>>) -> Self {
        Self { shared }
    }

    pub(crate) fn report_to(&self, log: &EventLog) {
        _ = self.shared.log.set(log.clone());
    }

    pub(crate) fn event_log(&self) -> Option<&EventLog> {
        self.shared.log.get()
    }

    /// The layer's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.shared.entries.name
    }

    /// The stored answer to a request with this head, for a provider of a fallback chain.
    ///
    /// It is [stale](backstop_core::Freshness::Stale) by its true age. `Age` has the same value; all other fields are as stored,
    /// with the answer's own `Date`, `Cache-Control` and validators. A HEAD gets the stored GET's answer without its body, with
    /// the body's length.
    ///
    /// Pass the head that the layer saw: use this in `Provider::head` of a chain directly around the layer. Fields that such a
    /// chain leaves out of the head are found in its extension [`LeftOut`]. A head that you took from
    /// a request yourself doesn't show whether there was a body: pass it only if there was none.
    ///
    /// # Errors
    /// [`NotStored`] says why no answer is served.
    ///
    /// # Cancellation
    /// Dropping the future is safe.
    pub fn answer<B: WrapBody>(
        &self,
        head: request::Parts,
    ) -> impl Future<Output = Result<Answer<Response<B>>, NotStored>> + Send + use<B, St> {
        let shared = Arc::clone(&self.shared);
        async move {
            let answer = shared.answer(&head).await;
            match &answer {
                Ok((_, age)) => telemetry::served(&shared.entries.name, *age),
                Err(reason) => telemetry::not_served(&shared.entries.name, *reason),
            }
            answer.map(|(response, age)| Answer::stale(response, age))
        }
    }

    /// The stored answer that may be served although the service works.
    pub(crate) async fn servable<B: WrapBody>(&self, head: &request::Parts) -> Option<ServableAnswer<B>> {
        let shared = &self.shared;
        let is_within = |entry: &Entry, seconds: u32| shared.age(entry) < Duration::from_secs(seconds.into());
        let is_servable = |entry: &Entry| {
            is_within(entry, entry.lifetime.revalidate_until)
                && shared.age(entry) < shared.entries.context.staleness.now()
        };
        let Found { key, entry, .. } = shared.find(head, is_servable).await.ok()?;
        if !is_servable(&entry) {
            return None;
        }
        let age = shared.age(&entry);
        let window = if is_within(&entry, entry.lifetime.fresh_until) { Window::Fresh } else { Window::Stale };
        Some(ServableAnswer { key, response: shared.response(&entry, age, &Method::GET).ok()?, age, window })
    }

    /// Removes everything stored for this URI, for all principals.
    ///
    /// Include the authority that requests have in their URI or in `Host`, if any: `http://shop.example/list`.
    pub async fn invalidate(&self, uri: &Uri) {
        let target_keys = Target::of(uri, &HeaderMap::new()).keys_to_remove(self.name());
        self.shared.remove_targets(target_keys, "asked").await;
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &St {
        self.shared.entries.store()
    }

    /// Changes the settings while requests run. What is stored stays.
    ///
    /// | setting | takes effect |
    /// |---|---|
    /// | `max_stale`, `max_stale_while_open` | at once where it is lowered; a longer one for answers that are stored afterwards |
    /// | `max_body`, `store_timeout` | at once |
    /// | `credentials`, `max_bytes`, `max_entries` | can't change |
    ///
    /// The store and the principal aren't part of a [`LastKnownGoodConfig`], and stay.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_last_known_good::{LastKnownGoodConfig, LastKnownGoodLayer, name};
    ///
    /// let known = LastKnownGoodLayer::new(name!("catalogue")).handle();
    /// let mut config = LastKnownGoodConfig::new("catalogue");
    /// config.max_stale = Duration::from_secs(3600);
    /// known.reload(config)?;
    /// assert_eq!(known.max_stale(), Duration::from_secs(3600));
    /// # Ok::<(), backstop_last_known_good::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`LastKnownGoodBuilder::build`](crate::LastKnownGoodBuilder::build), and if the name isn't the layer's, or something
    /// changes that can't. Nothing changes then.
    #[expect(clippy::needless_pass_by_value, reason = "all handles take a configuration to keep")]
    pub fn reload(&self, config: LastKnownGoodConfig) -> Result<(), ConfigError> {
        self.check(&config)?;
        self.shared.reload(&config);
        Ok(())
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &LastKnownGoodConfig) -> Result<(), ConfigError> {
        self.shared.check(config)
    }
}

impl<St: Store> LastKnownGoodHandle<St> {
    /// The greatest age that an answer is served at, while the circuit isn't open.
    #[must_use]
    pub fn max_stale(&self) -> Duration {
        self.shared.entries.context.staleness.max_stale()
    }

    /// The greatest age that an answer is served at while the circuit is open, if it was set.
    #[must_use]
    pub fn max_stale_while_open(&self) -> Option<Duration> {
        self.shared.entries.context.staleness.while_open()
    }

    /// Removes everything from the memory of this process. Answers that are still streaming aren't stored.
    ///
    /// A store outside the process keeps what it has. This process serves nothing of it that was made before.
    pub fn clear(&self) {
        let entries = &self.shared.entries;
        let is_all_in_memory = entries.memory().is_some() && entries.local().is_none();
        entries.context.removals.record_all((!is_all_in_memory).then(|| entries.context.clock.now()));
        if let Some(memory) = entries.memory() {
            memory.clear();
        }
    }

    /// The number of entries in the memory of this process: answers, and the nodes that lead to them. 0 without an embedded store.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shared.entries.memory().map_or(0, MokaStore::len)
    }

    /// Whether the memory of this process holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A stored answer and its key.
pub(crate) struct ServableAnswer<B> {
    pub(crate) key: Vec<u8>,
    pub(crate) response: Response<B>,
    pub(crate) age: Duration,
    pub(crate) window: Window,
}

/// Where an answer's age is in its `stale-while-revalidate` window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    Fresh,
    Stale,
}

impl<St: Store> LayerState<St> {
    fn age(&self, entry: &Entry) -> Duration {
        self.entries.context.clock.now().since(entry.lifetime.created)
    }

    async fn find(&self, head: &request::Parts, is_servable: impl Fn(&Entry) -> bool) -> Result<Found, NotStored> {
        // Fields that a chain left out of the head were part of the request.
        let left_out: Option<&LeftOut> = head.extensions.get();
        let none = HeaderMap::new();
        let fields = [&head.headers, left_out.map_or(&none, LeftOut::headers)];
        if left_out.is_some_and(LeftOut::has_body) || fields.iter().any(|fields| announces_content(fields)) {
            return Err(NotStored::Missing);
        }
        let target = TargetKey::of(&self.entries.name, &head.uri, &head.headers).ok_or(NotStored::Missing)?;
        let partition = Partition { target, owner: self.owner(head) };
        self.entries.find(&partition, &fields, is_servable).await
    }

    async fn answer<B: WrapBody>(&self, head: &request::Parts) -> Result<(Response<B>, Duration), NotStored> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(NotStored::Method);
        }
        let is_servable = |entry: &Entry| self.age(entry) < self.max_age(entry, &head.headers);
        let Found { entry, .. } = self.find(head, is_servable).await?;
        if !is_servable(&entry) {
            return Err(NotStored::TooStale);
        }
        let age = self.age(&entry);
        Ok((self.response(&entry, age, &head.method)?, age))
    }

    fn response<B: WrapBody>(&self, entry: &Entry, age: Duration, method: &Method) -> Result<Response<B>, NotStored> {
        response(entry, age, method).ok_or_else(|| self.entries.malformed_entry())
    }

    /// The age up to which an answer may be served. The request's `stale-if-error` counts too (RFC 5861 §4). Its other directives
    /// ask for a request to the primary, which was made.
    fn max_age(&self, entry: &Entry, headers: &HeaderMap) -> Duration {
        let asked = CacheControl::of_request(headers).stale_if_error;
        let asked = asked.map_or(u32::MAX, |longer| entry.lifetime.fresh_until.saturating_add(longer));
        Duration::from_secs(entry.lifetime.serve_until.min(asked).into()).min(self.entries.context.staleness.now())
    }
}

/// The response from a stored entry, to GET or HEAD. `None` if its head is malformed.
fn response<B: WrapBody>(entry: &Entry, age: Duration, method: &Method) -> Option<Response<B>> {
    let mut headers = entry.headers()?;
    headers.insert(AGE, age.as_secs().into());
    let mut body = entry.body();
    if *method == Method::HEAD {
        // Otherwise the server sends the length of the empty body rather than that of the GET's (RFC 9110 §8.6).
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
