//! Over real sockets: only complete answers are stored, and they are served when the service no longer answers.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, StatusCode},
    routing,
};
use backstop::{DegradationHeaderLayer, FallbackChain, FallbackLayer, LastKnownGoodLayer, Provider, name};
use backstop_tests::http::{Nobody, Server, client, get, header, read};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};
use tower::{Layer, ServiceBuilder, ServiceExt};

/// A server that answers each connection with these bytes, and closes it.
async fn says(answer: &'static str, serving: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serving.spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && connection.read_buf(&mut request).await.unwrap() > 0 {}
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

/// Whether `answer`, sent by [`says`], is stored after its body was read to its end, or to an error.
async fn is_stored(answer: &'static str) -> bool {
    let mut serving = JoinSet::new();
    let address = says(answer, &mut serving).await;
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let answer = layer.layer(client(address)).oneshot(get("/")).await.unwrap();
    let mut body = answer.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    layer.handle().answer::<Body>(get("/").into_parts().0).await.is_ok()
}

#[tokio::test]
async fn a_truncated_body_is_not_stored() {
    assert!(is_stored("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood").await);
    assert!(!is_stored("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ngood").await);
    assert!(is_stored("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n").await);
    assert!(!is_stored("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n").await);
    assert!(!is_stored("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ngood").await);
}

#[tokio::test]
async fn what_was_stored_is_served_when_nobody_listens_any_more() {
    let mut serving = JoinSet::new();
    let address = says("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ngood", &mut serving).await;
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let known = layer.handle();
    let instead = FallbackChain::builder("shop")
        .provider(Provider::head(name!("cached"), move |head| known.answer::<Body>(head)))
        .build()
        .unwrap();
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("live"), instead))
        .layer(layer);

    let (head, body) = read(stack.clone().service(client(address)).oneshot(get("/")).await.unwrap()).await;
    assert_eq!((head.status, &*body, header(&head, "x-data-freshness")), (StatusCode::OK, "good", None));

    let gone = Nobody::new();
    let (head, body) = read(stack.service(client(gone.address())).oneshot(get("/")).await.unwrap()).await;
    assert_eq!((head.status, &*body), (StatusCode::OK, "good"));
    assert_eq!(header(&head, "x-data-freshness"), Some("stale"));
    assert_eq!(header(&head, "x-fallback-source"), Some("cached"));
    assert_eq!(header(&head, "connection"), None);
}

/// hyper stops polling a body of known length after its last byte, and sends a body of unknown length in chunks.
#[tokio::test]
async fn what_a_server_sends_is_stored_as_a_whole() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let list = || Full::<Bytes>::from("the list");
    let app = Router::new()
        .route("/told", routing::get(move || async move { ([("content-length", "8")], Body::new(list())) }))
        .route("/known", routing::get(move || async move { Body::new(list()) }))
        .route("/chunks", routing::get(move || async move { Body::new(list().map_frame(|frame| frame)) }))
        .layer(layer.clone());
    let server = Server::start(app).await;
    for (path, chunks) in [("/told", None), ("/known", None), ("/chunks", Some("chunked"))] {
        let (head, sent) = server.get(path).await;
        assert_eq!((&*sent, header(&head, "transfer-encoding")), ("the list", chunks), "{path}");
        let mut asked = get(path);
        asked.headers_mut().insert("host", server.address().to_string().parse().unwrap());
        let known = layer.handle().answer::<Body>(asked.into_parts().0).await.unwrap();
        assert_eq!(read(known.into_value()).await.1, "the list", "{path}");
    }
}

/// Without `Content-Length`, a server sends the length of the body, which is empty in an answer to HEAD.
#[tokio::test]
async fn a_head_that_is_answered_from_the_store_has_the_length_of_the_get() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let known = layer.handle();
    let instead = FallbackChain::builder("shop")
        .provider(Provider::head(name!("cached"), move |head| known.answer::<Body>(head)))
        .build()
        .unwrap();
    let is_down = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_down);
    let list = move || {
        let status = if told.load(Ordering::Relaxed) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        // The length is unknown.
        async move { (status, Body::new(Full::<Bytes>::from("the list").map_frame(|frame| frame))) }
    };
    let stack = ServiceBuilder::new().layer(FallbackLayer::new(name!("live"), instead)).layer(layer);
    let server = Server::start(Router::new().route("/list", routing::get(list)).layer(stack)).await;
    assert_eq!(server.get("/list").await.1, "the list");
    is_down.store(true, Ordering::Relaxed);
    let (head, body) = server.get("/list").await;
    assert_eq!((head.status, &*body, header(&head, "content-length")), (StatusCode::OK, "the list", Some("8")));
    let (head, body) = server.send(Request::head("/list").body(Body::empty()).unwrap()).await;
    assert_eq!((head.status, &*body, header(&head, "content-length")), (StatusCode::OK, "", Some("8")));
}

