//! reqwest's client in the standard stack, against real servers.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod bodies;
mod http2;
mod proof;
mod time_limits;

use std::{net::SocketAddr, time::Duration};

use axum::body::Body;
use backstop::{StandardHandle, StandardService, reqwest_client::ReqwestClient, standard};
use http::{Method, Request};
use tower::Layer;

type Upstream = StandardService<ReqwestClient>;

/// A client that this crate has built.
fn built() -> ReqwestClient {
    ReqwestClient::build(builder()).unwrap()
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy()
}

/// The standard stack around `client`: three attempts, with short waits.
fn stack(client: ReqwestClient) -> (Upstream, StandardHandle) {
    let layer = standard("upstream").retry(|retry| retry.backoff_base(Duration::from_millis(1))).build().unwrap();
    let handle = layer.handle();
    (layer.layer(client), handle)
}

/// How many attempts failed since the last success.
fn failures(handle: &StandardHandle) -> u64 {
    handle.circuit_breaker().unwrap().counts().in_a_row.into()
}

fn request(method: Method, address: SocketAddr, body: impl Into<Body>) -> Request<Body> {
    Request::builder().method(method).uri(format!("http://{address}/")).body(body.into()).unwrap()
}

fn get(address: SocketAddr) -> Request<Body> {
    request(Method::GET, address, Body::empty())
}

fn post(address: SocketAddr) -> Request<Body> {
    request(Method::POST, address, "the order")
}
