//! What holds for each page: at every size, in both colour schemes, for the keyboard and for screen readers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use std::path::PathBuf;

use backstop_tests::browser::{Browser, Key};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

pub(crate) const WIDTHS: [u32; 2] = [360, 1440];
pub(crate) const SCHEMES: [&str; 2] = ["light", "dark"];

/// Browsers are large, so there is one at a time.
static ONE: Semaphore = Semaphore::const_new(1);

/// A browser, unless there is none.
pub(crate) async fn browser() -> Option<(Browser, SemaphorePermit<'static>)> {
    let one = ONE.acquire().await.unwrap();
    Some((Browser::start().await?, one))
}

/// Saves a picture of the page in `target/tmp`.
pub(crate) async fn save_picture(browser: &Browser, name: &str) {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
    std::fs::write(file, browser.picture().await).unwrap();
}

/// Asserts that the page needs no sideways scrolling, that each text has enough contrast, and saves a picture of each kind.
pub(crate) async fn assert_looks_right(browser: &Browser, name: &str) {
    for width in WIDTHS {
        browser.resize(width, 900).await;
        for scheme in SCHEMES {
            browser.prefer(&[("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")]).await;
            let what = format!("{name}-{width}-{scheme}");
            assert_eq!(browser.run(TOO_WIDE).await, Value::Array(Vec::new()), "{what}");
            assert_eq!(browser.run(PALE).await, Value::Array(Vec::new()), "{what}");
            assert_eq!(browser.run("return document.getAnimations().length").await, 0, "{what}");
            save_picture(browser, &what).await;
        }
    }
}

/// The elements that reach beyond the window.
const TOO_WIDE: &str = r#"
    return [...document.body.querySelectorAll("*:not(.unseen, .scrolls *)")]
        .filter(node => node.getBoundingClientRect().right > innerWidth + 0.5)
        .map(node => node.outerHTML.slice(0, 200))"#;

/// The texts whose contrast is below WCAG 2's level AA, 4.5.
const PALE: &str = r#"
    const parse = colour => colour.match(/[\d.]+/g).map(Number);
    const luminance = colour => {
        const [r, g, b] = parse(colour).map(part => part / 255).map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = node => {
        const colour = getComputedStyle(node).backgroundColor;
        const isClear = parse(colour)[3] === 0;
        return isClear && node.parentElement ? ground(node.parentElement) : colour;
    };
    const pale = [];
    for (const node of document.body.querySelectorAll("*:not(option, script, noscript, .unseen, .unseen *)")) {
        const hasText = [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim());
        if (!hasText || node.getClientRects().length === 0) continue;
        const style = getComputedStyle(node);
        const colour = node instanceof SVGElement ? style.fill : style.color;
        const [light, dark] = [luminance(colour), luminance(ground(node))].sort((a, b) => b - a);
        const contrast = (light + 0.05) / (dark + 0.05);
        if (contrast < 4.5) pale.push(`${contrast.toFixed(2)} ${node.outerHTML.slice(0, 200)}`);
    }
    return pale"#;

/// Asserts that the Tab key reaches each control in the page's order, that the focus is visible there, and that each has a name
/// for screen readers. Elements without a place, such as those of a closed dialog, are no controls.
pub(crate) async fn assert_keyboard_reaches_every_control(browser: &Browser) {
    // From the top.
    browser.run("document.body.tabIndex = -1; document.body.focus()").await;
    let expected = browser.run(CONTROLS).await;
    let expected = expected.as_array().unwrap();
    assert!(expected.len() > 2, "{expected:?}");
    for control in expected {
        browser.press(Key::Tab).await;
        let at = browser.run(FOCUSED).await;
        assert_eq!(&at["control"], control);
        // In a frame, it is the page inside that shows the focus.
        assert!(at["outline"] != "none" || at["isFrame"] == true, "{control}");
    }
    for (role, name) in browser.accessible_names().await {
        let needs_name = ["button", "combobox", "link", "textbox", "checkbox", "image", "region", "Iframe"];
        assert!(!name.is_empty() || !needs_name.contains(&role.as_str()), "a {role} without a name");
    }
}

const CONTROLS: &str = r#"
    return [...document.querySelectorAll("a[href], button, select, input, iframe, [tabindex='0']")]
        .filter(node => !node.disabled && node.getClientRects().length > 0)
        .map(node => node.outerHTML.slice(0, 120))"#;

const FOCUSED: &str = r#"
    const node = document.activeElement;
    return { control: node.outerHTML.slice(0, 120), outline: getComputedStyle(node).outlineStyle, isFrame: node.tagName === "IFRAME" }"#;
