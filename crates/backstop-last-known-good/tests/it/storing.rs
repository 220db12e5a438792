//! Only whole answers are stored, and they stream on to the caller as if nobody looked.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use backstop_core::{
    Degradation, Freshness, Reason,
    scope::{self, InScope},
};
use backstop_last_known_good::{LastKnownGoodLayer, NotStored, name};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{Pieces, begin, body_of, get, request, response, send};

fn layer() -> LastKnownGoodLayer {
    LastKnownGoodLayer::builder("shop").max_body(8).build().unwrap()
}

async fn is_stored(layer: &LastKnownGoodLayer) -> bool {
    body_of(layer, get("/", &[])).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn each_piece_goes_out_as_it_comes_and_all_is_stored_at_the_end() {
    let (layer, pieces) = (layer(), Pieces::default());
    let body = begin(&layer, get("/", &[]), response(200, &[], pieces.body())).await.into_body();
    let mut body = task::spawn(body);
    let mut next = || body.enter(|cx, mut body| Pin::new(&mut *body).poll_frame(cx));
    assert_pending!(next());
    for piece in ["ab", "c"] {
        pieces.data(piece);
        let frame = assert_ready!(next()).unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
        assert_pending!(next());
        assert!(!is_stored(&layer).await);
    }
    pieces.end();
    assert!(assert_ready!(next()).is_none());
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "abc");
}

