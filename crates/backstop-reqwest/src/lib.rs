//! reqwest's client as a tower service of `http::Request`, so that Backstop's layers go around it.
//!
//! ```
//! use backstop_kit::{ClientBody, http_client};
//! use backstop_reqwest::ReqwestClient;
//! use backstop_retry::{RetryLayer, name};
//! use http::Request;
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = ReqwestClient::build(reqwest::Client::builder())?;
//! let prices = ServiceBuilder::new().layer(RetryLayer::new(name!("prices"))).service(http_client(client));
//!
//! let request = Request::get("http://prices.example/espresso").body(ClientBody::empty())?;
//! let answer = prices.oneshot(request); // not awaited here
//! # drop(answer);
//! # Ok(())
//! # }
//! ```
//!
//! With the facade, `backstop::Standard::new(name!("prices")).layer(client)` is the whole stack.
//!
//! Request and response bodies stream. A request that reqwest has built becomes one for the stack by [`http_request`].
//!
//! # What an error proves
//!
//! Layers send a `POST` again only if an error proves that it was not processed, such as a refused connection. reqwest can
//! hide that: it repeats some requests itself, and it follows redirects. If a `POST` is answered by a redirect to a page
//! whose server refuses the connection, then the `POST` was processed.
//!
//! | the client | reqwest's own retries | an error after a redirect | other errors |
//! |---|---|---|---|
//! | [`ReqwestClient::build`] | off | proves nothing | prove what they say |
//! | [`ReqwestClient::from`] a client that you built | as you built it | proves nothing | prove nothing |
//!
//! reqwest's own time limits (`ClientBuilder::timeout`, `read_timeout`) end a call as a
//! [`TimeoutLayer`](https://docs.rs/backstop-timeout) does: the error holds a [`Rejection`](backstop_core::Rejection) with
//! the reason `timeout`. A connection that isn't made within `connect_timeout` proves that nothing was sent. A connection that
//! the operating system gives up (`ETIMEDOUT`) fails like any other, and may have sent the request. A request body that fails
//! with a timeout is the request's fault.
//!
//! A request that reqwest can't send, such as one whose URI isn't absolute, is the request's fault: no layer counts it against
//! the service, or repeats it. Its error holds a `Rejection` with the reason `unsendable`, which
//! is answered with 500: this service made the request.
//!
//! # When not to use it
//!
//! A stack that uses no feature of reqwest (proxies, cookies, decompression, its TLS settings) is leaner around
//! hyper-util's client.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
mod error;
mod future;
mod redirects;
mod request;

pub use client::ReqwestClient;
pub use error::Error;
pub use future::ReqwestFuture;
pub use request::http_request;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
