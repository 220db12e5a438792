//! An instance of the service, and requests to it while its store is broken.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
    response::Response,
    routing::{MethodRouter, get},
};
use backstop_core::{Level, name};
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use backstop_features::{Feature, FeatureLayer, Features, SetError, feature};
use backstop_health::{Component, ComponentState, Health};
use backstop_last_known_good::LastKnownGoodLayer;
use backstop_redis::RedisStore;
use backstop_test::RedisServer;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use crate::common::{REVIEWS, SEARCH, connected, instance, is_off, off, shop, within};

/// Fails now and then: too rarely to be degraded, and often enough that its errors are always being counted.
pub(crate) static CART: Feature = feature!("cart");

/// How long a request may take.
const TOTAL: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(2);
/// A poll, an attempt to connect, and the longest wait between two.
pub(crate) const BACK: Duration = Duration::from_secs(6);

/// An instance that gets requests all the time. An operator has disabled `REVIEWS` before.
pub(crate) struct Serving {
    pub(crate) features: Features,
    health: Health,
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    requests: std::thread::JoinHandle<()>,
}

impl Serving {
    #[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
    pub(crate) async fn start(redis: &RedisServer) -> Self {
        let store = connected(redis).await;
        let [store_component, views] = ["store", "views"].map(Component::optional);
        let components = [Component::essential("database"), store_component, views];
        let health = Health::builder().components(components).build().unwrap();
        health.report("database", Level::Healthy, "", None).unwrap();
        let builder = shop().declare(CART.standard()).health(&health).store_component("store");
        let features = builder.flags(store.clone()).counts(store.clone()).build().unwrap();
        tokio::spawn(features.run());
        tokio::spawn(health.run());
        tokio::spawn(health.share("views", store.clone(), "shop-1").unwrap());
        features.loaded().await;
        features.handle().set(&REVIEWS, off()).await.unwrap();

        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let app = App { router: router(&features, store), features: features.clone() };
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&rounds));
        // A thread of its own, so that the drivers don't wait for requests.
        let requests = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                while !stopped.load(Relaxed) {
                    app.make_requests(counted.fetch_add(1, Relaxed)).await;
                }
            });
        });
        Self { features, health, stop, rounds, requests }
    }

    /// The store shows as degraded, the service doesn't, and nothing is served in another way.
    pub(crate) async fn shows_the_outage(&self) {
        within(SOON * 3, "the store's error", || self.features.handle().store_error().is_some()).await;
        let is_degraded = || self.health.component("store").unwrap().state() == ComponentState::Degraded;
        within(SOON, "the degraded component", is_degraded).await;
        assert_eq!((self.health.status(), self.health.level()), (Level::Degraded, Level::Healthy));
        // Some rounds of requests that see the outage.
        let rounds = self.rounds.load(Relaxed);
        within(BACK, "requests", || self.rounds.load(Relaxed) > rounds + 20).await;
        assert!(is_off(&self.features, &REVIEWS) && self.features.is_enabled(&SEARCH));
    }

    /// The store can't be written, and says so in time.
    pub(crate) async fn cannot_set(&self) {
        let began = Instant::now();
        let error = self.features.handle().set(&SEARCH, off()).await.unwrap_err();
        assert!(matches!(error, SetError::Store(_)), "{error}");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert!(self.features.is_enabled(&SEARCH), "nothing has changed");
    }

    /// The store works again: what is set elsewhere is followed, and all is healthy.
    pub(crate) async fn converges(self, redis: &RedisServer) {
        let other = instance(redis).await;
        other.handle().remove(&REVIEWS, "bob", "works").await.unwrap();
        // Requests rely on the flag.
        self.stop.store(true, Relaxed);
        self.requests.join().expect("no request fails");
        assert!(self.rounds.load(Relaxed) > 100, "{} rounds of requests", self.rounds.load(Relaxed));
        within(BACK, "the removal", || self.features.is_enabled(&REVIEWS)).await;
        within(BACK, "a store that works", || self.features.handle().store_error().is_none()).await;
        let is_healthy = || self.health.component("store").unwrap().state() == ComponentState::Healthy;
        within(SOON, "the healthy component", is_healthy).await;
        self.features.handle().set(&SEARCH, off()).await.unwrap();
    }
}

fn router(features: &Features, store: RedisStore) -> Router {
    let instead = || Provider::value(name!("instead"), || async { Response::new(Body::from("instead")) });
    let chain = || FallbackChain::builder("chain").total(TOTAL);
    let fallback = |chain| FallbackLayer::new(name!("primary"), chain);
    let by_feature = |feature, text| {
        let layer = FeatureLayer::new(features.gate(feature).unwrap());
        upstream(text).layer((fallback(chain().provider(instead()).build().unwrap()), layer))
    };
    let stored = LastKnownGoodLayer::builder("prices").store(store).build().unwrap();
    let known = stored.handle();
    let known = Provider::head(name!("known"), move |head| known.answer(head)).only_reads();
    let known = fallback(chain().provider(known).provider(instead()).build().unwrap());
    Router::new()
        .route("/search", by_feature(&SEARCH, "search"))
        .route("/reviews", by_feature(&REVIEWS, "reviews"))
        .route("/cart", by_feature(&CART, "cart"))
        .route("/prices", upstream("9.99").layer((known, stored)))
}

/// Answers with this text, and fails where the request says so.
fn upstream(text: &'static str) -> MethodRouter {
    get(move |fields: HeaderMap| {
        let fails = fields.contains_key("fail");
        std::future::ready(if fails { Err(StatusCode::SERVICE_UNAVAILABLE) } else { Ok(text) })
    })
}

struct App {
    router: Router,
    features: Features,
}

impl App {
    async fn make_requests(&self, round: u64) {
        // No look, no count and no refusal waits for anything: each request is answered in the poll that makes it.
        assert_eq!(self.answer_at_once("/search", false).await, "search");
        assert_eq!(self.answer_at_once("/reviews", false).await, "instead", "the view holds");
        let fails = round.is_multiple_of(50);
        assert_eq!(self.answer_at_once("/cart", fails).await, if fails { "instead" } else { "cart" });
        assert!(self.features.is_enabled(&CART));
        // An answer is stored, or what is stored is served: that waits for the store, but not long.
        let price = timeout(TOTAL, self.answer("/prices", !round.is_multiple_of(2))).await.expect("within the total");
        assert!(price == "9.99" || price == "instead", "{price}");
    }

    async fn answer(&self, path: &str, fails: bool) -> String {
        let request = Request::get(path);
        let request = if fails { request.header("fail", "") } else { request };
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    async fn answer_at_once(&self, path: &str, fails: bool) -> String {
        match pin!(self.answer(path, fails)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(text) => text,
            Poll::Pending => panic!("{path} waits"),
        }
    }
}