/// Hides the end of a body, as tower-http's `RequestBodyTimeoutLayer` does.
struct Hidden(Body);

impl HttpBody for Hidden {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }
}

/// An app whose layers hide that a body is empty, in front of a service, and the switch that makes the service fail.
fn hiding() -> (Router, Arc<AtomicBool>) {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let known = layer.handle();
    let instead = FallbackChain::builder("shop")
        .provider(Provider::head(name!("cached"), move |head| known.answer::<Body>(head)))
        .build()
        .unwrap();
    let is_down = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_down);
    let echo = move |body: Bytes| {
        let down = told.load(Ordering::Relaxed);
        async move { if down { Err(StatusCode::SERVICE_UNAVAILABLE) } else { Ok(body) } }
    };
    let stack = ServiceBuilder::new().layer(FallbackLayer::new(name!("live"), instead)).layer(layer);
    let erased = Router::new().route("/erased", routing::get(echo)).layer(stack);
    let hide = tower::util::MapRequestLayer::new(|request: Request| request.map(Hidden));
    (erased.layer(hide), is_down)
}

#[tokio::test]
async fn a_get_below_a_layer_that_wraps_bodies_is_stored_and_served() {
    let (app, is_down) = hiding();
    let server = Server::start(app).await;
    let typed = |path: &str| {
        let mut request = get(path);
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        request
    };
    assert_eq!(server.send(typed("/erased")).await.0.status, StatusCode::OK);
    is_down.store(true, Ordering::Relaxed);
    for request in [get("/erased"), typed("/erased")] {
        let (head, _) = server.send(request).await;
        assert_eq!((head.status, header(&head, "age")), (StatusCode::OK, Some("0")));
    }
    // With content, it is another request.
    let mut asked = get("/erased");
    *asked.body_mut() = Body::from("{}");
    assert_eq!(server.send(asked).await.0.status, StatusCode::SERVICE_UNAVAILABLE);
}

/// The headers of HTTP/1 show whether there is content.
#[tokio::test]
async fn a_get_whose_body_can_not_be_looked_into_is_stored() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let hide = tower::util::MapRequestLayer::new(|request: Request| request.map(Hidden));
    let app = Router::new()
        .route("/", routing::get(|body: Bytes| async { body }))
        .layer(ServiceBuilder::new().layer(hide).layer(layer.clone()));
    let server = Server::start(app).await;
    let mut asked = get("/");
    *asked.body_mut() = Body::from("{}");
    assert_eq!(server.send(asked).await.1, "{}");
    assert!(layer.handle().is_empty());
    server.get("/").await;
    assert!(!layer.handle().is_empty());
}

/// Some clients end a request without content with an empty data frame.
#[tokio::test]
async fn a_get_that_ends_with_an_empty_frame_of_http2_is_stored_and_served() {
    let (app, is_down) = hiding();
    let server = Server::start(app).await;
    let socket = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let mut connecting = JoinSet::new();
    connecting.spawn(async { connection.await.unwrap() });
    let mut client = client.ready().await.unwrap();
    let mut ask = async |content: &'static str| {
        let request = Request::get(format!("http://{}/erased", server.address())).body(()).unwrap();
        // Both frames are written together.
        let (answer, mut sending) = client.send_request(request, false).unwrap();
        sending.send_data(content.into(), true).unwrap();
        answer.await.unwrap().status()
    };
    assert_eq!(ask("").await, StatusCode::OK);
    is_down.store(true, Ordering::Relaxed);
    assert_eq!(ask("").await, StatusCode::OK);
    assert_eq!(ask("{}").await, StatusCode::SERVICE_UNAVAILABLE);
}

/// In HTTP/2, no header has to announce content.
#[tokio::test]
async fn a_get_with_content_that_no_field_tells_of_is_not_stored() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let told = |headers: HeaderMap, body: Bytes| async move { format!("{} {}", headers.len(), body.len()) };
    let app = Router::new().route("/search", routing::get(told)).layer(layer.clone());
    let server = Server::start(app).await;
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let ask = async |body| {
        let uri = format!("http://{}/search", server.address());
        let answer = client.request(Request::get(uri).body(body).unwrap()).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes()
    };
    let content = Body::new(Full::<Bytes>::from("{}").map_frame(|frame| frame));
    assert_eq!(ask(content).await, "0 2");
    assert!(layer.handle().is_empty());
    assert_eq!(ask(Body::empty()).await, "0 0");
    assert!(!layer.handle().is_empty());
}
