//! What a client sees of each kind of injected fault in gRPC calls of all four kinds, over real sockets: on the server, and around a
//! `Channel`.

#![allow(clippy::panic, clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use backstop::{
    Fault, FaultHandle, FaultLayer, FaultRun,
    fault::{FaultConfig, HttpFaults},
};
use backstop_tests::{
    greeter::{Echo, hello},
    grpc::GrpcServer,
};
use greeter::pb::{HelloReply, greeter_client::GreeterClient, greeter_server::GreeterServer};
use http::StatusCode;
use tokio::{
    task::{JoinSet, yield_now},
    time::{Instant, timeout},
};
use tonic::{
    Code, Response, Status, Streaming,
    body::Body,
    client::GrpcService,
    codegen::{
        Body as HttpBody, Bytes, StdError,
        tokio_stream::{self, StreamExt},
    },
    transport::{Channel, Server},
};
use tower::Layer;

const DELAY: Duration = Duration::from_millis(100);
/// Each loop below ends long before.
const TOO_LONG: Duration = Duration::from_secs(20);
/// The length of a message with `Ada`, in its frame.
const ADA: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unary,
    ServerStream,
    ClientStream,
    Chat,
}

const KINDS: [Kind; 4] = [Kind::Unary, Kind::ServerStream, Kind::ClientStream, Kind::Chat];

impl Kind {
    fn is_streamed(self) -> bool {
        matches!(self, Self::ServerStream | Self::Chat)
    }

    /// The messages of a call that nothing fails.
    fn well(self) -> Vec<String> {
        let messages: &[&str] = match self {
            Self::Unary => &["Ada"],
            Self::ClientStream => &["Ada, Grace"],
            Self::ServerStream | Self::Chat => &["Ada", "Grace"],
        };
        messages.iter().map(|&message| message.to_owned()).collect()
    }
}

/// The messages that came, and how the call ended.
type Exchange = (Vec<String>, Result<(), Status>);

/// Makes a call with the names Ada and Grace, and reads its answer to the end.
async fn exchange<S>(mut client: GreeterClient<S>, kind: Kind) -> Exchange
where
    S: GrpcService<Body, Error: Into<StdError>>,
    S::ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    let names = || tokio_stream::iter(["Ada", "Grace"].map(hello));
    match kind {
        Kind::Unary => one(client.say_hello(hello("Ada")).await),
        Kind::ClientStream => one(client.greet_all(names()).await),
        Kind::ServerStream => all(client.greet_often(hello("Ada, Grace")).await).await,
        Kind::Chat => all(client.chat(names()).await).await,
    }
}

fn one(answer: Result<Response<HelloReply>, Status>) -> Exchange {
    match answer {
        Ok(reply) => (vec![reply.into_inner().message], Ok(())),
        Err(status) => (Vec::new(), Err(status)),
    }
}

async fn all(answer: Result<Response<Streaming<HelloReply>>, Status>) -> Exchange {
    let mut messages = Vec::new();
    let mut replies = match answer {
        Ok(replies) => replies.into_inner(),
        Err(status) => return (messages, Err(status)),
    };
    while let Some(reply) = replies.next().await {
        match reply {
            Ok(reply) => messages.push(reply.message),
            Err(status) => return (messages, Err(status)),
        }
    }
    (messages, Ok(()))
}

