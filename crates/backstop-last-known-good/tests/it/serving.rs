//! What is stored is served as it was, with its true age, to whom it may be served.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use backstop_core::Inspect;
use backstop_last_known_good::{LastKnownGoodConfig, LastKnownGoodLayer, NotStored, name};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{Pieces, body_of, get, request, response, send, stored};

const HOUR: Duration = Duration::from_secs(60 * 60);

#[tokio::test(start_paused = true)]
async fn a_good_answer_is_served_as_it_was_with_its_true_age() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let mut answer = response(203, &[("etag", "\"1\""), ("link", "a"), ("via", "x"), ("link", "b")], "the list");
    answer.headers_mut().append("x-bytes", HeaderValue::from_bytes(b"\xff").unwrap());
    answer.headers_mut().insert("cache-control", HeaderValue::from_static("max-age=60"));
    #[expect(clippy::disallowed_types, reason = "a date in a header")]
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    answer.headers_mut().insert("date", date.parse().unwrap());
    let mut expected = answer.headers().clone();

    let (head, body) = send(&layer, get("/list", &[]), answer).await;
    assert_eq!((head.status, &body[..]), (StatusCode::NON_AUTHORITATIVE_INFORMATION, &b"the list"[..]));
    assert_eq!(head.headers, expected, "it passes as it is");

    advance(Duration::from_secs(912)).await;
    let known = stored(&layer, get("/list", &[])).await.unwrap();
    // The date has no fractions of a second, so up to one may be added.
    assert!((912..=913).contains(&known.age), "{}", known.age);
    expected.insert("age", known.age.into());
    assert_eq!((known.status, &*known.body), (StatusCode::NON_AUTHORITATIVE_INFORMATION, "the list"));
    assert_eq!(known.headers, expected);
}

#[tokio::test(start_paused = true)]
async fn the_age_that_it_had_when_it_came_counts() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    send(&layer, get("/", &[]), response(200, &[("age", "100")], "x")).await;
    advance(Duration::from_secs(20)).await;
    let known = stored(&layer, get("/", &[])).await.unwrap();
    assert_eq!((known.age, known.headers.get_all("age").iter().count()), (120, 1));
    assert_eq!(known.headers["age"], "120");
}

#[tokio::test(start_paused = true)]
async fn a_copy_does_not_say_that_it_is_fresh() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let labelled = [("x-data-freshness", "fresh"), ("x-fallback-source", "replica")];
    let (head, _) = send(&layer, get("/", &[]), response(200, &labelled, "x")).await;
    assert_eq!(head.headers["x-fallback-source"], "replica", "the answer itself does");
    let known = stored(&layer, get("/", &[])).await.unwrap();
    assert!(!known.headers.contains_key("x-data-freshness") && !known.headers.contains_key("x-fallback-source"));
}

#[tokio::test(start_paused = true)]
async fn nothing_older_than_max_stale_is_served() {
    let layer = LastKnownGoodLayer::builder("shop").max_stale(HOUR).build().unwrap();
    send(&layer, get("/", &[]), response(200, &[("cache-control", "max-age=999999")], "x")).await;
    advance(HOUR - Duration::from_secs(1)).await;
    assert_eq!(stored(&layer, get("/", &[])).await.unwrap().age, 60 * 60 - 1);
    advance(Duration::from_secs(1)).await;
    assert_eq!(stored(&layer, get("/", &[])).await, Err(NotStored::TooStale));
}

