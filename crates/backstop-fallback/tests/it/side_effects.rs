//! What isn't done twice by accident.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    future::pending,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::common::*;
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use backstop_core::{Outcome, Reason, Rejection, name};
use backstop_fallback::{FallbackChain, FallbackChainBuilder, FallbackLayer, Provider};
use backstop_kit::{Repeat, RequestFacts, client, problem_response, proof::Entered};
use http::{Request, StatusCode, request::Parts};
use tower::{Layer, ServiceExt, service_fn};

/// An amount.
type Payment = u32;

fn refused() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionRefused).into()
}

fn lost() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionReset).into()
}

/// Charges at a first acquirer, whose client fails of that; else at a second one; else queues.
fn payments(failing: fn() -> BoxError) -> FallbackChainBuilder<Payment, &'static str> {
    FallbackChain::builder("payments")
        .total(TOTAL)
        .provider(Provider::service(name!("acquirer"), client(service_fn(move |_| async move { Err(failing()) }))))
        .provider(Provider::from_fn(name!("second_acquirer"), |_| async { "charged elsewhere" }))
        .provider(Provider::from_fn(name!("queue"), |_| async { "queued" }).even_if_processed())
}

#[tokio::test]
async fn a_handlers_payment_is_charged_else_queued_and_never_charged_twice() {
    for (failing, expected) in [(lost as fn() -> BoxError, "queued"), (refused, "charged elsewhere")] {
        let chain = payments(failing).repeat_only_if(|_| false).build().unwrap();
        assert_eq!(chain.execute(999).await.unwrap().value, expected);
    }
    // Unless told otherwise a chain in a handler takes its requests for safe to repeat.
    assert_eq!(payments(lost).build().unwrap().execute(999).await.unwrap().value, "charged elsewhere");
}

#[tokio::test(start_paused = true)]
async fn a_handlers_payment_whose_time_is_up_may_have_been_made() {
    let chain = FallbackChain::<Payment, &str>::builder("payments")
        .provider(Provider::from_fn(name!("acquirer"), |_| pending::<&str>()))
        .provider(Provider::from_fn(name!("second_acquirer"), |_| async { "charged elsewhere" }))
        .repeat_only_if(|_| false)
        .build()
        .unwrap();
    let failed = chain.execute(999).await.unwrap_err().rejection().to_string();
    assert_eq!(failed, "all providers of payments failed: acquirer (timeout), second_acquirer (not-eligible)");
}

#[tokio::test]
async fn a_default_is_given_though_a_payment_may_have_been_made() {
    let chain = payments(lost).repeat_only_if(|_| false).fail_safe("ask us tomorrow").build().unwrap();
    assert_eq!(chain.execute(999).await.value, "queued");
    let chain = FallbackChain::builder("payments")
        .provider(Provider::from_fn(name!("acquirer"), |_: Payment| async { Err::<&str, _>(lost()) }))
        .provider(Provider::from_fn(name!("second_acquirer"), |_| async { "charged elsewhere" }))
        .repeat_only_if(|_| false)
        .fail_safe("ask us tomorrow");
    assert_eq!(chain.build().unwrap().execute(999).await.value, "ask us tomorrow");
}

#[tokio::test]
async fn a_handlers_payment_is_never_forced_to_another_provider() {
    let chain = FallbackChain::builder("payments")
        .provider(Provider::from_fn(name!("acquirer"), |_: Payment| async { "charged" }))
        .provider(Provider::from_fn(name!("second_acquirer"), |_| async { "charged elsewhere" }))
        // Without an amount, nothing is charged.
        .repeat_only_if(|payment| *payment == 0)
        .build()
        .unwrap();
    chain.handle().force("second_acquirer", 1.0).unwrap();
    assert_eq!(chain.execute(999).await.unwrap().value, "charged");
    assert_eq!(chain.execute(0).await.unwrap().value, "charged elsewhere");
}

#[tokio::test]
async fn http_requests_in_a_handler_are_judged_by_their_method_where_that_is_asked_for() {
    let chain = FallbackChain::<Request<()>, &str>::builder("payments")
        .provider(Provider::from_fn(name!("live"), |_| async { Err::<&str, _>(lost()) }))
        .provider(Provider::from_fn(name!("replica"), |_| async { "replica" }))
        .repeat_only_if(|request| RequestFacts::of(request).is_idempotent())
        .build()
        .unwrap();
    assert_eq!(chain.execute(Request::get("/").body(()).unwrap()).await.unwrap().value, "replica");
    let failed = chain.execute(Request::post("/").body(()).unwrap()).await.unwrap_err();
    assert_eq!(failed.failures()[1].reason, Reason::NOT_ELIGIBLE);
}

