//! A retry around hyper-util's client, over HTTP/2 connections and streams that break.
//!
//! Refused streams are in `hyper_client/http2.rs`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::{Body, Bytes};
use backstop::{CircuitBreakerLayer, Retried, RetryBuilder, RetryLayer, retry::StopReason};
use backstop_tests::{http::read, http1::settle, upload::upload};
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};
use tower::{ServiceBuilder, ServiceExt};

/// A server that plays a script on each connection, until it is dropped.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    streams: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

struct Connection {
    number: usize,
    h2: h2::server::Connection<TcpStream, Bytes>,
    streams: Arc<AtomicUsize>,
}

impl Server {
    async fn start<Fut>(script: impl Fn(Connection) -> Fut + Send + 'static) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, streams) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut serving = JoinSet::new();
        serving.spawn({
            let (connections, streams) = (Arc::clone(&connections), Arc::clone(&streams));
            async move {
                let mut playing = JoinSet::new();
                while let Ok((socket, _)) = listener.accept().await {
                    let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
                    let h2 = h2::server::handshake(socket).await.unwrap();
                    playing.spawn(script(Connection { number, h2, streams: Arc::clone(&streams) }));
                }
            }
        });
        Self { address, connections, streams, _serving: serving }
    }

    fn request(&self, method: Method, body: Body) -> Request<Body> {
        Request::builder().method(method).uri(format!("http://{}/", self.address)).body(body).unwrap()
    }

    fn get(&self) -> Request<Body> {
        self.request(Method::GET, Body::empty())
    }

    fn post(&self) -> Request<Body> {
        self.request(Method::POST, Body::from("the order"))
    }

    /// How many connections were made, and how many requests arrived.
    fn counts(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.streams.load(Ordering::SeqCst))
    }
}

impl Connection {
    async fn next(&mut self) -> Option<(Request<RecvStream>, SendResponse<Bytes>)> {
        let stream = self.h2.accept().await?.ok()?;
        self.streams.fetch_add(1, Ordering::SeqCst);
        Some(stream)
    }

    /// Reads one chunk of a body.
    async fn chunk(&mut self, body: &mut RecvStream) -> Bytes {
        tokio::select! {
            _ = self.h2.accept() => panic!("no other request is expected"),
            chunk = body.data() => chunk.unwrap().unwrap(),
        }
    }

    /// Reads a whole body.
    async fn whole(&mut self, mut body: RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
        let read = async {
            let mut read = Vec::new();
            while let Some(chunk) = body.data().await {
                read.extend_from_slice(&chunk.unwrap());
            }
            (read, body.trailers().await.unwrap())
        };
        tokio::select! {
            _ = self.h2.accept() => panic!("no other request is expected"),
            read = read => read,
        }
    }

    /// Writes all pending data.
    async fn flush(&mut self) {
        tokio::select! {
            biased;
            _ = self.h2.accept() => panic!("no other request is expected"),
            () = settle() => {}
        }
    }

    async fn answer_all(mut self) {
        while let Some((_, mut answer)) = self.next().await {
            answer.send_response(Response::new(()), true).unwrap();
        }
    }
}

fn answer(status: StatusCode) -> Response<()> {
    let mut answer = Response::new(());
    *answer.status_mut() = status;
    answer
}

/// Retries with short waits.
fn retry() -> RetryBuilder {
    RetryLayer::builder("upstream").backoff_base(Duration::from_millis(1))
}

fn client() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

/// A retry around a client.
macro_rules! around_a_client {
    ($retry:expr) => {
        ServiceBuilder::new()
            .layer($retry.build().unwrap())
            .map_response(|answer: Response<hyper::body::Incoming>| answer.map(Body::new))
            .service(backstop::client(client()))
    };
}

/// Sends a head and the beginning of a body, and then resets the stream.
async fn breaks_off(connection: &mut Connection, status: StatusCode) {
    let (_, mut responder) = connection.next().await.unwrap();
    let mut body = responder.send_response(answer(status), false).unwrap();
    body.send_data("hello".into(), false).unwrap();
    connection.flush().await;
    body.send_reset(Reason::INTERNAL_ERROR);
}

#[tokio::test]
async fn a_stream_that_is_reset_in_its_body_is_the_callers_to_see() {
    let server = Server::start(|mut connection| async move {
        breaks_off(&mut connection, StatusCode::OK).await;
        connection.answer_all().await;
    })
    .await;
    let mut body = around_a_client!(retry()).oneshot(server.get()).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    body.frame().await.unwrap().unwrap_err();
    assert_eq!(server.counts(), (1, 1));
}

