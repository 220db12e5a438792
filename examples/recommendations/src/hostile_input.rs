//! Parsing bytes from outside takes linear time, in the app's own parsers too.
//!
//! `tests/tests/hostile_input.rs` has the same test for the layers.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use backstop::{CircuitBreakerLayer, DeadlineHeader, name};
use backstop_tests::instructions::{Case, superlinear};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::runtime::{Builder, Runtime};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt, service_fn};

use crate::admin::{self, Guard};
use crate::app::app;
use crate::chaos::{Chaos, Place, StoreSwitch};
use crate::circuits::Circuits;
use crate::dependency::Dependency;
use crate::edge::Edge;
use crate::features::features;
use crate::health::health;
use crate::jobs::Queues;
use crate::orders::Orders;
use crate::rates::Rates;
use crate::recommender::Recommender;
use crate::sources::fetch;
use crate::upstream::{Ledger, Simulated, Upstream};

/// Paths and header fields.
const TEXTS: [fn(usize) -> String; 9] = [
    |size| "a".repeat(size),
    |size| "a/".repeat(size / 2),
    |size| "/".repeat(size),
    |size| "%61".repeat(size / 3),
    |size| "%FF".repeat(size / 3),
    |size| "%".repeat(size),
    |size| "a=b&".repeat(size / 4),
    |size| "a:".repeat(size / 2),
    |size| format!("[{}]", "0:".repeat(size / 2)),
];

/// Values of header fields that start well.
const FIELDS: [fn(usize) -> String; 7] = [
    |size| format!("http://{}", "a.".repeat(size / 2)),
    |size| format!("http://127.0.0.1:{}", "9".repeat(size)),
    |size| format!("http://[{}", "[".repeat(size)),
    |size| format!("{}@127.0.0.1", "a:".repeat(size / 2)),
    |size| format!("Bearer {}", " ".repeat(size)),
    |size| format!("Bearer {}", "s3cret".repeat(size / 6)),
    |size| format!("application/json{}", ";a=\"".repeat(size / 4)),
];

/// JSON, and what looks like it.
const BODIES: [fn(usize) -> String; 19] = [
    |size| "[".repeat(size),
    |size| "{\"a\":".repeat(size / 5),
    |size| "9".repeat(size),
    |size| format!("0.{}1", "0".repeat(size)),
    |size| format!("1e{}", "9".repeat(size)),
    |size| " ".repeat(size),
    |size| format!("{{\"fault\":\"none\"}}{}", " ".repeat(size)),
    |size| format!("{{\"fault\":\"{}\"}}", "a".repeat(size)),
    |size| format!("{{\"fault\":\"{}\"}}", "\\u0000".repeat(size / 6)),
    |size| format!("{{\"fault\":\"{}\"}}", "\\uD800".repeat(size / 6)),
    |size| format!("{{\"fault\":[{}0]}}", "0,".repeat(size / 2)),
    |size| format!("{{\"fault\":\"none\",\"rate\":{}}}", "9".repeat(size)),
    |size| format!("{{\"do\":\"reset\"{}}}", ",\"do\":\"reset\"".repeat(size / 13)),
    |size| format!("{{{}\"z\":0}}", members(size)),
    |size| format!("{{\"items\":[{}{}]}}", "[],".repeat(size / 3), ITEM),
    |size| format!("{{\"items\":[{}{ITEM}]}}", format!("{ITEM},").repeat(size / (ITEM.len() + 1))),
    |size| format!("{{{}\"items\":[{ITEM}]}}", members(size)),
    |size| format!("{{\"items\":[{{\"id\":\"{}\",\"name\":\"\",\"score\":0}}]}}", "\\n".repeat(size / 2)),
    |size| format!("{{\"items\":[{{\"id\":\"\",\"name\":\"\",\"score\":0.{}}}]}}", "3".repeat(size)),
];

const ITEM: &str = r#"{"id":"p1","name":"thing","score":0.5}"#;

fn members(size: usize) -> String {
    (0..size / 10).map(|i| format!("\"k{i:04}\":0,")).collect()
}

