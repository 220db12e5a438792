//! Draws a stack: services that make tagged bodies and fail in many ways, and layers around them in any order.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use backstop::{
    Answer, BulkheadLayer, CircuitBreakerLayer, Degradation, DegradationHeaderLayer, Details, FallbackChain,
    FallbackLayer, Freshness, InnerHeaders, LastKnownGoodLayer, Name, PropagateDegradationLayer, Provider, Report,
    RetryLayer, StaleWhileRevalidateLayer, TimeoutLayer, client,
    kit::caching,
    name,
    scope::{self, InScope},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{BoxError, ServiceBuilder, ServiceExt, buffer::BufferLayer, service_fn, util::BoxCloneSyncService};

use super::oracle::{Fact, Oracle};

pub(crate) type Boxed = BoxCloneSyncService<Request, Response, BoxError>;

pub(crate) fn get() -> Request {
    Request::get("/").body(Body::empty()).unwrap()
}

/// A stack.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) service: Boxed,
    /// Whether something in it takes the body alone, and makes a response of its own.
    pub(crate) is_rebuilt: bool,
    /// Whether only the response's own headers say how good it is, so that nothing around may drop them.
    needs_headers: bool,
}

impl Drawn {
    fn map(self, around: impl FnOnce(Boxed) -> Boxed) -> Self {
        Self { service: around(self.service), ..self }
    }
}

/// What an upstream says of its answer, and what is true of it.
struct Label {
    headers: &'static [(&'static str, &'static str)],
    /// The sources that are named.
    sources: &'static [&'static str],
    /// The same where they are read by a client, below the upstream's name.
    paths: &'static [&'static str],
    freshness: Freshness,
}

const UNKNOWN: Freshness = Freshness::Stale { age: None };

const fn stale(age: u64) -> Freshness {
    Freshness::stale(Duration::from_secs(age))
}

const SOURCE: &str = "x-fallback-source";
const FRESHNESS: &str = "x-data-freshness";

/// Honest, careless and hostile ones.
const LABELS: [Label; 16] = {
    const fn label(
        headers: &'static [(&'static str, &'static str)],
        sources: &'static [&'static str],
        paths: &'static [&'static str],
        freshness: Freshness,
    ) -> Label {
        Label { headers, sources, paths, freshness }
    }
    const NONE: &[&str] = &[];
    const ITSELF: &[&str] = &[""];
    const DEGRADED: Freshness = Freshness::Degraded;
    [
        label(&[(SOURCE, "cached"), (FRESHNESS, "stale"), ("age", "40")], &["cached"], &["/cached"], stale(40)),
        label(&[(SOURCE, "canned"), (FRESHNESS, "degraded")], &["canned"], &["/canned"], DEGRADED),
        label(&[(SOURCE, "replica"), (FRESHNESS, "fresh")], &["replica"], &["/replica"], Freshness::Fresh),
        label(
            &[(SOURCE, "a, b;index=2"), (FRESHNESS, "stale;age=912"), ("age", "7")],
            &["a", "b"],
            &["/a", "/b"],
            stale(912),
        ),
        label(&[(FRESHNESS, "stale"), ("age", "5, 70")], NONE, ITSELF, stale(70)),
        label(&[(SOURCE, "cached"), (FRESHNESS, "stale")], &["cached"], &["/cached"], UNKNOWN),
        label(&[(SOURCE, "cached"), (FRESHNESS, "splendid")], &["cached"], &["/cached"], DEGRADED),
        label(&[(SOURCE, "cached")], &["cached"], &["/cached"], DEGRADED),
        label(&[(SOURCE, "my cache")], NONE, ITSELF, DEGRADED),
        label(&[(SOURCE, "my cache"), (FRESHNESS, "FRESH")], NONE, NONE, Freshness::Fresh),
        label(&[(FRESHNESS, "fresh, degraded")], NONE, ITSELF, DEGRADED),
        label(&[(FRESHNESS, "stale;age=99999999999999999999"), ("age", "-1")], NONE, ITSELF, DEGRADED),
        label(&[(SOURCE, "a/b/c/d"), (FRESHNESS, "degraded")], &["a/b/c/d"], &["/a/b"], DEGRADED),
        label(
            &[(SOURCE, "*"), (FRESHNESS, "degraded"), ("cdn-cache-control", "max-age=999")],
            &["*"],
            ITSELF,
            DEGRADED,
        ),
        label(&[(SOURCE, "a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a"), (FRESHNESS, "degraded")], NONE, ITSELF, DEGRADED),
        label(&[(FRESHNESS, "\u{7f}"), ("surrogate-control", "max-age=999")], NONE, ITSELF, DEGRADED),
    ]
};

