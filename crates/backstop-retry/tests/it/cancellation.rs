//! Dropped at each point at which it waits, it leaves nothing behind and does nothing more.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use crate::support::{self, Chunks, Then, Upstream, ml, ms, response, with_body, with_header};
use axum::body::Body;
use backstop_retry::RetryLayer;
use http::{Request, Response};
use tokio::time::{sleep, timeout};
use tower::{Layer, Service, ServiceExt};
use tower_test::mock;

/// A request whose copies can be counted.
fn tracked(token: &Arc<()>) -> Request<Body> {
    let mut request = Request::put("/").body(Chunks::body(["hello"], Then::End)).unwrap();
    request.extensions_mut().insert(Arc::clone(token));
    request
}

/// Gives up after `patience`, and tells how many calls were made till then.
async fn give_up(upstream: Upstream, patience: Duration) -> usize {
    let token = Arc::new(());
    let service = RetryLayer::new(ml()).layer(upstream.clone());
    timeout(patience, service.oneshot(tracked(&token))).await.expect_err("still at work");
    let calls = upstream.calls();
    assert_eq!(Arc::strong_count(&token), 1, "something of the request is still held");
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(upstream.calls(), calls, "it went on behind the caller's back");
    calls
}

/// Reads the request, and gives a response with a token in it on the way.
async fn read(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let token = request.extensions().get::<Arc<()>>().cloned();
    support::text(request.into_body()).await;
    let mut answer = response(503);
    if let Some(token) = token {
        answer.extensions_mut().insert(token);
    }
    Ok(answer)
}

#[tokio::test(start_paused = true)]
async fn in_the_first_attempt() {
    let upstream = Upstream::new(|_, request| async {
        let _request = request;
        pending().await
    });
    assert_eq!(give_up(upstream, ms(500)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn while_the_answer_is_kept() {
    let upstream = Upstream::new(|_, request| async {
        let answer = read(request).await?;
        Ok(answer.map(|_| Chunks::body(["never ends"], Then::Hang)))
    });
    assert_eq!(give_up(upstream, ms(50)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn in_the_backoff() {
    let upstream = Upstream::new(|_, request| async {
        let mut answer = read(request).await?;
        answer.headers_mut().insert("retry-after", "5".parse().unwrap());
        Ok(answer)
    });
    assert_eq!(give_up(upstream, ms(4000)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn in_a_later_attempt() {
    let upstream = Upstream::new(|n, request| async move {
        let answer = read(request).await?;
        if n == 1 { Ok(answer) } else { pending().await }
    });
    assert_eq!(give_up(upstream, ms(5000)).await, 2);
}

#[tokio::test(start_paused = true)]
async fn while_a_later_attempt_waits_for_readiness() {
    let token = Arc::new(());
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    handle.allow(1);
    let upstream = async {
        let (request, respond) = handle.next_request().await.unwrap();
        respond.send_response(read(request).await.unwrap());
    };
    let (given_up, ()) =
        tokio::join!(timeout(ms(5000), RetryLayer::new(ml()).layer(service).oneshot(tracked(&token))), upstream);
    given_up.expect_err("still at work");
    assert_eq!(Arc::strong_count(&token), 1);
    assert!(handle.next_request().await.is_none(), "a clone of the service is still held");
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_done_holds_nothing_though_it_lives_on() {
    let token = Arc::new(());
    let upstream: Upstream = Upstream::new(|n, request| async move {
        drop(read(request).await?);
        Ok(if n == 1 { with_header(503, "retry-after", "0") } else { with_body(200, "well") })
    });
    let mut service = RetryLayer::new(ml()).layer(upstream);
    let mut call = std::pin::pin!(service.ready().await.unwrap().call(tracked(&token)));
    call.as_mut().await.unwrap();
    assert_eq!(Arc::strong_count(&token), 1);
}
