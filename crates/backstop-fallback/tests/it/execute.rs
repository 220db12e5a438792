//! Chains in handlers.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use backstop_core::{Classify, ErrorRef, Freshness, Outcome, Reason, Rejection, ResultClassify, Scope, name};
use backstop_fallback::AllProvidersFailed;
use backstop_fallback::{FallbackChain, FallbackChainBuilder, Provider};
use tokio::time::Instant;

#[tokio::test]
async fn a_chain_in_a_handler_tells_where_its_answer_is_from() {
    let chain = FallbackChain::<u32, u32>::builder("prices")
        .provider(Provider::from_fn(name!("live"), |n: u32| async move { if n > 0 { Ok(n) } else { Err("closed") } }))
        .provider(Provider::value(name!("list"), || async { 9 }))
        .build()
        .unwrap();
    let live = chain.execute(7).await.unwrap();
    assert_eq!((live.value, live.source.as_str(), live.is_fallback), (7, "live", false));
    assert_eq!(live.freshness, Freshness::Fresh);
    let list = chain.execute(0).await.unwrap();
    assert_eq!((list.value, list.source.as_str(), list.is_fallback), (9, "list", true));
    assert_eq!(list.freshness, Freshness::Degraded);
}

#[tokio::test]
async fn a_chain_in_a_handler_that_fails_names_everyone() {
    let chain = FallbackChain::<(), u32>::builder("prices")
        .provider(Provider::value(name!("live"), || async { Err::<u32, _>("closed") }))
        .provider(Provider::value(name!("zero"), || async { 0 }))
        .classify_fn(|result| match result {
            Ok(0) | Err(_) => Outcome::failure(),
            Ok(_) => Outcome::success(),
        })
        .build()
        .unwrap();
    let failed: AllProvidersFailed = chain.execute(()).await.unwrap_err();
    assert_eq!(failed.rejection().to_string(), "all providers of prices failed: live (error), zero (error)");
    // It is known for what it is in a chain further out.
    let outer = FallbackChain::<(), u32>::builder("outer")
        .provider(Provider::from_fn(name!("prices"), move |()| {
            let chain = chain.clone();
            async move { chain.execute(()).await.map(|found| found.value) }
        }))
        .build()
        .unwrap();
    let failed = outer.execute(()).await.unwrap_err();
    assert_eq!(failed.failures()[0].reason, Reason::ALL_PROVIDERS_FAILED);
    assert_eq!(failed.rejection().outcome(), Outcome::failure());
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum SqlError {
    RowNotFound,
    PoolTimedOut,
}

impl std::fmt::Display for SqlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for SqlError {}

fn items() -> FallbackChainBuilder<SqlError, &'static str> {
    let usual = ResultClassify::new();
    FallbackChain::builder("items")
        .provider(Provider::from_fn(name!("database"), |error| async move { Err::<&str, _>(error) }))
        .provider(Provider::from_fn(name!("replica"), |error| async move { Err::<&str, _>(error) }))
        .provider(Provider::value(name!("popular"), || async { "popular" }))
        .classify_fn(move |result: Result<&&str, ErrorRef<'_>>| match result {
            Err(error) if error.find() == Some(&SqlError::RowNotFound) => Outcome::callers_fault(),
            other => usual.classify(other),
        })
}

