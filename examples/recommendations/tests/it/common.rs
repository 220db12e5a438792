//! The app on free ports in paused time, and a client that measures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use recommendations::{Config, Running, start};
use serde_json::{Value, json};
use tokio::task::yield_now;
use tokio::time::{Instant, advance, sleep, timeout};

/// The chain's total.
pub(crate) const TOTAL: Duration = Duration::from_millis(800);
/// The limit of one attempt.
pub(crate) const ATTEMPT: Duration = Duration::from_millis(90);
/// How long the tests' circuits stay open.
pub(crate) const WAIT: Duration = Duration::from_millis(200);
/// A test that waits for longer fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many turns of the runtime it takes until all tasks wait for time to pass, with some to spare.
pub(crate) const TURNS: usize = 64;

/// The running app, and a client of it.
pub(crate) struct App {
    pub(crate) running: Running,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl App {
    pub(crate) async fn start() -> Self {
        Self::with(Config { circuit_wait: WAIT, ..Config::on_free_ports() }).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        Self::of(start(config).await.unwrap())
    }

    pub(crate) fn of(running: Running) -> Self {
        Self { running, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Sends a request and reads the whole answer, while time passes.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        passing_time(self.answer(request)).await
    }

    /// The same, for callers who share the time that [`passing_time`] lets pass.
    pub(crate) async fn answer(&self, request: Request<Full<Bytes>>) -> Answer {
        let began = Instant::now();
        let (head, body) = self.client.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body, took: began.elapsed() }
    }

    async fn ask(&self, server: SocketAddr, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{server}{path}"));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Sends a GET to the app.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(self.running.app(), Method::GET, path, None).await
    }

    pub(crate) async fn method(&self, method: Method, path: &str) -> Answer {
        self.ask(self.running.app(), method, path, None).await
    }

    pub(crate) async fn recommend(&self, user: &str) -> Answer {
        self.get(&format!("/api/recommendations/{user}")).await
    }

    /// Sends a request to the admin listener.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.ask(self.running.admin(), method, path, body).await
    }

    /// Sets an upstream's fault, as an operator does.
    pub(crate) async fn set_fault(&self, upstream: &str, fault: Value) {
        let answer = self.admin(Method::PUT, &format!("/chaos/{upstream}"), Some(fault)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }

    pub(crate) async fn fail(&self, upstream: &str) {
        self.set_fault(upstream, json!({ "fault": "status" })).await;
    }

    pub(crate) async fn mend(&self, upstream: &str) {
        self.set_fault(upstream, json!({ "fault": "none" })).await;
    }

    /// Acts on a circuit, as an operator does.
    pub(crate) async fn act(&self, circuit: &str, action: &str) {
        let answer = self.admin(Method::POST, &format!("/circuits/{circuit}"), Some(json!({ "do": action }))).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }

    /// One circuit in the answer to `GET /circuits`.
    pub(crate) async fn circuit(&self, name: &str) -> Value {
        let list = self.admin(Method::GET, "/circuits", None).await.json();
        let named = list["circuits"].as_array().unwrap().iter().find(|circuit| circuit["name"] == name);
        named.unwrap_or_else(|| panic!("no circuit {name} in {list}")).clone()
    }

    /// What the public sees, once the circuits were read again: every 500 ms.
    pub(crate) async fn health(&self) -> Value {
        passing_time(sleep(Duration::from_millis(501))).await;
        let answer = self.get("/health").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The time from before the request was sent until the body was read.
    pub(crate) took: Duration,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// How long the app says that it took.
    pub(crate) fn latency_ms(&self) -> f64 {
        self.json()["latency_ms"].as_f64().unwrap()
    }

    /// The source that the body names.
    pub(crate) fn source(&self) -> String {
        self.json()["source"].as_str().unwrap().to_owned()
    }

    /// Asserts recommendations within the chain's total, whose labels match their source.
    #[track_caller]
    pub(crate) fn assert_honest(&self) {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        assert!(self.took <= TOTAL, "took {:?}", self.took);
        let body = self.json();
        let latency = Duration::from_secs_f64(self.latency_ms() / 1000.0);
        assert!(latency <= self.took, "says {latency:?}, took {:?}", self.took);
        assert!(!body["items"].as_array().unwrap().is_empty());

        let cacheable = self.header(CACHE_CONTROL.as_str());
        let labels = [self.header("x-fallback-source"), self.header("x-data-freshness")];
        let source = self.source();
        match source.as_str() {
            "ml_service" => {
                assert_eq!(labels, [None, None]);
                assert!(!self.headers.contains_key(AGE), "{self:?}");
                assert_eq!(cacheable, Some("private, no-cache"));
            }
            "cached" => {
                assert_eq!(labels, [Some("cached"), Some("stale")]);
                assert!(self.age().is_some(), "{self:?}");
                assert_eq!(cacheable, Some("private, no-cache"));
            }
            "popular_items" | "static_bestsellers" => {
                assert_eq!(labels, [Some(source.as_str()), Some("degraded")]);
                assert!(!self.headers.contains_key(AGE), "{self:?}");
                assert_eq!(cacheable, Some("no-store"));
            }
            other => panic!("unknown source {other}"),
        }
    }

    /// The same, from this source.
    #[track_caller]
    pub(crate) fn assert_from(&self, source: &str) {
        self.assert_honest();
        assert_eq!(self.source(), source, "{self:?}");
    }

    pub(crate) fn age(&self) -> Option<u64> {
        self.header("age").map(|age| age.parse().unwrap())
    }

    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        assert_eq!([self.header("x-fallback-source"), self.header("x-data-freshness")], [None, None]);
        let problem = self.json();
        assert_eq!(problem["status"], status);
        problem
    }
}

/// Runs `future` in paused time, and lets a millisecond pass whenever nothing else can happen.
///
/// The app, its upstreams and the client are tasks of the test's own thread, over loopback. So each limit ends to the
/// millisecond, however busy the machine is.
pub(crate) async fn passing_time<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let latest = Instant::now() + PATIENCE;
    while Instant::now() < latest {
        // A hop over loopback takes a few turns of the runtime.
        for _ in 0..TURNS {
            tokio::select! {
                biased;
                output = &mut future => return output,
                () = yield_now() => {}
            }
        }
        advance(Duration::from_millis(1)).await;
    }
    panic!("no answer in {PATIENCE:?}");
}

/// Asks until there is an answer, and fails the test if that takes too long.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Serves this router on a free port, and returns its URL.
#[expect(clippy::disallowed_methods, reason = "it ends with the test")]
pub(crate) async fn upstream(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

pub(crate) fn body(text: impl Into<Bytes>) -> Full<Bytes> {
    Full::new(text.into())
}
