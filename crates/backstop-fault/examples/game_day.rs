//! Half of the users get errors for a while, always the same ones. Then the run is stopped.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::convert::Infallible;

use axum::body::Body;
use backstop_fault::{Fault, FaultLayer, FaultRun, Level};
use http::{HeaderName, Request, Response, StatusCode};
use tower::{ServiceBuilder, ServiceExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let faults = FaultLayer::builder("edge").arm().max_share(0.5).level(|| Level::Healthy).build()?;
    let handle = faults.handle();
    let service = ServiceBuilder::new()
        .layer(faults)
        .service(service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) }));

    let run = FaultRun::new(Fault::status(StatusCode::BAD_GATEWAY), 0.5, "ada", "do clients retry?")
        .by_principal(HeaderName::from_static("x-user-id"))
        .seed(1);
    let id = handle.start(run)?;
    for user in ["ada", "grace", "edsger", "barbara", "tony"] {
        let mut answers = Vec::new();
        for _ in 0..3 {
            let request = Request::get("/items").header("x-user-id", user).body(Body::empty())?;
            answers.push(service.clone().oneshot(request).await?.status().as_u16());
        }
        println!("{user:8} {answers:?}");
    }
    println!("run {id} still runs: {}", handle.heartbeat(id));
    handle.stop("ada", "they do")?;
    if let Some(ended) = handle.status().last {
        println!("run {} ended ({}): {} of {} calls were hit", ended.id, ended.why, ended.hits, ended.calls);
    }
    Ok(())
}
