//! A service hangs: its timeout ends the call, or the caller's deadline, whichever is earlier.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::{convert::Infallible, future::pending, time::Duration};

use axum::body::Body;
use backstop_timeout::{DeadlineHeader, DeadlineLayer, TimeoutLayer};
use http::{Request, Response};
use tokio::time::Instant;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let header = DeadlineHeader::EnvoyExpectedRqTimeoutMs;
    let mut hung = ServiceBuilder::new()
        .layer(DeadlineLayer::builder("edge").trust(header).build()?)
        .layer(TimeoutLayer::builder("ml_service").limit(Duration::from_millis(200)).build()?)
        .service(service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>()));

    for patience in ["5000", "50"] {
        let request = Request::builder().header("x-envoy-expected-rq-timeout-ms", patience).body(Body::empty())?;
        let begun = Instant::now();
        let response = hung.ready().await?.call(request).await?;
        println!("a caller with {patience} ms gets {} after {:?}", response.status(), begun.elapsed());
    }
    Ok(())
}
