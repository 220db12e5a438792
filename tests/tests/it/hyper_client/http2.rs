use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::body::Body;
use backstop_tests::{
    goaway::{GOAWAY_CODES, GoawayServer, Processed},
    grpc::channel_to,
};
use h2::Reason;
use http::{Method, Request, Response, StatusCode};
use hyper_util::{client::legacy, rt::TokioExecutor};
use tokio::{net::TcpListener, task::JoinSet};
use tower::{ServiceBuilder, ServiceExt};

use super::upstream::{Client, post, retry};

/// An HTTP/2 server that resets the first two streams and answers the others, until it is dropped.
struct Resetting {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _serving: JoinSet<Result<(), h2::Error>>,
}

impl Resetting {
    async fn start(reason: Reason) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let mut serving = JoinSet::new();
        serving.spawn({
            let asked = Arc::clone(&asked);
            async move {
                let (socket, _) = listener.accept().await.unwrap();
                let mut connection = h2::server::handshake(socket).await?;
                while let Some(request) = connection.accept().await {
                    let (_, mut answer) = request?;
                    if asked.fetch_add(1, Ordering::SeqCst) < 2 {
                        answer.send_reset(reason);
                    } else {
                        answer.send_response(Response::new(()), true)?;
                    }
                }
                Ok(())
            }
        });
        Self { address, asked, _serving: serving }
    }
}

fn client() -> Client {
    legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

#[tokio::test]
async fn a_refused_stream_is_tried_again_whatever_the_method() {
    let upstream = Resetting::start(Reason::REFUSED_STREAM).await;
    let attempts = Arc::new(AtomicUsize::new(0));
    let stack = ServiceBuilder::new()
        .layer(retry().discard_replaced().build().unwrap())
        .map_request({
            let attempts = Arc::clone(&attempts);
            move |request: Request<Body>| {
                attempts.fetch_add(1, Ordering::SeqCst);
                request
            }
        })
        .service(backstop::client(client()));
    let answer = stack.oneshot(post(upstream.address)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!((attempts.load(Ordering::SeqCst), upstream.asked.load(Ordering::SeqCst)), (3, 3));
}

#[tokio::test]
async fn a_stream_that_breaks_for_another_reason_is_not() {
    let upstream = Resetting::start(Reason::INTERNAL_ERROR).await;
    let stack =
        ServiceBuilder::new().layer(retry().discard_replaced().build().unwrap()).service(backstop::client(client()));
    stack.oneshot(post(upstream.address)).await.unwrap_err();
    assert_eq!(upstream.asked.load(Ordering::SeqCst), 1);
}

/// The same with tonic's client.
#[tokio::test]
async fn a_channel_tells_a_refused_stream_from_another_reset() {
    for (reason, asked) in [(Reason::REFUSED_STREAM, 3), (Reason::INTERNAL_ERROR, 1)] {
        let upstream = Resetting::start(reason).await;
        let stack = ServiceBuilder::new()
            .layer(retry().build().unwrap())
            .service(backstop::client(channel_to(upstream.address)));
        let result = stack.oneshot(post(upstream.address).map(tonic::body::Body::new)).await;
        assert_eq!(result.is_ok(), reason == Reason::REFUSED_STREAM);
        assert_eq!(upstream.asked.load(Ordering::SeqCst), asked);
    }
}

/// How many requests arrive at a server that says goodbye, and whether the last one is answered.
async fn after_goaway(method: Method, processed: Processed, code: u8) -> (usize, bool) {
    let server = GoawayServer::start(processed, code).await;
    let stack =
        ServiceBuilder::new().layer(retry().discard_replaced().build().unwrap()).service(backstop::client(client()));
    let mut request = post(server.address());
    *request.method_mut() = method;
    let answer = stack.oneshot(request).await;
    (server.requests(), answer.is_ok())
}

#[tokio::test]
async fn a_goaway_proves_that_the_streams_after_its_last_one_were_not_processed() {
    for code in GOAWAY_CODES {
        assert_eq!(after_goaway(Method::POST, Processed::None, code).await, (2, true), "{code}");
        assert_eq!(after_goaway(Method::POST, Processed::First, code).await, (1, false), "{code}");
        for processed in [Processed::None, Processed::First] {
            assert_eq!(after_goaway(Method::PUT, processed, code).await, (2, true), "{code}");
        }
    }
}