/// `None` if the call panics.
async fn caught<F: Future>(call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

fn armed() -> FaultLayer<HttpFaults> {
    FaultLayer::builder("edge").arm().max_share(1.0).allow_unsafe_methods().without_health().build().unwrap()
}

fn start(handle: &FaultHandle, fault: impl Into<Fault>) {
    handle.start(FaultRun::new(fault, 1.0, "ada", "a game day")).unwrap();
}

fn stop(handle: &FaultHandle) {
    handle.stop("ada", "seen enough").unwrap();
}

async fn until_held(handle: &FaultHandle, calls: u32) {
    let wait = async {
        while handle.status().held != calls {
            yield_now().await;
        }
    };
    timeout(TOO_LONG, wait).await.unwrap();
}

type Faulty = <FaultLayer<HttpFaults> as Layer<Channel>>::Service;

/// A server inside of `faults`.
async fn serve(faults: FaultLayer<HttpFaults>) -> GrpcServer {
    let service = GreeterServer::new(Echo::default());
    GrpcServer::start(|incoming| Server::builder().layer(faults).add_service(service).serve_with_incoming(incoming))
        .await
}

/// How a fault shows: the code of the status, or `None` for a panic of the call.
type Shows = Option<Code>;

/// Every kind of fault in every kind of call fails as expected and in no other way, and not at all afterwards.
async fn assert_each_fault_shows<S>(
    client: GreeterClient<S>,
    handle: FaultHandle,
    [reset, truncated, panic]: [Shows; 3],
) where
    S: GrpcService<Body, Error: Into<StdError>> + Clone,
    S::ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    let call = |kind| exchange(client.clone(), kind);
    let assert_well = async |kind: Kind, after: &str| {
        let (messages, end) = call(kind).await;
        assert!(end.is_ok() && messages == kind.well(), "{kind:?} {after}: {messages:?} {end:?}");
    };
    for kind in KINDS {
        assert_well(kind, "before").await;
        for (fault, shows) in [
            (Fault::Error, Some(Code::Unavailable)),
            (Fault::status(StatusCode::FORBIDDEN), Some(Code::PermissionDenied)),
            (Fault::Reset, reset),
            (Fault::truncated_body(ADA), truncated),
            (Fault::Panic, panic),
        ] {
            start(&handle, fault.clone());
            let exchanged = caught(call(kind)).await;
            let code = exchanged.as_ref().map(|(_, end)| end.as_ref().map_or_else(Status::code, |()| Code::Ok));
            assert_eq!(code, shows, "{kind:?} {fault:?}: {exchanged:?}");
            // Only a body that breaks off has something before it.
            let is_broken_off = matches!(fault, Fault::TruncatedBody { .. }) && kind.is_streamed();
            let messages = exchanged.map(|(messages, _)| messages).unwrap_or_default();
            let expected = if is_broken_off { &["Ada"][..] } else { &[] };
            assert_eq!(messages, expected, "{kind:?} {fault:?}");
            assert_eq!(handle.status().run.unwrap().hits, 1, "{kind:?} {fault:?}");
            stop(&handle);
            assert_well(kind, "after a fault").await;
        }
        start(&handle, Fault::delay(DELAY));
        let began = Instant::now();
        assert_well(kind, "delayed").await;
        assert!(began.elapsed() >= DELAY);
        stop(&handle);

        start(&handle, Fault::Hang);
        let stopping = async {
            until_held(&handle, 1).await;
            stop(&handle);
        };
        tokio::join!(assert_well(kind, "hung"), stopping);
        assert_eq!(handle.status().held, 0);

        // A caller that goes away frees the place.
        start(&handle, Fault::Hang);
        let mut gone = Box::pin(call(kind));
        let held = async {
            tokio::select! {
                _ = &mut gone => panic!("it hangs"),
                () = until_held(&handle, 1) => {}
            }
        };
        held.await;
        drop(gone);
        until_held(&handle, 0).await;
        stop(&handle);
        assert_well(kind, "after a caller has gone").await;
    }
}

#[tokio::test]
async fn on_the_server() {
    let faults = armed();
    let handle = faults.handle();
    let server = serve(faults).await;
    let shows = [Some(Code::Internal), Some(Code::Internal), Some(Code::Cancelled)];
    assert_each_fault_shows(GreeterClient::new(server.channel()), handle, shows).await;
}

#[tokio::test]
async fn around_a_channel() {
    let (faults, server) = (armed(), serve(armed()).await);
    let handle = faults.handle();
    let channel: Faulty = faults.layer(server.channel());
    let shows = [Some(Code::Unavailable), Some(Code::Unavailable), None];
    assert_each_fault_shows(GreeterClient::new(channel), handle, shows).await;
}

#[tokio::test]
async fn at_most_16_streams_are_held_at_once_under_load_and_across_reloads() {
    let faults = armed();
    let handle = faults.handle();
    let server = serve(faults).await;
    let client = GreeterClient::new(server.channel());
    start(&handle, Fault::Hang);
    let mut calls = JoinSet::new();
    for n in 0..48 {
        calls.spawn(exchange(client.clone(), KINDS[n % 4]));
    }
    // All but those that are held are answered.
    for _ in 0..48 - 16 {
        let (_, end) = timeout(TOO_LONG, calls.join_next()).await.unwrap().unwrap().unwrap();
        assert!(end.is_ok(), "{end:?}");
    }
    until_held(&handle, 16).await;
    let mut config = FaultConfig::new("edge");
    (config.armed, config.max_share, config.max_held, config.unsafe_methods) = (true, 1.0, 4, true);
    handle.reload(config).unwrap();
    assert!(exchange(client.clone(), Kind::Chat).await.1.is_ok());
    assert_eq!(handle.status().held, 16);
    stop(&handle);
    while let Some(ended) = timeout(TOO_LONG, calls.join_next()).await.unwrap() {
        assert!(ended.unwrap().1.is_ok());
    }
    assert_eq!(handle.status().held, 0);
}