/// Reads requests as the app and its admin listener do.
struct Servers {
    app: Router,
    admin: Router,
    guarded_admin: Router,
    _upstreams: Chaos,
}

const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3001);

impl Servers {
    fn start() -> Self {
        let simulated = Upstream::ALL.map(|upstream| (upstream, Simulated::start(upstream).unwrap()));
        let [ml, catalog, payment, mail, rates, more_rates] =
            [0, 1, 2, 3, 4, 5].map(|n| format!("http://{}", simulated[n].1.address()).parse().unwrap());
        let chaos = Chaos::new(
            simulated.map(|(upstream, simulated)| (upstream, Place::Simulated(simulated))),
            StoreSwitch::default(),
        );
        let recommender = Recommender::new(&ml, &catalog, Duration::from_secs(5)).unwrap();
        let orders = Orders::new(&payment, &mail, Queues::in_memory().unwrap(), Duration::from_secs(5)).unwrap();
        let rates = Rates::new(&rates, &more_rates, Duration::from_secs(5)).unwrap();
        let circuits = Circuits::new([CircuitBreakerLayer::new(name!("ml_service")).handle()]);
        let health = health(&circuits, [], Duration::ZERO).unwrap();
        let features = features(&health, None).unwrap();
        let listens = SocketAddr::from(([127, 0, 0, 1], 3000));
        let admin = |token: Option<&str>| {
            let guard = Guard::new(listens, ADMIN, token.map(|token| token.parse().unwrap()));
            admin::router(chaos.clone(), circuits.clone(), features.handle(), &health, guard)
        };
        Self {
            app: app(
                recommender,
                &orders,
                rates,
                &Edge::new(Some(DeadlineHeader::EnvoyExpectedRqTimeoutMs)).unwrap(),
                &health,
            )
            .unwrap(),
            admin: admin(None),
            guarded_admin: admin(Some("s3cret")),
            _upstreams: chaos,
        }
    }
}

/// A request that the admin listener takes if nothing about it is changed.
fn to_admin(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", ADMIN.to_string()).header("content-type", "application/json");
    request.body(body.into()).unwrap()
}

/// Prepares these requests to `server`.
fn requests<'a>(runtime: &'a Runtime, server: &Router, requests: Vec<Request<Body>>) -> impl FnOnce() + use<'a> {
    let ready: Vec<_> = requests.into_iter().map(|request| (server.clone(), request)).collect();
    move || {
        for (server, request) in ready {
            runtime.block_on(async { server.oneshot(request).await.unwrap().into_body().collect().await.unwrap() });
        }
    }
}

/// Targets below `path`, and after it as a query. None has a valid user id: that would call an upstream, whose instructions
/// depend on time.
fn targets(path: &str, size: usize) -> Vec<Uri> {
    let texts = TEXTS.iter().map(|text| text(size));
    let targets = texts.flat_map(|text| [format!("{path}{text}"), format!("{path}.?{text}")]);
    targets.filter_map(|target| target.parse().ok()).collect()
}

/// A body that comes a byte at a time.
struct ByteByByte(Bytes);

impl http_body::Body for ByteByByte {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let end = self.0.len().min(1);
        let byte = self.0.split_to(end);
        Poll::Ready((!byte.is_empty()).then_some(Ok(Frame::data(byte))))
    }
}

fn byte_by_byte(size: usize) -> Body {
    Body::new(ByteByByte(format!("{{{}\"fault\":\"none\",\"items\":[{ITEM}]}}", members(size)).into()))
}

/// Prepares the reading of these answers of an upstream.
fn answers(runtime: &Runtime, bodies: Vec<Body>) -> impl FnOnce() {
    move || {
        for body in bodies {
            // Each is asked for once.
            let body = Arc::new(Mutex::new(Some(body)));
            let service = service_fn(move |_| {
                let body = body.lock().unwrap().take().unwrap();
                async move { Ok::<_, BoxError>(Response::new(body)) }
            });
            let dependency = Dependency::answered_by(BoxCloneSyncService::new(service));
            // Most of them are no recommendations.
            _ = runtime.block_on(fetch(&dependency, Uri::from_static("/")));
        }
    }
}