/// What services say to caches.
const CACHING: [Option<&str>; 6] = [
    None,
    Some("max-age=60"),
    Some("public, max-age=600"),
    Some("max-age=60, stale-while-revalidate=600"),
    Some("no-store"),
    Some("private, max-age=60"),
];
/// The longest `max-age` of all.
pub(crate) const LONGEST_LIFETIME: Duration = Duration::from_secs(600);

/// What a service does when it is called.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Answers well, with these fields for caches, after a cache on the way had the answer so long.
    Well {
        caching: usize,
        age: u64,
    },
    /// Answers with this label, and this status.
    Labels(usize, StatusCode),
    Answers(StatusCode),
    Fails,
    /// Takes a second, and answers well then.
    Dawdles,
}

pub(crate) struct Draw {
    bytes: std::vec::IntoIter<u8>,
    oracle: Oracle,
    /// So that each name is used once.
    names: usize,
    /// What was drawn.
    pub(crate) shown: String,
}

impl Draw {
    pub(crate) fn new(bytes: Vec<u8>, oracle: Oracle) -> Self {
        Self { bytes: bytes.into_iter(), oracle, names: 0, shown: String::new() }
    }

    /// One of so many; the first one where nothing is left to draw from.
    fn one_of(&mut self, n: usize) -> usize {
        usize::from(self.bytes.next().unwrap_or(0)) % n
    }

    fn show(&mut self, what: &str) {
        self.shown.push_str(what);
        self.shown.push(' ');
    }

    fn name(&mut self, kind: &str) -> Name {
        self.names += 1;
        Name::new(format!("{kind}{}", self.names)).unwrap()
    }

    /// A whole service, with the headers at its edge.
    pub(crate) fn edge(&mut self, depth: u8) -> Drawn {
        let inner = self.stack(depth);
        let edge = self.header_layer(inner.needs_headers);
        inner.map(|inner| Boxed::new(ServiceBuilder::new().layer(edge).service(inner)))
    }

    fn header_layer(&mut self, keeps_inner: bool) -> DegradationHeaderLayer {
        let details = [Details::Plain, Details::Parameters][self.one_of(2)];
        let report = [Report::Degraded, Report::Always][self.one_of(2)];
        let inner = [InnerHeaders::Keep, InnerHeaders::Remove][if keeps_inner { 0 } else { self.one_of(2) }];
        self.show(&format!("<-header({details:?},{report:?},{inner:?})"));
        let layer = DegradationHeaderLayer::builder().details(details).report(report).inner_headers(inner);
        layer.cache_status().proxy_status("edge").expose_to_browsers().build().unwrap()
    }

    fn stack(&mut self, depth: u8) -> Drawn {
        if depth == 0 {
            return self.upstream();
        }
        match self.one_of(13) {
            0 => self.upstream(),
            1..=3 => self.fallback(depth),
            4 | 5 => self.stored(depth),
            6 => self.composed(depth),
            _ => {
                let inner = self.stack(depth - 1);
                self.around(inner)
            }
        }
    }

    fn does(&mut self) -> Does {
        match self.one_of(12) {
            0..=3 => Does::Well { caching: self.one_of(CACHING.len()), age: [0, 0, 30][self.one_of(3)] },
            4 | 5 => Does::Labels(self.one_of(LABELS.len()), StatusCode::OK),
            6 => Does::Labels(self.one_of(LABELS.len()), StatusCode::SERVICE_UNAVAILABLE),
            7 | 8 => Does::Answers(StatusCode::SERVICE_UNAVAILABLE),
            9 => Does::Answers(StatusCode::NOT_FOUND),
            10 => Does::Fails,
            _ => Does::Dawdles,
        }
    }

