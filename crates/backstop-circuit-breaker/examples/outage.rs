//! A service fails, its circuit opens, and closes again once the service is well.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use backstop_circuit_breaker::CircuitBreakerLayer;
use http::{Request, Response, StatusCode};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let breaker = CircuitBreakerLayer::builder("ml_service").consecutive_failures(3).build()?;
    let circuit = breaker.handle();
    let is_well = Arc::new(AtomicBool::new(false));
    let looks = Arc::clone(&is_well);
    let mut ml_service = ServiceBuilder::new().layer(breaker).service(service_fn(move |_: Request<()>| {
        let mut response = Response::new(String::new());
        if !looks.load(Ordering::Relaxed) {
            *response.status_mut() = StatusCode::BAD_GATEWAY;
        }
        async { Ok::<_, Infallible>(response) }
    }));

    // From the fourth call on, the service isn't asked any more.
    for _ in 0..5 {
        let response = ml_service.ready().await?.call(Request::new(())).await?;
        println!("{}; the circuit is {:?}", response.status(), circuit.state());
    }

    println!("The service is well again, and the circuit waits.");
    is_well.store(true, Ordering::Relaxed);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    for _ in 0..3 {
        let response = ml_service.ready().await?.call(Request::new(())).await?;
        println!("{}; the circuit is {:?}", response.status(), circuit.state());
    }
    Ok(())
}