#[tokio::test]
async fn a_failure_whose_stream_is_reset_in_its_body_is_replaced_all_the_same() {
    let server = Server::start(|mut connection| async move {
        breaks_off(&mut connection, StatusCode::SERVICE_UNAVAILABLE).await;
        connection.answer_all().await;
    })
    .await;
    let answer = around_a_client!(retry()).oneshot(server.get()).await.unwrap();
    assert_eq!((answer.status(), server.counts()), (StatusCode::OK, (1, 2)));
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_is_replaced_if_the_method_allows() {
    let server = Server::start(|mut connection| async move {
        if connection.number == 2 {
            return connection.answer_all().await;
        }
        connection.next().await;
    })
    .await;
    let answer = around_a_client!(retry()).oneshot(server.get()).await.unwrap();
    assert_eq!(answer.extensions().get::<Retried>().unwrap().attempts(), 2);
    assert_eq!((answer.status(), server.counts()), (StatusCode::OK, (2, 2)));

    around_a_client!(retry()).oneshot(server.post()).await.unwrap_err();
    assert_eq!(server.counts(), (3, 3), "it may have been processed");
}

#[tokio::test]
async fn a_connection_that_says_goodbye_while_idle_costs_no_attempt_whatever_the_method() {
    let closed = Arc::new(Notify::new());
    let server = Server::start({
        let closed = Arc::clone(&closed);
        move |mut connection| {
            let closed = Arc::clone(&closed);
            async move {
                let (_, mut responder) = connection.next().await.unwrap();
                responder.send_response(answer(StatusCode::OK), true).unwrap();
                connection.h2.graceful_shutdown();
                assert!(connection.next().await.is_none());
                drop(connection);
                closed.notify_one();
            }
        }
    })
    .await;
    let stack = around_a_client!(retry());
    for _ in 0..2 {
        let answer = stack.clone().oneshot(server.post()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.extensions().get::<Retried>().is_none());
        closed.notified().await;
        settle().await;
    }
    assert_eq!(server.counts(), (2, 2));
}

#[tokio::test]
async fn trailers_arrive_with_each_attempt() {
    let trailers = || HeaderMap::from_iter([(HeaderName::from_static("x-checksum"), HeaderValue::from_static("1"))]);
    let server = Server::start(move |mut connection| async move {
        for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK] {
            let (request, mut responder) = connection.next().await.unwrap();
            assert_eq!(connection.whole(request.into_body()).await, (b"hello".to_vec(), Some(trailers())));
            responder.send_response(answer(status), true).unwrap();
        }
        connection.answer_all().await;
    })
    .await;
    let body = Full::<Bytes>::from("hello").with_trailers(async move { Some(Ok(trailers())) });
    let request = server.request(Method::PUT, Body::new(body));
    let answer = around_a_client!(retry()).oneshot(request).await.unwrap();
    assert_eq!((answer.status(), server.counts()), (StatusCode::OK, (1, 2)));
}

#[tokio::test]
async fn answers_to_head_are_kept_without_waiting_for_the_body_that_they_announce() {
    let server = Server::start(|mut connection| async move {
        while let Some((_, mut responder)) = connection.next().await {
            let mut unavailable = answer(StatusCode::SERVICE_UNAVAILABLE);
            unavailable.headers_mut().insert("content-length", HeaderValue::from_static("5"));
            responder.send_response(unavailable, true).unwrap();
        }
    })
    .await;
    let breaker = CircuitBreakerLayer::builder("upstream").consecutive_failures(2).build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(retry().build().unwrap())
        .layer(breaker)
        .map_response(|answer: Response<hyper::body::Incoming>| answer.map(Body::new))
        .service(backstop::client(client()));
    let answer = stack.oneshot(server.request(Method::HEAD, Body::empty())).await.unwrap();
    let retried = answer.extensions().get::<Retried>().copied().unwrap();
    assert_eq!(retried.stop(), Some(StopReason::Refused), "the circuit is open in the third attempt");
    assert_eq!(answer.headers()["content-length"], "5");
    let (answer, body) = read(answer).await;
    assert_eq!((answer.status, body.as_str(), server.counts()), (StatusCode::SERVICE_UNAVAILABLE, "", (1, 2)));
}

#[tokio::test]
async fn an_early_answer_is_returned_while_the_upload_goes_on() {
    for status in [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::SERVICE_UNAVAILABLE] {
        let server = Server::start(move |mut connection| async move {
            let (request, mut responder) = connection.next().await.unwrap();
            let mut body = request.into_body();
            assert_eq!(connection.chunk(&mut body).await, "hello ");
            responder.send_response(answer(status), true).unwrap();
            assert_eq!(connection.chunk(&mut body).await, "world");
        })
        .await;
        let (chunks, body) = upload();
        chunks.send("hello ").await.unwrap();
        // Any status may be configured as worth a retry.
        let stack = around_a_client!(retry().retry_on(status));
        let (answer, _) = read(stack.oneshot(server.request(Method::PUT, body)).await.unwrap()).await;
        let retried = answer.extensions.get::<Retried>().unwrap();
        assert_eq!((answer.status, retried.stop()), (status, Some(StopReason::Uploading)));
        chunks.send("world").await.unwrap();
        chunks.closed().await;
        assert_eq!(server.counts(), (1, 1));
    }
}

#[tokio::test]
async fn an_upload_that_a_413_cuts_off_is_not_begun_again() {
    let server = Server::start(|mut connection| async move {
        let (request, mut responder) = connection.next().await.unwrap();
        let mut body = request.into_body();
        assert_eq!(connection.chunk(&mut body).await, "hello ");
        // Answers before the rest of the body: the stream is reset with NO_ERROR (RFC 9113, section 8.1).
        responder.send_response(answer(StatusCode::PAYLOAD_TOO_LARGE), true).unwrap();
        drop((body, responder));
        connection.answer_all().await;
    })
    .await;
    let (chunks, body) = upload();
    chunks.send("hello ").await.unwrap();
    let answer = around_a_client!(retry()).oneshot(server.request(Method::PUT, body)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.extensions().get::<Retried>().is_none());
    chunks.closed().await;
    assert_eq!(server.counts(), (1, 1));
}
