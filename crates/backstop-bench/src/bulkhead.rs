//! The bulkhead, below its limit.

use axum::body::Body;
use backstop::{BulkheadLayer, name};
use http::{Request, Response};
use tower::{Layer, Service, layer::util::Identity, limit::ConcurrencyLimitLayer};

use crate::{
    http::{Upstream, calls, calls_through, request},
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section = Section {
    name: "bulkhead",
    tables: &[
        Table::new("Until the headers", until_headers),
        Table::new("Until the end of a body of 100 bytes", until_body_end),
    ],
    others: &[],
};

fn until_headers() -> Vec<Contender> {
    let ours = || BulkheadLayer::builder("bench").until_headers().build().expect("a configuration");
    vec![
        Contender::new("bare", || calls_through(Identity::new())),
        Contender::new("ours", move || calls_through(ours())).target("30 ns, 0 allocations"),
        Contender::new("tower's ConcurrencyLimit", || calls_through(ConcurrencyLimitLayer::new(100))),
    ]
}

fn until_body_end() -> Vec<Contender> {
    vec![
        Contender::new("bare", || answering_through(Identity::new())),
        Contender::new("ours", || answering_through(BulkheadLayer::new(name!("bench")))).target("1 allocation"),
    ]
}

fn answering_through<L>(layer: L) -> impl FnMut(u64) + Send + 'static
where
    L: Layer<Upstream<Body>, Service: Service<Request<Body>, Response = Response<Body>> + Send + 'static> + 'static,
{
    let upstream = Upstream::answering(request(), || Response::new(Body::from(&[b'x'; 100][..])));
    calls(upstream, layer.layer(upstream))
}
