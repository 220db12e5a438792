//! What must hold of the labels.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{convert::Infallible, time::Duration};

use backstop_core::{Degradation, Freshness, Name, Reason, name, scope};
use backstop_degradation_header::DegradationHeaderLayer;
use http::{HeaderMap, Request, Response};
use tower::{Layer, ServiceExt, service_fn};

mod caching;
#[cfg(feature = "serde")]
mod config;
mod expose;
mod inner_headers;
mod labels;
mod nesting;
mod propagate;
mod reload;
mod stacks;
mod status;
mod telemetry;

const UNKNOWN: Freshness = Freshness::Stale { age: None };

fn stale(age: u64) -> Freshness {
    Freshness::stale(Duration::from_secs(age))
}

fn from(source: Name, freshness: Freshness) -> Degradation {
    Degradation::new(name!("items"), source, 1, Reason::CIRCUIT_OPEN, freshness)
}

fn response(headers: &[(&'static str, &'static str)]) -> Response<String> {
    let mut response = Response::builder();
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body("body".to_owned()).unwrap()
}

/// What leaves `layer` when these are reported inside and the handler answers so.
async fn answer(
    layer: &DegradationHeaderLayer,
    reports: &[Degradation],
    response: Response<String>,
) -> Response<String> {
    let service = service_fn(|response: Response<String>| async {
        reports.iter().cloned().for_each(scope::report);
        Ok::<_, Infallible>(response)
    });
    layer.layer(service).oneshot(response).await.unwrap()
}

/// As [`answer`], with the default layer, and of an answer without headers of its own.
async fn labelled(reports: &[Degradation]) -> HeaderMap {
    answer(&DegradationHeaderLayer::new(), reports, response(&[])).await.into_parts().0.headers
}

/// All fields of a name, as one list.
fn field(headers: &HeaderMap, name: &str) -> Option<String> {
    let fields: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    (!fields.is_empty()).then(|| fields.join(" | "))
}

fn source(headers: &HeaderMap) -> Option<String> {
    field(headers, "x-fallback-source")
}

fn freshness(headers: &HeaderMap) -> Option<String> {
    field(headers, "x-data-freshness")
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}
