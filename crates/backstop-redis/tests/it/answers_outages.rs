//! Redis is killed, paused and restarted empty under load: each answer is right, and in time.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use backstop_core::name;
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use backstop_last_known_good::LastKnownGoodLayer;
use backstop_redis::RedisStore;
use backstop_test::RedisServer;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

use crate::{
    answers_restart::{known, layer},
    common::{connected, number, within},
    load::BACK,
};

/// The time that a request may take.
const TOTAL: Duration = Duration::from_secs(2);
const USERS: [&str; 3] = ["ada", "bob", "eve"];

/// What has been written to each item: an answer of an earlier version is wrong after a write.
static VERSIONS: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

fn item(uri: &Uri) -> usize {
    uri.path().trim_start_matches('/').parse().unwrap()
}

async fn upstream(fields: HeaderMap, uri: Uri) -> Response {
    if fields.contains_key("fail") {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let user = fields["x-user"].to_str().unwrap();
    let body = format!("{user} {} {}", item(&uri), VERSIONS[item(&uri)].load(Relaxed));
    ([("cache-control", "private")], body).into_response()
}

async fn write(uri: Uri) -> StatusCode {
    VERSIONS[item(&uri)].fetch_add(1, Relaxed);
    StatusCode::NO_CONTENT
}

fn app(stored: &LastKnownGoodLayer<RedisStore>) -> Router {
    let known = stored.handle();
    let chain = FallbackChain::builder("chain")
        .total(TOTAL)
        .provider(Provider::head(name!("known"), move |head| known.answer(head)).only_reads())
        .provider(Provider::value(name!("instead"), || async { Response::new(Body::from("instead")) }))
        .build()
        .unwrap();
    let fallback = FallbackLayer::new(name!("primary"), chain);
    Router::new().route("/{item}", get(upstream).put(write).layer((fallback, stored.clone())))
}

struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    from_the_store: AtomicU64,
}

impl Load {
    /// Each of the tasks has items of its own, so it knows what their right answers are.
    #[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
    fn start(stored: &LastKnownGoodLayer<RedisStore>) -> Self {
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::<Counts>::default());
        let task = |item: usize| {
            let (app, stop, counts) = (app(stored), Arc::clone(&stop), Arc::clone(&counts));
            tokio::spawn(async move {
                let mut round = 0_usize;
                while !stop.load(Relaxed) {
                    ask(&app, item, round, &counts).await;
                    round += 1;
                    // Other tasks and the connection have a turn.
                    tokio::task::yield_now().await;
                }
            })
        };
        let tasks = (0..VERSIONS.len()).map(task).collect();
        Self { stop, counts, tasks }
    }

    async fn goes_on(&self, requests: u64) {
        let from = self.counts.requests.load(Relaxed);
        within(BACK * 3, "requests", || self.counts.requests.load(Relaxed) > from + requests).await;
    }

    async fn ends(self) -> u64 {
        self.stop.store(true, Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.counts.from_the_store.load(Relaxed)
    }
}

async fn ask(app: &Router, item: usize, round: usize, counts: &Counts) {
    let user = USERS[round % USERS.len()];
    let (method, fails) = match round % 20 {
        19 => ("PUT", false),
        round => ("GET", round % 2 == 1),
    };
    let mut request = Request::builder().method(method).uri(format!("/{item}")).header("x-user", user);
    if fails {
        request = request.header("fail", "");
    }
    let began = Instant::now();
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    assert!(began.elapsed() < TOTAL, "{:?}", began.elapsed());
    counts.requests.fetch_add(1, Relaxed);
    if method == "PUT" {
        assert_eq!(status, StatusCode::NO_CONTENT);
        return;
    }
    let right = format!("{user} {item} {}", VERSIONS[item].load(Relaxed));
    let body = String::from_utf8(body.to_vec()).unwrap();
    if fails && body == right {
        counts.from_the_store.fetch_add(1, Relaxed);
    }
    assert!(status == StatusCode::OK && (body == right || fails && body == "instead"), "{status} {body}, not {right}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_paused_or_emptied_under_load_makes_no_answer_wrong_or_late() {
    let Some(mut redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let stored = layer(&store);
    let load = Load::start(&stored);
    load.goes_on(2_000).await;
    redis.pause();
    load.goes_on(2_000).await;
    redis.resume();
    load.goes_on(2_000).await;
    redis.kill();
    load.goes_on(2_000).await;
    redis.restart();
    load.goes_on(2_000).await;
    redis.restart_empty();
    load.goes_on(2_000).await;
    within(BACK, "a connection", || store.is_connected()).await;
    load.goes_on(2_000).await;
    within(BACK, "answers in the new server", || number(&redis, &["DBSIZE"]) > 0).await;
    let from_the_store = load.ends().await;
    assert!(from_the_store > 1_000, "{from_the_store} answers of the store");

    // What was removed while the server was away is removed now: another instance gets only what is right.
    sleep(Duration::from_secs(5)).await;
    let other = layer(&store);
    for (item, version) in VERSIONS.iter().enumerate() {
        for user in USERS {
            let request = Request::get(format!("/{item}")).header("x-user", user).body(Body::empty()).unwrap();
            if let Ok((body, _)) = known(&other, request).await {
                assert_eq!(body, format!("{user} {item} {}", version.load(Relaxed)));
            }
        }
    }
}
