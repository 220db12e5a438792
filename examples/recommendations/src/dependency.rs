//! A call to another service, and what stands around it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use backstop::{
    BulkheadLayer, CircuitBreakerHandle, CircuitBreakerLayer, Classify, ConfigError, DeadlineHeader, ErrorRef, Name,
    Outcome, PropagateDeadlineLayer, Reason, Rejection, ResultClassify, RetryLayer, TimeoutLayer,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

/// What one attempt may take. Two of them and the wait between them fit into the share of the chain's 800 ms that its
/// first provider has, 200 ms: so a call that hangs is ended here, where the circuit counts it, and tried once more.
const ATTEMPT: Duration = Duration::from_millis(90);

/// How many calls may run at once, and how long others wait for one of them to end: a dependency that slows down must
/// not take all our memory, and who has 90 ms can't queue for long.
const CALLS: u32 = 100;
const QUEUE: Duration = Duration::from_millis(20);

/// The most that is read of an answer.
const LARGEST_ANSWER: usize = 256 * 1024;

/// Another service that answers in JSON.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    // Boxed to have a name. A stack that is used where it is built needs none, and saves two allocations a call.
    service: Service,
    /// The same without retry and circuit breaker: what a probe calls.
    past_circuit: Service,
    circuit: CircuitBreakerHandle,
}

type Service = BoxCloneSyncService<Request<Empty<Bytes>>, Response<Body>, BoxError>;

impl Dependency {
    pub(crate) fn new(name: Name, client: HttpClient, circuit_wait: Duration) -> Result<Self, ConfigError> {
        let circuit = CircuitBreakerLayer::builder(name.clone())
            // Not failures in a row: under much traffic some come in a row by chance, however well most calls go.
            .failure_rate(0.5)
            .window(Duration::from_secs(10))
            .min_calls(10)
            .wait(circuit_wait)
            .success_threshold(2)
            .build()?;
        let handle = circuit.handle();

        let past_circuit = ServiceBuilder::new()
            // Inside retry and circuit, so that neither a retry that waits for its turn nor a refused call holds a permit.
            .layer(BulkheadLayer::builder(name.clone()).max_concurrent(CALLS).max_wait(QUEUE).build()?)
            // Inside all that may wait or repeat: it ends one attempt, not all of them. It covers the wait for a connection, and the whole body,
            // since `call` reads that.
            .layer(TimeoutLayer::builder(name.clone()).limit(ATTEMPT).build()?)
            // Innermost, where the least is left: the other service learns how long its answer is waited for.
            .layer(
                PropagateDeadlineLayer::builder(name.clone())
                    .send(DeadlineHeader::EnvoyExpectedRqTimeoutMs)
                    .build()?,
            )
            .service(backstop::client(service_fn(move |request| call(client.clone(), request))));
        let past_circuit = BoxCloneSyncService::new(past_circuit);

        let service = ServiceBuilder::new()
            // Outermost of them, so that the circuit sees every attempt, and learns fast. A refusal of the circuit is
            // not repeated.
            .layer(
                RetryLayer::builder(name)
                    .max_attempts(2)
                    .backoff_base(Duration::from_millis(10))
                    .build()?,
            )
            // Around the timeout, so that a call that hangs is a failure which it counts. While it is open, nothing further
            // in is even asked.
            .layer(circuit)
            .service(past_circuit.clone());

        Ok(Self { service: BoxCloneSyncService::new(service), past_circuit, circuit: handle })
    }

    pub(crate) fn circuit(&self) -> CircuitBreakerHandle {
        self.circuit.clone()
    }

    /// Gets `uri`, and reads what it answers.
    pub(crate) async fn get<T: DeserializeOwned>(&self, uri: Uri) -> Result<T, BoxError> {
        get(self.service.clone(), uri).await
    }

    /// The same past the circuit, for the circuit's own prober, which has a permit already.
    pub(crate) async fn probe<T: DeserializeOwned>(&self, uri: Uri) -> Result<T, BoxError> {
        get(self.past_circuit.clone(), uri).await
    }
}

async fn get<T: DeserializeOwned>(service: Service, uri: Uri) -> Result<T, BoxError> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri;
    let mut response = service.oneshot(request).await?;
    // One of our own layers answered. As an error it still tells the chain why.
    if let Some(rejection) = response.extensions_mut().remove::<Rejection>() {
        return Err(rejection.into());
    }
    if response.status() != StatusCode::OK {
        return Err(UnexpectedStatus(response.status()).into());
    }
    let body = to_bytes(response.into_body(), LARGEST_ANSWER).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// An answer with another status than 200.
#[derive(Debug)]
struct UnexpectedStatus(StatusCode);

impl fmt::Display for UnexpectedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.0)
    }
}

impl Error for UnexpectedStatus {}

/// Judges the results of calls to dependencies: as Backstop judges those of functions, but the log names the status of an
/// answer as the reason, where it would say `error`.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClassifyCall(ResultClassify);

impl<T> Classify<T> for ClassifyCall {
    fn classify(&self, result: Result<&T, ErrorRef<'_>>) -> Outcome {
        self.0.classify(result)
    }

    fn reason(&self, result: Result<&T, ErrorRef<'_>>) -> Reason {
        let status = result.err().and_then(ErrorRef::find::<UnexpectedStatus>);
        status.map_or_else(|| self.0.reason(result), |UnexpectedStatus(status)| Reason::status(*status))
    }
}

/// The connections of the process, shared by all dependencies.
pub(crate) type HttpClient = Client<HttpConnector, Empty<Bytes>>;

pub(crate) fn http_client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Calls, and reads the whole answer.
///
/// The layers above judge what they see. With the body read here, an upstream that breaks off in the middle of it fails
/// like any other: it is repeated, counted by the circuit, and ended by the timeout.
async fn call(client: HttpClient, request: Request<Empty<Bytes>>) -> Result<Response<Body>, BoxError> {
    let (head, body) = client.request(request).await?.into_parts();
    let body = to_bytes(Body::new(body), LARGEST_ANSWER).await?;
    Ok(Response::from_parts(head, Body::from(body)))
}

#[cfg(test)]
mod tests;
