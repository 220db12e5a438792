//! What a caller is told of an answer that came from a cache.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::{convert::Infallible, time::Duration};

use backstop_core::{Degradation, Freshness, Reason, name, scope};
use backstop_degradation_header::DegradationHeaderLayer;
use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let service =
        ServiceBuilder::new().layer(DegradationHeaderLayer::new()).service(service_fn(|_: Request<()>| async {
            // A fallback chain reports this when `cached` answers instead of the primary.
            let freshness = Freshness::stale(Duration::from_secs(912));
            scope::report(Degradation::new(name!("items"), name!("cached"), 1, Reason::CIRCUIT_OPEN, freshness));
            Ok::<_, Infallible>(Response::new("[1,2,3]"))
        }));

    let response = service.oneshot(Request::new(())).await?;
    for (name, value) in response.headers() {
        println!("{name}: {}", value.to_str()?);
    }
    println!("\n{}", response.body());
    Ok(())
}
