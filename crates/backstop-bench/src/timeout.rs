//! The limits of time, where the service is ready at once.

use std::time::Duration;

use axum::body::Body;
use backstop::{DeadlineHeader, DeadlineLayer, RetryLayer, TimeoutLayer, name};
use http::HeaderValue;
use tower::{Layer, ServiceBuilder, layer::util::Identity};

use crate::{
    http::{Upstream, calls, calls_through, late_calls_through, request},
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section = Section {
    name: "timeout",
    tables: &[Table::new("Answered at once", contenders), Table::new("Waited for, with a timer made", late)],
    others: &[],
};

fn contenders() -> Vec<Contender> {
    vec![
        Contender::new("bare", || calls_through(Identity::new())),
        Contender::new("ours, timeout", || calls_through(TimeoutLayer::new(name!("bench"))))
            .target("35 ns, 0 allocations"),
        Contender::new("ours, deadline, the header isn't sent", || calls_through(deadline()))
            .target("80 ns, 0 allocations"),
        Contender::new("ours, deadline, the header is sent", || {
            let mut request = request();
            request.headers_mut().insert("x-envoy-expected-rq-timeout-ms", HeaderValue::from_static("250"));
            let upstream = Upstream::<Body>::new(request);
            calls(upstream, deadline().layer(upstream))
        })
        .target("80 ns, 0 allocations"),
        Contender::new("tower::timeout", || calls_through(tower::timeout::TimeoutLayer::new(Duration::from_secs(1)))),
    ]
}

fn late() -> Vec<Contender> {
    let limit = Duration::from_secs(1);
    vec![
        Contender::new("bare", || late_calls_through(Identity::new())),
        Contender::new("ours, timeout", || late_calls_through(TimeoutLayer::new(name!("bench")))),
        Contender::new("ours, deadline around retry around timeout", || {
            late_calls_through(
                ServiceBuilder::new()
                    .layer(deadline())
                    .layer(RetryLayer::new(name!("bench")))
                    .layer(TimeoutLayer::new(name!("bench"))),
            )
        }),
        Contender::new("tower::timeout", move || late_calls_through(tower::timeout::TimeoutLayer::new(limit))),
    ]
}

fn deadline() -> DeadlineLayer {
    let trusted = DeadlineHeader::EnvoyExpectedRqTimeoutMs;
    DeadlineLayer::builder("bench").trust(trusted).build().expect("a configuration")
}
