//! The control room, in a real browser.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use backstop_tests::browser::{Browser, Key};
use http::Method;
use serde_json::json;

use crate::common::App;
use crate::page_checks::{assert_keyboard_reaches_every_control, assert_looks_right, browser};
use crate::program::Started;

async fn open_control_room(browser: &Browser, options: &[&str]) -> Started {
    let app = Started::start(&[&["--circuit-wait", "1s"], options].concat()).await;
    browser.resize(1440, 900).await;
    browser.open(&format!("http://{}/", app.admin)).await;
    app
}

#[tokio::test]
async fn a_click_breaks_the_ml_service_the_shop_stays_open_and_another_click_mends_it() {
    let Some((browser, _one)) = browser().await else { return };
    let _app = open_control_room(&browser, &[]).await;
    browser.until_text("#summary", "ML service answers everything").await;
    browser.until("document.querySelectorAll('#share rect').length >= 2").await;
    assert_looks_right(&browser, "control-healthy").await;

    browser.resize(1440, 900).await;
    browser.click("#upstreams [data-key=ml] button").await;
    browser.until_text("#upstreams [data-key=ml]", "answers 503").await;
    browser.until_text("#diagram", "circuit open").await;
    // Saved answers or popular items: visitors are random, and some are new.
    browser.until_text("#summary", "stand in for ML service").await;
    browser.until_text("#status", "degraded").await;
    browser.until_text("#events", "ML service was broken: it answers 503").await;
    browser.until_text("#events", "Circuit of ML service: open").await;
    browser.enter_frame("#shop").await;
    browser.until_text("#notices", "Showing saved recommendations from less than a minute ago").await;
    browser.leave_frame().await;
    assert_looks_right(&browser, "control-degraded").await;

    browser.resize(1440, 900).await;
    browser.click("#upstreams [data-key=ml] button").await;
    // First the circuit lets a quarter of the calls through, then a half.
    browser.until_text("#events", "Circuit of ML service: closed").await;
    browser.until_text("#summary", "ML service answers everything").await;
    browser.until_text("#status", "healthy").await;
    browser.until_text("#events", "ML service was mended").await;
    browser.enter_frame("#shop").await;
    browser.until("document.querySelectorAll('#notices li').length == 0").await;
    browser.leave_frame().await;
    assert_looks_right(&browser, "control-recovered").await;
    assert_keyboard_reaches_every_control(&browser).await;
    assert_eq!(browser.console().await, [""; 0]);
}

#[tokio::test]
async fn a_feature_is_turned_off_and_on_and_a_job_is_seen_until_it_is_done() {
    let Some((browser, _one)) = browser().await else { return };
    let _app = open_control_room(&browser, &[]).await;
    let feature = "#features [data-key=ml_recommendations]";
    browser.until_text("#summary", "ML service answers everything").await;
    browser.click(&format!("{feature} button")).await;
    browser.until_text(feature, "disabled").await;
    browser.until_text(feature, "control room: turned off in the control room").await;
    browser.until_text("#summary", "stand in for ML service").await;
    browser.click(&format!("{feature} button")).await;
    browser.until_text(feature, "enabled").await;
    browser.until_text("#summary", "ML service answers everything").await;

    browser.type_into("#upstreams [data-key=payment] select", "isn't there").await;
    browser.click("#upstreams [data-key=payment] button").await;
    browser.until_text("#upstreams [data-key=payment] .pill", "isn't there").await;
    browser.enter_frame("#shop").await;
    browser.click("#items li:first-child button").await;
    browser.until_text("#notices", "Your order is queued").await;
    browser.leave_frame().await;
    browser.until("document.querySelectorAll('#jobs [data-key=charges] .some').length > 0").await;
    browser.click("#upstreams [data-key=payment] button").await;
    browser.until("document.querySelectorAll('#jobs [data-key=charges] .none').length == 3").await;
    browser.enter_frame("#shop").await;
    browser.until_text("#orders li:first-child .state", "Charged").await;
    assert_eq!(browser.console().await, [""; 0]);
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_kept_in_memory_alone() {
    let Some((browser, _one)) = browser().await else { return };
    let token = "0123456789abcdef0123456789abcdef";
    let app = open_control_room(&browser, &["--admin-token", token]).await;
    browser.until("!document.querySelector('#token-form').hidden").await;
    assert_looks_right(&browser, "control-token").await;
    browser.type_into("#token", "wrong-wrong-wrong-wrong-wrong-wrong").await;
    browser.press(Key::Enter).await;
    browser
        .until("!document.querySelector('#token-form').hidden && document.querySelector('#token').value == ''")
        .await;
    browser.type_into("#token", token).await;
    browser.press(Key::Enter).await;
    browser.until_text("#summary", "ML service answers everything").await;

    // By a link, as a terminal can show it. The token isn't left in the address bar.
    browser.open("about:blank").await;
    browser.open(&format!("http://{}/#token={token}", app.admin)).await;
    browser.until_text("#summary", "ML service answers everything").await;
    let left = browser.run("return [location.hash, document.cookie, localStorage.length, sessionStorage.length]").await;
    assert_eq!(left, json!(["", "", 0, 0]));
    assert_eq!(browser.run("return document.querySelector('#token-form').hidden").await, true);
}

#[tokio::test(start_paused = true)]
async fn only_the_shop_may_be_framed_by_the_control_room_and_nothing_may_frame_it() {
    let app = App::start().await;
    let answer = app.admin(Method::GET, "/", None).await;
    assert_eq!(answer.status, 200);
    let policy = answer.header("content-security-policy").unwrap();
    let port = app.running.app().port();
    let frames = format!("frame-src http://127.0.0.1:{port} http://localhost:{port}");
    for rule in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", &frames] {
        assert!(policy.split("; ").any(|found| found == rule), "{rule} isn't in {policy}");
    }
    let html = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(html.contains(&format!("data-shop-port=\"{port}\"")), "{html}");
    for inline in [" style=", " onclick=", "<style", "javascript:", "https://", "<script>"] {
        assert!(!html.contains(inline), "{inline}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_app_alone_has_no_control_room() {
    let app = App::start().await;
    for path in ["/page/control.js", "/page/switches.js", "/chaos"] {
        app.get(path).await.assert_problem(404);
    }
}
