//! Each layer around hyper-util's client.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

/// With the client's own responses, `Response<Incoming>`.
mod direct;
/// What HTTP/2 proves.
mod http2;
/// With the response body mapped to axum's.
mod mapped;
/// In the standard stack, unchanged.
mod standard;
/// The upstream.
mod upstream;