#[tokio::test]
async fn a_request_that_is_cloned_keeps_to_the_rules_of_http() {
    #[derive(Clone)]
    struct Cloned;
    let answered_by = |request: http::request::Builder| async {
        let chain = FallbackChain::<Request<Cloned>, Response>::builder("chain")
            .provider(Provider::from_fn(name!("other"), |_| async { Response::new("other".into()) }))
            .build()
            .unwrap();
        let layer = FallbackLayer::builder("primary", chain).clone_requests().build().unwrap();
        let primary = service_fn(|_: Request<Cloned>| async {
            let mut response = Response::new("broken".into());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            Ok::<_, BoxError>(response)
        });
        text(layer.layer(primary).oneshot(request.body(Cloned).unwrap()).await.unwrap()).await
    };
    assert_eq!(answered_by(Request::post("/")).await, "other", "by the promise of `clone_requests`");
    assert_eq!(answered_by(Request::post("/").extension(Repeat::Never)).await, "broken");
    assert_eq!(answered_by(Request::connect("shop.example:443")).await, "broken");
}

#[tokio::test]
async fn what_a_chain_says_of_its_requests_holds_in_a_layer_too() {
    let chain = payments(lost).repeat_only_if(|_| false).build().unwrap();
    let layer = FallbackLayer::builder("primary", chain)
        .plain()
        .classify_fn(|result: Result<&&str, _>| if result.is_ok() { Outcome::success() } else { Outcome::failure() })
        .build()
        .unwrap();
    layer.handle().force("second_acquirer", 1.0).unwrap();
    let well = layer.layer(service_fn(|_: Payment| async { Ok::<_, BoxError>("charged") }));
    assert_eq!(well.oneshot(999).await.unwrap(), "charged");
    let broken = layer.layer(service_fn(|_: Payment| async { Err::<&str, _>(lost()) }));
    assert_eq!(broken.oneshot(999).await.unwrap(), "queued");
}

