//! Bodies stream both ways, and an upload is sent again.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use backstop::{
    Classify, ClientBody, ErrorRef, HttpClassify, Rejection, UntilBodyEnd, Verdict, reqwest_client::http_request,
    standard, vocabulary::Blame,
};
use backstop_tests::{http1::Http1Server, upload::upload};
use http::{Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tower::{Layer, ServiceExt};

use crate::{built, failures, get, request, stack};

async fn text(body: ClientBody) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn both_bodies_stream() {
    let server = Http1Server::start(|mut connection| async move {
        connection.head().await.unwrap();
        assert_eq!(connection.chunk().await, "ping");
        connection.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npong\r\n").await;
        assert_eq!(connection.chunk().await, "done");
        connection.write("0\r\n\r\n").await;
        assert_eq!(connection.chunk().await, "");
    })
    .await;
    let (sender, body) = upload();
    let (upstream, _) = stack(built());
    sender.send("ping").await.unwrap();
    let mut answer = upstream.oneshot(request(Method::POST, server.address(), body)).await.unwrap().into_body();
    // Here, while the request is still being sent.
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "pong");
    sender.send("done").await.unwrap();
    assert!(answer.frame().await.is_none());
}

#[tokio::test]
async fn an_upload_that_streams_is_sent_again_as_it_was() {
    let (log, mut uploads) = mpsc::unbounded_channel();
    let server = Http1Server::start(move |mut connection| {
        let log = log.clone();
        async move {
            for status in [503, 200] {
                let head = connection.head().await.unwrap();
                log.send(connection.body(&head).await).unwrap();
                connection.answer(status, "stored").await;
            }
        }
    })
    .await;
    let (sender, body) = upload();
    let (upstream, handle) = stack(built());
    let sending = async move {
        sender.send("one ").await.unwrap();
        sender.send("two").await.unwrap();
    };
    let asking = upstream.oneshot(request(Method::PUT, server.address(), body));
    let ((), answer) = tokio::join!(sending, asking);
    assert_eq!(text(answer.unwrap().into_body()).await, "stored");
    assert_eq!((uploads.recv().await.unwrap(), uploads.recv().await.unwrap()), ("one two".into(), "one two".into()));
    assert_eq!(failures(&handle), 0, "since the last success");
}

#[tokio::test]
async fn a_request_without_a_body_announces_none() {
    let (log, mut heads) = mpsc::unbounded_channel();
    let server = Http1Server::start(move |mut connection| {
        let log = log.clone();
        async move {
            while let Some(head) = connection.head().await {
                log.send(head).unwrap();
                connection.answer(200, "").await;
            }
        }
    })
    .await;
    let (upstream, _) = stack(built());
    upstream.clone().oneshot(get(server.address())).await.unwrap();
    let head = heads.recv().await.unwrap();
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    upstream.oneshot(request(Method::POST, server.address(), "the order")).await.unwrap();
    let head = heads.recv().await.unwrap();
    assert!(head.contains("content-length: 9"), "{head}");
    assert!(!head.contains("x-"), "it adds nothing of its own: {head}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_which_the_circuit_counts() {
    let server = Http1Server::start(|mut connection| async move {
        connection.head().await.unwrap();
        connection.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        connection.reset();
    })
    .await;
    let layer = standard("upstream").circuit_breaker(|circuit| circuit.observe(UntilBodyEnd)).build().unwrap();
    let handle = layer.handle();
    let answer = layer.layer(built()).oneshot(get(server.address())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let error = answer.into_body().collect().await.unwrap_err();
    assert!(error.is::<reqwest::Error>(), "{error}");
    assert_eq!(failures(&handle), 1);
}

/// A request body that fails.
struct Broken(io::ErrorKind);

impl HttpBody for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(Some(Err(self.0.into())))
    }
}

#[tokio::test]
async fn a_request_body_that_fails_is_nobodys_failure() {
    let server = Http1Server::start(|mut connection| async move {
        connection.head().await;
        connection.chunk().await;
    })
    .await;
    let (upstream, handle) = stack(built());
    let answer =
        upstream.oneshot(request(Method::PUT, server.address(), Body::new(Broken(io::ErrorKind::BrokenPipe)))).await;
    // The timeout, which is part of the stack, answers for it.
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(answer.extensions().get::<Rejection>().is_some());
    assert_eq!(failures(&handle), 0);
    assert!(server.methods().len() <= 1, "it isn't sent again");
}

#[tokio::test]
async fn a_request_body_that_times_out_is_the_requests_fault_and_no_limit_of_reqwests() {
    let server = Http1Server::start(|mut connection| async move {
        connection.head().await;
        connection.chunk().await;
    })
    .await;
    let late = request(Method::PUT, server.address(), Body::new(Broken(io::ErrorKind::TimedOut)));
    let error = built().oneshot(late).await.unwrap_err();
    assert!(error.get_ref().is_timeout());
    let error = ErrorRef::new(&error);
    assert!(Rejection::in_error(error).is_none());
    let outcome = Classify::<Response<Body>>::classify(&HttpClassify::new(), Err(error));
    assert_eq!((outcome.verdict, outcome.blame), (Verdict::Neutral, Some(Blame::Request)));
}

#[tokio::test]
async fn a_request_that_reqwest_built_goes_through_the_stack() {
    let server = Http1Server::start(|mut connection| async move {
        let head = connection.head().await.unwrap();
        assert!(head.starts_with("post /orders?day=1 http/1.1\r\n"), "{head}");
        assert!(head.contains("x-day: 1"), "{head}");
        let body = connection.body(&head).await;
        connection.answer(200, &body).await;
    })
    .await;
    let client = built();
    let url = format!("http://{}/orders?day=1", server.address());
    let built = client.get_ref().post(url).header("x-day", "1").body("the order").build().unwrap();
    let (upstream, _) = stack(client);
    let answer = upstream.oneshot(http_request(built).unwrap()).await.unwrap();
    assert_eq!(text(answer.into_body()).await, "the order");
}

#[tokio::test]
async fn a_uri_that_is_no_url_is_an_error() {
    let (upstream, _) = stack(built());
    let request = http::Request::post("/relative").body(Body::empty()).unwrap();
    let error = upstream.oneshot(request).await.unwrap_err();
    assert!(error.get_ref().is_builder());
    assert!(!ErrorRef::new(&error).proves_unprocessed());
}
