//! The client: asks the primary, then its replica, then has an answer of its own.

use std::time::Duration;

use backstop::{
    ConfigError, DegradationHeaderLayer, FallbackChain, FallbackLayer, Freshness, Provider, StandardHandle, name,
    standard,
};
use http::{Request, Response};
use tonic::{
    body::Body,
    transport::{Channel, Error},
};
use tower::{Layer, Service, ServiceBuilder};

use crate::{
    pb::{greeter_client::GreeterClient, greeter_server::GreeterServer},
    server::Greetings,
};

/// The stack around a channel: what tonic's generated clients accept, without its long type.
pub trait Stack:
    Service<Request<Body>, Response = Response<Body>, Error = Error, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Stack for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Error, Future: Send> + Clone + Send + Sync + 'static
{
}

/// A client that answers while `primary` is down, and the handle of the layers in front of `primary`.
///
/// An open circuit tries `primary` again after `wait`.
///
/// # Errors
/// If `wait` isn't between 1 ms and 24 h.
pub fn connect(
    primary: Channel,
    replica: Channel,
    wait: Duration,
) -> Result<(GreeterClient<impl Stack>, StandardHandle), ConfigError> {
    let (primary, handle) = protect("primary", primary, wait)?;
    let (replica, _) = protect("replica", replica, wait)?;
    let instead = FallbackChain::builder("greeter")
        .total(Duration::from_secs(3))
        // Every gRPC call is a `POST`. Without this line, a call that the primary may have processed would go to no replica.
        .repeat_if(only_reads)
        // The replica greets as well as the primary does.
        .provider(Provider::service(name!("replica"), replica).freshness(Freshness::Fresh))
        // The generated server is a service, so it can answer without a network.
        .provider(Provider::service(name!("static_greeting"), GreeterServer::new(Greetings { from: "memory" })))
        .build()?;
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new()) // labels degraded answers in the metadata
        .layer(FallbackLayer::new(name!("primary"), instead))
        .service(primary);
    Ok((GreeterClient::new(stack), handle))
}

/// The standard layers around one server.
fn protect(name: &'static str, channel: Channel, wait: Duration) -> Result<(impl Stack, StandardHandle), ConfigError> {
    let layer = standard(name)
        .timeout(Duration::from_millis(500))
        .retry(|retry| retry.max_attempts(2).repeat_if(only_reads))
        // Unless set, 10, which so few calls don't reach.
        .circuit_breaker(|circuit| circuit.consecutive_failures(5).wait(wait))
        .build()?
        .until_headers(); // a stream counts in the bulkhead until its head is there
    let handle = layer.handle();
    Ok((layer.layer(channel), handle))
}

/// The calls that are safe to repeat.
fn only_reads(call: &Request<Body>) -> bool {
    matches!(call.uri().path(), "/greeter.Greeter/SayHello" | "/greeter.Greeter/GreetOften")
}
