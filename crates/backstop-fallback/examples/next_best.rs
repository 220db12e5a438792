//! Two sources fail, and the third one answers.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use backstop_core::{Degradation, name};
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{ServiceBuilder, ServiceExt, service_fn};

fn answers(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(answers(StatusCode::NOT_FOUND, "")) });
    let usual = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(answers(StatusCode::OK, "the usual")) });
    let instead = FallbackChain::builder("recommendations")
        .total(Duration::from_millis(800))
        .provider(Provider::service(name!("cached"), cache))
        .provider(Provider::service(name!("bestsellers"), usual))
        .build()?;
    let primary =
        service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(answers(StatusCode::SERVICE_UNAVAILABLE, "down")) });
    let service = ServiceBuilder::new().layer(FallbackLayer::new(name!("ml_service"), instead)).service(primary);

    let response = service.oneshot(Request::new(Body::empty())).await?;
    if let Some(degradation) = response.extensions().get::<Degradation>() {
        println!("from {}, because of {}", degradation.source(), degradation.reason());
    }
    println!("{}: {:?}", response.status(), response.into_body().collect().await?.to_bytes());
    Ok(())
}
