//! What a client sees of each kind of injected fault, over real sockets: around a server of HTTP/1.1, HTTP/2 and gRPC, and around
//! a client. And that it sees nothing of it afterwards, on the same connection.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    error::Error,
    net::SocketAddr,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use backstop::{
    FAULT_INJECTED, Fault, FaultHandle, FaultLayer, FaultRun, Rejection, StatusFault,
    fault::{HttpFaults, HttpFaultsAsErrors},
};
use backstop_tests::{
    greeter::{Echo, hello},
    grpc::GrpcServer,
    http::{Does, PERSONAL, Server, Upstream, client, get as request, read},
};
use greeter::pb::{greeter_client::GreeterClient, greeter_server::GreeterServer};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::yield_now,
    time::Instant,
};
use tonic::{Code, transport::Server as TonicServer};
use tower::{BoxError, Layer, Service, ServiceExt};

const TEXT: &str = "well, and long enough";
const DELAY: Duration = Duration::from_millis(200);

fn armed() -> FaultLayer<HttpFaults> {
    FaultLayer::builder("edge").arm().max_share(1.0).allow_unsafe_methods().without_health().build().unwrap()
}

fn armed_client() -> FaultLayer<HttpFaultsAsErrors> {
    FaultLayer::builder("client").arm().max_share(1.0).without_health().reject_as_error().build().unwrap()
}

fn start(handle: &FaultHandle, fault: impl Into<Fault>) {
    handle.start(FaultRun::new(fault, 1.0, "ada", "a game day")).unwrap();
}

fn stop(handle: &FaultHandle) {
    handle.stop("ada", "seen enough").unwrap();
}

fn teapot() -> StatusFault {
    StatusFault::new(StatusCode::IM_A_TEAPOT)
        .header(HeaderName::from_static("x-why"), HeaderValue::from_static("tea"))
        .body("short and stout")
}

/// Awaits a call that hangs, stops the run once it is held, and asserts that the call has ended only then.
async fn hung<F: Future>(handle: &FaultHandle, call: F) -> F::Output {
    start(handle, Fault::Hang);
    let is_stopped = AtomicBool::new(false);
    let stopping = async {
        while handle.status().held == 0 {
            yield_now().await;
        }
        is_stopped.store(true, Relaxed);
        stop(handle);
    };
    let call = async {
        let output = call.await;
        assert!(is_stopped.load(Relaxed));
        output
    };
    tokio::join!(call, stopping).0
}

async fn delayed<F: Future>(handle: &FaultHandle, call: F) -> F::Output {
    start(handle, Fault::delay(DELAY));
    let began = Instant::now();
    let output = call.await;
    assert!(began.elapsed() >= DELAY);
    stop(handle);
    output
}

async fn serve() -> (Server, FaultHandle) {
    let faults = armed();
    let handle = faults.handle();
    (Server::start(Router::new().route("/", get(|| async { TEXT })).layer(faults)).await, handle)
}

/// All bytes that come over a connection of its own, without the date, and whether it was answered at all.
async fn bytes(address: SocketAddr) -> String {
    answer_to("GET", address).await
}

async fn answer_to(method: &str, address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A reset ends it, too.
    _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).unwrap();
    text.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
}

#[tokio::test]
async fn on_an_http1_server() {
    let (server, handle) = serve().await;
    let address = server.address();
    let well = bytes(address).await;
    assert!(well.starts_with("HTTP/1.1 200 OK\r\n") && well.ends_with(TEXT), "{well}");

    for (fault, expected) in [
        (
            Fault::Error,
            "HTTP/1.1 503 Service Unavailable\r\ncache-control: no-store\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            teapot().into(),
            "HTTP/1.1 418 I'm a teapot\r\nx-why: tea\r\ncache-control: no-store\r\ncontent-length: 15\r\n\
             connection: close\r\n\r\nshort and stout",
        ),
        (Fault::Reset, ""),
        (Fault::Panic, ""),
    ] {
        start(&handle, fault.clone());
        assert_eq!(bytes(address).await, expected, "{fault:?}");
        stop(&handle);
        assert_eq!(bytes(address).await, well, "after {fault:?}");
    }

    for (after, sent) in [(0, ""), (4, "well"), (99, &TEXT[..TEXT.len() - 1])] {
        start(&handle, Fault::truncated_body(after));
        // The same head, with the length of the whole body.
        assert_eq!(bytes(address).await, format!("{}{sent}", well.strip_suffix(TEXT).unwrap()), "after {after}");
        stop(&handle);
    }
    // No answer to HEAD has a body that could break off.
    let head = answer_to("HEAD", address).await;
    for fault in [Fault::Reset, Fault::truncated_body(0)] {
        start(&handle, fault);
        assert_eq!(answer_to("HEAD", address).await, head);
        assert_eq!(handle.status().run.unwrap().hits, 0);
        stop(&handle);
    }
    assert_eq!(delayed(&handle, bytes(address)).await, well);
    assert_eq!(hung(&handle, bytes(address)).await, well);
    assert_eq!(bytes(address).await, well);
}

type Http2 = Client<HttpConnector, Body>;

async fn over_http2(client: &Http2, address: SocketAddr) -> Result<Response<Incoming>, BoxError> {
    let request = http::Request::get(format!("http://{address}/")).body(Body::empty()).unwrap();
    Ok(client.clone().ready().await?.call(request).await?)
}

