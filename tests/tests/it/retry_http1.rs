//! A retry around hyper-util's client, over HTTP/1.1 connections that break.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::DefaultBodyLimit,
};
use backstop::{
    CircuitBreakerLayer, Retried, RetryBuilder, RetryLayer, TimeoutLayer, kit::KeepReplaced, retry::StopReason,
};
use backstop_tests::{
    http::{Server, client, get, post, read},
    http1::{Connection, Http1Server, settle},
    upload::upload,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::{sync::Notify, task::JoinSet};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

/// Retries with short waits.
fn retry() -> RetryBuilder {
    RetryLayer::builder("upstream").backoff_base(Duration::from_millis(1))
}

/// A retry around a client.
macro_rules! around_a_client {
    ($retry:expr, $server:expr) => {
        ServiceBuilder::new().layer($retry.build().unwrap()).service(backstop::client(client($server.address())))
    };
}

fn put(body: Body) -> Request<Body> {
    Request::put("/").body(body).unwrap()
}

fn head() -> Request<Body> {
    Request::head("/").body(Body::empty()).unwrap()
}

/// Answers each request with what it sent.
async fn echo(mut connection: Connection) {
    while let Some(head) = connection.head().await {
        let body = connection.body(&head).await;
        connection.answer(200, &body).await;
    }
}

#[tokio::test]
async fn an_answer_that_never_began_or_broke_off_in_its_head_is_asked_for_again_if_the_method_allows() {
    for begun in ["", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let server = Http1Server::start(move |mut connection| async move {
            if connection.number() % 2 == 0 {
                return echo(connection).await;
            }
            let head = connection.head().await.unwrap();
            connection.body(&head).await;
            connection.write(begun).await;
            connection.reset();
        })
        .await;
        let (answer, body) = read(around_a_client!(retry(), server).oneshot(put("hello".into())).await.unwrap()).await;
        assert_eq!((answer.status, body.as_str()), (StatusCode::OK, "hello"));
        assert_eq!(answer.extensions.get::<Retried>().unwrap().attempts(), 2);

        around_a_client!(retry(), server).oneshot(post("/", "the order")).await.unwrap_err();
        assert_eq!(server.methods(), [Method::PUT, Method::PUT, Method::POST], "it may have been processed");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_in_its_body_is_the_callers_to_see() {
    let server = Http1Server::start(|mut connection| async move {
        connection.head().await;
        connection.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
        settle().await;
        connection.reset();
    })
    .await;
    let answer = around_a_client!(retry(), server).oneshot(get("/")).await.unwrap();
    let mut body = answer.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    body.frame().await.unwrap().unwrap_err();
    assert_eq!(server.methods(), [Method::GET]);
}

#[tokio::test]
async fn a_failure_whose_body_breaks_off_is_replaced_all_the_same() {
    let server = Http1Server::start(|mut connection| async move {
        if connection.number() > 1 {
            return echo(connection).await;
        }
        connection.head().await;
        connection.write("HTTP/1.1 503 So\r\ncontent-length: 10\r\n\r\nhello").await;
        connection.reset();
    })
    .await;
    let answer = around_a_client!(retry(), server).oneshot(get("/")).await.unwrap();
    assert_eq!((answer.status(), server.connections()), (StatusCode::OK, 2));
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_no_attempt_whatever_the_method() {
    let closed = Arc::new(Notify::new());
    let server = Http1Server::start({
        let closed = Arc::clone(&closed);
        move |mut connection| {
            let closed = Arc::clone(&closed);
            async move {
                let head = connection.head().await.unwrap();
                let body = connection.body(&head).await;
                connection.answer(200, &body).await;
                drop(connection);
                closed.notify_one();
            }
        }
    })
    .await;
    let stack = around_a_client!(retry(), server);
    for _ in 0..2 {
        let (answer, body) = read(stack.clone().oneshot(post("/", "the order")).await.unwrap()).await;
        assert_eq!(body, "the order");
        assert!(answer.extensions.get::<Retried>().is_none());
        closed.notified().await;
        settle().await;
    }
    assert_eq!((server.connections(), server.methods().len()), (2, 2));
}

#[tokio::test]
async fn a_reused_connection_that_closes_under_a_request_is_a_reset_like_any_other() {
    let server = Http1Server::start(|mut connection| async move {
        let head = connection.head().await.unwrap();
        let body = connection.body(&head).await;
        connection.answer(200, &body).await;
        // Closes the connection when the second request has arrived, like a server that reaches its idle timeout.
        connection.head().await;
    })
    .await;
    let stack = around_a_client!(retry(), server);
    let ask = async |request| {
        settle().await;
        read(stack.clone().oneshot(request).await.unwrap()).await.1
    };
    assert_eq!(ask(get("/")).await, "");
    assert_eq!(ask(put("hello".into())).await, "hello");
    assert_eq!(server.methods(), [Method::GET, Method::PUT, Method::PUT]);

    settle().await;
    stack.clone().oneshot(post("/", "the order")).await.unwrap_err();
    assert_eq!(server.methods()[3..], [Method::POST], "nothing proves that it was not processed");
}

#[tokio::test]
async fn an_attempt_that_expects_to_be_told_to_continue_is_repeated_with_that_and_with_its_body() {
    let server = Http1Server::start(|mut connection| async move {
        for status in [503, 200] {
            let head = connection.head().await.unwrap();
            assert!(head.contains("expect: 100-continue\r\n"), "{head}");
            connection.write("HTTP/1.1 100 Continue\r\n\r\n").await;
            let body = connection.body(&head).await;
            connection.answer(status, &body).await;
        }
    })
    .await;
    let mut request = put("hello".into());
    request.headers_mut().insert("expect", "100-continue".parse().unwrap());
    let (answer, body) = read(around_a_client!(retry(), server).oneshot(request).await.unwrap()).await;
    assert_eq!((answer.status, body.as_str()), (StatusCode::OK, "hello"));
    assert_eq!(server.methods(), [Method::PUT; 2]);
}

#[tokio::test]
async fn an_early_answer_is_returned_and_the_upload_that_it_cuts_off_is_not_begun_again() {
    for status in [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::EXPECTATION_FAILED, StatusCode::SERVICE_UNAVAILABLE] {
        let cut_off = Arc::new(Notify::new());
        let server = Http1Server::start({
            let cut_off = Arc::clone(&cut_off);
            move |mut connection| {
                let cut_off = Arc::clone(&cut_off);
                async move {
                    connection.head().await;
                    assert_eq!(connection.chunk().await, "hello ");
                    connection.answer(status.as_u16(), "no more").await;
                    cut_off.notified().await;
                    connection.reset();
                }
            }
        })
        .await;
        let (chunks, body) = upload();
        let mut request = put(body);
        request.headers_mut().insert("expect", "100-continue".parse().unwrap());
        chunks.send("hello ").await.unwrap();
        // Any status may be configured as worth a retry.
        let layer = retry().retry_on(status);
        let (answer, body) = read(around_a_client!(layer, server).oneshot(request).await.unwrap()).await;
        assert_eq!((answer.status, body.as_str()), (status, "no more"));
        let retried = answer.extensions.get::<Retried>().unwrap();
        assert_eq!((retried.attempts(), retried.stop()), (1, Some(StopReason::Uploading)));

        cut_off.notify_one();
        chunks.closed().await;
        assert_eq!(server.methods(), [Method::PUT]);
    }
}

#[tokio::test]
async fn an_answer_to_a_whole_upload_is_replaced_and_the_upload_sent_again() {
    let server = Http1Server::start(|mut connection| async move {
        for status in [503, 200] {
            let head = connection.head().await.unwrap();
            let body = connection.body(&head).await;
            connection.answer(status, &body).await;
        }
    })
    .await;
    let (chunks, body) = upload();
    let answered = around_a_client!(retry(), server).oneshot(put(body));
    let uploads = async move {
        for chunk in ["hello ", "wide ", "world"] {
            chunks.send(chunk).await.unwrap();
            settle().await;
        }
    };
    let (answer, ()) = tokio::join!(answered, uploads);
    let (answer, body) = read(answer.unwrap()).await;
    assert_eq!((answer.status, body.as_str()), (StatusCode::OK, "hello wide world"));
}

#[tokio::test]
async fn an_upload_that_a_reset_cuts_off_arrives_whole_at_the_next_attempt_and_goes_on_from_there() {
    let (was_reset, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let server = Http1Server::start({
        let was_reset = Arc::clone(&was_reset);
        let told = Arc::clone(&told);
        move |mut connection| {
            let (was_reset, told) = (Arc::clone(&was_reset), Arc::clone(&told));
            async move {
                let head = connection.head().await.unwrap();
                if connection.number() == 1 {
                    assert_eq!(connection.chunk().await, "hello ");
                    connection.reset();
                    was_reset.notify_one();
                    return;
                }
                assert_eq!(connection.chunk().await, "hello ");
                told.notify_one();
                assert_eq!(connection.body(&head).await, "wide world");
                connection.answer(200, "whole").await;
            }
        }
    })
    .await;
    let (chunks, body) = upload();
    let answered = around_a_client!(retry(), server).oneshot(put(body));
    let uploads = async move {
        chunks.send("hello ").await.unwrap();
        was_reset.notified().await;
        // The rest is sent only when the second attempt runs.
        told.notified().await;
        chunks.send("wide ").await.unwrap();
        chunks.send("world").await.unwrap();
    };
    let (answer, ()) = tokio::join!(answered, uploads);
    assert_eq!(read(answer.unwrap()).await.1, "whole");
    assert_eq!(server.methods(), [Method::PUT; 2]);
}

#[tokio::test]
async fn an_upload_that_a_timeout_of_ours_ends_arrives_whole_at_the_next_attempt() {
    let (ended, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let server = Http1Server::start({
        let (ended, told) = (Arc::clone(&ended), Arc::clone(&told));
        move |mut connection| {
            let (ended, told) = (Arc::clone(&ended), Arc::clone(&told));
            async move {
                let head = connection.head().await.unwrap();
                assert_eq!(connection.chunk().await, "hello ");
                if connection.number() == 1 {
                    // It never answers.
                    ended.notified().await;
                    return;
                }
                told.notify_one();
                assert_eq!(connection.body(&head).await, "wide world");
                connection.answer(200, "whole").await;
            }
        }
    })
    .await;
    // Only the first attempt has the timeout, so that a slow machine doesn't fail the test.
    let client = client(server.address());
    // A plain timeout doesn't watch the upload. Otherwise the slow upload would forbid another attempt.
    let hurried = TimeoutLayer::builder("upstream").limit(Duration::from_millis(50)).plain().reject_with(|rejection| {
        let mut late = Response::new(Body::empty());
        *late.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        late.extensions_mut().insert(rejection);
        Ok::<_, hyper_util::client::legacy::Error>(late)
    });
    let hurried = hurried.build().unwrap();
    let hurried = hurried.layer(client.clone());
    let client = tower::service_fn(move |request: Request<Body>| {
        let (hurried, client) = (hurried.clone(), client.clone());
        async move {
            if request.headers().contains_key("x-attempt") {
                client.oneshot(request).await
            } else {
                hurried.oneshot(request).await
            }
        }
    });
    let retry = retry().attempt_header("x-attempt".parse().unwrap());
    let (chunks, body) = upload();
    let answered = retry.build().unwrap().layer(client).oneshot(put(body));
    let uploads = async move {
        chunks.send("hello ").await.unwrap();
        told.notified().await;
        chunks.send("wide ").await.unwrap();
        chunks.send("world").await.unwrap();
    };
    let mut uploading = JoinSet::new();
    uploading.spawn(uploads);
    let (answer, body) = read(answered.await.unwrap()).await;
    let retried = answer.extensions.get::<Retried>().unwrap();
    assert_eq!((answer.status, retried.attempts(), retried.stop()), (StatusCode::OK, 2, None));
    assert_eq!((body.as_str(), server.methods()), ("whole", vec![Method::PUT; 2]));
    ended.notify_one();
}

/// An app whose handler reads at most ten bytes is called with a longer body through a retry.
#[tokio::test]
async fn an_outer_limit_of_the_body_is_still_a_413_to_the_client() {
    let app = Router::new().route("/", axum::routing::put(async |body: Bytes| body));
    let layers = ServiceBuilder::new()
        .layer(DefaultBodyLimit::max(10))
        .layer(RetryLayer::builder("app").retry_on(StatusCode::PAYLOAD_TOO_LARGE).build().unwrap());
    let server = Server::start(app.layer(layers)).await;
    let declared = Body::from("hello wide world");
    let (chunks, streamed) = upload();
    for chunk in ["hello ", "wide ", "world"] {
        chunks.send(chunk).await.unwrap();
    }
    drop(chunks);
    for body in [declared, streamed] {
        assert_eq!(server.send(put(body)).await.0.status, StatusCode::PAYLOAD_TOO_LARGE);
    }
    assert_eq!(server.send(put("short".into())).await.1, "short");
}

#[tokio::test]
async fn answers_to_head_are_kept_without_waiting_for_the_body_that_they_announce() {
    let server = Http1Server::start(|mut connection| async move {
        while connection.head().await.is_some() {
            connection.write("HTTP/1.1 503 So\r\ncontent-length: 5\r\n\r\n").await;
        }
    })
    .await;
    let breaker = CircuitBreakerLayer::builder("upstream").consecutive_failures(2).build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(retry().build().unwrap())
        .layer(breaker)
        .then(async |answered| (settle().await, answered).1)
        .service(client(server.address()));
    let answer = stack.oneshot(head()).await.unwrap();
    let retried = answer.extensions().get::<Retried>().copied().unwrap();
    assert_eq!(retried.stop(), Some(StopReason::Refused), "the circuit is open in the third attempt");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["content-length"], "5");
    assert_eq!(read(answer).await.1, "");
    assert_eq!((server.methods().len(), server.connections()), (2, 1));
}

/// How many connections twenty requests need. Each fails once, with a body of these chunks. The next attempt begins after the
/// client has taken the connection back.
async fn connections_of_twenty(chunk: &'static str, chunks: usize) -> usize {
    let server = Http1Server::start(move |mut connection| async move {
        while let Some(head) = connection.head().await {
            if head.contains("x-attempt:") {
                connection.answer(200, "fresh").await;
                continue;
            }
            connection.write("HTTP/1.1 503 So\r\ntransfer-encoding: chunked\r\n\r\n").await;
            for _ in 0..chunks {
                connection.write(&format!("{:x}\r\n{chunk}\r\n", chunk.len())).await;
            }
            connection.write("0\r\n\r\n").await;
        }
    })
    .await;
    let client = client(server.address());
    // Before each attempt, lets the client's task run, which takes the connection back.
    let settled = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move { (settle().await, client.oneshot(request).await).1 }
    });
    // The default, with a longer time for a busy machine.
    let keep = KeepReplaced::default().max_wait(Duration::from_secs(60)).unwrap();
    let retry = retry().attempt_header("x-attempt".parse().unwrap()).no_budget().keep_replaced(keep);
    let mut stack = ServiceBuilder::new().layer(retry.build().unwrap()).service(settled);
    for _ in 0..20 {
        let (answer, body) = read(stack.ready().await.unwrap().call(get("/")).await.unwrap()).await;
        assert_eq!(body, "fresh");
        assert_eq!(answer.extensions.get::<Retried>().unwrap().attempts(), 2);
    }
    assert_eq!(server.methods().len(), 40);
    server.connections()
}

const KIB: &str = match str::from_utf8(&[b'x'; 1024]) {
    Ok(kib) => kib,
    Err(_) => panic!(),
};

#[tokio::test]
async fn twenty_repeated_requests_take_one_connection() {
    assert_eq!(connections_of_twenty("down", 2).await, 1);
    assert_eq!(connections_of_twenty(KIB, 32).await, 1);
}

#[tokio::test]
async fn a_failure_that_is_too_long_to_be_kept_costs_its_connection() {
    // Far more than can be kept. If it were only a little more, the client itself would read it to its end.
    assert_eq!(connections_of_twenty(KIB, 1024).await, 21);
}