/// What a layer with this chain answers to a `POST` with this header whose primary fails of that. Another provider may make it
/// again, and `queue` is for any.
async fn made_by(
    knobs: impl FnOnce(FallbackChainBuilder<Req, Response>) -> FallbackChainBuilder<Req, Response>,
    header: (&'static str, &'static str),
    failing: fn() -> BoxError,
) -> String {
    let chain = FallbackChain::builder("chain").provider(says(name!("other")));
    let chain = knobs(chain.provider(says(name!("queue")).even_if_processed())).build().unwrap();
    let primary = client(service_fn(move |_: Req| async move { Err::<Response, _>(failing()) }));
    let mut request = post("order");
    request.headers_mut().insert(header.0, header.1.parse().unwrap());
    text(FallbackLayer::new(name!("primary"), chain).layer(primary).oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn the_knobs_of_a_retry_are_those_of_a_chain_behind_a_layer() {
    let (keyed, plain) = (("idempotency-key", "7"), ("accept", "*/*"));
    assert_eq!(made_by(|chain| chain, keyed, lost).await, "queue");
    assert_eq!(made_by(FallbackChainBuilder::trust_idempotency_key, keyed, lost).await, "other");
    assert_eq!(made_by(FallbackChainBuilder::trust_idempotency_key, plain, lost).await, "queue");
    let reads = |request: &Req| request.headers().contains_key("accept");
    assert_eq!(made_by(|chain| chain.repeat_if(reads), plain, lost).await, "other");
    assert_eq!(made_by(|chain| chain.repeat_if(reads), keyed, lost).await, "queue");
    assert_eq!(made_by(|chain| chain.repeat_if(reads).repeat_only_if(|_| false), plain, lost).await, "queue");
}

#[tokio::test]
async fn a_rule_of_the_users_own_decides_after_each_provider_that_got_the_request() {
    let plain = ("accept", "*/*");
    assert_eq!(made_by(|chain| chain.repeat_when(|_, _| true), plain, lost).await, "other");
    assert_eq!(made_by(|chain| chain.repeat_when(|_, _| false), plain, refused).await, "queue", "whatever is proved");

    let asked_of = Arc::new(Mutex::new(Vec::new()));
    let asks = Arc::clone(&asked_of);
    let chain = FallbackChain::<u32, &str>::builder("chain")
        .provider(Provider::from_fn(name!("live"), |_| async { Err::<&str, _>(lost()) }))
        .provider(Provider::value(name!("nothing"), || async { Err::<&str, _>(refused()) }))
        .provider(Provider::from_fn(name!("reads"), |_| async { Err::<&str, _>(lost()) }).only_reads())
        .provider(Provider::from_fn(name!("second"), |_| async { Err::<&str, _>("broken") }))
        .provider(Provider::from_fn(name!("third"), |_| async { "third" }))
        .repeat_when(move |request, outcome| {
            asks.lock().unwrap().push((request.is_idempotent(), outcome.unprocessed));
            asks.lock().unwrap().len() < 2
        })
        .build()
        .unwrap();
    let failed = chain.execute(7).await.unwrap_err();
    assert_eq!(failed.failures()[4].reason, Reason::NOT_ELIGIBLE);
    assert_eq!(*asked_of.lock().unwrap(), [(true, false), (true, false)], "of the two that were given the request");
}

#[tokio::test]
async fn a_request_is_forced_only_if_the_rule_would_repeat_it_after_any_failure() {
    for (allows, expected) in [(true, "second"), (false, "live")] {
        let chain = FallbackChain::<u32, &str>::builder("chain")
            .provider(Provider::from_fn(name!("live"), |_| async { "live" }))
            .provider(Provider::from_fn(name!("second"), |_| async { "second" }))
            .repeat_when(move |_, outcome| allows || outcome.unprocessed)
            .build()
            .unwrap();
        chain.handle().force("second", 1.0).unwrap();
        assert_eq!(chain.execute(7).await.unwrap().value, expected);
    }
}

fn open() -> BoxError {
    let wait = Duration::from_secs(7);
    Rejection::refused(name!("acquirer"), Reason::CIRCUIT_OPEN).with_retry_after(Some(wait)).into()
}

#[tokio::test(start_paused = true)]
async fn what_a_service_proves_counts_in_a_handler_too_and_what_a_function_gives_does_not() {
    let refusing = service_fn(|_: Payment| {
        let entered = Entered::now();
        async move {
            entered.prove();
            Err::<&str, _>(open())
        }
    });
    let acquire = move |_| async move { Err::<&str, _>(open()) };
    let acquire_by_service = move |payment| refusing.oneshot(payment);
    for (acquirer, expected) in [
        (Provider::service(name!("acquirer"), refusing), "charged elsewhere"),
        (Provider::from_fn(name!("acquirer"), acquire), "queued"),
        (Provider::from_fn(name!("acquirer"), acquire_by_service), "queued"),
    ] {
        let chain = FallbackChain::builder("payments")
            .provider(acquirer)
            .provider(Provider::from_fn(name!("second_acquirer"), |_| async { "charged elsewhere" }))
            .provider(Provider::from_fn(name!("queue"), |_| async { "queued" }).even_if_processed())
            .repeat_only_if(|_| false)
            .build()
            .unwrap();
        assert_eq!(chain.execute(999).await.unwrap().value, expected);
    }
    let chain =
        FallbackChain::<Payment, &str>::builder("payments").provider(Provider::from_fn(name!("acquirer"), acquire));
    let failed = chain.build().unwrap().execute(999).await.unwrap_err();
    assert_eq!(failed.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_request_that_is_never_to_be_repeated_is_made_nowhere_else_whatever_its_method() {
    let ask = |method: &'static str, failing: fn() -> BoxError| {
        let other = Provider::from_fn(name!("other"), |_: Req| async { Response::new(Body::from("made elsewhere")) });
        let queue = Provider::from_fn(name!("queue"), |_: Req| async { Response::new(Body::from("queued")) });
        let chain =
            FallbackChain::builder("chain").provider(other).provider(queue.even_if_processed()).build().unwrap();
        let broken = client(service_fn(move |_: Req| async move { Err::<Response, _>(failing()) }));
        let request = Request::builder().method(method).extension(Repeat::Never).body(Body::from("a body")).unwrap();
        async move { text(FallbackLayer::new(name!("primary"), chain).layer(broken).oneshot(request).await.unwrap()).await }
    };
    for method in ["GET", "PUT", "POST"] {
        assert_eq!(ask(method, lost).await, "queued", "{method}");
        assert_eq!(ask(method, refused).await, "made elsewhere", "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_only_reads_leaves_what_may_have_been_processed_as_it_was() {
    let missing = || Provider::head(name!("stored"), |_: Parts| async { Err::<Response, _>("nothing is stored") });
    let hung = || Provider::head(name!("stored"), |_: Parts| pending::<Response>());
    let broken = || Provider::from_fn(name!("search"), |_: Req| async { status(503) });
    let ask = |stored: Provider<Req, Response>, failing: fn() -> BoxError| {
        let other = Provider::from_fn(name!("other"), |_: Req| async { Response::new(Body::from("made elsewhere")) });
        let queue = says(name!("queue")).even_if_processed();
        let chain = FallbackChain::builder("chain").provider(stored).provider(other).provider(queue).build().unwrap();
        let primary = client(service_fn(move |_: Req| async move { Err::<Response, _>(failing()) }));
        async move {
            text(FallbackLayer::new(name!("primary"), chain).layer(primary).oneshot(post("pay")).await.unwrap()).await
        }
    };
    for stored in [missing, hung, broken] {
        assert_eq!(ask(stored().only_reads(), refused).await, "made elsewhere", "nothing has processed it");
        // A head may be all there is of a request, so who has it may process it.
        assert_eq!(ask(stored(), refused).await, "queue", "who knows what the first one did");
        assert_eq!(ask(stored().only_reads().even_if_processed(), lost).await, "queue", "the primary may have");
    }
}

#[tokio::test]
async fn a_provider_that_finds_out_is_asked_only_after_what_may_have_been_processed() {
    let ask = |failing: fn() -> BoxError| {
        let check = says(name!("check")).only_if_processed();
        let chain = FallbackChain::builder("chain").repeat_if(|_: &Req| true).provider(check).build().unwrap();
        let primary = client(service_fn(move |_: Req| async move { Err::<Response, _>(failing()) }));
        FallbackLayer::new(name!("primary"), chain).layer(primary).oneshot(post("pay"))
    };
    assert!(ask(refused).await.is_err());
    assert_eq!(text(ask(lost).await.unwrap()).await, "check");
}

#[tokio::test]
async fn a_provider_that_only_reads_is_asked_after_what_may_have_been_processed_only_if_it_is_for_that() {
    let ask = |stored: Provider<Req, Response>| {
        let chain = FallbackChain::builder("chain").provider(stored).build().unwrap();
        let primary = service_fn(|_: Req| async { Err::<Response, _>(lost()) });
        FallbackLayer::new(name!("primary"), chain).layer(primary).oneshot(post("pay"))
    };
    // Its answer would be about something else than what was asked for.
    assert!(ask(says(name!("stored")).only_reads()).await.is_err());
    assert!(ask(says(name!("stored")).only_reads().even_if_processed()).await.is_ok());
}

/// What isn't known to be done, so that nothing else may do it.
fn unknown() -> Rejection {
    Rejection::new(name!("queue"), Reason::new("unknown"), Outcome::failure().ending_chain())
}

#[tokio::test]
async fn a_providers_error_can_end_a_handlers_chain() {
    for is_first in [true, false] {
        let mut chain = FallbackChain::<Payment, &str>::builder("payments");
        if !is_first {
            chain = chain.provider(Provider::from_fn(name!("acquirer"), |_| async { Err::<&str, _>(refused()) }));
        }
        let chain = chain
            .provider(Provider::from_fn(name!("queue"), |_| async { Err::<&str, _>(unknown()) }))
            .provider(Provider::value(name!("other"), || async { "done twice" }).even_if_processed())
            .build()
            .unwrap();
        let failed = chain.execute(999).await.unwrap_err();
        assert_eq!((failed.failures().last().unwrap().provider.as_ref(), failed.is_callers_fault()), ("queue", false));
        assert!(failed.rejection().outcome().ends_chain, "for chains further out, too");
        assert!(chain.prove_each_provider(999).await.is_err());
    }
}

#[tokio::test]
async fn a_providers_refusal_can_end_a_layers_chain_as_a_response_or_as_an_error() {
    let as_response =
        || Provider::from_fn(name!("queue"), |_| async { Ok::<_, Infallible>(problem_response::<Body>(unknown())) });
    let as_error = || Provider::from_fn(name!("queue"), |_| async { Err::<Response, _>(unknown()) });
    for queue in [as_response(), as_error()] {
        let chain = FallbackChain::<Request<Body>, Response>::builder("payments")
            .provider(queue)
            .provider(Provider::value(name!("other"), || async { Response::new(Body::from("done twice")) }))
            .build()
            .unwrap();
        let inner = FallbackLayer::new(name!("acquirer"), chain);
        // The primary's own answer isn't the caller's: it says nothing of the queue.
        let primary = service_fn(|_| async { Ok::<_, Infallible>(StatusCode::BAD_GATEWAY.into_response()) });
        let elsewhere = FallbackChain::builder("outer")
            .provider(Provider::value(name!("other"), || async { Response::new(Body::from("done twice")) }))
            .build()
            .unwrap();
        let stack = FallbackLayer::new(name!("payments"), elsewhere).layer(inner.layer(primary));
        let response = stack.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(Rejection::in_response(&response).unwrap().outcome().ends_chain);
    }
}
