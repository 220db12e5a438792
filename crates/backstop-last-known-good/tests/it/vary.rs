//! Who asks for something else is given something else.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use backstop_last_known_good::{LastKnownGoodLayer, NotStored, name};
use http::HeaderValue;

use crate::support::{Behaves, TestStore, body_of, get, response, send};

fn layer() -> LastKnownGoodLayer {
    LastKnownGoodLayer::new(name!("shop"))
}

const IN_ENGLISH: &[(&str, &str)] = &[("accept-language", "en")];
const IN_FRENCH: &[(&str, &str)] = &[("accept-language", "fr")];

#[tokio::test(start_paused = true)]
async fn each_variant_is_served_to_who_selects_it() {
    let layer = layer();
    let vary = [("vary", "Accept-Language")];
    send(&layer, get("/", IN_ENGLISH), response(200, &vary, "hello")).await;
    assert_eq!(body_of(&layer, get("/", IN_FRENCH)).await, Err(NotStored::Missing));
    send(&layer, get("/", IN_FRENCH), response(200, &vary, "bonjour")).await;
    assert_eq!(body_of(&layer, get("/", IN_FRENCH)).await.unwrap(), "bonjour");
    assert_eq!(body_of(&layer, get("/", IN_ENGLISH)).await.unwrap(), "hello");
    assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing), "without the field");
    let also = [IN_ENGLISH, &[("accept", "x")]].concat();
    assert_eq!(body_of(&layer, get("/", &also)).await.unwrap(), "hello", "other fields don't matter");
}

#[tokio::test(start_paused = true)]
async fn all_values_of_a_field_select_in_order_and_none_is_not_an_empty_one() {
    let with = |values: &[&[u8]]| {
        let mut asked = get("/", &[]);
        for value in values {
            asked.headers_mut().append("x-a", HeaderValue::from_bytes(value).unwrap());
        }
        asked
    };
    let all: &[&[&[u8]]] = &[&[], &[b""], &[b"1"], &[b"1", b"2"], &[b"2", b"1"], &[b"1", b"\xff"], &[b"1,2"], &[b"12"]];
    for values in all {
        let layer = layer();
        send(&layer, with(values), response(200, &[("vary", "x-a")], "x")).await;
        for others in all {
            assert_eq!(body_of(&layer, with(others)).await.is_ok(), others == values, "{others:?} for {values:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_tells_vary_with_some_answers_only_is_understood() {
    let layer = layer();
    send(&layer, get("/", &[]), response(200, &[], "plain")).await;
    send(&layer, get("/", IN_FRENCH), response(200, &[("vary", "accept-language")], "bonjour")).await;
    send(&layer, get("/", &[]), response(200, &[], "plain")).await;
    assert_eq!(body_of(&layer, get("/", IN_FRENCH)).await.unwrap(), "bonjour");
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "plain");
    assert_eq!(body_of(&layer, get("/", IN_ENGLISH)).await, Err(NotStored::Missing));
}

#[tokio::test(start_paused = true)]
async fn nobody_fills_the_store_with_variants() {
    let store = TestStore::new(Behaves::Well);
    let layer = LastKnownGoodLayer::builder("shop").store(store.clone()).build().unwrap();
    let asked = |language: usize| get("/", &[("accept-language", &language.to_string())]);
    for language in 0..1000 {
        let answer = response(200, &[("vary", "accept-language")], language.to_string());
        send(&layer, asked(language), answer).await;
    }
    assert!((32..=65).contains(&store.len()), "{}", store.len());
    assert!(body_of(&layer, asked(999)).await.is_ok(), "the latest is there");
    // Many share a place, which is never given for one another.
    for language in 0..1000 {
        let known = body_of(&layer, asked(language)).await;
        assert!(known == Err(NotStored::Missing) || known == Ok(language.to_string()), "{language}: {known:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_varies_by_too_much_is_not_stored() {
    let layer = layer();
    let many = |from: usize| (from..from + 20).map(|i| format!("x-{i}")).collect::<Vec<_>>().join(",");
    send(&layer, get("/", &[]), response(200, &[("vary", &many(0))], "x")).await;
    assert!(body_of(&layer, get("/", &[])).await.is_ok());
    send(&layer, get("/", &[]), response(200, &[("vary", &many(20))], "too much")).await;
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "x");
    for vary in ["*", "a b", "x-é"] {
        let layer = self::layer();
        send(&layer, get("/", &[]), response(200, &[("vary", vary)], "x")).await;
        assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing), "{vary}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_vary_that_is_longer_than_anybody_needs_varies_by_anything() {
    let layer = layer();
    let vary = |names: usize| format!("{}accept", "accept,".repeat(names));
    send(&layer, get("/", &[]), response(200, &[("vary", &vary(100))], "x")).await;
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "x");
    send(&layer, get("/", &[]), response(200, &[("vary", &vary(200))], "longer")).await;
    assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing), "as of `*`");
    let names: Vec<_> = (0..40_000).map(|i| format!("x-{i}")).collect();
    send(&layer, get("/", &[]), response(200, &[("vary", &names.join(","))], "longest")).await;
    assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing));
}

