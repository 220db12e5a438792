//! What was withdrawn isn't served any more.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::time::Duration;

use axum::body::Body;
use backstop_last_known_good::{LastKnownGoodLayer, NotStored, name};
use http::Request;
use http_body_util::BodyExt;
use tokio::time::advance;

use crate::support::{Behaves, Pieces, TestStore, begin, body_of, get, request, response, send};

fn layer() -> LastKnownGoodLayer {
    LastKnownGoodLayer::new(name!("shop"))
}

/// A layer that asks for the field `x-user`.
fn by_user() -> LastKnownGoodLayer {
    LastKnownGoodLayer::builder("shop").principal(|head| head.headers.get("x-user").cloned()).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_revoked_document_is_not_served() {
    for status in [404, 410, 451] {
        for method in ["GET", "HEAD"] {
            let layer = layer();
            let zipped = || get("/doc", &[("accept-encoding", "gzip")]);
            for asked in [get("/doc", &[]), zipped()] {
                send(&layer, asked, response(200, &[("vary", "accept-encoding")], "secret")).await;
            }
            let no_store = [("cache-control", "no-store")];
            send(&layer, request(method, "/doc", &no_store), response(status, &[], "")).await;
            send(&layer, get("/doc", &[]), response(503, &[], "down")).await;
            assert_eq!(body_of(&layer, get("/doc", &[])).await, Err(NotStored::Missing), "{method} {status}");
            assert_eq!(body_of(&layer, zipped()).await, Err(NotStored::Missing), "{method} {status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_is_refused_takes_nothing_from_all_others() {
    let api_key = || http::HeaderName::from_static("x-api-key");
    for status in [401, 403] {
        for credentials in [("authorization", "Bearer old"), ("cookie", "s=old"), ("x-api-key", "old")] {
            for method in ["GET", "HEAD"] {
                let layer = LastKnownGoodLayer::builder("shop").credentials([api_key()]).build().unwrap();
                send(&layer, get("/doc", &[]), response(200, &[("cache-control", "public")], "for all")).await;
                send(&layer, request(method, "/doc", &[credentials]), response(status, &[], "")).await;
                assert_eq!(body_of(&layer, get("/doc", &[])).await.unwrap(), "for all", "{status} {credentials:?}");
            }
        }
    }
    // A principal's own copy goes, as that is who is refused; of nobody in particular as above.
    let layer = by_user();
    let ann = || get("/doc", &[("x-user", "ann"), ("authorization", "Bearer a")]);
    for asked in [ann(), get("/doc", &[])] {
        send(&layer, asked, response(200, &[], "good")).await;
    }
    send(&layer, ann(), response(403, &[], "")).await;
    send(&layer, get("/doc", &[("authorization", "Bearer x")]), response(403, &[], "")).await;
    assert_eq!(body_of(&layer, ann()).await, Err(NotStored::Missing));
    assert_eq!(body_of(&layer, get("/doc", &[])).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_may_no_longer_be_stored_withdraws_the_one_that_might() {
    for control in ["no-store", "no-cache", "private", "must-revalidate", "s-maxage=0"] {
        let layer = layer();
        send(&layer, get("/doc", &[]), response(200, &[], "old")).await;
        send(&layer, get("/doc", &[]), response(200, &[("cache-control", control)], "new")).await;
        assert_eq!(body_of(&layer, get("/doc", &[])).await, Err(NotStored::Missing), "{control}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_success_forgets_its_uri_and_those_that_it_names() {
    for (method, status) in
        [("POST", 200), ("PUT", 204), ("PATCH", 200), ("DELETE", 204), ("POST", 303), ("PURGE", 200)]
    {
        let layer = layer();
        for path in ["/doc", "/doc/1", "/docs", "/other"] {
            send(&layer, get(path, &[]), response(200, &[], "old")).await;
        }
        let answer = response(status, &[("location", "/doc/1"), ("content-location", "docs")], "");
        send(&layer, request(method, "/doc", &[]), answer).await;
        for path in ["/doc", "/doc/1", "/docs"] {
            assert_eq!(body_of(&layer, get(path, &[])).await, Err(NotStored::Missing), "{method} {path}");
        }
        assert!(body_of(&layer, get("/other", &[])).await.is_ok(), "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_location_of_another_origin_is_left_alone() {
    let layer = layer();
    let there = || get("http://other.example/doc", &[]);
    send(&layer, there(), response(200, &[], "theirs")).await;
    let answer = response(201, &[("location", "http://other.example/doc")], "");
    send(&layer, request("POST", "http://shop.example/doc", &[]), answer).await;
    assert!(body_of(&layer, there()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_and_a_safe_method_forget_nothing() {
    let layer = layer();
    send(&layer, get("/doc", &[]), response(200, &[], "old")).await;
    for (method, status) in [("POST", 400), ("POST", 500), ("DELETE", 404), ("OPTIONS", 200), ("TRACE", 200)] {
        send(&layer, request(method, "/doc", &[]), response(status, &[], "")).await;
        assert!(body_of(&layer, get("/doc", &[])).await.is_ok(), "{method} {status}");
    }
    for status in [304, 400, 408, 425, 429, 500, 502, 503, 504] {
        send(&layer, get("/doc", &[]), response(status, &[], "")).await;
        assert!(body_of(&layer, get("/doc", &[])).await.is_ok(), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_forgets_what_is_stored_for_anyone() {
    let layer = by_user();
    let of = |user| get("/doc", &[("x-user", user)]);
    for asked in [of("ann"), of("ben"), get("/doc", &[])] {
        send(&layer, asked, response(200, &[], "old")).await;
    }
    send(&layer, request("DELETE", "/doc", &[("x-user", "ann")]), response(204, &[], "")).await;
    for asked in [of("ann"), of("ben"), get("/doc", &[])] {
        assert_eq!(body_of(&layer, asked).await, Err(NotStored::Missing));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_for_one_principal_stays_for_the_others() {
    let layer = by_user();
    let of = |user| get("/cart", &[("x-user", user)]);
    for user in ["ann", "ben"] {
        send(&layer, of(user), response(200, &[], user)).await;
    }
    send(&layer, of("ann"), response(404, &[], "")).await;
    assert_eq!(body_of(&layer, of("ann")).await, Err(NotStored::Missing));
    send(&layer, get("/cart", &[]), response(401, &[], "")).await;
    assert_eq!(body_of(&layer, of("ben")).await.unwrap(), "ben");
}

/// A robot without credentials, a scheme that a proxy names, a session that has ended: that is about who asks, or how.
#[tokio::test(start_paused = true)]
async fn one_caller_does_not_take_from_all_what_is_stored_for_all() {
    for layer in [layer(), by_user()] {
        send(&layer, get("/doc", &[]), response(200, &[("cache-control", "public")], "for all")).await;
        let by_http: &[(&str, &str)] = &[("x-forwarded-proto", "http")];
        let with_a_key: &[(&str, &str)] = &[("authorization", "Bearer s")];
        let by_ann: &[(&str, &str)] = &[("x-user", "ann")];
        for (status, asks) in [
            (401, &[][..]),
            (403, &[]),
            (403, with_a_key),
            (404, with_a_key),
            (410, with_a_key),
            (451, with_a_key),
            (301, by_http),
            (302, &[]),
            (307, &[]),
        ] {
            for method in ["GET", "HEAD"] {
                send(&layer, request(method, "/doc", asks), response(status, &[("location", "/login")], "")).await;
                assert_eq!(body_of(&layer, get("/doc", &[])).await.unwrap(), "for all", "{method} {status}");
            }
        }
        if layer.handle().len() > 2 {
            send(&layer, get("/doc", by_ann), response(404, &[], "")).await;
            assert_eq!(body_of(&layer, get("/doc", &[])).await.unwrap(), "for all", "hers is another");
        }
        let for_all = [("cache-control", "public")];
        send(&layer, get("/doc", with_a_key), response(404, &for_all, "")).await;
        assert_eq!(body_of(&layer, get("/doc", &[])).await, Err(NotStored::Missing), "it says that it is for all");
    }
}

#[tokio::test(start_paused = true)]
async fn a_principal_who_is_refused_or_sent_elsewhere_is_not_served_what_was_theirs() {
    let of = |user, language| get("/doc", &[("x-user", user), ("accept-language", language)]);
    for (status, all_variants) in [(401, true), (403, true), (302, false), (404, false), (410, false)] {
        let layer = by_user();
        for (user, language) in [("ann", "en"), ("ann", "fr"), ("ben", "en")] {
            send(&layer, of(user, language), response(200, &[("vary", "accept-language")], user)).await;
        }
        send(&layer, of("ann", "en"), response(status, &[], "")).await;
        assert_eq!(body_of(&layer, of("ann", "en")).await, Err(NotStored::Missing), "{status}");
        assert_eq!(body_of(&layer, of("ann", "fr")).await.is_err(), all_variants, "{status}");
        assert_eq!(body_of(&layer, of("ben", "en")).await.unwrap(), "ben", "{status}");
    }
}

fn in_language(language: &str) -> Request<Body> {
    get("/doc", &[("accept-language", language)])
}

#[tokio::test(start_paused = true)]
async fn what_is_withdrawn_in_one_variant_stays_in_the_others() {
    for (status, control) in [(404, ""), (410, ""), (200, "no-store"), (200, "private"), (200, "no-cache")] {
        for vary in ["accept-language", "accept-encoding, accept-language"] {
            let layer = layer();
            for language in ["en", "fr"] {
                send(&layer, in_language(language), response(200, &[("vary", vary)], language)).await;
            }
            send(&layer, in_language("fr"), response(status, &[("cache-control", control)], "")).await;
            assert_eq!(body_of(&layer, in_language("fr")).await, Err(NotStored::Missing), "{status} {control}");
            assert_eq!(body_of(&layer, in_language("en")).await.unwrap(), "en", "{status} {control}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_withdrawn_in_one_variant_keeps_only_answers_of_that_one_out() {
    for (language, is_kept_out) in [("fr", true), ("en", false)] {
        let (layer, pieces) = (layer(), Pieces::default());
        let vary = [("vary", "accept-language")];
        send(&layer, in_language("en"), response(200, &vary, "old")).await;
        let answer = begin(&layer, in_language(language), response(200, &vary, pieces.body())).await;
        send(&layer, in_language("fr"), response(404, &[], "")).await;
        pieces.data("new");
        pieces.end();
        answer.into_body().collect().await.unwrap();
        let expected = if is_kept_out { Err(NotStored::Missing) } else { Ok("new".to_owned()) };
        assert_eq!(body_of(&layer, in_language(language)).await, expected, "{language}");
    }
}

/// Wherever the removal comes while the answer from before it is being put.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_put_while_its_variant_is_withdrawn_does_not_come_back() {
    let step = Duration::from_millis(8);
    for half_steps in 0..12 {
        let store = TestStore::new(Behaves::Well);
        let layer = LastKnownGoodLayer::builder("shop").store(store.clone()).build().unwrap();
        let vary = [("vary", "accept-language")];
        for language in ["en", "fr"] {
            send(&layer, in_language(language), response(200, &vary, language)).await;
        }
        advance(Duration::from_secs(2)).await;
        store.now(Behaves::Slowly(step));
        let storing =
            send(&layer, in_language("fr"), response(200, &[("vary", "accept-language"), ("age", "2")], "before"));
        let removing = async {
            tokio::time::sleep(step / 2 * half_steps).await;
            send(&layer, in_language("fr"), response(404, &[], "")).await;
        };
        tokio::join!(storing, removing);
        store.now(Behaves::Well);
        assert_eq!(body_of(&layer, in_language("fr")).await, Err(NotStored::Missing), "after {half_steps}");
        assert_eq!(body_of(&layer, in_language("en")).await.unwrap(), "en");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_write_that_ends_after_it_does_not_come_back() {
    for (method, status) in [("DELETE", 204), ("GET", 404)] {
        for layer in [layer(), by_user()] {
            let pieces = Pieces::default();
            pieces.data("before");
            let answer = begin(&layer, get("/doc", &[]), response(200, &[], pieces.body())).await;
            send(&layer, request(method, "/doc", &[]), response(status, &[], "")).await;
            pieces.end();
            answer.into_body().collect().await.unwrap();
            assert_eq!(body_of(&layer, get("/doc", &[])).await, Err(NotStored::Missing), "{method}");

            send(&layer, get("/doc", &[]), response(200, &[], "after")).await;
            assert_eq!(body_of(&layer, get("/doc", &[])).await.unwrap(), "after");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_while_all_is_cleared_is_not_stored() {
    let (layer, pieces) = (layer(), Pieces::default());
    let answer = begin(&layer, get("/doc", &[]), response(200, &[], pieces.body())).await;
    layer.handle().clear();
    pieces.end();
    answer.into_body().collect().await.unwrap();
    assert_eq!(body_of(&layer, get("/doc", &[])).await, Err(NotStored::Missing));
}

#[tokio::test(start_paused = true)]
async fn what_a_store_failed_to_remove_is_not_served_all_the_same() {
    for trouble in [Behaves::Fails, Behaves::Hangs] {
        let store = TestStore::new(Behaves::Well);
        let layer = LastKnownGoodLayer::builder("shop").store(store.clone()).build().unwrap();
        send(&layer, get("/doc", &[]), response(200, &[], "old")).await;
        advance(Duration::from_secs(1)).await;
        store.now(trouble);
        send(&layer, request("DELETE", "/doc", &[]), response(204, &[], "")).await;
        store.now(Behaves::Well);
        assert_eq!(body_of(&layer, get("/doc", &[])).await, Err(NotStored::Missing), "{trouble:?}");

        advance(Duration::from_secs(1)).await;
        send(&layer, get("/doc", &[]), response(200, &[], "new")).await;
        assert_eq!(body_of(&layer, get("/doc", &[])).await.unwrap(), "new");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_forgets_what_is_stored_of_its_host_however_that_is_written() {
    let hosts = ["shop.example", "Shop.Example:", "shop.example:080", "shop.example:443", "evil@shop.example"];
    for written in hosts {
        let layer = layer();
        for host in hosts {
            send(&layer, get("/doc", &[("host", host)]), response(200, &[], "old")).await;
        }
        send(&layer, request("PUT", "/doc", &[("host", written)]), response(204, &[], "")).await;
        for host in hosts {
            let known = body_of(&layer, get("/doc", &[("host", host)])).await;
            assert_eq!(known, Err(NotStored::Missing), "{host} after {written}");
        }
    }
}

/// However alike the targets are: here their length is a multiple of 8, and their last two characters differ.
#[tokio::test(start_paused = true)]
async fn a_write_keeps_no_other_answer_from_being_stored() {
    let layer = layer();
    let mut coming = Vec::new();
    for i in 0..100 {
        let (path, pieces) = (format!("/item/{i:02}"), Pieces::default());
        let body = begin(&layer, get(&path, &[]), response(200, &[], pieces.body())).await.into_body();
        coming.push((path, pieces, body));
    }
    send(&layer, request("PUT", "/item/42", &[]), response(204, &[], "")).await;
    for (path, pieces, body) in coming {
        pieces.end();
        body.collect().await.unwrap();
        assert_eq!(body_of(&layer, get(&path, &[])).await.is_ok(), path != "/item/42", "{path}");
    }
}

/// What leads to answers is written anew from time to time. That must not bring back what was removed meanwhile.
#[tokio::test(start_paused = true)]
async fn what_is_removed_while_another_answer_is_stored_does_not_come_back() {
    let (minute, step) = (Duration::from_secs(60), Duration::from_millis(10));
    for hours in 1..=40 {
        let store = TestStore::new(Behaves::Well);
        let by_user = LastKnownGoodLayer::builder("shop").principal(|head| head.headers.get("x-user").cloned());
        let layer = by_user.max_stale(minute * 60).store(store.clone()).build().unwrap();
        let of = |user| get("/doc", &[("x-user", user)]);
        send(&layer, of("ann"), response(200, &[], "first")).await;
        advance(minute * 60 * hours - minute).await;
        send(&layer, of("ben"), response(200, &[], "old")).await;
        advance(minute * 2).await;

        store.now(Behaves::Slowly(step));
        let storing = send(&layer, of("ann"), response(200, &[], "new"));
        let deleting = async {
            // The node has been looked for, and is being written.
            tokio::time::sleep(step + step / 2).await;
            store.now(Behaves::Well);
            send(&layer, request("DELETE", "/doc", &[]), response(204, &[], "")).await;
        };
        tokio::join!(storing, deleting);
        assert_eq!(body_of(&layer, of("ben")).await, Err(NotStored::Missing), "after {hours} h");
    }
}
