//! Answers that begin well and end badly.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    future::{Future, pending},
    time::Duration,
};

use crate::{
    common::*,
    script::{
        Act::{self, Break, Data, Hang, Trailers, Wait},
        Ends, Script,
    },
};
use axum::{body::Body, response::Response};
use backstop_core::{
    Degradation, Reason, Rejection, name,
    scope::{self, EndedBy},
};
use backstop_fallback::AllProvidersFailed;
use backstop_fallback::{Commit, FallbackChain, FallbackChainBuilder, FallbackLayer, Provider};
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};

const COMPLETE: Commit = Commit::Complete { max_bytes: 1024 };

fn scripted(acts: &[Act], ended_by: &Ends) -> Response {
    Response::new(Body::new(Script::new(acts, ended_by)))
}

fn acting(acts: &[Act]) -> Response {
    scripted(acts, &Ends::default())
}

fn grpc(acts: &[Act]) -> Response {
    let mut response = acting(acts);
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    response
}

fn builder(commit: Commit) -> FallbackChainBuilder<Req, Response> {
    FallbackChain::builder("chain").total(TOTAL).commit_on(commit)
}

/// What a chain makes of this answer of its primary.
async fn primary(commit: Commit, make: impl Fn() -> Response + Clone) -> Response {
    let chain = builder(commit).provider(says(name!("static"))).build().unwrap();
    let service = service_fn(move |_: Req| std::future::ready(infallible(make())));
    FallbackLayer::new(name!("primary"), chain).layer(service).oneshot(get()).await.unwrap()
}

