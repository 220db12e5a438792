//! The sources of answers.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backstop_core::{Freshness, Name, Reason};
use backstop_kit::{Answer, CopyAs, Keep, NotCopied, ServiceCall, proof::Frame};
use tower_service::Service;

#[cfg(feature = "axum")]
use crate::routed;
use crate::{
    BoxError, IntoAnswer, ProviderConfig,
    concurrency::{Concurrency, Permit},
};

/// A named source of answers of type `T` to requests of type `Req`.
///
/// | made by | is given | what of the request must be kept |
/// |---|---|---|
/// | [`service`](Self::service), [`from_fn`](Self::from_fn), [`handler`](Self::handler) | the request again | head and body |
/// | [`head`](Self::head) | its head | head |
/// | [`value`](Self::value) | nothing | nothing |
///
/// A request given to a provider has no `Range` and no conditions of a read, and a head has no headers about a body: see
/// [`CopyAs`].
pub struct Provider<Req, T> {
    name: Name,
    source: Source<Req, T>,
    freshness: Assess<T>,
    config: ProviderConfig,
    even_if_processed: bool,
    only_if_processed: bool,
    only_reads: bool,
    concurrency: Concurrency,
    condition: Option<Arc<dyn Fn(Reason) -> bool + Send + Sync>>,
    is_on: Option<Arc<dyn Fn() -> Result<(), Reason> + Send + Sync>>,
    even_if_last: bool,
    /// Whether its function may return an error, or needs anything.
    may_fail: bool,
}

/// A provider's future. Erased, since a chain holds providers of many types.
pub(crate) type Run<T> = Pin<Box<dyn Future<Output = Result<Answer<T>, BoxError>> + Send>>;

enum Source<Req, T> {
    /// A service, which may prove that it processed nothing.
    Service(Arc<dyn Fn(Req) -> Run<T> + Send + Sync>),
    Request(Arc<dyn Fn(Req) -> Run<T> + Send + Sync>),
    Head(Arc<dyn Fn(Req) -> Run<T> + Send + Sync>),
    Nothing(Arc<dyn Fn() -> Run<T> + Send + Sync>),
}

enum Assess<T> {
    As(Freshness),
    By(Arc<dyn Fn(&T) -> Freshness + Send + Sync>),
}

impl<Req, T> Provider<Req, T> {
    /// An async function of the request.
    pub fn from_fn<F, Fut>(name: Name, f: F) -> Self
    where
        F: Fn(Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoAnswer<T>> + Send + 'static,
    {
        Self::new(name, Source::Request(Arc::new(move |request| run(f(request)))))
    }

    /// A service, with its own protection: a retry, a circuit breaker, a timeout.
    ///
    /// It is cloned for each call, and made ready within the provider's time.
    ///
    /// An axum `Router` routes the request as if it came from outside (feature `axum`): its handlers see the path parameters of
    /// their own route, but not those of the route that the layer is on. Add its layers by `Router::layer`. Inside another
    /// service, or in [`from_fn`](Self::from_fn), it is a service like any other, whose handlers see both.
    pub fn service<S>(name: Name, service: S) -> Self
    where
        S: Service<Req, Response = T, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
        Req: Send + 'static,
    {
        #[cfg(feature = "axum")]
        let (service, is_router) = routed::prepare(service);
        // Only cloned under the lock, so that services need not be `Sync`.
        let service = Mutex::new(service);
        let start = move |request| {
            #[cfg(feature = "axum")]
            let request = if is_router { routed::save_extensions(request) } else { request };
            let service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
            run(ServiceCall::<_, _>::when_ready(service, request))
        };
        Self::new(name, Source::Service(Arc::new(start)))
    }

    /// An async function that doesn't need the request. No copy is made for it.
    pub fn value<F, Fut>(name: Name, f: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoAnswer<T>> + Send + 'static,
    {
        let may_fail = <Fut::Output as IntoAnswer<T>>::MAY_FAIL;
        Self { may_fail, ..Self::new(name, Source::Nothing(Arc::new(move || run(f())))) }
    }

    fn new(name: Name, source: Source<Req, T>) -> Self {
        Self {
            name,
            source,
            freshness: Assess::As(Freshness::Degraded),
            config: ProviderConfig::default(),
            even_if_processed: false,
            only_if_processed: false,
            only_reads: false,
            concurrency: Concurrency::default(),
            condition: None,
            is_on: None,
            even_if_last: false,
            may_fail: true,
        }
    }

    /// The longest time that this provider may take. Unless set, its [share](crate#time) of the time left.
    ///
    /// More than 0 s, up to the chain's total.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = Some(timeout);
        self
    }

    /// How many requests this provider may have at once: at least 1. No limit unless set.
    ///
    /// When a primary fails, all of its traffic goes to the next provider at once. Limit providers that can't handle that.
    /// Further requests go to the next provider without a wait, with the reason [`Reason::BULKHEAD_FULL`]. A request counts
    /// until the provider has answered, failed, or been dropped; streaming the answer's body doesn't count. All clones of the
    /// chain share the limit.
    #[must_use]
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.config.concurrency = Some(requests);
        self
    }

