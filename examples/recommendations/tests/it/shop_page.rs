//! The shop, in a real browser.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use backstop_tests::browser::{Browser, Key};
use http::header::RETRY_AFTER;
use http::{StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::common::{App, upstream};
use crate::page_checks::{assert_keyboard_reaches_every_control, assert_looks_right, browser};
use crate::program::Started;

async fn open_shop(browser: &Browser) -> Started {
    let app = Started::start(&["--circuit-wait", "500ms"]).await;
    browser.open(&format!("http://{}/", app.app)).await;
    browser.until("document.querySelectorAll('#items li').length == 10").await;
    app
}

const NO_NOTICE: &str = "document.querySelectorAll('#notices li').length == 0";

#[tokio::test]
async fn a_quiet_banner_says_what_the_headers_say_and_goes_after_recovery() {
    let Some((browser, _one)) = browser().await else { return };
    let app = open_shop(&browser).await;
    browser.until_text("#from", "Answered in").await;
    assert_eq!(browser.run("return document.querySelectorAll('#notices li').length").await, 0);

    app.set_fault("ml", "status").await;
    browser.until_text("#notices", "Showing saved recommendations from less than a minute ago").await;
    // Nothing of this user was saved.
    browser.type_into("#user", "Somebody new").await;
    browser.until_text("#notices", "Showing popular items instead of your own recommendations").await;
    app.set_fault("catalog", "hang").await;
    browser.until_text("#notices", "Showing our bestsellers instead of your own recommendations").await;
    browser.until_text("#notices", "Popular items are temporarily unavailable").await;
    browser.until_text("#count", "isn't known just now").await;
    assert_looks_right(&browser, "shop-degraded").await;

    app.set_fault("catalog", "none").await;
    app.set_fault("ml", "none").await;
    browser.until(NO_NOTICE).await;
    browser.until_text("#count", "24 items").await;
    assert_eq!(browser.console().await, [""; 0]);
}

#[tokio::test]
async fn an_order_is_charged_or_queued_and_followed_to_its_end() {
    let Some((browser, _one)) = browser().await else { return };
    let app = open_shop(&browser).await;
    browser.click("#items li:nth-child(1) button").await;
    browser.until_text("#notices", "Your order is charged. A confirmation is on its way.").await;
    app.set_fault("mail", "status").await;
    browser.click("#items li:nth-child(2) button").await;
    browser.until_text("#notices", "Your order is charged. The e-mail will come later.").await;

    app.set_fault("payment", "refuse").await;
    browser.click("#items li:nth-child(3) button").await;
    browser.until_text("#notices", "Your order is queued.").await;
    browser.until_text("#orders li:first-child .state", "Queued").await;
    app.set_fault("payment", "none").await;
    browser.until_text("#notices", "Your queued order is charged").await;
    assert_eq!(browser.text("#orders li:first-child .state").await, "Charged");
    assert_eq!(browser.console().await, [""; 0]);
}

/// Passes everything on, but refuses recommendations for 7 s while it is told to.
async fn proxy(app: String, refuses: Arc<AtomicBool>) -> String {
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let forward = async move |mut request: Request| -> Response {
        let path = request.uri().path_and_query().unwrap().clone();
        *request.uri_mut() =
            Uri::builder().scheme("http").authority(app.as_str()).path_and_query(path).build().unwrap();
        client.request(request).await.unwrap().into_response()
    };
    let forwarded = forward.clone();
    let recommend = async move |request: Request| {
        if refuses.load(Ordering::Relaxed) {
            return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "7")]).into_response();
        }
        forwarded(request).await
    };
    upstream(Router::new().route("/api/recommendations/{user}", get(recommend)).fallback(forward)).await
}

#[tokio::test]
async fn a_refusal_counts_down_to_the_next_try() {
    let Some((browser, _one)) = browser().await else { return };
    let app = Started::start(&[]).await;
    let refuses = Arc::new(AtomicBool::new(true));
    browser.open(&proxy(app.app.clone(), refuses.clone()).await).await;
    browser.until_text("#notices", "Recommendations are temporarily unavailable").await;
    let left = "Number(document.querySelector('#notices .timer')?.textContent.match(/in (\\d+) s/)?.[1])";
    let first = browser.until(left).await.as_u64().unwrap();
    assert!((5..=7).contains(&first), "{first}");
    browser.until(&format!("{left} < {first}")).await;
    refuses.store(false, Ordering::Relaxed);
    browser.until(NO_NOTICE).await;
    browser.until("document.querySelectorAll('#items li').length == 10").await;
}

