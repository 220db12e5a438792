//! Chains in handlers.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{future::pending, time::Duration};

use backstop_core::{AllProvidersFailed, Freshness, Reason, Rejection, RejectionKind, Scope, name};
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
            Ok(0) | Err(_) => backstop_core::Outcome::failure(),
            Ok(_) => backstop_core::Outcome::success(),
        })
        .build()
        .unwrap();
    let failed: AllProvidersFailed = chain.execute(()).await.unwrap_err();
    assert_eq!(failed.to_string(), "all providers of prices failed: live (error), zero (error)");
    // It is known for what it is in a chain further out.
    let outer = FallbackChain::<(), u32>::builder("outer")
        .provider(Provider::from_fn(name!("prices"), move |()| {
            let chain = chain.clone();
            async move { chain.execute(()).await.map(|found| found.value) }
        }))
        .build()
        .unwrap();
    let failed = outer.execute(()).await.unwrap_err();
    assert_eq!(failed.failures()[0].reason, Reason::AllProvidersFailed);
    let kind = RejectionKind::AllProvidersFailed(failed);
    assert!(Rejection::new(name!("outer"), kind).outcome().verdict == backstop_core::Verdict::Failure);
}

#[tokio::test]
async fn the_failures_on_the_way_are_told() {
    let chain = FallbackChain::<(), u32>::builder("prices")
        .provider(Provider::value(name!("live"), || async { Err::<u32, _>("closed") }))
        .provider(Provider::value(name!("replica"), || async { 8 }).only_when(|reason| reason == Reason::Timeout))
        .provider(Provider::value(name!("list"), || async { 9 }))
        .build()
        .unwrap();
    let found = chain.execute(()).await.unwrap();
    let failures: Vec<_> = found.failures.iter().map(|it| (it.provider.as_str(), it.reason)).collect();
    assert_eq!(failures, [("live", Reason::Error), ("replica", Reason::NotEligible)]);

    let live = FallbackChain::<(), u32>::builder("prices").provider(Provider::value(name!("live"), || async { 7 }));
    assert!(live.build().unwrap().execute(()).await.unwrap().failures.is_empty());
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
    assert_eq!(reports[0].reason(), Reason::Timeout);
}

#[tokio::test]
async fn a_default_is_not_judged_and_may_be_made() {
    let chain = FallbackChain::<(), Box<str>>::builder("names")
        .provider(Provider::value(name!("live"), || async { Box::from("") }))
        .classify_fn(|_| backstop_core::Outcome::failure())
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
