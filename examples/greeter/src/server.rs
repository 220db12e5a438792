//! The server: a tonic service behind layers that keep it from being overrun.

use backstop::{BulkheadLayer, DeadlineLayer, name};
use tonic::{
    Request, Response, Status, Streaming,
    codegen::{
        BoxStream,
        tokio_stream::{self, StreamExt},
    },
    transport::{Error, Server, server::TcpIncoming},
};
use tower::ServiceBuilder;

use crate::pb::{
    HelloReply, HelloRequest,
    greeter_server::{Greeter, GreeterServer},
};

/// Greets, and says where the greeting comes from.
#[derive(Clone, Debug)]
pub struct Greetings {
    /// `the primary`, for example.
    pub from: &'static str,
}

/// Serves until `stop` is ready, then lets the running calls end.
///
/// # Errors
/// The listener's.
pub async fn serve(from: &'static str, incoming: TcpIncoming, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let layers = ServiceBuilder::new()
        // Ends a call when its caller has stopped waiting (`grpc-timeout`), at the latest after 15 s.
        .layer(DeadlineLayer::new(name!("greeter")))
        // Refuses calls beyond 100 at once and 100 waiting ones with `UNAVAILABLE`. A stream counts until its head is sent.
        .layer(BulkheadLayer::new(name!("greeter")).until_headers())
        .into_inner();
    Server::builder()
        .layer(layers)
        .add_service(GreeterServer::new(Greetings { from }))
        .serve_with_incoming_shutdown(incoming, stop)
        .await
}

impl Greetings {
    fn greet(&self, names: &str) -> HelloReply {
        HelloReply { message: format!("Hello, {names}! (from {})", self.from) }
    }
}

#[tonic::async_trait]
impl Greeter for Greetings {
    async fn say_hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        Ok(Response::new(self.greet(&request.into_inner().name)))
    }

    type GreetOftenStream = BoxStream<HelloReply>;

    async fn greet_often(&self, request: Request<HelloRequest>) -> Result<Response<Self::GreetOftenStream>, Status> {
        let reply = self.greet(&request.into_inner().name);
        Ok(Response::new(Box::pin(tokio_stream::iter(vec![Ok(reply); 3]))))
    }

    async fn greet_all(&self, request: Request<Streaming<HelloRequest>>) -> Result<Response<HelloReply>, Status> {
        let mut requests = request.into_inner();
        let mut names = Vec::new();
        while let Some(request) = requests.message().await? {
            names.push(request.name);
        }
        Ok(Response::new(self.greet(&names.join(" and "))))
    }

    type ChatStream = BoxStream<HelloReply>;

    async fn chat(&self, request: Request<Streaming<HelloRequest>>) -> Result<Response<Self::ChatStream>, Status> {
        let this = self.clone();
        let replies = request.into_inner().map(move |request| Ok(this.greet(&request?.name)));
        Ok(Response::new(Box::pin(replies)))
    }
}
