//! What a dashboard shows.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Body;
use backstop_core::{
    Deadline, Scope, SetBy,
    scope::{self, InScope},
};
use backstop_timeout::{DeadlineLayer, PropagateDeadlineLayer, TimeoutLayer, UntilBodyEnd};
use http::{Request, Response};
use http_body_util::BodyExt;
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::scripted::{Act, Scripted};

type Values = Arc<Mutex<BTreeMap<String, u64>>>;

#[derive(Clone, Default)]
struct Recorded(Values);

struct One(Values, String);

impl CounterFn for One {
    fn increment(&self, by: u64) {
        *self.0.lock().unwrap().entry(self.1.clone()).or_default() += by;
    }

    fn absolute(&self, _: u64) {}
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Counter::from_arc(Arc::new(One(Arc::clone(&self.0), format!("{}{{{}}}", key.name(), labels.join(",")))))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn hung() -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone {
    service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>())
}

fn quick(body: fn() -> Body) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone {
    service_fn(move |_: Request<Body>| async move { Ok::<_, Infallible>(Response::new(body())) })
}

#[tokio::test(start_paused = true)]
async fn every_limit_that_passed_is_counted_by_the_layers_name_and_nothing_else_is() {
    let recorded = Recorded::default();
    let limit = Duration::from_millis(10);
    let request = || Request::new(Body::empty());

    let edge = DeadlineLayer::builder("edge").limit(limit).build().unwrap();
    let timeout = TimeoutLayer::builder("ml_service").limit(limit).build().unwrap();
    let covers = TimeoutLayer::builder("body").limit(limit).cover(UntilBodyEnd).build().unwrap();
    let propagate = PropagateDeadlineLayer::new(backstop_timeout::name!("sends")).layer(quick(Body::empty));
    // Installed when the layers are there already.
    let _guard = metrics::set_default_local_recorder(&recorded);
    edge.layer(quick(Body::empty)).oneshot(request()).await.unwrap();
    timeout.layer(quick(Body::empty)).oneshot(request()).await.unwrap();
    assert_eq!(*recorded.0.lock().unwrap(), BTreeMap::new(), "calls that are in time");

    edge.layer(hung()).oneshot(request()).await.unwrap();
    edge.layer(hung()).oneshot(request()).await.unwrap();
    timeout.layer(hung()).oneshot(request()).await.unwrap();
    let response =
        covers.layer(quick(|| Scripted::new([Act::Data("1"), Act::Hang]).axum())).oneshot(request()).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    let mut late = Scope::narrowed(Deadline::after(limit, SetBy::Caller));
    let late = late.enter(scope::handle);
    propagate.oneshot(request()).in_scope(late).await.unwrap();

    let counted = |name: &str, n| (format!("deadline_exceeded_total{{name={name}}}"), n);
    let expected = [counted("edge", 2), counted("ml_service", 1), counted("body", 1), counted("sends", 1)];
    assert_eq!(*recorded.0.lock().unwrap(), BTreeMap::from(expected));
}
