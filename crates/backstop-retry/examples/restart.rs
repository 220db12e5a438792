//! A service that is being restarted refuses two calls, of which the caller learns nothing.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU32, Ordering},
};

use axum::body::Body;
use backstop_retry::{RetryLayer, name};
use http::{Method, Request, Response, StatusCode};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

static CALLS: AtomicU32 = AtomicU32::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let restarting = service_fn(|request: Request<Body>| {
        let mut response = Response::new(Body::empty());
        if CALLS.fetch_add(1, Ordering::Relaxed) < 2 {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        println!("  the service is asked: {} -> {}", request.method(), response.status());
        async { Ok::<_, Infallible>(response) }
    });
    let mut ml_service = ServiceBuilder::new().layer(RetryLayer::new(name!("ml_service"))).service(restarting);

    // A POST may have been processed, so it isn't sent again unless something proves that it wasn't.
    for method in [Method::GET, Method::POST] {
        CALLS.store(0, Ordering::Relaxed);
        println!("a caller sends a {method}");
        let request = Request::builder().method(method).body(Body::empty())?;
        println!("the caller gets {}", ml_service.ready().await?.call(request).await?.status());
    }
    Ok(())
}