#[tokio::test(start_paused = true)]
async fn an_answer_bounds_how_stale_it_may_be_served() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let answer = || response(200, &[("cache-control", "max-age=60, stale-if-error=600")], "x");
    send(&layer, get("/", &[]), answer()).await;
    advance(Duration::from_secs(659)).await;
    assert!(stored(&layer, get("/", &[])).await.is_ok());
    let careful = || get("/", &[("cache-control", "stale-if-error=500")]);
    assert_eq!(stored(&layer, careful()).await, Err(NotStored::TooStale), "a request may ask for less");
    assert!(stored(&layer, get("/", &[("cache-control", "stale-if-error=9999")])).await.is_ok());
    advance(Duration::from_secs(1)).await;
    assert_eq!(stored(&layer, get("/", &[])).await, Err(NotStored::TooStale));
    let eager = get("/", &[("cache-control", "stale-if-error=9999")]);
    assert_eq!(stored(&layer, eager).await, Err(NotStored::TooStale), "but not for more");
}

#[tokio::test(start_paused = true)]
async fn what_must_be_revalidated_is_served_while_it_is_fresh_only() {
    for control in ["max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60"] {
        let layer = LastKnownGoodLayer::new(name!("shop"));
        send(&layer, get("/", &[]), response(200, &[("cache-control", control)], "x")).await;
        advance(Duration::from_secs(59)).await;
        assert!(stored(&layer, get("/", &[])).await.is_ok(), "{control}");
        advance(Duration::from_secs(1)).await;
        assert_eq!(stored(&layer, get("/", &[])).await, Err(NotStored::TooStale), "{control}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_is_served_too_since_the_primary_was_asked() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    send(&layer, get("/", &[]), response(200, &[], "x")).await;
    let reload = get("/", &[("cache-control", "no-cache"), ("pragma", "no-cache")]);
    assert!(stored(&layer, reload).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_head_request_is_served_from_a_stored_get() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    send(&layer, get("/", &[]), response(200, &[("content-length", "4")], "body")).await;
    let known = stored(&layer, request("HEAD", "/", &[])).await.unwrap();
    assert_eq!((&*known.body, &known.headers["content-length"]), ("", &HeaderValue::from_static("4")));
}

/// A server that is told no length takes that of the body, which is empty here.
#[tokio::test(start_paused = true)]
async fn a_head_request_is_told_the_length_of_the_get_or_none() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    send(&layer, get("/", &[]), response(200, &[], "body")).await;
    assert_eq!(stored(&layer, request("HEAD", "/", &[])).await.unwrap().headers["content-length"], "4");
    assert!(!stored(&layer, get("/", &[])).await.unwrap().headers.contains_key("content-length"), "the body tells");
    send(&layer, get("/none", &[]), response(204, &[], "")).await;
    let known = stored(&layer, request("HEAD", "/none", &[])).await.unwrap();
    assert!(!known.headers.contains_key("content-length"), "RFC 9110 §8.6");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_stored_is_told_with_its_reason() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    send(&layer, get("/a", &[]), response(200, &[], "x")).await;
    assert_eq!(stored(&layer, get("/b", &[])).await, Err(NotStored::Missing));
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(stored(&layer, request(method, "/a", &[])).await, Err(NotStored::Method), "{method}");
    }
    assert_eq!(NotStored::Missing.to_string(), "no answer is stored for this request");
}

/// Some search services are asked so.
#[tokio::test(start_paused = true)]
async fn a_get_with_content_is_neither_stored_nor_served() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let search = || get("/search", &[("content-length", "2"), ("content-type", "application/json")]);
    send(&layer, search(), response(200, &[], "what was searched for")).await;
    assert_eq!(stored(&layer, get("/search", &[])).await, Err(NotStored::Missing));
    // Since HTTP/2 the fields need not tell.
    let mut untold = get("/search", &[]);
    *untold.body_mut() = Body::from("{}");
    send(&layer, untold, response(200, &[], "what was searched for")).await;
    assert_eq!(stored(&layer, get("/search", &[])).await, Err(NotStored::Missing));
    send(&layer, get("/search", &[]), response(200, &[], "all")).await;
    assert_eq!(stored(&layer, search()).await, Err(NotStored::Missing));
}

