//! The client: asks the primary, then its replica, then has an answer of its own.

use std::time::Duration;

use backstop::{
    BulkheadLayer, CircuitBreakerHandle, CircuitBreakerLayer, ConfigError, DegradationHeaderLayer, FallbackChain,
    FallbackLayer, Freshness, PropagateDeadlineLayer, Provider, RetryLayer, TimeoutLayer, name,
};
use http::{Request, Response};
use tonic::{
    body::Body,
    transport::{Channel, Error},
};
use tower::{Service, ServiceBuilder};

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

/// A client that answers while `primary` is down, and the circuit in front of `primary`.
///
/// An open circuit tries `primary` again after `wait`.
///
/// # Errors
/// If `wait` isn't between 1 ms and 24 h.
pub fn connect(
    primary: Channel,
    replica: Channel,
    wait: Duration,
) -> Result<(GreeterClient<impl Stack>, CircuitBreakerHandle), ConfigError> {
    let (primary, circuit) = protect("primary", primary, wait)?;
    let (replica, _) = protect("replica", replica, wait)?;
    let instead = FallbackChain::builder("greeter")
        .total(Duration::from_secs(3))
        // Every gRPC call is a `POST`. Without this line, a call that the primary may have processed would go to no replica.
        .repeat_if(|call: &Request<Body>| only_reads(call))
        // The replica greets as well as the primary does.
        .provider(Provider::service(name!("replica"), replica).freshness(Freshness::Fresh))
        // The generated server is a service, so it can answer without a network.
        .provider(Provider::service(name!("static_greeting"), GreeterServer::new(Greetings { from: "memory" })))
        .build()?;
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new()) // labels degraded answers in the metadata
        .layer(FallbackLayer::new(name!("primary"), instead))
        .service(primary);
    Ok((GreeterClient::new(stack), circuit))
}

/// The standard layers around one server.
fn protect(
    name: &'static str,
    channel: Channel,
    wait: Duration,
) -> Result<(impl Stack, CircuitBreakerHandle), ConfigError> {
    let circuit_breaker = CircuitBreakerLayer::builder(name).wait(wait).build()?;
    let circuit = circuit_breaker.handle();
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::builder(name).max_attempts(2).repeat_if(|call: &Request<Body>| only_reads(call)).build()?)
        .layer(circuit_breaker)
        .layer(BulkheadLayer::builder(name).build()?.until_headers())
        .layer(TimeoutLayer::builder(name).limit(Duration::from_millis(500)).build()?)
        .layer(PropagateDeadlineLayer::builder(name).build()?) // tells the server how long we wait: `grpc-timeout`
        .service(backstop::client(channel)); // lets a refused connection prove that nothing was processed
    Ok((stack, circuit))
}

/// The calls that are safe to repeat.
fn only_reads(call: &Request<Body>) -> bool {
    matches!(call.uri().path(), "/greeter.Greeter/SayHello" | "/greeter.Greeter/GreetOften")
}