fn is_stream_reset(error: &(dyn Error + 'static)) -> bool {
    let is_reset = |error: &h2::Error| error.is_reset() && error.is_remote();
    error.downcast_ref().is_some_and(is_reset) || error.source().is_some_and(is_stream_reset)
}

#[tokio::test]
async fn on_an_http2_server() {
    let (server, handle) = serve().await;
    let address = server.address();
    let client: Http2 = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let call = || over_http2(&client, address);
    let assert_well = async || {
        let answer = call().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), TEXT);
    };
    assert_well().await;

    start(&handle, Fault::Error);
    assert_eq!(call().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    stop(&handle);
    assert_well().await;

    start(&handle, teapot());
    let answer = call().await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["x-why"]),
        (StatusCode::IM_A_TEAPOT, &HeaderValue::from_static("tea"))
    );
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "short and stout");
    stop(&handle);

    for fault in [Fault::Reset, Fault::Panic] {
        start(&handle, fault.clone());
        let error = call().await.expect_err("no answer");
        assert!(is_stream_reset(&*error), "{fault:?}: {error:?}");
        stop(&handle);
        assert_well().await;
    }

    start(&handle, Fault::truncated_body(4));
    let answer = call().await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["content-length"]),
        (StatusCode::OK, &HeaderValue::from(TEXT.len()))
    );
    let (read, error) = read_until_it_fails(answer.into_body()).await;
    assert!(read == "well" && is_stream_reset(&error), "{read} {error:?}");
    stop(&handle);

    assert_eq!(delayed(&handle, call()).await.unwrap().status(), StatusCode::OK);
    assert_eq!(hung(&handle, call()).await.unwrap().status(), StatusCode::OK);
    assert_well().await;
}

async fn read_until_it_fails<B>(mut body: B) -> (String, B::Error)
where
    B: BodyExt<Data = bytes::Bytes> + Unpin,
{
    let mut read = Vec::new();
    loop {
        match Pin::new(&mut body).frame().await.expect("it fails before it ends") {
            Ok(frame) => read.extend_from_slice(frame.data_ref().unwrap()),
            Err(error) => return (String::from_utf8(read).unwrap(), error),
        }
    }
}

#[tokio::test]
async fn on_a_grpc_server() {
    let (faults, echo) = (armed(), Echo::default());
    let handle = faults.handle();
    let service = GreeterServer::new(echo.clone());
    let server = GrpcServer::start(|incoming| {
        TonicServer::builder().layer(faults).add_service(service).serve_with_incoming(incoming)
    })
    .await;
    let client = GreeterClient::new(server.channel());
    let call = async || client.clone().say_hello(hello("Ada")).await;
    assert!(call().await.is_ok());

    for (fault, code, message, is_called) in [
        (Fault::Error, Code::Unavailable, Some("a fault was injected by edge"), false),
        (Fault::status(StatusCode::FORBIDDEN), Code::PermissionDenied, Some(""), false),
        (
            teapot().grpc_code(backstop::vocabulary::grpc::GrpcCode::RESOURCE_EXHAUSTED).into(),
            Code::ResourceExhausted,
            Some(""),
            false,
        ),
        (Fault::Reset, Code::Internal, None, false),
        (Fault::truncated_body(3), Code::Internal, None, true),
        (Fault::Panic, Code::Cancelled, None, false),
    ] {
        let calls = echo.names().len();
        start(&handle, fault.clone());
        let status = call().await.unwrap_err();
        assert_eq!(status.code(), code, "{fault:?}: {status:?}");
        assert!(message.is_none_or(|message| status.message() == message), "{fault:?}: {status:?}");
        assert_eq!(echo.names().len() - calls, usize::from(is_called), "{fault:?}");
        stop(&handle);
        assert!(call().await.is_ok(), "after {fault:?}");
    }
    assert!(delayed(&handle, call()).await.is_ok());
    assert!(hung(&handle, call()).await.is_ok());
    assert!(call().await.is_ok());
}

#[tokio::test]
async fn around_a_client() {
    let upstream = Upstream::start(Does::Well).await;
    let faults = armed_client();
    let handle = faults.handle();
    let service = faults.layer(client(upstream.address()).map_err(BoxError::from));
    let call = async || service.clone().ready().await?.call(request("/")).await;
    let assert_well = async || assert_eq!(read(call().await.unwrap()).await.1, PERSONAL);
    assert_well().await;

    for fault in [Fault::Error, Fault::Reset] {
        start(&handle, fault);
        let error = call().await.unwrap_err();
        assert_eq!(error.downcast_ref::<Rejection>().map(Rejection::reason), Some(FAULT_INJECTED));
        stop(&handle);
    }
    start(&handle, teapot());
    let (head, body) = read(call().await.unwrap()).await;
    assert_eq!((head.status, &*body), (StatusCode::IM_A_TEAPOT, "short and stout"));
    stop(&handle);
    assert_eq!(upstream.calls(), 1, "none of these calls was made");

    start(&handle, Fault::truncated_body(4));
    let (read, error) = read_until_it_fails(call().await.unwrap().into_body()).await;
    assert_eq!(read, PERSONAL[..4]);
    assert!(Rejection::in_error(backstop::ErrorRef::new(&error)).is_some());
    stop(&handle);
    assert_eq!(upstream.calls(), 2);

    assert_eq!(delayed(&handle, call()).await.unwrap().status(), StatusCode::OK);
    assert_eq!(hung(&handle, call()).await.unwrap().status(), StatusCode::OK);
    assert_well().await;
    assert_eq!(upstream.calls(), 5);
}
