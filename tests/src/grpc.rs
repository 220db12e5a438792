//! A gRPC service, its server and its client, over loopback.
//!
//! The service is tonic-health's, generated code with a unary call (`Check`) and a streaming one (`Watch`).

#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{net::TcpListener, task::JoinSet};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, server::TcpIncoming},
};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, HealthCheckResponse, health_server::Health},
    server::{HealthReporter, HealthService},
};

/// A health service that can be told to fail. It knows itself (`""`) and the service `greeter`.
#[derive(Clone, Debug)]
pub struct Scripted {
    health: Arc<HealthService>,
    reporter: HealthReporter,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    next: VecDeque<Misdeed>,
    asked: Vec<String>,
}

#[derive(Debug)]
enum Misdeed {
    Refuse(Status),
    Hang,
}

impl Scripted {
    /// A healthy service.
    pub async fn new() -> Self {
        let reporter = HealthReporter::new();
        reporter.set_service_status("greeter", ServingStatus::Serving).await;
        let health = Arc::new(HealthService::from_health_reporter(reporter.clone()));
        Self { health, reporter, script: Arc::default() }
    }

    /// Refuses the next `times` calls.
    pub fn refuse(&self, times: usize, status: &Status) {
        let misdeeds = std::iter::repeat_with(|| Misdeed::Refuse(status.clone())).take(times);
        self.script.lock().unwrap().next.extend(misdeeds);
    }

    /// Never answers the next call.
    pub fn hang(&self) {
        self.script.lock().unwrap().next.push_back(Misdeed::Hang);
    }

    /// The services that the calls asked for, in order of arrival.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.script.lock().unwrap().asked.clone()
    }

    /// Sets the health of `greeter`.
    pub async fn set_greeter(&self, status: ServingStatus) {
        self.reporter.set_service_status("greeter", status).await;
    }

    async fn act(&self, request: &Request<HealthCheckRequest>) -> Result<(), Status> {
        let misdeed = {
            let mut script = self.script.lock().unwrap();
            script.asked.push(request.get_ref().service.clone());
            script.next.pop_front()
        };
        match misdeed {
            Some(Misdeed::Refuse(status)) => Err(status),
            Some(Misdeed::Hang) => std::future::pending().await,
            None => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl Health for Scripted {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.act(&request).await?;
        self.health.check(request).await
    }

    type WatchStream = <HealthService as Health>::WatchStream;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.act(&request).await?;
        self.health.watch(request).await
    }
}

/// A server on a free port, until it is dropped.
#[derive(Debug)]
pub struct GrpcServer {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl GrpcServer {
    /// Starts the server that `serve` returns.
    ///
    /// A test's `serve` contains the code that a user would write: `Server::builder()…serve_with_incoming(incoming)`.
    pub async fn start<Fut>(serve: impl FnOnce(TcpIncoming) -> Fut) -> Self
    where
        Fut: Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
    {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), serve)
    }

    /// The same, on the test's own listener.
    pub fn start_on<Fut>(listener: TcpListener, serve: impl FnOnce(TcpIncoming) -> Fut) -> Self
    where
        Fut: Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let serving = serve(TcpIncoming::from(listener));
        let mut tasks = JoinSet::new();
        tasks.spawn(async { serving.await.unwrap() });
        Self { address, _serving: tasks }
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection to this server, made on first use.
    #[must_use]
    pub fn channel(&self) -> Channel {
        channel_to(self.address)
    }
}

/// A connection to `address`, made on first use.
#[must_use]
pub fn channel_to(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// A request for the health of `service`.
#[must_use]
pub fn question(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}