    /// A client of a service, which does one thing after another.
    fn upstream(&mut self) -> Drawn {
        let script: Vec<_> = (0..=self.one_of(4)).map(|_| self.does()).collect();
        let is_read = self.one_of(4) > 0;
        let name = self.name("up");
        self.show(&format!("{name}{script:?}{}", if is_read { "<-propagate" } else { "" }));
        let (oracle, below, calls) =
            (self.oracle.clone(), is_read.then(|| name.clone()), Arc::new(AtomicUsize::new(0)));
        let needs_headers = !is_read && script.iter().any(|does| matches!(does, Does::Labels(..)));
        let client = Boxed::new(client(service_fn(move |_: Request| {
            let does = script[calls.fetch_add(1, SeqCst) % script.len()];
            does.answer(oracle.clone(), below.clone())
        })));
        let service = if is_read {
            Boxed::new(tower::Layer::layer(&PropagateDegradationLayer::new(name), client))
        } else {
            client
        };
        Drawn { service, is_rebuilt: false, needs_headers }
    }

    /// A chain of providers behind a service.
    fn fallback(&mut self, depth: u8) -> Drawn {
        self.show("fallback(");
        let mut primary = self.stack(depth - 1);
        let mut chain = FallbackChain::builder("chain");
        for _ in 0..=self.one_of(2) {
            chain = match self.one_of(3) {
                0 => {
                    let inner = self.stack(depth - 1);
                    primary.needs_headers |= inner.needs_headers;
                    primary.is_rebuilt = true;
                    let freshness = [Freshness::Degraded, Freshness::Fresh, UNKNOWN][self.one_of(3)];
                    let name = self.name("service");
                    self.show(&format!("{name}({freshness:?})"));
                    let tagged = tagged(inner.service, self.oracle.clone(), name.to_string(), freshness);
                    chain.provider(Provider::service(name, tagged).freshness(freshness))
                }
                kind => {
                    let fails = self.failing();
                    chain.provider(self.canned(kind == 1, fails))
                }
            };
        }
        self.show(")");
        let layer = FallbackLayer::builder("primary", chain.build().unwrap());
        let layer = if self.one_of(2) == 0 {
            layer.build().unwrap()
        } else {
            layer.fall_back_on(StatusCode::NOT_FOUND).build().unwrap()
        };
        primary.map(|inner| Boxed::new(ServiceBuilder::new().layer(layer).service(inner)))
    }

    /// Whether a provider's calls fail, in turn. The third one answers every other time, so that a copy of its answer may be
    /// asked for.
    fn failing(&mut self) -> [bool; 2] {
        [[true, true], [false, false], [false, true]][self.one_of(3)]
    }

    fn canned(&mut self, says_itself: bool, fails: [bool; 2]) -> Provider<Request, Response> {
        let freshness = [Freshness::Degraded, Freshness::Fresh, UNKNOWN, stale(100)][self.one_of(4)];
        let caching = self.one_of(CACHING.len());
        let name = self.name("canned");
        self.show(&format!("{name}({freshness:?}{})", if fails[1] { ",fails" } else { "" }));
        let (oracle, names, calls) = (self.oracle.clone(), vec![name.to_string()], AtomicUsize::new(0));
        let provider = Provider::from_fn(name, move |_: Request| {
            let fact = Fact {
                names: names.clone(),
                freshness: Some(freshness),
                made: Instant::now(),
                age: freshness.age().unwrap_or_default(),
                is_unread: false,
                cache_control: CACHING[caching],
            };
            let fails = fails[calls.fetch_add(1, SeqCst) % 2];
            let response = (!fails).then(|| respond(&oracle, fact, StatusCode::OK, &[]));
            async move {
                let response = response.ok_or("it fails")?;
                Ok::<_, BoxError>(if says_itself { Answer::new(response, freshness) } else { response.into() })
            }
        });
        if says_itself { provider } else { provider.freshness(freshness) }
    }

    /// A service that is down, with a provider that answers every other time.
    fn degraded_or_down(&mut self) -> Drawn {
        self.show("fallback(down");
        let down = service_fn(async |_: Request| Err::<Response, _>(BoxError::from("the connection broke")));
        let chain = FallbackChain::builder("chain").provider(self.canned(false, [false, true]));
        self.show(")");
        let layer = FallbackLayer::new(name!("down"), chain.build().unwrap());
        let service = Boxed::new(ServiceBuilder::new().layer(layer).service(down));
        Drawn { service, is_rebuilt: false, needs_headers: false }
    }

