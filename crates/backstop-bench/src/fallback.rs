//! The fallback, where the primary succeeds, and its peers.

use std::convert::Infallible;

use axum::body::Body;
use backstop::{FallbackChain, FallbackLayer, Provider, name};
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::Full;
use tower::{Layer, Service, layer::util::Identity};

use crate::{
    http::{Upstream, calls_of, calls_through, ok},
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section = Section {
    name: "fallback",
    tables: &[
        Table::new("Primary succeeds, the provider needs a request with 10 headers", with_request),
        Table::new("Primary succeeds, the provider needs none", without_request),
    ],
    others: &[],
};

fn with_request() -> Vec<Contender> {
    let replica = || Provider::from_fn(name!("replica"), |_: Request<Body>| async { ok() });
    let head_only = || Provider::head(name!("replica"), |_: Parts| async { ok() });
    vec![
        Contender::new("bare", || calls_through(Identity::new())),
        Contender::new("ours", move || calls_through(ours(replica()))).target("120 ns, 2 allocations"),
        Contender::new("ours, the head alone", move || calls_through(ours(head_only())))
            .target("120 ns, 2 allocations"),
        Contender::new("tower-resilience", || {
            calls_of(|upstream: Upstream<Full<Bytes>>| {
                tower_resilience_fallback::FallbackLayer::builder()
                    .service(|_: Request<Full<Bytes>>| async { Ok::<_, Infallible>(ok()) })
                    .handle_response(is_server_error)
                    .build()
                    .layer(upstream)
            })
        }),
    ]
}

fn without_request() -> Vec<Contender> {
    let usual = || Provider::value(name!("usual"), || async { ok() });
    vec![
        Contender::new("bare", || calls_through(Identity::new())),
        Contender::new("ours", move || calls_through(ours(usual()))).target("40 ns, 0 allocations"),
        Contender::new("tower-resilience", || {
            calls_of(|upstream: Upstream<Full<Bytes>>| {
                tower_resilience_fallback::FallbackLayer::<Request<Full<Bytes>>, _, Infallible>::builder()
                    .value_fn(ok)
                    .handle_response(is_server_error)
                    .build()
                    .layer(upstream)
            })
        }),
        Contender::new("seatbelt", || calls_of(seatbelt)),
    ]
}

fn ours(provider: Provider<Request<Body>, Response<Body>>) -> FallbackLayer<Request<Body>, Response<Body>> {
    let chain = FallbackChain::builder("instead").provider(provider).build().expect("a chain");
    FallbackLayer::new(name!("bench"), chain)
}

fn is_server_error<B>(response: &Response<B>) -> bool {
    response.status().is_server_error()
}

/// Its fallback isn't given the request.
fn seatbelt(upstream: Upstream<Body>) -> impl Service<Request<Body>, Response = Response<Body>> + Send {
    type Answer = Result<Response<Body>, Infallible>;

    let context = seatbelt::ResilienceContext::<Request<Body>, Answer>::new(tick::Clock::new_tokio());
    seatbelt::fallback::Fallback::layer("bench", &context)
        .should_fallback(|answer: &Answer| answer.as_ref().is_ok_and(is_server_error))
        .fallback(|_, _| Ok(ok()))
        .layer(upstream)
}
