//! A panic is one more failure where the chain was told so, and propagates where it wasn't.
#![allow(clippy::panic, clippy::unwrap_used, reason = "the tests are about panics, and a helper of a test may fail it")]

use std::{
    convert::Infallible,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use backstop_core::name;
use backstop_fallback::{Commit, FallbackChain, FallbackChainBuilder, FallbackLayer, Provider};
use bytes::Bytes;
use http_body::Frame;
use tokio_test::task::spawn;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::common::{Calls, Req, get, infallible, post, says, text};

fn handler() -> FallbackChainBuilder<bool, &'static str> {
    FallbackChain::builder("chain")
        .provider(Provider::from_fn(name!("first"), |in_call: bool| {
            assert!(!in_call, "in the call");
            async move { if in_call { Ok::<_, io::Error>("unreached") } else { panic!("in the {}", "poll") } }
        }))
        .provider(Provider::value(name!("last"), || async { "last" }))
}

fn panics<T>() -> Result<T, Infallible> {
    panic!("it always does")
}

#[tokio::test]
async fn a_provider_that_panics_has_failed_and_the_next_one_is_asked() {
    let chain = handler().catch_panics().build().unwrap();
    for (in_call, error) in [(true, "panicked: in the call"), (false, "panicked: in the poll")] {
        let answer = chain.execute(in_call).await.unwrap();
        assert_eq!((answer.value, answer.failures.len()), ("last", 1));
        let first = &answer.failures[0];
        assert_eq!((first.reason.as_str(), first.error.as_deref()), ("panic", Some(error)));
    }
}

#[tokio::test]
async fn unless_told_so_a_chain_lets_panics_through() {
    let chain = handler().build().unwrap();
    for in_call in [true, false] {
        let mut call = spawn(chain.execute(in_call));
        assert!(catch_unwind(AssertUnwindSafe(|| call.poll())).is_err());
    }
}

#[tokio::test]
async fn the_last_provider_may_panic_too() {
    let chain = FallbackChain::<(), ()>::builder("chain")
        .provider(Provider::from_fn(name!("only"), |()| async { panics::<()>() }))
        .catch_panics()
        .error_text(|_| None)
        .build()
        .unwrap();
    let failed = chain.execute(()).await.unwrap_err();
    assert_eq!(failed.failures()[0].reason.as_str(), "panic");
    assert_eq!(failed.failures()[0].error, None, "the panic's text is a text of an error");
}

#[tokio::test]
async fn what_panicked_may_have_processed_the_request() {
    let asked = Calls::default();
    let counted = asked.clone();
    let chain = handler()
        .provider(Provider::from_fn(name!("again"), move |_| {
            counted.add();
            async { infallible("charged twice") }
        }))
        .repeat_only_if(|_| false)
        .catch_panics()
        .build()
        .unwrap();
    for in_call in [true, false] {
        let failed = chain.execute(in_call).await.unwrap_err();
        let reasons: Vec<_> = failed.failures().iter().map(|failure| failure.reason.as_str()).collect();
        assert_eq!(reasons, ["panic", "not-eligible", "not-eligible"]);
    }
    assert_eq!(asked.count(), 0);
}

/// Where the primary panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum In {
    Call,
    FirstPoll,
    LaterPoll,
    Body,
}

#[derive(Clone)]
struct Primary(In);

impl Service<Req> for Primary {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        let Self(at) = *self;
        assert_ne!(at, In::Call);
        Box::pin(async move {
            if at == In::LaterPoll {
                tokio::task::yield_now().await;
            }
            assert_eq!(at, In::Body);
            Ok(Response::new(Body::new(PanickingBody)))
        })
    }
}

struct PanickingBody;

impl http_body::Body for PanickingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("in the body")
    }
}

fn layer(chain: FallbackChainBuilder<Req, Response>) -> FallbackLayer<Req, Response> {
    let chain = chain.commit_on(Commit::FirstFrame).catch_panics().build().unwrap();
    FallbackLayer::new(name!("primary"), chain)
}

#[tokio::test]
async fn behind_a_layer_a_panic_of_the_primary_is_its_failure() {
    for at in [In::Call, In::FirstPoll, In::LaterPoll, In::Body] {
        let layer = layer(FallbackChain::builder("chain").provider(says(name!("last"))));
        assert_eq!(text(layer.layer(Primary(at)).oneshot(get()).await.unwrap()).await, "last", "{at:?}");
        let episode = layer.handle().status().episode.unwrap();
        assert_eq!(episode.last_reason.as_str(), "panic", "{at:?}");
    }
}

#[tokio::test]
async fn behind_a_layer_a_panic_may_have_processed_the_request_too() {
    let provider = || {
        let service = service_fn(|_: Req| async { infallible(Response::new(Body::from("charged twice"))) });
        Provider::service(name!("again"), service)
    };
    for at in [In::Call, In::FirstPoll, In::LaterPoll, In::Body] {
        let layer = layer(FallbackChain::builder("chain").provider(provider()));
        let answer = layer.layer(Primary(at)).oneshot(post("pay")).await.unwrap();
        assert_eq!(answer.status(), 503, "{at:?}");
    }
}

#[tokio::test]
async fn a_forced_provider_that_panics_leaves_the_request_to_the_primary() {
    let provider = Provider::from_fn(name!("broken"), |_: Req| async { panics::<Response>() });
    let layer = layer(FallbackChain::builder("chain").provider(provider));
    layer.handle().force("broken", 1.0).unwrap();
    let primary = service_fn(|_: Req| async { infallible(Response::new(Body::from("primary"))) });
    assert_eq!(text(layer.layer(primary).oneshot(get()).await.unwrap()).await, "primary");
}