/// Layers that wrap bodies hide that there is nothing in them, and some clients send `Content-Type` with every request.
#[tokio::test(start_paused = true)]
async fn a_get_whose_body_only_hides_that_it_is_empty_is_stored_and_served() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let hidden = || {
        let mut asked = get("/", &[("content-type", "application/json")]);
        let nothing = Pieces::default();
        nothing.end();
        *asked.body_mut() = nothing.body();
        assert!(!http_body::Body::is_end_stream(asked.body()));
        asked
    };
    send(&layer, hidden(), response(200, &[], "x")).await;
    assert_eq!(stored(&layer, hidden()).await.unwrap().body, "x");

    // What isn't known to be empty when it comes isn't waited for.
    let slow = Pieces::default();
    let mut pending = get("/slow", &[]);
    *pending.body_mut() = slow.body();
    send(&layer, pending, response(200, &[], "x")).await;
    assert_eq!(stored(&layer, get("/slow", &[])).await, Err(NotStored::Missing));
}

#[tokio::test(start_paused = true)]
async fn content_that_was_looked_for_arrives_whole() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let echo = layer
        .layer(service_fn(|request: Request<Body>| async { Ok::<_, Infallible>(Response::new(request.into_body())) }));
    let pieces = Pieces::default();
    ["ab", "", "c"].into_iter().for_each(|piece| pieces.data(piece));
    pieces.end();
    let mut asked = get("/", &[]);
    *asked.body_mut() = pieces.body();
    let answer = echo.oneshot(asked).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "abc");
    assert_eq!(stored(&layer, get("/", &[])).await, Err(NotStored::Missing));
}

#[tokio::test(start_paused = true)]
async fn a_newer_answer_takes_the_place_of_an_older_one() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    send(&layer, get("/", &[]), response(200, &[], "old")).await;
    advance(HOUR).await;
    send(&layer, get("/", &[]), response(200, &[], "new")).await;
    let known = stored(&layer, get("/", &[])).await.unwrap();
    assert_eq!((&*known.body, known.age), ("new", 0));
}

#[tokio::test(start_paused = true)]
async fn what_leads_to_an_answer_lasts_as_long_as_the_answer() {
    let layer = LastKnownGoodLayer::builder("shop").max_stale(HOUR).principal(|_| Some("ann")).build().unwrap();
    send(&layer, get("/", &[]), response(200, &[], "old")).await;
    for _ in 0..40 {
        advance(HOUR - Duration::from_secs(1)).await;
        assert!(stored(&layer, get("/", &[])).await.is_ok());
        send(&layer, get("/", &[]), response(200, &[], "new")).await;
    }
    assert_eq!(stored(&layer, get("/", &[])).await.unwrap().body, "new");
}

