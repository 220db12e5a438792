//! What the tests share.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it, and a helper of a test may fail it"
)]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use backstop_core::{Name, name};
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use backstop_test::{Scripted, Step};
use http::Request;
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};

pub(crate) type Req = Request<Body>;
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) const TOTAL: Duration = Duration::from_millis(800);

pub(crate) fn get() -> Req {
    Request::new(Body::empty())
}

pub(crate) fn post(body: &'static str) -> Req {
    Request::post("/").body(Body::from(body)).unwrap()
}

pub(crate) fn status(status: u16) -> Response {
    Response::builder().status(status).body(Body::from(format!("status {status}"))).unwrap()
}

pub(crate) async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

/// A provider that answers with its own name.
pub(crate) fn says(name: Name) -> Provider<Req, Response> {
    let text = name.to_string();
    Provider::value(name, move || {
        let text = text.clone();
        async { Response::new(Body::from(text)) }
    })
}

/// A chain of that one provider.
pub(crate) fn behind() -> FallbackChain<Req, Response> {
    FallbackChain::builder("chain").total(TOTAL).provider(says(name!("static"))).build().unwrap()
}

/// Asks a layer around a primary that gives this after 50 ms: this status, or nothing at all.
pub(crate) async fn ask(layer: &FallbackLayer<Req, Response>, code: Option<u16>) {
    let step = code.map_or_else(Step::hang, |code| Step::answer(status(code)).after(Duration::from_millis(50)));
    let primary = Scripted::<_, _, Infallible>::steps([step]);
    layer.layer(primary).oneshot(get()).await.unwrap();
}

/// Counts how often it was called.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<AtomicUsize>);

impl Calls {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn infallible<T>(value: T) -> Result<T, Infallible> {
    Ok(value)
}
