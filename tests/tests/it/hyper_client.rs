//! Each layer around hyper-util's client.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

/// The client's answers as they are, `Response<Incoming>`.
mod direct;
/// What HTTP/2 proves.
mod http2;
/// With the response's body mapped to axum's.
mod mapped;
/// In the standard stack, as it is.
mod standard;
/// What is called.
mod upstream;
