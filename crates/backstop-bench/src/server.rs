//! The layers in an axum server: what a request costs over a handler that does nothing.
//!
//! Over a pipe in memory, where valgrind counts instructions exactly, and over loopback, where the server's CPU time includes
//! the kernel's.

mod loopback;
mod pipe;

use axum::{Router, body::Body, routing::get};
use backstop::{
    CircuitBreakerLayer, DeadlineLayer, DegradationHeaderLayer, FallbackChain, FallbackLayer, Provider, RetryLayer,
    Standard, name,
};
use http::{Request, Response};
use tower::{ServiceBuilder, layer::util::Identity};

use crate::{
    http::{ok, request_text},
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section = Section {
    name: "server",
    tables: &[Table::new("A request with 10 headers over a pipe in memory", over_a_pipe)],
    others: &[loopback::print],
};

/// A server with one route.
#[derive(Clone, Copy)]
struct Server {
    name: &'static str,
    /// At most so many times the CPU time of the bare handler, over loopback.
    target: &'static str,
    router: fn() -> Router,
}

/// The first is the base.
const SERVERS: &[Server] = &[
    Server { name: "bare handler", target: "", router: bare },
    Server { name: "a layer that does nothing", target: "", router: || nothing(1) },
    Server { name: "four of them, by four calls of `layer`", target: "", router: || nothing(4) },
    Server { name: "header, fallback, retry, circuit breaker", target: "1.05", router: || four(replica()) },
    Server { name: "the same, with a provider that needs no request", target: "", router: without_request },
    Server { name: "header, deadline, fallback, standard stack", target: "1.10", router: whole },
];

fn bare() -> Router {
    Router::new().route("/", get(|| async {}))
}

fn nothing(layers: usize) -> Router {
    (0..layers).fold(bare(), |router, _| router.layer(Identity::new()))
}

fn without_request() -> Router {
    four(Provider::value(name!("usual"), || async { ok() }))
}

fn four(provider: Provider<Request<Body>, Response<Body>>) -> Router {
    let layers = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(fallback(provider))
        .layer(RetryLayer::new(name!("bench")))
        .layer(CircuitBreakerLayer::new(name!("bench")));
    bare().layer(layers)
}

fn whole() -> Router {
    let layers = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(DeadlineLayer::new(name!("bench")))
        .layer(fallback(replica()))
        .layer(Standard::new(name!("bench")));
    bare().layer(layers)
}

fn replica() -> Provider<Request<Body>, Response<Body>> {
    Provider::from_fn(name!("replica"), |_: Request<Body>| async { ok() })
}

fn fallback(provider: Provider<Request<Body>, Response<Body>>) -> FallbackLayer<Request<Body>, Response<Body>> {
    let chain = FallbackChain::builder("instead").provider(provider).build().expect("a chain");
    FallbackLayer::new(name!("bench"), chain)
}

fn over_a_pipe() -> Vec<Contender> {
    let contender = |server: &Server| Contender::new(server.name, pipe::calls(*server));
    SERVERS.iter().map(contender).collect()
}

/// What a client writes.
fn written() -> Vec<u8> {
    request_text("/").into_bytes()
}

/// Whether this is the whole of a response without a body.
fn is_answered(read: &[u8]) -> bool {
    read.ends_with(b"\r\n\r\n")
}