#[tokio::test(start_paused = true)]
async fn the_handle_forgets_and_counts() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let handle = layer.handle();
    assert!(handle.is_empty());
    for path in ["http://shop.example/a", "http://shop.example/b"] {
        send(&layer, get(path, &[]), response(200, &[], "x")).await;
    }
    assert_eq!(handle.len(), 4, "each answer, and what leads to it");
    handle.invalidate(&"http://shop.example/a".parse().unwrap()).await;
    assert_eq!(stored(&layer, get("http://shop.example/a", &[])).await, Err(NotStored::Missing));
    assert!(stored(&layer, get("/b", &[("host", "shop.example")])).await.is_ok());
    handle.clear();
    assert!(handle.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_is_stored_and_bounds_its_age_at_once() {
    let config = |change: fn(&mut LastKnownGoodConfig)| {
        let mut config = LastKnownGoodConfig::new("shop");
        change(&mut config);
        config
    };
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let handle = layer.handle();
    send(&layer, get("/", &[]), response(200, &[], "x")).await;
    advance(Duration::from_secs(100)).await;
    handle.reload(config(|c| c.max_stale = Duration::from_secs(60))).unwrap();
    assert_eq!(handle.max_stale(), Duration::from_secs(60));
    assert_eq!(stored(&layer, get("/", &[])).await, Err(NotStored::TooStale));
    handle.reload(config(|c| c.max_body = 4)).unwrap();
    assert_eq!(stored(&layer, get("/", &[])).await.unwrap().age, 100, "it was there all the time");

    send(&layer, get("/long", &[]), response(200, &[], "12345")).await;
    assert!(stored(&layer, get("/long", &[])).await.is_err());
    handle.reload(config(|c| c.max_body = 5)).unwrap();
    send(&layer, get("/long", &[]), response(200, &[], "12345")).await;
    assert_eq!(&*stored(&layer, get("/long", &[])).await.unwrap().body, "12345");
}

/// A layer whose answers last an hour, or a day while the circuit is open, and the switch of the circuit.
fn with_circuit() -> (LastKnownGoodLayer, Arc<AtomicBool>) {
    let is_open = Arc::new(AtomicBool::new(false));
    let circuit = Arc::clone(&is_open);
    let builder = LastKnownGoodLayer::builder("shop").max_stale(HOUR).max_stale_while_open(HOUR * 24);
    (builder.circuit_is_open(move || circuit.load(Ordering::SeqCst)).build().unwrap(), is_open)
}

#[tokio::test(start_paused = true)]
async fn while_the_circuit_is_open_answers_are_served_for_longer_and_then_no_more() {
    let (layer, is_open) = with_circuit();
    send(&layer, get("/", &[]), response(200, &[], "good")).await;
    send(&layer, get("/short", &[]), response(200, &[("cache-control", "stale-if-error=60")], "good")).await;
    for (hours, open, expected) in [
        (2, false, Err(NotStored::TooStale)),
        (0, true, Ok("good".to_owned())),
        (21, true, Ok("good".to_owned())),
        (0, false, Err(NotStored::TooStale)),
        (2, true, Err(NotStored::TooStale)),
    ] {
        advance(HOUR * hours).await;
        is_open.store(open, Ordering::SeqCst);
        assert_eq!(body_of(&layer, get("/", &[])).await, expected, "after {hours} more hours, {open}");
        assert!(body_of(&layer, get("/short", &[])).await.is_err(), "an answer's own bound holds");
    }
}

#[tokio::test(start_paused = true)]
async fn the_longer_time_can_be_reloaded_and_is_shown() {
    let (layer, is_open) = with_circuit();
    let handle = layer.handle();
    assert_eq!(handle.max_stale_while_open(), Some(HOUR * 24));
    send(&layer, get("/", &[]), response(200, &[], "good")).await;
    is_open.store(true, Ordering::SeqCst);
    advance(HOUR * 3).await;
    let mut config = LastKnownGoodConfig::new("shop");
    config.max_stale = HOUR;
    for (longer, is_served) in [(Some(HOUR * 2), false), (Some(HOUR * 4), true), (None, false)] {
        config.max_stale_while_open = longer;
        handle.reload(config.clone()).unwrap();
        assert_eq!(handle.max_stale_while_open(), longer);
        assert_eq!(body_of(&layer, get("/", &[])).await.is_ok(), is_served, "{longer:?}");
        assert_eq!(
            Inspect::settings(&handle).iter().any(|(name, _)| *name == "max_stale_while_open"),
            longer.is_some()
        );
    }
}

#[test]
fn a_longer_time_needs_to_know_the_circuit_and_to_be_longer() {
    let longer = |age| LastKnownGoodLayer::builder("shop").max_stale_while_open(age);
    assert_eq!(longer(HOUR * 48).build().unwrap_err().field, "max_stale_while_open");
    assert!(longer(HOUR * 48).circuit_is_open(|| true).build().is_ok());
    assert_eq!(longer(HOUR).circuit_is_open(|| true).build().unwrap_err().field, "max_stale_while_open");
    assert_eq!(longer(HOUR * 24 * 366).circuit_is_open(|| true).build().unwrap_err().field, "max_stale_while_open");
}