#[tokio::test(start_paused = true)]
async fn a_body_of_known_length_is_stored_with_its_last_piece() {
    let (layer, pieces) = (layer(), Pieces::default());
    let answer = response(200, &[("content-length", "4")], pieces.body());
    let mut body = begin(&layer, get("/", &[]), answer).await.into_body();
    pieces.data("ab");
    pieces.data("cd");
    body.frame().await.unwrap().unwrap();
    assert!(!is_stored(&layer).await);
    body.frame().await.unwrap().unwrap();
    // A server doesn't ask for more.
    drop(body);
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "abcd");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_empty_is_stored_at_once() {
    let layer = layer();
    for (status, length) in [(204, &[][..]), (200, &[("content-length", "0")])] {
        drop(begin(&layer, get("/", &[]), response(status, length, Body::empty())).await);
        assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "");
        layer.handle().clear();
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_pass_and_end_the_body() {
    let (layer, pieces) = (layer(), Pieces::default());
    pieces.data("ab");
    let trailers = HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]);
    pieces.trailers(trailers.clone());
    pieces.end();
    let body = begin(&layer, get("/", &[]), response(200, &[], pieces.body())).await.into_body();
    assert_eq!(body.collect().await.unwrap().trailers(), Some(&trailers));
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "ab");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_before_its_end_is_not_stored() {
    let (layer, pieces) = (layer(), Pieces::default());
    pieces.data("ab");
    let mut body = begin(&layer, get("/", &[]), response(200, &[], pieces.body())).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    drop(begin(&layer, get("/", &[]), response(200, &[], "never read")).await);
    assert!(!is_stored(&layer).await);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_not_stored_and_its_error_passes() {
    let (layer, pieces) = (layer(), Pieces::default());
    pieces.data("ab");
    pieces.fail();
    pieces.end();
    let mut body = begin(&layer, get("/", &[]), response(200, &[], pieces.body())).await.into_body();
    body.frame().await.unwrap().unwrap();
    let error = body.frame().await.unwrap().unwrap_err();
    let inner = std::error::Error::source(&error).unwrap();
    assert!(inner.is::<std::io::Error>(), "{inner:?}");
    assert!(body.frame().await.is_none());
    assert!(!is_stored(&layer).await);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_another_length_than_was_announced_is_not_stored() {
    for (length, body) in [("4", "abc"), ("2", "abc"), ("0", "abc"), ("x", "abc"), ("-1", "abc"), ("3, 3", "abc")] {
        let (layer, pieces) = (layer(), Pieces::default());
        pieces.data(body);
        pieces.end();
        let (_, read) = send(&layer, get("/", &[]), response(200, &[("content-length", length)], pieces.body())).await;
        assert_eq!(read, body, "it streams on");
        assert!(!is_stored(&layer).await, "{length}");
    }
    let layer = layer();
    let twice = response(200, &[("content-length", "3"), ("content-length", "3")], "abc");
    send(&layer, get("/", &[]), twice).await;
    assert!(!is_stored(&layer).await);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_streams_on_and_is_not_stored() {
    let layer = layer();
    assert_eq!(send(&layer, get("/", &[]), response(200, &[], "12345678")).await.1, "12345678");
    assert!(is_stored(&layer).await, "as long as may be");
    layer.handle().clear();
    assert_eq!(send(&layer, get("/", &[]), response(200, &[], "123456789")).await.1, "123456789");
    assert!(!is_stored(&layer).await);

    let pieces = Pieces::default();
    ["12345", "67890", "!"].into_iter().for_each(|piece| pieces.data(piece));
    pieces.end();
    assert_eq!(send(&layer, get("/", &[]), response(200, &[], pieces.body())).await.1, "1234567890!");
    assert!(!is_stored(&layer).await);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_stored_leaves_what_was() {
    let layer = layer();
    send(&layer, get("/", &[]), response(200, &[], "good")).await;
    for answer in
        [response(503, &[], "down"), response(200, &[], "far too long"), response(200, &[("set-cookie", "a")], "x")]
    {
        send(&layer, get("/", &[]), answer).await;
        assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "good");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_keeps_its_size_hint_and_its_end() {
    let layer = layer();
    let mut body = begin(&layer, get("/", &[]), response(200, &[], "abc")).await.into_body();
    assert_eq!(body.size_hint().exact(), Some(3));
    assert!(!body.is_end_stream());
    body.frame().await.unwrap().unwrap();
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn only_answers_to_get_are_stored() {
    let layer = layer();
    for method in ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PURGE"] {
        send(&layer, request(method, "/", &[]), response(200, &[("cache-control", "public")], "x")).await;
        assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing), "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_itself_degraded_is_not_stored_as_good() {
    let degraded = |freshness| Degradation::new(name!("c"), name!("s"), 1, Reason::ERROR, freshness);
    for (freshness, stored) in
        [(Freshness::Degraded, false), (Freshness::Stale { age: None }, false), (Freshness::Fresh, true)]
    {
        let layer = layer();
        let mut answer = response(200, &[], "x");
        answer.extensions_mut().insert(degraded(freshness));
        send(&layer, get("/", &[]), answer).await;
        assert_eq!(is_stored(&layer).await, stored, "told by its extension: {freshness}");

        let layer = self::layer();
        let primary = service_fn(move |_: Request<Body>| async move {
            scope::report(degraded(freshness));
            Ok::<_, std::convert::Infallible>(response(200, &[], "x"))
        });
        let mut outside = scope::Scope::new();
        let mut call = Box::pin(layer.layer(primary).oneshot(get("/", &[])));
        let answer = std::future::poll_fn(|cx| outside.enter(|| call.as_mut().poll(cx))).await.unwrap();
        answer.into_body().collect().await.unwrap();
        assert_eq!(is_stored(&layer).await, stored, "reported while it was made: {freshness}");
        assert_eq!(outside.take_reports().len(), 1, "the report moves on");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_an_injected_fault_has_hit_is_not_stored_and_removes_nothing() {
    let layer = layer();
    send(&layer, get("/", &[]), response(200, &[], "good")).await;
    for (status, body) in [(200, "hit"), (404, "hit"), (410, "hit")] {
        let primary = service_fn(move |_: Request<Body>| async move {
            scope::inject_fault(|| Ok::<_, std::convert::Infallible>(response(status, &[], body)))
        });
        layer.layer(primary).oneshot(get("/", &[])).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "good", "{status}");
    }
}

/// A body of two pieces that reports something in one of its polls.
fn reporting_body(at: usize, report: impl Fn() + Unpin + Send + 'static) -> Body {
    struct Reporting<R>(usize, R);
    impl<R: Fn(usize) + Unpin> http_body::Body for Reporting<R> {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            let poll = self.0;
            self.0 += 1;
            (self.1)(poll);
            Poll::Ready(
                ["ab", "c"].get(poll).map(|piece| Ok(http_body::Frame::data(Bytes::from_static(piece.as_bytes())))),
            )
        }
    }
    let report = move |poll| {
        if poll == at {
            report();
        }
    };
    Body::new(Reporting(0, report))
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_degraded_while_the_body_streams_is_not_stored_as_good() {
    let of = |freshness| Degradation::new(name!("c"), name!("s"), 1, Reason::ERROR, freshness);
    for at in 0..3 {
        for (freshness, is_good) in [(Freshness::Degraded, false), (Freshness::Fresh, true)] {
            for elsewhere in [false, true] {
                let layer = layer();
                let primary = service_fn(move |_: Request<Body>| {
                    let handle = elsewhere.then(scope::handle);
                    let report = move || match handle.clone() {
                        None => scope::report(of(freshness)),
                        Some(handle) => {
                            assert_ready!(
                                task::spawn(async move { scope::report(of(freshness)) }.in_scope(handle)).poll()
                            );
                        }
                    };
                    async move { Ok::<_, std::convert::Infallible>(response(200, &[], reporting_body(at, report))) }
                });
                let mut call = task::spawn(layer.layer(primary).oneshot(get("/", &[])));
                let answer = assert_ready!(call.poll()).unwrap();
                let mut outside = scope::Scope::new();
                let mut body = task::spawn(answer.into_body());
                let mut next = || outside.enter(|| body.enter(|cx, mut body| Pin::new(&mut *body).poll_frame(cx)));
                let mut read = String::new();
                while let Some(frame) = assert_ready!(next()) {
                    read += std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap();
                }
                assert_eq!(read, "abc", "it streams on");
                assert_eq!(is_stored(&layer).await, is_good, "{freshness} in poll {at}, elsewhere: {elsewhere}");
                assert_eq!(outside.take_reports().len(), 1, "the report moves on");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_its_trailers_call_degraded_is_not_stored_as_good() {
    for (label, is_good) in [("degraded", false), ("stale;age=1", false), ("fresh", true)] {
        let (layer, pieces) = (layer(), Pieces::default());
        pieces.data("ab");
        pieces.trailers(HeaderMap::from_iter([(backstop_core::X_DATA_FRESHNESS, label.parse().unwrap())]));
        pieces.end();
        let body = begin(&layer, get("/", &[]), response(200, &[], pieces.body())).await.into_body();
        assert!(body.collect().await.unwrap().trailers().is_some());
        assert_eq!(is_stored(&layer).await, is_good, "{label}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_store_takes_what_is_new() {
    let layer = LastKnownGoodLayer::builder("shop").max_entries(20).build().unwrap();
    for i in 0..100 {
        let path = format!("/{i}");
        // As services are asked: again and again for the same.
        for _ in 0..2 {
            send(&layer, get(&path, &[]), response(200, &[], path.clone())).await;
        }
        assert!(layer.handle().len() <= 20);
        assert_eq!(body_of(&layer, get(&path, &[])).await.as_ref(), Ok(&path));
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_answer_that_ends_late_does_not_displace_a_newer_one() {
    let (layer, pieces) = (layer(), Pieces::default());
    let mut older = begin(&layer, get("/", &[]), response(200, &[], pieces.body())).await.into_body();
    advance(Duration::from_secs(2)).await;
    send(&layer, get("/", &[]), response(200, &[], "newer")).await;
    pieces.data("older");
    pieces.end();
    while older.frame().await.is_some() {}
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "newer");
}

#[tokio::test(start_paused = true)]
async fn the_answer_that_was_made_last_is_the_one_that_is_known() {
    let layer = layer();
    let sends = async |age: &str, body: &'static str| {
        send(&layer, get("/", &[]), response(200, &[("age", age)], body)).await;
        body_of(&layer, get("/", &[])).await.unwrap()
    };
    assert_eq!(sends("100", "first").await, "first");
    assert_eq!(sends("3600", "old").await, "first", "by another cache further in");
    assert_eq!(sends("100", "again").await, "again", "of the same second the last that came");
    assert_eq!(sends("101", "same").await, "same", "a second is as exact as it can be told");
    assert_eq!(sends("20", "newer").await, "newer");
    advance(Duration::from_secs(60)).await;
    assert_eq!(sends("90", "older").await, "newer");
    assert_eq!(sends("0", "newest").await, "newest");
}

#[tokio::test(start_paused = true)]
async fn an_older_answer_is_stored_where_the_newer_one_may_not_be_served_or_answers_something_else() {
    let layer = layer();
    send(&layer, get("/", &[]), response(200, &[("cache-control", "s-maxage=60")], "strict")).await;
    advance(Duration::from_secs(60)).await;
    send(&layer, get("/", &[]), response(200, &[("age", "90")], "patient")).await;
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "patient");

    let of = |language| get("/list", &[("accept-language", language)]);
    let answer = |age, body| response(200, &[("vary", "accept-language"), ("age", age)], body);
    send(&layer, of("en"), answer("0", "list")).await;
    send(&layer, of("fr"), answer("90", "liste")).await;
    assert_eq!(body_of(&layer, of("en")).await.unwrap(), "list");
    assert_eq!(body_of(&layer, of("fr")).await.unwrap(), "liste");
}