/// And of this answer of its first provider.
async fn provider(commit: Commit, make: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Response {
    let first = Provider::value(name!("first"), move || std::future::ready(make()));
    let chain = builder(commit).provider(first).provider(says(name!("static"))).build().unwrap();
    let down = service_fn(|_: Req| async { infallible(status(503)) });
    FallbackLayer::new(name!("primary"), chain).layer(down).oneshot(get()).await.unwrap()
}

fn reason(response: &Response) -> Reason {
    response.extensions().get::<Degradation>().unwrap().reason()
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_sends_a_head_and_then_dies_or_hangs_has_failed() {
    for (commit, acts, why) in [
        (Commit::FirstFrame, &[Break][..], Reason::BODY),
        (Commit::FirstFrame, &[Hang], Reason::TIMEOUT),
        (COMPLETE, &[Break], Reason::BODY),
        (COMPLETE, &[Data("half"), Break], Reason::BODY),
        (COMPLETE, &[Data("half"), Wait(10), Break], Reason::BODY),
        (COMPLETE, &[Data("half"), Hang], Reason::TIMEOUT),
        (COMPLETE, &[Data("half"), Wait(500), Data("too late")], Reason::TIMEOUT),
    ] {
        let of_primary = primary(commit, || acting(acts)).await;
        assert_eq!(reason(&of_primary), why);
        assert_eq!(text(of_primary).await, "static");
        let of_provider = provider(commit, move || acting(acts)).await;
        assert_eq!(text(of_provider).await, "static");
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_after_the_commit_goes_wrong_for_the_caller() {
    for (commit, acts) in [
        (Commit::Headers, &[Break][..]),
        (Commit::FirstFrame, &[Data("half"), Break]),
        (Commit::Complete { max_bytes: 3 }, &[Data("half"), Break]),
    ] {
        for response in [primary(commit, || acting(acts)).await, provider(commit, move || acting(acts)).await] {
            assert_eq!(response.into_body().collect().await.unwrap_err().to_string(), "the connection was reset");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_out_byte_for_byte() {
    let acts = [Data("one"), Wait(10), Data("two"), Wait(10), Data("three"), Trailers("14")];
    for commit in [Commit::Headers, Commit::FirstFrame, COMPLETE, Commit::Complete { max_bytes: 5 }] {
        let make = move || {
            let mut response = acting(&acts);
            *response.status_mut() = StatusCode::CREATED;
            response.headers_mut().insert("content-language", "en".parse().unwrap());
            response.extensions_mut().insert("an extension");
            response
        };
        for response in [primary(commit, make).await, provider(commit, make).await] {
            assert_eq!(response.status(), StatusCode::CREATED);
            assert_eq!(response.headers()["content-language"], "en");
            assert_eq!(response.extensions().get(), Some(&"an extension"));
            assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(11));
            let body = response.into_body().collect().await.unwrap();
            assert_eq!(body.trailers().unwrap()["grpc-status"], "14", "which means nothing in plain HTTP");
            assert_eq!(body.to_bytes(), "onetwothree");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_no_longer_than_it_must() {
    let acts = [Wait(10), Data("one"), Wait(20), Data("two"), Hang];
    for (commit, waits) in [(Commit::Headers, 0), (Commit::FirstFrame, 10), (Commit::Complete { max_bytes: 5 }, 30)] {
        let begun = Instant::now();
        primary(commit, || acting(&acts)).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(waits), "{commit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_has_the_time_of_its_provider_and_no_more() {
    let begun = Instant::now();
    primary(COMPLETE, || acting(&[Data("half"), Hang])).await;
    assert_eq!(begun.elapsed(), TOTAL / 2, "the primary's share, head and body");

    let slow = || async {
        sleep(Duration::from_millis(150)).await;
        acting(&[Data("half"), Wait(100), Data("half")])
    };
    let chain = builder(COMPLETE)
        .provider(Provider::value(name!("slow"), slow).timeout(Duration::from_millis(200)))
        .provider(Provider::value(name!("slow_too"), slow))
        .build()
        .unwrap();
    let begun = Instant::now();
    let found = source_of(&chain).await;
    assert_eq!((begun.elapsed(), found.as_str()), (Duration::from_millis(450), "slow_too"));
}

/// Who answers in this chain when its primary is down.
async fn source_of(chain: &FallbackChain<Req, Response>) -> String {
    let down = service_fn(|_: Req| async { infallible(status(503)) });
    let response = FallbackLayer::new(name!("primary"), chain.clone()).layer(down).oneshot(get()).await.unwrap();
    response.extensions().get::<Degradation>().unwrap().source().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_body_that_its_time_ends_is_dropped_by_us_and_one_that_the_caller_leaves_is_not() {
    for (patience, expected) in [(1000, Some(EndedBy::OurLimit)), (10, None)] {
        let ends = Ends::default();
        let call = primary(COMPLETE, || scripted(&[Data("half"), Hang], &ends));
        _ = tokio::time::timeout(Duration::from_millis(patience), call).await;
        assert_eq!(*ends.lock().unwrap(), [expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_status_in_the_trailers_is_judged_as_in_the_headers() {
    for (commit, acts, why) in [
        (COMPLETE, &[Data("message"), Trailers("0")][..], None),
        (COMPLETE, &[Data("message"), Trailers("14")], Some("grpc-14")),
        (COMPLETE, &[Data("message"), Trailers("13")], Some("grpc-13")),
        // The caller is to blame: of the primary that is an answer.
        (COMPLETE, &[Data("message"), Trailers("5")], None),
        (COMPLETE, &[Data("message")], Some("body")),
        (COMPLETE, &[], Some("body")),
        (Commit::FirstFrame, &[Trailers("14")], Some("grpc-14")),
        (Commit::FirstFrame, &[Data("message"), Trailers("14")], None),
        (Commit::Complete { max_bytes: 3 }, &[Data("message"), Trailers("14")], None),
        // As long as what is held, and the trailers beyond.
        (Commit::Complete { max_bytes: 7 }, &[Data("message"), Trailers("14")], Some("grpc-14")),
    ] {
        let response = primary(commit, || grpc(acts)).await;
        let degradation = response.extensions().get::<Degradation>();
        assert_eq!(degradation.map(|it| it.reason().to_string()), why.map(str::to_owned), "{commit:?}");
    }
    let miss = provider(COMPLETE, || grpc(&[Trailers("5")])).await;
    assert_eq!(text(miss).await, "static", "of a later provider it is a miss");
}

#[tokio::test]
async fn without_anybody_else_a_whole_answer_is_given_and_a_broken_one_is_not() {
    let failing = |acts: &'static [Act]| {
        let broken = Provider::value(name!("broken"), || async { Err::<Response, _>("broken") });
        let chain = builder(COMPLETE).provider(broken).build().unwrap();
        let service = service_fn(move |_: Req| async move { infallible(grpc(acts)) });
        FallbackLayer::new(name!("primary"), chain).layer(service).oneshot(get())
    };
    let whole = failing(&[Data("message"), Trailers("14")]).await.unwrap();
    let body = whole.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "14");
    assert_eq!(body.to_bytes(), "message");

    let broken = failing(&[Data("message"), Break]).await.unwrap();
    let rejection = broken.extensions().get::<Rejection>().unwrap();
    let failed = AllProvidersFailed::in_rejection(rejection).unwrap();
    assert_eq!(failed.rejection().to_string(), "all providers of chain failed: primary (body), broken (error)");
}

#[tokio::test(start_paused = true)]
async fn a_broken_body_may_have_been_processed() {
    let chain = || {
        let other = Provider::from_fn(name!("other"), |_: Req| async { Response::new(Body::from("twice")) });
        builder(COMPLETE).provider(other).build().unwrap()
    };
    let service = |acts: &'static [Act]| service_fn(move |_: Req| async move { infallible(acting(acts)) });
    for acts in [&[Break][..], &[Hang]] {
        let layer = FallbackLayer::new(name!("primary"), chain());
        let response = layer.layer(service(acts)).oneshot(post("pay")).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_providers_broken_body_may_have_been_processed_too() {
    for acts in [&[Break][..], &[Hang]] {
        let first = Provider::from_fn(name!("first"), move |_: Req| async { acting(acts) });
        let second = Provider::from_fn(name!("second"), |_: Req| async { Response::new(Body::from("twice")) });
        let chain = builder(COMPLETE).provider(first).provider(second).build().unwrap();
        let refused = service_fn(|_: Req| async {
            Err::<Response, BoxError>(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into())
        });
        let error = FallbackLayer::new(name!("primary"), chain).layer(refused).oneshot(post("pay")).await.unwrap_err();
        assert_eq!(error.to_string(), "connection refused");
    }
}

#[tokio::test]
async fn an_answer_that_tells_its_age_still_does() {
    use backstop_core::Freshness;
    use backstop_kit::Answer;

    let age = Duration::from_secs(912);
    let cached = Provider::value(name!("cached"), move || async move { Answer::stale(acting(&[Data("all")]), age) });
    let chain = builder(COMPLETE).provider(cached).build().unwrap();
    let down = service_fn(|_: Req| async { infallible(status(503)) });
    let response = FallbackLayer::new(name!("primary"), chain).layer(down).oneshot(get()).await.unwrap();
    assert_eq!(response.extensions().get::<Degradation>().unwrap().freshness(), Freshness::stale(age));
}

#[tokio::test]
async fn reports_of_an_answer_that_broke_off_are_lost_and_of_one_that_is_given_move_up() {
    use backstop_core::{Freshness, Scope};

    for (acts, expected) in [(&[Data("all")][..], "inner"), (&[Break], "chain")] {
        let noisy = service_fn(move |_: Req| async move {
            let inner = Degradation::new(name!("inner"), name!("source"), 1, Reason::ERROR, Freshness::Degraded);
            scope::report(inner);
            infallible(acting(acts))
        });
        let chain = builder(COMPLETE).provider(says(name!("static"))).build().unwrap();
        let mut scope = Scope::new();
        let mut call = std::pin::pin!(FallbackLayer::new(name!("primary"), chain).layer(noisy).oneshot(get()));
        std::future::poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await.unwrap();
        let reports = scope.take_reports();
        assert_eq!(reports.iter().map(|it| it.chain().as_str()).collect::<Vec<_>>(), [expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_in_use_until_its_answer_is_taken() {
    let slow = Provider::value(name!("slow"), || async { acting(&[Data("half"), Wait(50), Data("half")]) });
    let chain = builder(COMPLETE).provider(slow.concurrency(1)).provider(says(name!("static"))).build().unwrap();
    let (one, two) = tokio::join!(source_of(&chain), source_of(&chain));
    assert_eq!((one.as_str(), two.as_str()), ("slow", "static"));
    assert_eq!(source_of(&chain).await, "slow");
}

#[tokio::test(start_paused = true)]
async fn the_last_provider_has_a_look_at_its_body_though_the_time_is_used_up() {
    let chain = builder(COMPLETE)
        .provider(Provider::value(name!("hangs"), pending::<Response>).timeout(TOTAL))
        .provider(Provider::value(name!("last"), || async { acting(&[Data("one"), Data("two")]) }))
        .build()
        .unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain);
    let late = service_fn(|_: Req| async {
        tokio::time::advance(2 * TOTAL).await;
        infallible(status(503))
    });
    assert_eq!(text(layer.layer(late).oneshot(get()).await.unwrap()).await, "onetwo");
}

#[test]
fn a_bound_that_holds_nothing_or_everything_is_refused() {
    for max_bytes in [0, usize::MAX] {
        let error = builder(Commit::Complete { max_bytes }).provider(says(name!("static"))).build().unwrap_err();
        assert_eq!(error.field, "max_bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn the_total_holds_whether_the_primarys_head_is_there_at_once_or_not() {
    for wait in [0, 1] {
        let total = Duration::from_secs(1);
        let chain = FallbackChain::builder("chain").total(total).commit_on(Commit::FirstFrame);
        let chain = chain.provider(Provider::value(name!("hangs"), pending::<Response>)).build().unwrap();
        let hangs = service_fn(move |_: Req| async move {
            if wait > 0 {
                sleep(Duration::from_millis(wait)).await;
            }
            infallible(Response::new(Body::new(Script::new(&[Hang], &Ends::default()))))
        });
        let begun = Instant::now();
        let answer = FallbackLayer::new(name!("primary"), chain).layer(hangs).oneshot(get()).await.unwrap();
        assert_eq!((answer.status().as_u16(), begun.elapsed()), (503, total), "after {wait} ms");
    }
}
