//! gRPC health checks.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use tokio_stream::{Stream, wrappers::WatchStream};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health as Checks, HealthServer},
};

use crate::{Health, Readiness};

/// Answers gRPC health checks: see [`Health::grpc`].
#[derive(Clone, Debug)]
pub struct GrpcHealth {
    health: Health,
}

impl Health {
    /// The service `grpc.health.v1.Health`, for tonic's server.
    ///
    /// It knows one service: the empty name, which stands for the whole server. That serves while the instance is
    /// [ready](Health::readiness), so it never follows a dependency. A `Watch` shows each change while [`run`](Health::run) is
    /// polled, and ends when a drain [closes the listener](crate::Drain::listener_closes), so that it holds up no shutdown.
    ///
    /// ```no_run
    /// use backstop_health::{Component, Health};
    /// use tonic::transport::Server;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let health = Health::builder().component(Component::essential("database")).build()?;
    /// tokio::spawn(health.run());
    /// let drain = health.drain();
    /// Server::builder()
    ///     // .add_service(…)
    ///     .add_service(health.grpc())
    ///     .serve_with_shutdown("[::1]:50051".parse()?, drain.listener_closes())
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn grpc(&self) -> HealthServer<GrpcHealth> {
        HealthServer::new(GrpcHealth { health: self.clone() })
    }
}

/// Each change of the health of the whole server, until the listener closes.
pub struct GrpcHealthWatch {
    readiness: WatchStream<Readiness>,
    closes: Pin<Box<dyn Future<Output = ()> + Send>>,
}

#[tonic::async_trait]
impl Checks for GrpcHealth {
    type WatchStream = GrpcHealthWatch;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !request.get_ref().service.is_empty() {
            return Err(Status::not_found("only the whole server is known"));
        }
        Ok(Response::new(answer(self.health.readiness())))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        if !request.get_ref().service.is_empty() {
            return Err(Status::not_found("only the whole server is known"));
        }
        // So that the first message is right, also if the view was not read for long.
        _ = self.health.readiness();
        let readiness = WatchStream::new(self.health.shared.readiness.subscribe());
        let closes = Box::pin(self.health.drain().listener_closes());
        Ok(Response::new(GrpcHealthWatch { readiness, closes }))
    }
}

impl Stream for GrpcHealthWatch {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(next) = Pin::new(&mut self.readiness).poll_next(cx) {
            return Poll::Ready(next.map(|readiness| Ok(answer(readiness))));
        }
        // Without an end it would be a running request, for which a graceful shutdown waits.
        self.closes.as_mut().poll(cx).map(|()| None)
    }
}

impl fmt::Debug for GrpcHealthWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcHealthWatch").finish_non_exhaustive()
    }
}

fn answer(readiness: Readiness) -> HealthCheckResponse {
    let status = if readiness.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}