#[tokio::test]
async fn an_error_that_blames_the_request_is_the_first_providers_answer() {
    let chain = items().build().unwrap();
    let failed = chain.execute(SqlError::RowNotFound).await.unwrap_err();
    let failures: Vec<_> = failed.failures().iter().map(|it| it.provider.as_str()).collect();
    assert_eq!((failures, failed.is_callers_fault()), (vec!["database"], true));
    assert_eq!(failed.rejection().to_string(), "the request to items is to blame: database (error)");
    // Further out it is no failure of anybody's, nor is it in a chain around this one.
    assert_eq!(Rejection::from(failed).outcome(), Outcome::callers_fault());
    let outer = FallbackChain::<SqlError, &str>::builder("outer")
        .provider(Provider::from_fn(name!("items"), move |error| {
            let chain = chain.clone();
            async move { chain.execute(error).await.map(|found| found.value) }
        }))
        .provider(Provider::value(name!("popular"), || async { "popular" }))
        .build()
        .unwrap();
    assert!(outer.execute(SqlError::RowNotFound).await.unwrap_err().is_callers_fault());

    // Of any other error the chain answers; of a later provider it is a miss; and what can't fail has its default.
    assert_eq!(outer.execute(SqlError::PoolTimedOut).await.unwrap().value, "popular");
    let later = FallbackChain::<(), &str>::builder("items")
        .provider(Provider::value(name!("database"), || async { Err::<&str, _>("down") }))
        .provider(Provider::value(name!("cached"), || async { Err::<&str, _>(SqlError::RowNotFound) }))
        .provider(Provider::value(name!("popular"), || async { "popular" }))
        .classify_fn(|result: Result<&&str, ErrorRef<'_>>| match result {
            Err(error) if error.find::<SqlError>().is_some() => Outcome::callers_fault(),
            other => ResultClassify::new().classify(other),
        });
    assert_eq!(later.build().unwrap().execute(()).await.unwrap().value, "popular");
    let safe = items().fail_safe("none").build().unwrap().execute(SqlError::RowNotFound).await;
    assert_eq!((safe.value, safe.source.as_str(), safe.failures.len()), ("none", "default", 1));
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn an_error_that_blames_the_request_is_a_400_where_the_handler_makes_nothing_else_of_it() {
    use axum::response::IntoResponse;

    let failed = items().build().unwrap().execute(SqlError::RowNotFound).await.unwrap_err();
    let response = failed.into_response();
    assert_eq!(response.status(), http::StatusCode::BAD_REQUEST);
    let judged = backstop_core::HttpClassify::new().classify(Ok(&response));
    assert_eq!(judged, Outcome::callers_fault());
}

#[tokio::test]
async fn a_refusal_in_a_handlers_chain_is_judged_before_any_closure() {
    let refusal = || Rejection::refused(name!("inner"), Reason::BULKHEAD_FULL);
    let chain = FallbackChain::<(), u32>::builder("payments")
        .provider(Provider::from_fn(name!("acquirer"), move |()| async move {
            Err::<u32, _>(std::io::Error::other(refusal()))
        }))
        .provider(Provider::value(name!("list"), || async { 9 }))
        .classify_fn(|result| result.map_or_else(|_| Outcome::callers_fault(), |_| Outcome::success()))
        .build()
        .unwrap();
    let found = chain.execute(()).await.unwrap();
    assert_eq!((found.value, found.failures[0].reason), (9, Reason::BULKHEAD_FULL));
}

#[tokio::test]
async fn the_failures_on_the_way_are_told() {
    let chain = FallbackChain::<(), u32>::builder("prices")
        .provider(Provider::value(name!("live"), || async { Err::<u32, _>("closed") }))
        .provider(Provider::value(name!("replica"), || async { 8 }).only_when(|reason| reason == Reason::TIMEOUT))
        .provider(Provider::value(name!("list"), || async { 9 }))
        .build()
        .unwrap();
    let found = chain.execute(()).await.unwrap();
    let failures: Vec<_> = found.failures.iter().map(|it| (it.provider.as_str(), it.reason)).collect();
    assert_eq!(failures, [("live", Reason::ERROR), ("replica", Reason::NOT_ELIGIBLE)]);

    let live = FallbackChain::<(), u32>::builder("prices").provider(Provider::value(name!("live"), || async { 7 }));
    assert!(live.build().unwrap().execute(()).await.unwrap().failures.is_empty());
}

const SALE_OVER: Reason = Reason::new("sale-over");

fn sale(is_on: &Arc<AtomicBool>) -> Provider<(), u32> {
    let is_on = Arc::clone(is_on);
    let condition = move || if is_on.load(Ordering::Relaxed) { Ok(()) } else { Err(SALE_OVER) };
    Provider::value(name!("sale"), || async { 4 }).only_if(condition)
}