    /// A service whose good answers are stored, for when it fails, or to answer before it is asked.
    fn stored(&mut self, depth: u8) -> Drawn {
        // What is worse than good is offered for storing, and asked for when there is nothing else.
        let inner = if self.one_of(4) == 0 { self.degraded_or_down() } else { self.stack(depth - 1) };
        let (store, cached) = (self.name("store"), self.name("cached"));
        let layer = LastKnownGoodLayer::new(store.clone());
        let known = layer.handle();
        let refreshes = self.one_of(3) == 0;
        self.show(&format!("<-{store}{}", if refreshes { "<-refresh" } else { "" }));
        let refresh = refreshes.then(|| {
            self.oracle.add_cache();
            let refreshes = Mutex::new(JoinSet::new());
            StaleWhileRevalidateLayer::new(layer.handle(), move |refresh| {
                refreshes.lock().unwrap().spawn(refresh);
            })
        });
        self.oracle.add_store(store.to_string());
        self.oracle.add_store(cached.to_string());
        let mut chain = FallbackChain::builder("chain");
        chain = chain.provider(Provider::head(cached, move |head| known.answer::<Body>(head)).only_reads());
        if self.one_of(2) == 0 {
            let fails = self.failing();
            chain = chain.provider(self.canned(false, fails));
        }
        let stack = ServiceBuilder::new().layer(FallbackLayer::new(name!("live"), chain.build().unwrap()));
        inner.map(|inner| match refresh {
            Some(refresh) => Boxed::new(stack.layer(refresh).layer(layer).service(inner)),
            None => Boxed::new(stack.layer(layer).service(inner)),
        })
    }

    /// A handler that makes one answer of two.
    fn composed(&mut self, depth: u8) -> Drawn {
        self.show("composed(");
        let parts = [self.stack(depth - 1), self.stack(depth - 1)];
        self.show(")");
        if parts.iter().any(|part| part.needs_headers) {
            // Such a handler would drop what the headers say.
            let [first, _] = parts;
            return first;
        }
        let at_once = self.one_of(2) == 0;
        let [first, second] = parts.map(|part| part.service);
        let service = Boxed::new(service_fn(move |_: Request| {
            let (first, second) = (first.clone().oneshot(get()), second.clone().oneshot(get()));
            async move {
                let parts = if at_once {
                    let (first, second) = tokio::join!(first, second);
                    [first?, second?]
                } else {
                    [first.await?, second.await?]
                };
                Ok(page(parts).await)
            }
        }));
        Drawn { service, is_rebuilt: true, needs_headers: false }
    }

    /// Something around `inner` that asks it.
    fn around(&mut self, inner: Drawn) -> Drawn {
        let stack = ServiceBuilder::new();
        match self.one_of(8) {
            0 => {
                self.show("<-retry");
                self.oracle.add_retry();
                let retry = RetryLayer::builder("retry").backoff_base(Duration::from_millis(1)).build().unwrap();
                inner.map(|inner| Boxed::new(stack.layer(retry).service(inner)))
            }
            1 => {
                self.show("<-breaker");
                let breaker = CircuitBreakerLayer::builder("breaker").consecutive_failures(2).build().unwrap();
                inner.map(|inner| Boxed::new(stack.layer(breaker).service(inner)))
            }
            2 => {
                self.show("<-bulkhead<-timeout");
                let timeout = TimeoutLayer::builder("timeout").limit(Duration::from_millis(100)).build().unwrap();
                let stack = stack.layer(BulkheadLayer::new(name!("bulkhead"))).layer(timeout);
                inner.map(|inner| Boxed::new(stack.service(inner)))
            }
            3 => {
                let layer = self.header_layer(inner.needs_headers);
                inner.map(|inner| Boxed::new(stack.layer(layer).service(inner)))
            }
            4 => {
                self.show("<-buffer");
                inner.map(|inner| Boxed::new(stack.layer(BufferLayer::new(4)).service(inner)))
            }
            5 => {
                self.show("<-task");
                inner.map(|inner| {
                    Boxed::new(service_fn(move |request: Request| {
                        let call = inner.clone().oneshot(request);
                        async move {
                            let mut tasks = JoinSet::new();
                            tasks.spawn(call.in_scope(scope::handle()));
                            tasks.join_next().await.unwrap().unwrap()
                        }
                    }))
                })
            }
            6 => {
                self.show("<-propagate");
                let layer = PropagateDegradationLayer::new(name!("again"));
                if inner.needs_headers {
                    inner
                } else {
                    inner.map(|inner| Boxed::new(stack.layer(layer).service(inner)))
                }
            }
            _ if inner.needs_headers => inner,
            _ => {
                self.show("<-rebuild");
                let rebuilt = inner.map(|inner| {
                    Boxed::new(service_fn(move |request: Request| {
                        let call = inner.clone().oneshot(request);
                        async move { Ok(page([call.await?]).await) }
                    }))
                });
                Drawn { is_rebuilt: true, ..rebuilt }
            }
        }
    }
}