    /// Asks this provider only if `condition` is true for the reason why the primary failed. Always asked unless set.
    ///
    /// Otherwise the chain goes on to the next provider, with the reason [`Reason::NOT_ELIGIBLE`]. In a
    /// [handler](crate::FallbackChain::execute), the first provider is the primary itself, and is always asked.
    ///
    /// ```
    /// use backstop_fallback::{Provider, Reason, name};
    ///
    /// // If a request is too slow for the primary, it is too slow for a copy of it.
    /// let replica: Provider<u32, &str> = Provider::from_fn(name!("replica"), |_item| async { "9.99" })
    ///     .only_when(|reason| reason != Reason::TIMEOUT);
    /// ```
    #[must_use]
    pub fn only_when(mut self, condition: impl Fn(Reason) -> bool + Send + Sync + 'static) -> Self {
        self.condition = Some(Arc::new(condition));
        self
    }

    /// Asks this provider only while `condition` is `Ok`, such as the condition of a feature. Always asked unless set.
    ///
    /// Otherwise the chain goes on to the next provider, with the reason that `condition` gives. It is called whenever the
    /// provider's turn comes, also for the first one in a [handler](crate::FallbackChain::execute), and for a
    /// [forced](crate::FallbackHandle::force) one. It must not block.
    ///
    /// The last provider of a chain answers when nobody else does, so it needs [`even_if_last`](Self::even_if_last) beside it.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicBool, Ordering}};
    ///
    /// use backstop_fallback::{FallbackChain, Provider, Reason, name};
    ///
    /// const SALE_OVER: Reason = Reason::new("sale-over");
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let is_sale = Arc::new(AtomicBool::new(false));
    /// let on_sale = move || if is_sale.load(Ordering::Relaxed) { Ok(()) } else { Err(SALE_OVER) };
    /// let prices: FallbackChain<u32, &str> = FallbackChain::builder("prices")
    ///     .provider(Provider::value(name!("sale"), || async { "4.99" }).only_if(on_sale))
    ///     .provider(Provider::value(name!("list"), || async { "9.99" }))
    ///     .build()?;
    ///
    /// let answer = prices.execute(7).await?;
    /// assert_eq!((answer.value, answer.failures[0].reason), ("9.99", SALE_OVER));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn only_if(mut self, condition: impl Fn() -> Result<(), Reason> + Send + Sync + 'static) -> Self {
        self.is_on = Some(Arc::new(condition));
        self
    }

    /// Allows this provider to be the last one of its chain although it is asked [only if](Self::only_if) something holds:
    /// then there may be no answer at all.
    #[must_use]
    pub fn even_if_last(mut self) -> Self {
        self.even_if_last = true;
        self
    }

    /// How good this provider's answers are: [`Freshness::Degraded`] unless set. An [`Answer`] with its own freshness keeps it.
    #[must_use]
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = Assess::As(freshness);
        self
    }

    /// How good an answer of this provider is, read from the answer: for a service that says so in a header.
    #[must_use]
    pub fn freshness_of(mut self, assess: impl Fn(&T) -> Freshness + Send + Sync + 'static) -> Self {
        self.freshness = Assess::By(Arc::new(assess));
        self
    }

    /// Tries this provider even for a request that isn't safe to repeat and may have been processed.
    ///
    /// After a `POST` whose answer was lost, nobody knows whether the payment was made. Making it again elsewhere is wrong, but
    /// recording that someone must check it may be right. Only you know which of the two this provider does.
    ///
    /// [Side effects](crate#side-effects) says which requests aren't safe to repeat. **In a handler's chain all are safe**, and
    /// this changes nothing, unless [`repeat_only_if`](crate::FallbackChainBuilder::repeat_only_if) says otherwise.
    #[must_use]
    pub fn even_if_processed(mut self) -> Self {
        self.even_if_processed = true;
        self
    }

    /// Tries this provider only for a request that may have been processed, also if it isn't safe to repeat: it finds out what became
    /// of the request. In vain if nothing was processed.
    #[must_use]
    pub fn only_if_processed(mut self) -> Self {
        self.only_if_processed = true;
        self.even_if_processed()
    }

    /// This provider changes nothing, like a store or a search: if it has no answer, it has not processed the request. Unless set,
    /// a provider that got the request or its head may have processed it, unless its failure is
    /// [proof](backstop_kit::proof) that it did not.
    ///
    /// Mark stores that stand before a provider that does process requests: after a refused connection, that provider then gets a
    /// `POST`, too. The mark alone doesn't let this provider be asked once the request may have been processed; that is
    /// [`even_if_processed`](Self::even_if_processed).
    ///
    /// ```
    /// use backstop_fallback::{FallbackChain, Provider, name};
    /// use http::{Request, Response};
    /// # use http::request::Parts;
    /// # async fn find(_: Parts) -> Result<Response<()>, std::io::Error> { Ok(Response::new(())) }
    /// # async fn forward(_: Request<()>) -> Result<Response<()>, std::io::Error> { Ok(Response::new(())) }
    ///
    /// let chain: FallbackChain<Request<()>, Response<()>> = FallbackChain::builder("orders")
    ///     .provider(Provider::head(name!("stored"), find).only_reads())
    ///     .provider(Provider::from_fn(name!("replica"), forward))
    ///     .build()?;
    /// # Ok::<(), backstop_fallback::ConfigError>(())
    /// ```
    #[must_use]
    pub fn only_reads(mut self) -> Self {
        self.only_reads = true;
        self
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// What its builder methods set that a reload can change.
    pub(crate) const fn config(&self) -> &ProviderConfig {
        &self.config
    }

    pub(crate) const fn is_even_if_processed(&self) -> bool {
        self.even_if_processed
    }

    pub(crate) const fn is_only_if_processed(&self) -> bool {
        self.only_if_processed
    }

    /// Whether it certainly processes nothing: it changes nothing, or gets nothing of the request.
    pub(crate) const fn processes_nothing(&self) -> bool {
        self.only_reads || matches!(self.needs(), Keep::Nothing)
    }

    /// Whether it is a [`value`](Self::value) whose function returns no error.
    pub(crate) const fn is_proven_when_built(&self) -> bool {
        !self.may_fail
    }

    /// Whether it may have no answer. Not if it is a [`value`](Self::value) without conditions whose function returns no error.
    pub(crate) const fn may_fail(&self) -> bool {
        self.may_fail || self.condition.is_some() || self.is_on.is_some() || self.config.concurrency.is_some()
    }

    /// Whether it may be missing when nobody else answers, without anybody having said so.
    pub(crate) const fn may_not_be_last(&self) -> bool {
        self.is_on.is_some() && !self.even_if_last
    }

    /// A permit for one more request, of at most `limit`, unless its condition doesn't hold.
    pub(crate) fn admit(&self, limit: Option<usize>) -> Result<Permit, Reason> {
        self.check_condition()?;
        self.concurrency.try_acquire(limit).ok_or(Reason::BULKHEAD_FULL)
    }

    /// The same for a drill, which takes no place away from live requests.
    pub(crate) fn admit_drill(&self, limit: Option<usize>) -> Result<Permit, Reason> {
        self.check_condition()?;
        self.concurrency.uncounted(limit).ok_or(Reason::BULKHEAD_FULL)
    }

    fn check_condition(&self) -> Result<(), Reason> {
        self.is_on.as_ref().map_or(Ok(()), |condition| condition())
    }

    /// Whether it is asked if the primary failed for this reason.
    pub(crate) fn is_for(&self, reason: Reason) -> bool {
        self.condition.as_ref().is_none_or(|condition| condition(reason))
    }

    /// What it needs of the request.
    pub(crate) const fn needs(&self) -> Keep {
        match self.source {
            Source::Service(_) | Source::Request(_) => Keep::Whole,
            Source::Head(_) => Keep::Head,
            Source::Nothing(_) => Keep::Nothing,
        }
    }

    /// Starts it, with a copy of the request if it needs one. A function may make any calls, so its results prove nothing.
    pub(crate) fn start(
        &self,
        copy: impl FnOnce(CopyAs) -> Result<Req, NotCopied>,
        frame: &mut Frame,
    ) -> Result<Run<T>, NotCopied> {
        Ok(match &self.source {
            Source::Service(run) => {
                let request = copy(CopyAs::ForAnotherSource)?;
                frame.call(|| run(request))
            }
            Source::Request(run) => {
                let request = copy(CopyAs::ForAnotherSource)?;
                frame.call_ignoring_proof(|| run(request))
            }
            Source::Head(run) => {
                let request = copy(CopyAs::HeadOnly)?;
                frame.call_ignoring_proof(|| run(request))
            }
            Source::Nothing(run) => frame.call_ignoring_proof(|| run()),
        })
    }

    /// How good its answer is.
    pub(crate) fn assess(&self, answer: &Answer<T>) -> Freshness {
        answer.freshness().unwrap_or_else(|| match &self.freshness {
            Assess::As(freshness) => *freshness,
            Assess::By(assess) => assess(answer.value()),
        })
    }
}

