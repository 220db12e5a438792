//! A gRPC service with calls of all four kinds, each of which can be told to fail.

#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::sync::{Arc, Mutex};

use greeter::pb::{HelloReply, HelloRequest, greeter_client::GreeterClient, greeter_server::Greeter};
use tokio::sync::mpsc;
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    client::GrpcService,
    codegen::{
        Body as HttpBody, BoxStream, Bytes, StdError,
        tokio_stream::{self, StreamExt, wrappers::ReceiverStream},
    },
    metadata::MetadataMap,
};

/// Answers each name with itself, and the call's metadata `x-mood` with itself. Fails at these names:
///
/// | name | what happens |
/// |---|---|
/// | `refuse` | `FAILED_PRECONDITION`, which blames the caller |
/// | `fail` | `UNAVAILABLE`, in trailers after the messages so far |
/// | `hang` | nothing, ever |
#[derive(Clone, Debug, Default)]
pub struct Echo {
    names: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    /// The names so far, in order of arrival.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }

    async fn echo(&self, request: HelloRequest) -> Result<HelloReply, Status> {
        self.names.lock().unwrap().push(request.name.clone());
        match &*request.name {
            "refuse" => Err(status(Code::FailedPrecondition)),
            "fail" => Err(status(Code::Unavailable)),
            "hang" => std::future::pending().await,
            _ => Ok(HelloReply { message: request.name }),
        }
    }
}

fn status(code: Code) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-why", "by request".parse().unwrap());
    Status::with_details_and_metadata(code, "it was told to", "details".into(), metadata)
}

/// A response with the mood of its request.
fn response<T, R>(request: &Request<T>, reply: R) -> Response<R> {
    let mut response = Response::new(reply);
    if let Some(mood) = request.metadata().get("x-mood") {
        response.metadata_mut().insert("x-mood", mood.clone());
    }
    response
}

#[tonic::async_trait]
impl Greeter for Echo {
    async fn say_hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let reply = self.echo(request.get_ref().clone()).await?;
        Ok(response(&request, reply))
    }

    type GreetOftenStream = BoxStream<HelloReply>;

    /// One reply to each name of a list like `Ada, Grace`.
    async fn greet_often(&self, request: Request<HelloRequest>) -> Result<Response<Self::GreetOftenStream>, Status> {
        let names: Vec<String> = request.get_ref().name.split(", ").map(str::to_owned).collect();
        let this = self.clone();
        let replies = tokio_stream::iter(names).then(move |name| {
            let this = this.clone();
            async move { this.echo(HelloRequest { name }).await }
        });
        Ok(response(&request, Box::pin(replies)))
    }

    async fn greet_all(&self, request: Request<Streaming<HelloRequest>>) -> Result<Response<HelloReply>, Status> {
        let mut answer = response(&request, HelloReply::default());
        let mut requests = request.into_inner();
        let mut names = Vec::new();
        while let Some(request) = requests.message().await? {
            names.push(self.echo(request).await?.message);
        }
        answer.get_mut().message = names.join(", ");
        Ok(answer)
    }

    type ChatStream = BoxStream<HelloReply>;

    async fn chat(&self, request: Request<Streaming<HelloRequest>>) -> Result<Response<Self::ChatStream>, Status> {
        let answer = response(&request, ());
        let this = self.clone();
        let replies = request.into_inner().then(move |request| {
            let this = this.clone();
            async move { this.echo(request?).await }
        });
        Ok(answer.map(|()| Box::pin(replies) as Self::ChatStream))
    }
}

/// A request with the name `name`.
#[must_use]
pub fn hello(name: &str) -> HelloRequest {
    HelloRequest { name: name.to_owned() }
}

fn moody<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-mood", "good".parse().unwrap());
    request
}

fn assert_mood(metadata: &MetadataMap) {
    assert_eq!(metadata.get("x-mood").unwrap(), "good");
    assert!(!metadata.contains_key("x-fallback-source"));
}

fn assert_status(status: &Status, code: Code) {
    assert_eq!((status.code(), status.message(), status.details()), (code, "it was told to", &b"details"[..]));
    assert_eq!(status.metadata().get("x-why").unwrap(), "by request");
}

/// Calls of each kind pass unchanged: messages one by one, metadata, and statuses in trailers.
pub async fn assert_all_kinds_pass<S>(mut client: GreeterClient<S>)
where
    S: GrpcService<Body, Error: Into<StdError>>,
    S::ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    let reply = client.say_hello(moody(hello("Ada"))).await.unwrap();
    assert_mood(reply.metadata());
    assert_eq!(reply.into_inner().message, "Ada");
    assert_status(&client.say_hello(hello("refuse")).await.unwrap_err(), Code::FailedPrecondition);

    let replies = client.greet_often(moody(hello("Ada, Grace, fail"))).await.unwrap();
    assert_mood(replies.metadata());
    let mut replies = replies.into_inner();
    assert_eq!(replies.message().await.unwrap().unwrap().message, "Ada");
    assert_eq!(replies.message().await.unwrap().unwrap().message, "Grace");
    assert_status(&replies.message().await.unwrap_err(), Code::Unavailable);

    let names = || tokio_stream::iter([hello("Ada"), hello("Grace")]);
    let reply = client.greet_all(moody(names())).await.unwrap();
    assert_mood(reply.metadata());
    assert_eq!(reply.into_inner().message, "Ada, Grace");
    let refused = client.greet_all(names().chain(tokio_stream::iter([hello("refuse")]))).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition);

    // In turns: each reply comes before the next name is sent.
    for last in [None, Some(Code::Unavailable)] {
        let (say, said) = mpsc::channel(1);
        say.send(hello("Ada")).await.unwrap();
        let replies = client.chat(moody(ReceiverStream::new(said))).await.unwrap();
        assert_mood(replies.metadata());
        let mut replies = replies.into_inner();
        assert_eq!(replies.message().await.unwrap().unwrap().message, "Ada");
        say.send(hello("Grace")).await.unwrap();
        assert_eq!(replies.message().await.unwrap().unwrap().message, "Grace");
        match last {
            None => {
                drop(say);
                assert!(replies.message().await.unwrap().is_none());
            }
            Some(code) => {
                say.send(hello("fail")).await.unwrap();
                assert_status(&replies.message().await.unwrap_err(), code);
            }
        }
    }
}
