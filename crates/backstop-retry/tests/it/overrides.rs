//! What a request says of itself.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{BoxError, Upstream, get, ml, with_method};
use axum::body::Body;
use backstop_kit::{Client, CopyRequest, HttpKept, Keep, RequestFacts, client};
use backstop_retry::{HttpCopy, Repeat, RetryLayer};
use http::{Method, Request};
use tower::{Layer, Service, ServiceExt};

async fn calls<E: 'static, L>(layer: &L, upstream: Upstream<E>, request: Request<Body>) -> usize
where
    L: Layer<Client<Upstream<E>>>,
    L::Service: Service<Request<Body>>,
{
    _ = layer.layer(client(upstream.clone())).oneshot(request).await;
    upstream.calls()
}

fn failing() -> Upstream {
    Upstream::statuses([503])
}

fn saying(repeat: Repeat, method: Method) -> Request<Body> {
    let mut request = with_method(method);
    request.extensions_mut().insert(repeat);
    request
}

#[tokio::test(start_paused = true)]
async fn a_request_that_says_it_is_safe_is_repeated_whatever_its_method() {
    let layer = RetryLayer::new(ml());
    for method in [Method::POST, Method::PATCH, Method::GET] {
        assert_eq!(calls(&layer, failing(), saying(Repeat::Safe, method)).await, 3);
    }
    let connect = saying(Repeat::Safe, Method::CONNECT);
    assert_eq!(calls(&layer, failing(), connect).await, 1, "a connection isn't a request");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_says_never_is_not_repeated_whatever_else_allows_it() {
    let layer = RetryLayer::builder("ml").trust_idempotency_key().repeat_if(|_: &Request<Body>| true).build().unwrap();
    let refusing =
        Upstream::<BoxError>::new(|_, _| async { Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()) });
    let mut keyed = saying(Repeat::Never, Method::POST);
    keyed.headers_mut().insert("idempotency-key", "7".parse().unwrap());
    assert_eq!(calls(&layer, refusing, keyed).await, 1);
    assert_eq!(calls(&layer, failing(), saying(Repeat::Never, Method::GET)).await, 1);
    assert_eq!(calls(&layer, failing(), get()).await, 3);
}

/// Counts what it keeps.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl CopyRequest<Request<Body>> for Counting {
    type Kept = HttpKept<Body>;

    fn facts(&self, request: &Request<Body>) -> RequestFacts {
        HttpCopy::default().facts(request)
    }

    fn keep(&self, request: &mut Request<Body>, facts: &mut RequestFacts, keep: Keep) -> Option<Self::Kept> {
        self.0.fetch_add(1, Ordering::Relaxed);
        HttpCopy::default().keep(request, facts, keep)
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_a_request_that_says_never() {
    let counting = Counting::default();
    let layer = RetryLayer::builder("ml").copy_requests(counting.clone()).build().unwrap();
    assert_eq!(calls(&layer, failing(), saying(Repeat::Never, Method::GET)).await, 1);
    assert_eq!(counting.0.load(Ordering::Relaxed), 0);
    assert_eq!(calls(&layer, failing(), get()).await, 3);
    assert_eq!(counting.0.load(Ordering::Relaxed), 1);
}