#[tokio::test]
async fn a_provider_is_asked_only_while_its_condition_holds_and_its_reason_is_told() {
    let is_on = Arc::new(AtomicBool::new(false));
    let list = Provider::value(name!("list"), || async { 9 });
    let chain = FallbackChain::builder("prices").provider(sale(&is_on)).provider(list).build().unwrap();
    let found = chain.execute(()).await.unwrap();
    assert_eq!((found.value, found.failures[0].reason), (9, SALE_OVER));
    is_on.store(true, Ordering::Relaxed);
    assert_eq!(chain.execute(()).await.unwrap().value, 4);
}

#[tokio::test]
async fn a_last_provider_with_a_condition_must_be_said_to_be_the_last() {
    let is_on = Arc::new(AtomicBool::new(false));
    let error = FallbackChain::builder("prices").provider(sale(&is_on)).build().unwrap_err();
    assert_eq!((error.field.as_ref(), error.value.as_str()), ("only_if", "sale"));
    let chain = FallbackChain::builder("prices").provider(sale(&is_on).even_if_last()).build().unwrap();
    let failed = chain.execute(()).await.unwrap_err();
    assert_eq!(failed.failures()[0].reason, SALE_OVER);
}

fn hung() -> FallbackChainBuilder<(), u32> {
    FallbackChain::builder("prices")
        .total(Duration::from_secs(1))
        .provider(Provider::value(name!("live"), pending::<u32>))
        .provider(Provider::value(name!("list"), || async { Err::<u32, _>("nothing is stored") }))
}

#[tokio::test(start_paused = true)]
async fn a_chain_with_a_default_cannot_fail_and_tells_that_it_was_the_default() {
    let chain = hung().fail_safe(9).build().unwrap();
    let mut scope = Scope::new();
    let mut call = std::pin::pin!(chain.execute(()));
    let begun = Instant::now();
    let found = std::future::poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await;
    assert_eq!((found.value, found.source.as_str(), found.is_fallback), (9, "default", true));
    assert_eq!(found.freshness, Freshness::Degraded);
    assert_eq!(found.failures.len(), 2);
    assert_eq!(begun.elapsed(), Duration::from_millis(500), "the default takes no share of the time");

    let reports = scope.take_reports();
    assert_eq!((reports[0].source().as_str(), reports[0].position()), ("default", 2));
    assert_eq!(reports[0].reason(), Reason::TIMEOUT);
}

#[tokio::test]
async fn a_default_is_not_judged_and_may_be_made() {
    let chain = FallbackChain::<(), Box<str>>::builder("names")
        .provider(Provider::value(name!("live"), || async { Box::from("") }))
        .classify_fn(|_| Outcome::failure())
        .fail_safe_with(|| "anonymous".into())
        .build()
        .unwrap();
    assert_eq!(&*chain.clone().execute(()).await.value, "anonymous");
}

#[tokio::test]
async fn a_default_that_is_not_needed_is_not_given() {
    let live = FallbackChain::<u32, u32>::builder("prices")
        .provider(Provider::from_fn(name!("live"), |price: u32| async move { price }))
        .fail_safe_with(|| unreachable!("the live price is there"));
    let found = live.build().unwrap().execute(7).await;
    assert_eq!((found.value, found.is_fallback), (7, false));
}

#[test]
fn nobody_else_is_called_the_default() {
    let twice = FallbackChain::<(), u32>::builder("prices").provider(Provider::value(name!("default"), pending::<u32>));
    assert_eq!(twice.fail_safe(9).build().unwrap_err().field, "provider");
    assert_eq!(FallbackChain::<(), u32>::builder("prices").fail_safe(9).build().unwrap_err().field, "providers");
}

#[tokio::test(start_paused = true)]
async fn the_time_of_the_provider_that_answered_is_told_beside_the_chains() {
    let ms = Duration::from_millis;
    let slow = |wait: Duration, result: Result<u32, &'static str>| {
        move |()| async move {
            tokio::time::sleep(wait).await;
            result
        }
    };
    let chain = FallbackChain::<(), u32>::builder("chain")
        .provider(Provider::from_fn(name!("first"), slow(ms(30), Err("closed"))))
        .provider(Provider::from_fn(name!("second"), slow(ms(20), Ok(2))))
        .build()
        .unwrap();
    let answer = chain.execute(()).await.unwrap();
    assert_eq!((answer.latency, answer.provider_latency), (ms(50), ms(20)));
}
