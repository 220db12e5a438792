//! A call to another service, and the layers around it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use backstop::circuit_breaker::Recovery;
use backstop::{
    BulkheadLayer, CircuitBreakerHandle, CircuitBreakerLayer, Classify, ConfigError, DeadlineHeader, ErrorRef,
    FeatureGate, FeatureLayer, Inspect, Inventory, Name, Outcome, PropagateDeadlineLayer, Reason, Rejection,
    ResultClassify, RetryLayer, TimeoutLayer,
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

/// The time limit of one attempt. The chain's first provider has a share of 200 ms of the total of 800 ms. Two attempts and the
/// wait between them fit into it. So a call that hangs is ended here, where the circuit counts it, and is tried once more.
const ATTEMPT: Duration = Duration::from_millis(90);

/// How many calls may run at once, and how long others may wait. A dependency that slows down must not use up our memory, and
/// an attempt of 90 ms can't queue for long.
const CALLS: u32 = 100;
const QUEUE: Duration = Duration::from_millis(20);

/// The largest body that is read.
const LARGEST_ANSWER: usize = 256 * 1024;

/// Another service that answers in JSON.
#[derive(Clone)]
pub(crate) struct Dependency {
    // Boxed to have a nameable type. Without a box, a stack saves two allocations a call.
    service: Service,
    /// The same without retry and circuit breaker, for probes.
    past_circuit: Service,
    circuit: CircuitBreakerHandle,
    /// The handles of all layers, from outside to inside.
    layers: Vec<Arc<dyn Inspect>>,
}

type Service = BoxCloneSyncService<Request<Empty<Bytes>>, Response<Body>, BoxError>;

impl Dependency {
    pub(crate) fn new(
        name: Name,
        client: HttpClient,
        circuit_wait: Duration,
        recovery: Recovery,
    ) -> Result<Self, ConfigError> {
        let circuit = CircuitBreakerLayer::builder(name.clone())
            // Not consecutive failures: under much traffic, some failures are consecutive by chance although most calls succeed.
            .failure_rate(0.5)
            .window(Duration::from_secs(10))
            .min_calls(10)
            .wait(circuit_wait)
            .success_threshold(2)
            .recovery(recovery)
            .build()?;

        let bulkhead = BulkheadLayer::builder(name.clone()).max_concurrent(CALLS).max_wait(QUEUE).build()?;
        let timeout = TimeoutLayer::builder(name.clone()).limit(ATTEMPT).build()?;
        let propagate = PropagateDeadlineLayer::builder(name.clone()).send(DeadlineHeader::EnvoyExpectedRqTimeoutMs);
        let propagate = propagate.build()?;
        let retry = RetryLayer::builder(name).max_attempts(2).backoff_base(Duration::from_millis(10)).build()?;
        let layers: [Arc<dyn Inspect>; 5] = [
            Arc::new(retry.handle()),
            Arc::new(circuit.handle()),
            Arc::new(bulkhead.handle()),
            Arc::new(timeout.handle()),
            Arc::new(propagate.handle()),
        ];
        let handle = circuit.handle();

        let past_circuit = ServiceBuilder::new()
            // Inside retry and circuit, so that a retry's wait or a refused call doesn't hold a permit.
            .layer(bulkhead)
            // Inside the layers that wait or repeat: it limits one attempt, not all of them. The limit includes the wait for a
            // connection and the whole body, since `call` reads that.
            .layer(timeout)
            // Innermost, where the least time is left: tells the other service when we stop waiting.
            .layer(propagate)
            .service(backstop::client(service_fn(move |request| call(client.clone(), request))));
        let past_circuit = BoxCloneSyncService::new(past_circuit);

        let service = ServiceBuilder::new()
            // Outermost, so that the circuit counts every attempt and opens early. The circuit's refusal isn't repeated.
            .layer(retry)
            // Around the timeout, so that a call that hangs counts as a failure. While it is open, it calls nothing.
            .layer(circuit)
            .service(past_circuit.clone());

        let service = BoxCloneSyncService::new(service);
        Ok(Self { service, past_circuit, circuit: handle, layers: layers.into() })
    }

    /// The same, called only while this feature is on.
    pub(crate) fn for_feature(self, feature: FeatureGate) -> Self {
        let service = ServiceBuilder::new()
            // Around all other layers: what is off isn't repeated, and the circuit neither counts nor probes. Inside the chain,
            // whose next source answers instead.
            .layer(FeatureLayer::new(feature))
            .service(self.service);
        Self { service: BoxCloneSyncService::new(service), ..self }
    }

    /// Lists the layers.
    pub(crate) fn register(&self, inventory: Inventory) -> Inventory {
        inventory.register_all(self.layers.iter().cloned())
    }

    pub(crate) fn circuit(&self) -> CircuitBreakerHandle {
        self.circuit.clone()
    }

    /// Gets `uri` and parses the answer.
    pub(crate) async fn get<T: DeserializeOwned>(&self, uri: Uri) -> Result<T, BoxError> {
        get(self.service.clone(), uri).await
    }

    /// The same without the circuit, for the circuit's own prober, which already has a permit.
    pub(crate) async fn probe<T: DeserializeOwned>(&self, uri: Uri) -> Result<T, BoxError> {
        get(self.past_circuit.clone(), uri).await
    }
}

impl fmt::Debug for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dependency").field("circuit", &self.circuit).finish_non_exhaustive()
    }
}

/// Gets `uri` without any layer, for a guard around it, and parses the answer.
pub(crate) async fn get_json<T: DeserializeOwned>(client: HttpClient, uri: Uri) -> Result<T, BoxError> {
    get(service_fn(move |request| call(client.clone(), request)), uri).await
}

async fn get<T, S>(service: S, uri: Uri) -> Result<T, BoxError>
where
    T: DeserializeOwned,
    S: tower::Service<Request<Empty<Bytes>>, Response = Response<Body>, Error = BoxError>,
{
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri;
    let mut response = service.oneshot(request).await?;
    // One of our layers refused. As an error, it tells the chain the reason.
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
pub(crate) struct UnexpectedStatus(pub(crate) StatusCode);

impl fmt::Display for UnexpectedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.0)
    }
}

impl Error for UnexpectedStatus {}

/// Classifies results like [`ResultClassify`], but the reason for an unexpected answer is its status instead of `error`.
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

/// The HTTP client, whose connections all dependencies share.
pub(crate) type HttpClient = Client<HttpConnector, Empty<Bytes>>;

pub(crate) fn http_client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Calls the service and reads the whole answer.
///
/// Since the body is read here, the layers see a body that breaks off as a failure: it is repeated, the circuit counts it, and
/// the timeout ends it if it hangs.
async fn call(client: HttpClient, request: Request<Empty<Bytes>>) -> Result<Response<Body>, BoxError> {
    let (head, body) = client.request(request).await?.into_parts();
    let body = to_bytes(Body::new(body), LARGEST_ANSWER).await?;
    Ok(Response::from_parts(head, Body::from(body)))
}

#[cfg(test)]
mod tests;
