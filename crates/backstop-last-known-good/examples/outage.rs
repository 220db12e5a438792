//! A price is stored while the service answers, and served as stale when it is down.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use backstop_last_known_good::{LastKnownGoodLayer, name};
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let layer = LastKnownGoodLayer::new(name!("prices"));
    let known = layer.handle();
    let prices =
        layer.layer(service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("9.99"))) }));

    // It is stored once its body has been read to the end.
    let answer = prices.oneshot(Request::get("/prices").body(Body::empty())?).await?;
    println!("from the service: {:?}", answer.into_body().collect().await?.to_bytes());

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(900)).await;
    let (head, ()) = Request::get("/prices").body(())?.into_parts();
    let answer = known.answer::<Body>(head).await?;
    println!("a quarter of an hour later, from the store: {:?}", answer.freshness());
    println!("Age: {}", answer.value().headers()["age"].to_str()?);
    Ok(())
}