impl Does {
    async fn answer(self, oracle: Oracle, below: Option<Name>) -> Result<Response, BoxError> {
        let well = |caching: usize, age: u64| Fact {
            names: Vec::new(),
            freshness: None,
            made: Instant::now(),
            age: Duration::from_secs(age),
            is_unread: false,
            cache_control: CACHING[caching],
        };
        match self {
            Self::Well { caching, age: 0 } => Ok(respond(&oracle, well(caching, 0), StatusCode::OK, &[])),
            Self::Well { caching, age } => Ok(respond(&oracle, well(caching, age), StatusCode::OK, &[("age", "30")])),
            Self::Answers(status) => Ok(respond(&oracle, well(1, 0), status, &[])),
            Self::Fails => Err("the connection broke".into()),
            Self::Dawdles => {
                sleep(Duration::from_secs(1)).await;
                Ok(respond(&oracle, well(1, 0), StatusCode::OK, &[]))
            }
            Self::Labels(label, status) => {
                let label = &LABELS[label];
                let names: Vec<_> = match &below {
                    Some(name) => label.paths.iter().map(|path| format!("{name}{path}")).collect(),
                    None => label.sources.iter().map(|&source| source.to_owned()).collect(),
                };
                let age = label.freshness.age().unwrap_or_default();
                // Fresh, and of no other source, is its own answer.
                let is_its_own = names.is_empty() && label.freshness == Freshness::Fresh;
                let freshness = (!is_its_own).then_some(label.freshness);
                let fact = Fact { names, freshness, age, is_unread: below.is_none(), ..well(2, 0) };
                Ok(respond(&oracle, fact, status, label.headers))
            }
        }
    }
}

/// A response whose body is tagged with `fact`.
fn respond(oracle: &Oracle, fact: Fact, status: StatusCode, headers: &[(&'static str, &'static str)]) -> Response {
    let cache_control = fact.cache_control;
    let tag = oracle.tag(fact);
    let mut response = Response::builder().status(status);
    if let Some(cache_control) = cache_control {
        response = response.header("cache-control", cache_control);
    }
    let etag = format!("\"{}\"", tag.trim_matches(['<', '>']));
    response = response.header("etag", etag).header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT");
    let mut response = response.body(Body::from(tag)).unwrap();
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap_or(HeaderValue::from_static("a b"));
        response.headers_mut().append(HeaderName::from_static(name), value);
    }
    response
}

/// A response made of the bodies of others, as a handler makes it: as old as the oldest whose age isn't reported.
async fn page(parts: impl IntoIterator<Item = Response>) -> Response {
    let (mut status, mut body, mut age) = (StatusCode::OK, String::new(), None);
    for part in parts {
        status = status.max(part.status());
        if part.extensions().get::<Degradation>().is_none_or(|reported| reported.freshness().age().is_none()) {
            age = age.max(caching::age(part.headers()));
        }
        body.push_str(&text(part).await);
    }
    let page = Response::builder().status(status).header("cache-control", "max-age=60");
    let page = age.into_iter().fold(page, |page, age| page.header("age", age.as_secs()));
    page.body(Body::from(body)).unwrap()
}

/// A provider, whose answers carry its own tag beside those that they have.
fn tagged(inner: Boxed, oracle: Oracle, name: String, freshness: Freshness) -> Boxed {
    Boxed::new(service_fn(move |request: Request| {
        let (call, oracle, name) = (inner.clone().oneshot(request), oracle.clone(), name.clone());
        async move {
            let response = call.await?;
            let (mut head, body) = response.into_parts();
            let fact = Fact {
                names: vec![name],
                freshness: Some(freshness),
                made: Instant::now(),
                age: Duration::ZERO,
                is_unread: false,
                cache_control: None,
            };
            let body = text(Response::new(body)).await + &oracle.tag(fact);
            drop_validators(&mut head.headers);
            Ok(Response::from_parts(head, Body::from(body)))
        }
    }))
}

/// Of a body that was changed.
fn drop_validators(headers: &mut HeaderMap) {
    for name in ["etag", "last-modified", "content-length"] {
        headers.remove(name);
    }
}

async fn text(response: Response) -> String {
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}