#[tokio::test]
async fn an_exchange_rate_says_how_good_it_is() {
    let Some((browser, _one)) = browser().await else { return };
    let app = open_shop(&browser).await;
    browser.until_text("#rate", "€ 1 = ").await;
    browser.until_text("#rate-from", "Up to date").await;
    app.set_fault("rates", "refuse").await;
    browser.until_text("#rate-from", "From our second source").await;
    app.set_fault("more_rates", "refuse").await;
    browser.until_text("#rate-from", "A saved rate from less than a minute ago").await;
    // Nobody has asked for this one before.
    browser.type_into("#currency", "JPY").await;
    browser.until_text("#rate", "€ 1 = 184 JPY").await;
    browser.until_text("#rate-from", "A rough rate, of 2026-01-02").await;
    app.set_fault("rates", "none").await;
    browser.until_text("#rate-from", "Up to date").await;
    // An older rate is no reason for a banner.
    assert_eq!(browser.run("return document.querySelectorAll('#notices li').length").await, 0);
    assert_eq!(browser.console().await, [""; 0]);
}

/// As customers get the shop: the address of the admin listener is behind a firewall, so the page must not need it, or show it.
#[tokio::test]
async fn without_the_admin_listener_the_page_is_just_the_shop() {
    let Some((browser, _one)) = browser().await else { return };
    let app = open_shop(&browser).await;
    browser.until_text("#rate-from", "Up to date").await;
    let asked = browser.run("return performance.getEntriesByType('resource').map(({ name }) => name)").await;
    let asked = asked.as_array().unwrap();
    assert!(asked.len() > 8, "{asked:?}");
    let own = format!("http://{}/", app.app);
    for url in asked {
        assert!(url.as_str().unwrap().starts_with(&own), "{url}");
    }
    let html = browser.run("return document.documentElement.outerHTML").await;
    let port = app.admin.rsplit(':').next().unwrap();
    for trace in [port, "Control room", "<iframe", "chaos"] {
        assert!(!html.as_str().unwrap().contains(trace), "{trace}");
    }
    assert_eq!(browser.console().await, [""; 0]);
}

#[tokio::test]
async fn the_shop_fits_every_size_both_colour_schemes_and_the_keyboard() {
    let Some((browser, _one)) = browser().await else { return };
    let app = open_shop(&browser).await;
    assert_looks_right(&browser, "shop-healthy").await;
    assert_keyboard_reaches_every_control(&browser).await;

    // While updates are paused, nothing changes.
    browser.run("document.querySelector('#pause').focus()").await;
    browser.press(Key::Space).await;
    assert_eq!(browser.run("return document.querySelector('#pause').ariaPressed").await, "true");
    app.set_fault("ml", "status").await;
    assert_eq!(browser.run("return document.querySelectorAll('#notices li').length").await, 0);
    browser.press(Key::Enter).await;
    browser.until_text("#notices", "Showing saved recommendations").await;
    assert_eq!(browser.console().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_files_of_the_page_are_sent_again_only_if_they_changed() {
    let app = App::start().await;
    for path in ["/", "/page/theme.css", "/page/shop.js", "/page/icon.svg"] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let tag = answer.header("etag").unwrap();
        let again = http::Request::get(format!("http://{}{path}", app.running.app())).header("if-none-match", tag);
        let again = app.send(again.body(crate::common::body("")).unwrap()).await;
        assert_eq!((again.status, again.body.len(), again.header("etag")), (StatusCode::NOT_MODIFIED, 0, Some(tag)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_policy_of_the_page_allows_its_own_files_alone_and_only_the_admin_listener_may_frame_it() {
    let app = App::start().await;
    let answer = app.get("/").await;
    let policy = answer.header("content-security-policy").unwrap();
    assert!(!policy.contains("unsafe"), "{policy}");
    for rule in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "base-uri 'none'"]
    {
        assert!(policy.split("; ").any(|found| found == rule), "{rule} isn't in {policy}");
    }
    let port = app.running.admin().port();
    let frames = policy.split("; ").find_map(|rule| rule.strip_prefix("frame-ancestors ")).unwrap();
    assert_eq!(frames, format!("http://127.0.0.1:{port} http://localhost:{port}"));
    // What the policy forbids isn't there.
    let html = String::from_utf8(answer.body.to_vec()).unwrap();
    for inline in [" style=", " onclick=", "<style", "javascript:", "https://", "<script>"] {
        assert!(!html.contains(inline), "{inline}");
    }
}
