//! The pages that browsers get: the shop on the app's listener, the control room on the admin listener.
//!
//! The control room breaks services, so it comes from the admin listener, whose guard refuses pages of other origins. It shows the
//! shop in a frame. So the shop allows the admin listener's origin, and no other, to frame it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::problem::method_not_allowed;

/// Lists files as `(path, type, text)`. They are in the binary, so it needs nothing beside it.
macro_rules! files {
    ($($path:literal $kind:ident $file:literal,)*) => {
        &[$(($path, $kind, include_str!(concat!("../page/", $file)))),*]
    };
}

type Files = &'static [(&'static str, &'static str, &'static str)];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const COMMON: Files = files! {
    "/page/theme.css" CSS "common/theme.css",
    "/page/icon.svg" SVG "common/icon.svg",
    "/page/dom.js" JS "common/dom.js",
};

const SHOP: Files = files! {
    "/" HTML "shop/index.html",
    "/page/shop.css" CSS "shop/shop.css",
    "/page/shop.js" JS "shop/shop.js",
    "/page/api.js" JS "shop/api.js",
    "/page/notices.js" JS "shop/notices.js",
    "/page/orders.js" JS "shop/orders.js",
    "/page/rate.js" JS "shop/rate.js",
    "/page/visitors.js" JS "shop/visitors.js",
    "/page/words.js" JS "shop/words.js",
};

const CONTROL_ROOM: Files = files! {
    "/" HTML "control/index.html",
    "/page/control.css" CSS "control/control.css",
    "/page/layout.css" CSS "control/layout.css",
    "/page/diagram.css" CSS "control/diagram.css",
    "/page/admin.js" JS "control/admin.js",
    "/page/changes.js" JS "control/changes.js",
    "/page/chart.js" JS "control/chart.js",
    "/page/control.js" JS "control/control.js",
    "/page/diagram.js" JS "control/diagram.js",
    "/page/feed.js" JS "control/feed.js",
    "/page/history.js" JS "control/history.js",
    "/page/metrics.js" JS "control/metrics.js",
    "/page/sources.js" JS "control/sources.js",
    "/page/state.js" JS "control/state.js",
    "/page/switches.js" JS "control/switches.js",
};

/// The shop. A page of the listener at `admin` may frame it.
pub(crate) fn shop(admin: SocketAddr) -> Router {
    let policy = format!("connect-src 'self'; frame-ancestors {}", origins(admin));
    serve(SHOP, &policy, str::to_owned)
}

/// The control room, which frames the shop of the listener at `app`. Its files tell nothing, so they need no guard: a browser can't
/// send a token when it opens a page.
pub(crate) fn control_room(app: SocketAddr) -> Router {
    let policy = format!("connect-src 'self'; frame-src {}; frame-ancestors 'none'", origins(app));
    serve(CONTROL_ROOM, &policy, |text| text.replace("{shop-port}", &app.port().to_string()))
}

/// Serves these files and the common ones. `fill` completes their text.
fn serve(files: Files, policy: &str, fill: impl Fn(&str) -> String) -> Router {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; {policy}"
    );
    COMMON
        .iter()
        .chain(files)
        .fold(Router::new(), |router, (path, kind, text)| {
            let file = File::new(kind, fill(text), &policy);
            router.route(path, get(async move |headers: HeaderMap| file.response(&headers)))
        })
        .method_not_allowed_fallback(method_not_allowed)
}

#[derive(Clone)]
struct File {
    headers: HeaderMap,
    text: Bytes,
}

impl File {
    fn new(kind: &'static str, text: String, policy: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let tag = format!("\"{:016x}\"", hasher.finish());
        let mut headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static(kind)),
            // Browsers ask each time whether the file is new, so that a page and its scripts are of the same version.
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ]);
        // Both consist of visible ASCII.
        let values = [(ETAG, tag.as_str()), (CONTENT_SECURITY_POLICY, policy)];
        headers.extend(values.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(value).ok()?))));
        Self { headers, text: text.into() }
    }

    fn response(&self, request: &HeaderMap) -> Response {
        if request.contains_key(IF_NONE_MATCH) && request.get(IF_NONE_MATCH) == self.headers.get(ETAG) {
            return (StatusCode::NOT_MODIFIED, self.headers.clone()).into_response();
        }
        (self.headers.clone(), self.text.clone()).into_response()
    }
}

/// The origins of a listener at this address, as a content security policy lists them: none for an IPv6 address beyond loopback,
/// which a policy can't name.
fn origins(address: SocketAddr) -> String {
    let port = address.port();
    match address.ip().to_canonical() {
        ip if ip.is_loopback() || ip.is_unspecified() => format!("http://127.0.0.1:{port} http://localhost:{port}"),
        IpAddr::V4(ip) => format!("http://{ip}:{port}"),
        IpAddr::V6(_) => "'none'".to_owned(),
    }
}
