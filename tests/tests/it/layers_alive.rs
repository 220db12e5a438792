//! Two layers of one kind and name are warned of, and so is a layer that is built per request.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use axum::{body::Body, http::Request, response::Response};
use backstop::{
    BulkheadLayer, CircuitBreakerLayer, FallbackChain, FaultLayer, LastKnownGoodLayer, Name, Provider, RetryLayer,
    TimeoutLayer, name,
};
use backstop_test::Logs;
use tracing::Level;

fn chain(name: Name) -> FallbackChain<Request<Body>, Response> {
    let provider = Provider::value(name!("static"), || async { Response::new(Body::empty()) });
    FallbackChain::builder(name).provider(provider).build().unwrap()
}

/// The warnings while `build` runs: kind and message.
fn warnings(build: impl FnOnce()) -> Vec<String> {
    let logs = Logs::up_to(Level::WARN).with_shared_names();
    let _guard = logs.listen();
    build();
    let ours = |event: &&backstop_test::LogEvent| event.target() == "backstop::layers";
    let kind = |event: &backstop_test::LogEvent| event.field("kind").unwrap_or_default().to_owned();
    logs.events().iter().filter(ours).map(kind).collect()
}

#[test]
fn two_layers_that_live_share_no_name_without_a_warning() {
    macro_rules! twice {
        ($kind:literal, $build:expr) => {
            let build = $build;
            let both = || (build(name!("shared")), build(name!("shared")));
            assert_eq!(warnings(|| drop(both())), [$kind]);
            assert_eq!(warnings(|| drop(both())), [""; 0], "once");
        };
    }
    twice!("circuit-breaker", CircuitBreakerLayer::new);
    twice!("bulkhead", BulkheadLayer::new);
    twice!("retry", RetryLayer::new);
    twice!("fallback", chain);
    twice!("fault", FaultLayer::new);
    twice!("last-known-good", LastKnownGoodLayer::new);
}

#[test]
fn clones_other_kinds_and_successors_may_share_it() {
    let build = || {
        let breaker = CircuitBreakerLayer::new(name!("alone"));
        drop((breaker.clone(), BulkheadLayer::new(name!("alone")), TimeoutLayer::new(name!("alone"))));
        drop(breaker);
        drop(CircuitBreakerLayer::new(name!("alone")));
    };
    assert_eq!(warnings(build), [""; 0]);
}

#[test]
fn a_layer_that_is_built_per_request_is_warned_of_once() {
    let build = || (0..1_000).for_each(|_| drop(RetryLayer::new(name!("per_request"))));
    assert_eq!(warnings(build), ["retry"]);
}
