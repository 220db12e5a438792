//! One call runs, one waits in line, and the third is refused.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use backstop_bulkhead::BulkheadLayer;
use http::{Request, Response};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bulkhead = BulkheadLayer::builder("ml_service").max_concurrent(1).max_waiting(1).build()?;
    let handle = bulkhead.handle();
    let mut slow = ServiceBuilder::new().layer(bulkhead).service(service_fn(|_: Request<Body>| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));

    let (first, second, third) = tokio::join!(
        slow.ready().await?.call(Request::new(Body::empty())),
        slow.ready().await?.call(Request::new(Body::empty())),
        slow.ready().await?.call(Request::new(Body::empty())),
    );
    println!("the first call:  {}", first?.status());
    println!("the second call: {}", second?.status());
    let refused = third?;
    println!("the third call:  {}, Retry-After: {:?}", refused.status(), refused.headers()["retry-after"]);
    println!("in use now:      {}", handle.in_use());
    Ok(())
}