#[test]
fn parsing_what_comes_from_outside_takes_linear_time() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (runtime, servers) = (&runtime, &runtime.block_on(async { Servers::start() }));
    let mut cases = vec![
        Case::new("a user id", |size| {
            let asked = targets("/api/recommendations/", size).into_iter();
            requests(runtime, &servers.app, asked.map(|uri| Request::get(uri).body(Body::empty()).unwrap()).collect())
        }),
        Case::new("another path of the app", |size| {
            let asked = targets("/", size).into_iter();
            requests(runtime, &servers.app, asked.map(|uri| Request::get(uri).body(Body::empty()).unwrap()).collect())
        }),
        Case::new("a simulated upstream's path", |size| {
            let paths = targets("/v1/recommendations/", size);
            || paths.into_iter().for_each(|uri| _ = Upstream::Ml.get(uri.path(), &Ledger::default()))
        }),
        Case::new("the answer of an upstream", |size| {
            answers(runtime, BODIES.iter().map(|body| Body::from(body(size))).collect())
        }),
        Case::new("the answer of an upstream, byte by byte", |size| answers(runtime, vec![byte_by_byte(size)])),
    ];
    for (method, path) in [("PUT", "/chaos/"), ("POST", "/circuits/"), ("PUT", "/features/")] {
        cases.push(Case::new(format!("a name below {path}"), move |size| {
            let asked = targets(path, size).into_iter();
            let asked = asked.map(|uri| to_admin(method, &uri.to_string(), "{\"fault\":\"none\"}"));
            requests(runtime, &servers.admin, asked.collect())
        }));
    }
    for (method, path) in
        [("PUT", "/chaos/ml"), ("POST", "/circuits/ml_service"), ("PUT", "/features/ml_recommendations")]
    {
        cases.push(Case::new(format!("the body of {method} {path}"), move |size| {
            let bodies = BODIES.iter().map(|body| to_admin(method, path, body(size)));
            let slow = to_admin(method, path, byte_by_byte(size));
            requests(runtime, &servers.admin, bodies.chain([slow]).collect())
        }));
    }
    for name in ["host", "origin", "authorization", "content-type", "access-control-request-method"] {
        cases.push(Case::new(format!("{name} of an admin request"), move |size| {
            let lines = TEXTS.iter().chain(&FIELDS).map(|text| {
                let mut request = to_admin("PUT", "/chaos/ml", "{\"fault\":\"none\"}");
                request.headers_mut().insert(name, text(size).parse().unwrap());
                request
            });
            let many = {
                let mut request = to_admin("OPTIONS", "/chaos/ml", "");
                let line = HeaderValue::from_static("http://127.0.0.1:3000");
                (0..size / 32).for_each(|_| _ = request.headers_mut().append(name, line.clone()));
                request
            };
            let server = if name == "authorization" { &servers.guarded_admin } else { &servers.admin };
            requests(runtime, server, lines.chain([many]).collect())
        }));
    }
    cases.push(Case::new("the authority of an admin request's target", |size| {
        let authorities = TEXTS.iter().map(|text| format!("http://{}/chaos", text(size)));
        let authorities = authorities.filter(|uri| uri.parse::<Uri>().is_ok());
        requests(runtime, &servers.admin, authorities.map(|uri| to_admin("GET", &uri, "")).collect())
    }));
    let taken = runtime.block_on(servers.admin.clone().oneshot(to_admin("PUT", "/chaos/ml", "{\"fault\":\"none\"}")));
    assert_eq!(taken.unwrap().status(), StatusCode::OK, "the guard lets what is read through");

    let slow = superlinear("hostile_input::parsing_what_comes_from_outside_takes_linear_time", &cases);
    if let Some(slow) = slow {
        assert!(slow.is_empty(), "{}", slow.join("\n"));
    }
}
