//! Streams that a server refuses, and trailers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use axum::body::{Body, Bytes};
use backstop::reqwest_client::ReqwestClient;
use backstop_tests::goaway::{GOAWAY_CODES, GoawayServer, Processed};
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::{net::TcpListener, task::JoinSet};
use tower::ServiceExt;

use crate::{builder, failures, post, request, stack};

/// An HTTP/2 server that plays `script` on each stream, which gets its number, until it is dropped.
struct Server {
    address: SocketAddr,
    streams: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Server {
    async fn start<Fut>(script: fn(usize, Request<RecvStream>, SendResponse<Bytes>) -> Fut) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let streams = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&streams);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut playing = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                let counted = Arc::clone(&counted);
                playing.spawn(async move {
                    let mut playing = JoinSet::new();
                    while let Some(Ok((request, answer))) = connection.accept().await {
                        playing.spawn(script(counted.fetch_add(1, SeqCst) + 1, request, answer));
                    }
                });
            }
        });
        Self { address, streams, _serving: serving }
    }

    fn streams(&self) -> usize {
        self.streams.load(SeqCst)
    }
}

fn http2() -> reqwest::ClientBuilder {
    builder().http2_prior_knowledge()
}

async fn refuse_two(number: usize, _: Request<RecvStream>, mut answer: SendResponse<Bytes>) {
    if number < 3 {
        answer.send_reset(Reason::REFUSED_STREAM);
    } else {
        answer.send_response(Response::new(()), true).unwrap();
    }
}

#[tokio::test]
async fn a_refused_stream_is_tried_again_by_the_stack_alone() {
    let server = Server::start(refuse_two).await;
    let client = ReqwestClient::build(http2()).unwrap();
    client.clone().oneshot(post(server.address)).await.unwrap_err();
    assert_eq!(server.streams(), 1, "reqwest's own retries are off");

    let (upstream, handle) = stack(client);
    assert_eq!(upstream.oneshot(post(server.address)).await.unwrap().status(), StatusCode::OK);
    assert_eq!((server.streams(), failures(&handle)), (3, 0));
}

#[tokio::test]
async fn a_stream_that_is_reset_for_another_reason_is_not() {
    async fn reset(_: usize, _: Request<RecvStream>, mut answer: SendResponse<Bytes>) {
        answer.send_reset(Reason::INTERNAL_ERROR);
    }
    let server = Server::start(reset).await;
    let (upstream, _) = stack(ReqwestClient::build(http2()).unwrap());
    upstream.oneshot(post(server.address)).await.unwrap_err();
    assert_eq!(server.streams(), 1);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    async fn echo(_: usize, mut request: Request<RecvStream>, mut answer: SendResponse<Bytes>) {
        let body = request.body_mut();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data.unwrap().len()).unwrap();
        }
        let trailers = body.trailers().await.unwrap().unwrap();
        let mut stream = answer.send_response(Response::new(()), false).unwrap();
        stream.send_data("answer".into(), false).unwrap();
        stream.send_trailers(trailers).unwrap();
    }
    let server = Server::start(echo).await;
    let trailers: HeaderMap = HeaderMap::from_iter([("x-sum".parse().unwrap(), "42".parse().unwrap())]);
    let sent = trailers.clone();
    let body = Body::new(Full::from("the order").with_trailers(async { Some(Ok(sent)) }));
    let (upstream, _) = stack(ReqwestClient::build(http2()).unwrap());
    let answer = upstream.oneshot(request(Method::PUT, server.address, body)).await.unwrap();
    let answer = answer.into_body().collect().await.unwrap();
    assert_eq!(answer.trailers(), Some(&trailers));
    assert_eq!(answer.to_bytes(), "answer");
}

/// What a client does whose server says goodbye: how many requests arrive, and whether the last one is answered.
async fn after_goaway(method: Method, processed: Processed, code: u8) -> (usize, bool) {
    let server = GoawayServer::start(processed, code).await;
    let (upstream, _) = stack(ReqwestClient::build(http2()).unwrap());
    let answer = upstream.oneshot(request(method, server.address(), "the order")).await;
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