fn run<T>(answering: impl Future<Output: IntoAnswer<T>> + Send + 'static) -> Run<T> {
    Box::pin(async { answering.await.into_answer() })
}

impl<B, T> Provider<http::Request<B>, T> {
    /// An async function of the request's head. No body is kept for it.
    pub fn head<F, Fut>(name: Name, f: F) -> Self
    where
        F: Fn(http::request::Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoAnswer<T>> + Send + 'static,
    {
        let start = move |request: http::Request<B>| run(f(request.into_parts().0));
        Self::new(name, Source::Head(Arc::new(start)))
    }
}

#[cfg(feature = "axum")]
impl Provider<http::Request<axum::body::Body>, axum::response::Response> {
    /// An axum handler that needs no state, with its extractors.
    pub fn handler<H, X>(name: Name, handler: H) -> Self
    where
        H: axum::handler::Handler<X, ()> + Sync,
        X: 'static,
    {
        Self::handler_with_state(name, handler, ())
    }

    /// An axum handler, with its extractors and its state.
    pub fn handler_with_state<H, X, S>(name: Name, handler: H, state: S) -> Self
    where
        H: axum::handler::Handler<X, S> + Sync,
        X: 'static,
        S: Clone + Send + Sync + 'static,
    {
        Self::from_fn(name, move |request| handler.clone().call(request, state.clone()))
    }
}

impl<Req, T> fmt::Debug for Provider<Req, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("needs", &self.needs())
            .field("timeout", &self.config.timeout)
            .field("even_if_processed", &self.even_if_processed)
            .field("only_if_processed", &self.only_if_processed)
            .field("only_reads", &self.only_reads)
            .field("concurrency", &self.config.concurrency)
            .finish_non_exhaustive()
    }
}
