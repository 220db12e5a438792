//! reqwest's time limits, and ours around it.

use std::{future, io, sync::Arc, time::Duration};

use axum::body::Body;
use backstop::{ErrorRef, Outcome, Reason, Rejection, reqwest_client::ReqwestClient, standard};
use backstop_tests::http1::{Connection, Http1Server};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tower::{Layer, ServiceExt};

use crate::{builder, built, failures, get, post, request, stack};

const LIMIT: Duration = Duration::from_millis(50);

async fn hang(mut connection: Connection) {
    while connection.head().await.is_some() {}
}

#[tokio::test]
async fn a_call_that_reqwest_ends_is_a_timeout_and_a_failure() {
    let server = Http1Server::start(hang).await;
    let clients = [builder().timeout(LIMIT), builder().read_timeout(LIMIT)];
    for client in clients.map(|builder| ReqwestClient::build(builder).unwrap()) {
        let (upstream, handle) = stack(client);
        let error = upstream.clone().oneshot(post(server.address())).await.unwrap_err();
        assert_eq!(failures(&handle), 1, "a POST isn't sent again");
        assert!(error.get_ref().is_timeout());
        let rejection = Rejection::in_error(ErrorRef::new(&error)).unwrap();
        assert_eq!(rejection.reason(), Reason::TIMEOUT);
        assert_eq!(rejection.outcome(), Outcome::failure().transient());
        upstream.oneshot(get(server.address())).await.unwrap_err();
        assert_eq!(failures(&handle), 4);
    }
    assert_eq!(server.methods().iter().filter(|method| **method == Method::POST).count(), 2);
}

#[tokio::test]
async fn a_requests_own_limit_counts() {
    let server = Http1Server::start(hang).await;
    let client = built();
    let request = client.get_ref().get(format!("http://{}/", server.address())).timeout(LIMIT).build().unwrap();
    let (upstream, handle) = stack(client);
    let request = backstop::reqwest_client::http_request(request).unwrap();
    assert!(upstream.oneshot(request).await.unwrap_err().get_ref().is_timeout());
    assert_eq!(failures(&handle), 3, "of each attempt");
}

#[tokio::test]
async fn a_body_that_reqwest_ends_is_a_timeout() {
    let server = Http1Server::start(|mut connection| async move {
        connection.head().await.unwrap();
        connection.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        future::pending::<()>().await;
    })
    .await;
    let (upstream, _) = stack(ReqwestClient::build(builder().timeout(LIMIT)).unwrap());
    let answer = upstream.oneshot(get(server.address())).await.unwrap();
    let error = answer.into_body().collect().await.unwrap_err();
    assert!(error.downcast::<reqwest::Error>().unwrap().is_timeout());
}

#[tokio::test]
async fn our_timeout_ends_the_call_and_its_connection() {
    let (log, mut gone) = mpsc::unbounded_channel();
    let server = Http1Server::start(move |mut connection| {
        let log = log.clone();
        async move {
            connection.head().await.unwrap();
            assert_eq!(connection.head().await, None);
            log.send(()).unwrap();
        }
    })
    .await;
    let layer = standard("upstream").timeout(LIMIT).without_retry().build().unwrap();
    let answer = layer.layer(built()).oneshot(get(server.address())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    gone.recv().await.unwrap();
}

/// Never finds the address, so that no connection is made.
struct NeverFound;

impl reqwest::dns::Resolve for NeverFound {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(future::pending())
    }
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_proves_that_nothing_was_sent() {
    let unreachable = || builder().connect_timeout(LIMIT).dns_resolver(Arc::new(NeverFound));
    let post = || Request::post("http://upstream.example/").body(Body::from("the order")).unwrap();
    let (upstream, handle) = stack(ReqwestClient::build(unreachable()).unwrap());
    let error = upstream.oneshot(post()).await.unwrap_err();
    assert!(error.get_ref().is_timeout() && error.get_ref().is_connect());
    assert_eq!(failures(&handle), 3, "a POST is tried again");

    let (upstream, handle) = stack(ReqwestClient::from(unreachable().build().unwrap()));
    upstream.oneshot(post()).await.unwrap_err();
    assert_eq!(failures(&handle), 1, "a client that may have sent it before proves nothing");
}

/// The kernel gives the connection up, because the server doesn't read what was sent.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_that_the_system_gives_up_is_a_failed_transport_and_no_limit_of_reqwests() {
    let server = Http1Server::start(|connection| async move {
        future::pending::<()>().await;
        drop(connection);
    })
    .await;
    let layer = standard("upstream").timeout(Duration::from_secs(30)).without_retry().build().unwrap();
    let handle = layer.handle();
    let client = ReqwestClient::build(builder().tcp_user_timeout(LIMIT)).unwrap();
    let content = vec![0; 64 << 20];
    let error = layer.layer(client).oneshot(request(Method::POST, server.address(), content)).await.unwrap_err();
    assert!(error.get_ref().is_timeout(), "reqwest doesn't tell it apart");
    let error = ErrorRef::new(&error);
    assert!(error.causes().any(|cause| cause.downcast_ref().map(io::Error::kind) == Some(io::ErrorKind::TimedOut)));
    assert!(Rejection::in_error(error).is_none() && !error.proves_unprocessed());
    assert_eq!(failures(&handle), 1);
}
