//! A 304, or an answer to HEAD, counts for what is stored: it is as good as new, or it isn't served any more.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::time::Duration;

use axum::body::Body;
use backstop_core::{Degradation, Freshness, Reason};
use backstop_last_known_good::{LastKnownGoodLayer, NotStored, name};
use http::Request;
use tokio::time::advance;

use crate::support::{Pieces, begin, body_of, get, request, response, send, stored};

const MINUTE: Duration = Duration::from_secs(60);
const SUNDAY: &str = "Sun, 06 Nov 1994 12:00:00 GMT";
const MONDAY: &str = "Mon, 07 Nov 1994 12:00:00 GMT";

/// A layer that has known an answer for ten minutes.
async fn known(headers: &[(&str, &str)]) -> LastKnownGoodLayer {
    let layer = LastKnownGoodLayer::builder("shop").build().unwrap();
    send(&layer, get("/", &[]), response(200, &[headers, &[("x-kept", "1"), ("x-count", "1")]].concat(), "body")).await;
    advance(MINUTE * 10).await;
    layer
}

fn if_none_match(tags: &str) -> Request<Body> {
    get("/", &[("if-none-match", tags)])
}

#[tokio::test(start_paused = true)]
async fn a_304_freshens_what_is_stored_and_updates_its_fields() {
    for (asks, validator) in
        [(("if-none-match", "\"a\""), ("etag", "\"a\"")), (("if-modified-since", SUNDAY), ("last-modified", SUNDAY))]
    {
        for method in ["GET", "HEAD"] {
            let layer = known(&[validator, ("cache-control", "max-age=60, stale-if-error=660")]).await;
            let told =
                [("x-count", "2"), ("x-count", "3"), ("content-length", "0"), ("set-cookie", "s=1"), ("age", "7")];
            let told = [&told[..], &[("cache-control", "max-age=60, stale-if-error=600")]].concat();
            // A cookie is for one caller, so that nothing is learned from an answer that sets one.
            send(&layer, request(method, "/", &[asks]), response(304, &told, "")).await;
            assert_eq!(stored(&layer, get("/", &[])).await.unwrap().age, 600);

            let told: Vec<_> = told.into_iter().filter(|(name, _)| *name != "set-cookie").collect();
            send(&layer, request(method, "/", &[asks]), response(304, &told, "")).await;
            advance(MINUTE).await;
            let known = stored(&layer, get("/", &[])).await.unwrap();
            assert_eq!((&*known.body, known.status.as_u16(), known.age), ("body", 200, 67), "{method}");
            assert_eq!(known.headers["x-kept"], "1");
            assert!(known.headers.get_all("x-count").iter().eq(["2", "3"]));
            assert!(!known.headers.contains_key("content-length"), "that of the 304 is of no body");
            assert_eq!(known.headers.get_all("date").iter().count(), 1);
            advance(MINUTE * 9).await;
            assert!(stored(&layer, get("/", &[])).await.is_ok(), "its time begins anew");
            advance(MINUTE).await;
            assert_eq!(stored(&layer, get("/", &[])).await, Err(NotStored::TooStale));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_304_about_another_answer_freshens_nothing() {
    let tagged = ("etag", "\"a\"");
    for (asks, told) in [
        (&[("if-none-match", "\"b\"")][..], &[][..]),
        (&[("if-none-match", "\"a\", \"b\"")], &[]),
        (&[("if-none-match", "*")], &[tagged]),
        (&[("if-modified-since", MONDAY)], &[]),
        (&[], &[tagged]),
        (&[("if-none-match", "\"a\""), ("cache-control", "no-store")], &[tagged]),
        (&[("if-none-match", "\"a\""), ("range", "bytes=0-1")], &[tagged]),
        (&[("if-none-match", "\"a\""), ("content-length", "2")], &[tagged]),
        (&[("if-none-match", "\"a\""), ("authorization", "Bearer s")], &[tagged]),
        (&[("if-none-match", "\"a\"")], &[tagged, ("x-data-freshness", "stale;age=5")]),
        (&[("if-none-match", "\"a\"")], &[tagged, ("age", "660")]),
    ] {
        let layer = known(&[tagged, ("last-modified", SUNDAY)]).await;
        send(&layer, get("/", asks), response(304, told, "")).await;
        assert_eq!(stored(&layer, get("/", &[])).await.unwrap().age, 600, "{asks:?} {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_304_freshens_the_variant_that_its_request_selects() {
    let layer = LastKnownGoodLayer::builder("shop").build().unwrap();
    let asks = |language, tag| get("/", &[("accept-language", language), ("if-none-match", tag)]);
    for language in ["en", "fr"] {
        let answer = response(200, &[("vary", "accept-language"), ("etag", &format!("\"{language}\""))], language);
        send(&layer, asks(language, "\"\""), answer).await;
    }
    advance(MINUTE).await;
    send(&layer, asks("fr", "\"fr\""), response(304, &[], "")).await;
    assert_eq!(stored(&layer, asks("fr", "")).await.unwrap().age, 0);
    assert_eq!(stored(&layer, asks("en", "")).await.unwrap().age, 60);
}

#[tokio::test(start_paused = true)]
async fn a_304_that_shows_that_what_is_stored_has_changed_or_may_not_be_stored_withdraws_it() {
    let tagged = ("etag", "\"a\"");
    for (asks, told) in [
        (("if-none-match", "\"b\""), ("etag", "\"b\"")),
        (("if-modified-since", MONDAY), ("etag", "\"b\"")),
        (("if-none-match", "\"a\""), ("cache-control", "no-store")),
        (("if-none-match", "\"a\""), ("cache-control", "private")),
    ] {
        let layer = known(&[tagged]).await;
        let by_one = get("/", &[asks, ("cookie", "s=1")]);
        send(&layer, by_one, response(304, &[told], "")).await;
        assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "body", "one caller's says nothing of all: {told:?}");
        send(&layer, get("/", &[asks]), response(304, &[told], "")).await;
        assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing), "{asks:?} {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_304_freshens_nothing_that_was_withdrawn_since_it_was_asked_for() {
    let (layer, pieces) = (known(&[("etag", "\"a\"")]).await, Pieces::default());
    // One whose answer comes before the write, and whose body ends after it.
    let slow = begin(&layer, get("/", &[]), response(200, &[], pieces.body())).await;
    send(&layer, request("DELETE", "/", &[]), response(204, &[], "")).await;
    send(&layer, if_none_match("\"a\""), response(304, &[], "")).await;
    drop(slow);
    assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_head_freshens_what_it_validates_and_withdraws_what_has_changed() {
    let (tagged, dated) = (("etag", "\"a\""), ("last-modified", SUNDAY));
    for (told, expected) in [
        (&[tagged, ("content-length", "4")][..], Ok(0)),
        (&[tagged, dated], Ok(0)),
        (&[dated], Ok(0)),
        (&[("content-length", "4")], Ok(600)),
        (&[], Ok(600)),
        (&[("etag", "\"b\"")], Err(NotStored::Missing)),
        (&[("last-modified", MONDAY)], Err(NotStored::Missing)),
        (&[tagged, ("content-length", "5")], Err(NotStored::Missing)),
        (&[("cache-control", "no-store")], Err(NotStored::Missing)),
        (&[("cache-control", "private"), tagged], Err(NotStored::Missing)),
        (&[("vary", "*")], Err(NotStored::Missing)),
        // What is older, or degraded, says nothing.
        (&[("etag", "\"b\""), ("age", "700")], Ok(600)),
        (&[("etag", "\"b\""), ("x-data-freshness", "degraded")], Ok(600)),
    ] {
        let layer = known(&[tagged, dated]).await;
        let by_one = request("HEAD", "/", &[("authorization", "Bearer s")]);
        send(&layer, by_one, response(200, told, "")).await;
        assert_eq!(stored(&layer, get("/", &[])).await.map(|it| it.age), Ok(600), "one caller's: {told:?}");
        send(&layer, request("HEAD", "/", &[]), response(200, told, "")).await;
        let known = stored(&layer, get("/", &[])).await;
        assert_eq!(known.as_ref().map(|it| it.age), expected.as_ref().map(|age| *age), "{told:?}");
        assert!(known.is_err() || known.unwrap().body == "body");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_in_another_coding_or_variant_says_nothing() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let zipped = get("/", &[("accept-encoding", "gzip")]);
    send(&layer, zipped, response(200, &[("content-encoding", "gzip")], "zip")).await;
    for accept in ["identity", "gzip"] {
        let asked = request("HEAD", "/", &[("accept-encoding", accept)]);
        send(&layer, asked, response(200, &[("content-length", "4096"), ("etag", "\"plain\"")], "")).await;
        assert_eq!(body_of(&layer, get("/", &[("accept-encoding", "gzip")])).await.unwrap(), "zip", "{accept}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_degraded_says_nothing_of_what_is_stored() {
    let layer = known(&[("etag", "\"a\"")]).await;
    for status in [200, 304] {
        let mut answer = response(status, &[("cache-control", "no-store")], "");
        let record = Degradation::new(name!("c"), name!("s"), 1, Reason::ERROR, Freshness::Degraded);
        answer.extensions_mut().insert(record);
        send(&layer, if_none_match("\"a\""), answer).await;
        assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "body", "{status}");
    }
}
