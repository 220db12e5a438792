//! The layers while a service drains, in paused time.

use std::{convert::Infallible, time::Duration};

use axum::{extract::Request, response::Response};
use backstop::{CircuitBreakerLayer, CircuitState, FallbackChain, FallbackLayer, Health, Provider, TimeoutLayer, name};
use backstop_tests::http::{get, read};
use tokio::time::{Instant, advance};
use tower::{ServiceBuilder, ServiceExt, service_fn};

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the call runs while the drain begins")]
async fn a_call_that_hangs_when_the_drain_begins_is_answered_by_the_fallback_and_opens_no_circuit() {
    let minute = Duration::from_secs(60);
    let drain = Health::builder().build().unwrap().drain();
    let chain = FallbackChain::builder("recommendations")
        .total(2 * minute)
        .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
        .build()
        .unwrap();
    let breaker = CircuitBreakerLayer::builder("ml_service").consecutive_failures(1).build().unwrap();
    let circuit = breaker.handle();
    let stack = ServiceBuilder::new()
        .layer(drain.layer())
        .layer(FallbackLayer::new(name!("ml_service"), chain))
        .layer(breaker)
        .layer(TimeoutLayer::builder("ml_service").limit(minute).build().unwrap())
        .service(service_fn(|_: Request| std::future::pending::<Result<Response, Infallible>>()));

    let call = tokio::spawn(stack.oneshot(get("/")));
    tokio::task::yield_now().await;
    advance(Duration::from_secs(20)).await;
    let began = Instant::now();
    drain.begin();
    let (_, body) = read(call.await.unwrap().unwrap()).await;
    assert_eq!(body, "the usual");
    // Half a second before it would be cut off.
    assert_eq!(began.elapsed().as_millis(), 24_500);
    assert_eq!((circuit.state(), circuit.counts().failures), (CircuitState::Closed, 0));
}