/// Servers that negotiate don't always say so by `Vary`.
#[tokio::test(start_paused = true)]
async fn an_answer_in_a_coding_is_served_only_to_who_accepts_it_though_it_has_no_vary() {
    let layer = layer();
    let accepting = |codings: &str| get("/", &[("accept-encoding", codings)]);
    send(&layer, accepting("gzip, br"), response(200, &[("content-encoding", "gzip")], "zipped")).await;
    for codings in ["gzip, br", "gzip", "br, *", "GZIP;q=0.1", "x-gzip"] {
        assert_eq!(body_of(&layer, accepting(codings)).await.unwrap(), "zipped", "{codings}");
    }
    for codings in ["", "br", "identity", "gzip;q=0", "gzip;q=0.0, br", "*;q=0", "*, gzip;q=0"] {
        assert_eq!(body_of(&layer, accepting(codings)).await, Err(NotStored::Missing), "{codings}");
    }
    assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing), "it may be anything that asks");

    send(&layer, accepting("gzip"), response(200, &[], "plain")).await;
    for codings in ["gzip, br", "br", "", "*;q=0, identity"] {
        assert_eq!(body_of(&layer, accepting(codings)).await.unwrap(), "plain", "{codings}");
    }
    for codings in ["identity;q=0", "gzip, *;q=0"] {
        assert_eq!(body_of(&layer, accepting(codings)).await, Err(NotStored::Missing), "{codings}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_a_language_is_served_only_to_who_accepts_it_though_it_has_no_vary() {
    let layer = layer();
    let accepting = |languages: &str| get("/", &[("accept-language", languages)]);
    send(&layer, accepting("fr"), response(200, &[("content-language", "fr-CA")], "bonjour")).await;
    for languages in ["fr", "en, FR-ca;q=0.5", "en, *;q=0.1", "fr-ca-x-any"] {
        assert_eq!(body_of(&layer, accepting(languages)).await.unwrap(), "bonjour", "{languages}");
    }
    for languages in ["en", "en, fr;q=0", "*, fr-CA;q=0", "fr-BE"] {
        assert_eq!(body_of(&layer, accepting(languages)).await, Err(NotStored::Missing), "{languages}");
    }
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "bonjour", "any will do");
}

/// The server gave just that to one like it.
#[tokio::test(start_paused = true)]
async fn who_asks_the_same_again_is_served_what_the_server_gave_though_it_does_not_say_that_it_accepts_it() {
    for asks in [&[][..], &[("accept-encoding", "br"), ("accept-language", "en")]] {
        let layer = layer();
        let answer = response(200, &[("content-encoding", "gzip"), ("content-language", "fr")], "bonjour, zipped");
        send(&layer, get("/", asks), answer).await;
        assert_eq!(body_of(&layer, get("/", asks)).await.unwrap(), "bonjour, zipped");
        assert_eq!(body_of(&layer, get("/", &[("accept-encoding", "identity")])).await, Err(NotStored::Missing));
    }
}
