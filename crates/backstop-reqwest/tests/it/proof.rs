//! What an error proves, and that no `POST` is sent again without a proof.

use backstop::{ErrorRef, reqwest_client::ReqwestClient};
use backstop_tests::{
    http::Nobody,
    http1::{Connection, Http1Server},
};
use http::{Method, StatusCode, header::LOCATION};
use reqwest::redirect::Policy;
use tower::ServiceExt;

use crate::{builder, built, failures, get, post, stack};

#[tokio::test]
async fn a_refused_connection_proves_that_nothing_was_sent() {
    let nobody = Nobody::new();
    let (upstream, handle) = stack(built());
    let error = upstream.oneshot(post(nobody.address())).await.unwrap_err();
    assert_eq!(failures(&handle), 3, "a POST, too");
    assert!(error.get_ref().is_connect());
    assert!(ErrorRef::new(&error).proves_unprocessed());
    let causes: Vec<_> = ErrorRef::new(&error).causes().map(ToString::to_string).collect();
    assert!(causes.last().unwrap().contains("refused"), "{causes:?}");
}

#[tokio::test]
async fn an_error_of_a_client_that_was_built_elsewhere_proves_nothing_and_still_says_why() {
    let nobody = Nobody::new();
    let (upstream, handle) = stack(ReqwestClient::from(builder().build().unwrap()));
    let error = upstream.clone().oneshot(post(nobody.address())).await.unwrap_err();
    assert_eq!(failures(&handle), 1);
    let causes: Vec<_> = ErrorRef::new(&error).causes().map(ToString::to_string).collect();
    assert!(causes.last().unwrap().contains("refused"), "{causes:?}");
    assert!(reqwest::Error::from(error).is_connect());
    upstream.oneshot(get(nobody.address())).await.unwrap_err();
    assert_eq!(failures(&handle), 4, "three more");
}

/// Answers each request by a redirect to `location`.
async fn redirecting(status: u16, location: String) -> Http1Server {
    Http1Server::start(move |mut connection| {
        let location = location.clone();
        async move {
            while let Some(head) = connection.head().await {
                connection.body(&head).await;
                let head = format!("HTTP/1.1 {status} See\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
                connection.write(&head).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_post_that_was_redirected_to_a_refused_connection_is_not_sent_again() {
    let nobody = Nobody::new();
    // The order was taken; its page can't be had.
    let shop = redirecting(303, format!("http://{}/orders/1", nobody.address())).await;
    let (upstream, handle) = stack(built());
    let error = upstream.oneshot(post(shop.address())).await.unwrap_err();
    assert!(error.get_ref().is_connect());
    assert!(!ErrorRef::new(&error).proves_unprocessed());
    assert_eq!((shop.methods(), failures(&handle)), (vec![Method::POST], 1));
}

#[tokio::test]
async fn redirects_are_followed_unless_the_policy_says_otherwise() {
    let page = Http1Server::start(|mut connection| async move {
        while connection.head().await.is_some() {
            connection.answer(200, "fresh").await;
        }
    })
    .await;
    let shop = redirecting(302, format!("http://{}/", page.address())).await;
    let (upstream, _) = stack(built());
    assert_eq!(upstream.oneshot(get(shop.address())).await.unwrap().status(), StatusCode::OK);

    let (upstream, _) = stack(ReqwestClient::build_with_redirects(builder(), Policy::none()).unwrap());
    let answer = upstream.oneshot(get(shop.address())).await.unwrap();
    assert_eq!((answer.status(), answer.headers().contains_key(LOCATION)), (StatusCode::FOUND, true));
}

#[tokio::test]
async fn a_post_whose_body_streams_is_not_sent_to_where_a_307_points() {
    let nobody = Nobody::new();
    let shop = redirecting(307, format!("http://{}/", nobody.address())).await;
    let (upstream, _) = stack(built());
    let answer = upstream.oneshot(post(shop.address())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
}

/// What a server may do with a request that has arrived.
#[derive(Clone, Copy, Debug)]
enum Misdeed {
    CloseUnread,
    CloseRead,
    ResetUnread,
    ResetRead,
    BreakHead,
    NotHttp,
    Fail(u16),
}

impl Misdeed {
    async fn play(self, mut connection: Connection) {
        while let Some(head) = connection.head().await {
            if !matches!(self, Self::CloseUnread | Self::ResetUnread) {
                connection.body(&head).await;
            }
            match self {
                Self::CloseUnread | Self::CloseRead => return,
                Self::ResetUnread | Self::ResetRead => return connection.reset(),
                Self::BreakHead => {
                    connection.write("HTTP/1.1 200 O").await;
                    return connection.reset();
                }
                Self::NotHttp => connection.write("220 mail.example ESMTP\r\n\r\n").await,
                Self::Fail(status) => connection.answer(status, "").await,
            }
        }
    }
}

#[tokio::test]
async fn a_post_that_may_have_been_processed_is_sent_once_and_a_get_again() {
    let all = [
        Misdeed::CloseUnread,
        Misdeed::CloseRead,
        Misdeed::ResetUnread,
        Misdeed::ResetRead,
        Misdeed::BreakHead,
        Misdeed::NotHttp,
        Misdeed::Fail(502),
        Misdeed::Fail(503),
        Misdeed::Fail(504),
    ];
    for misdeed in all {
        let server = Http1Server::start(move |connection| misdeed.play(connection)).await;
        let (upstream, _) = stack(built());
        _ = upstream.clone().oneshot(post(server.address())).await;
        assert_eq!(server.methods(), [Method::POST], "{misdeed:?}");
        _ = upstream.oneshot(get(server.address())).await;
        assert_eq!(server.methods()[1..], [Method::GET; 3].as_ref().to_vec()[..], "{misdeed:?}");
    }
}

#[tokio::test]
async fn a_request_that_reqwest_cant_send_counts_against_nobody_and_isn_t_repeated() {
    let https_only = || ReqwestClient::build(reqwest::Client::builder().https_only(true)).unwrap();
    for (client, uri) in
        [(built(), "/espresso"), (built(), "ftp://prices.example/"), (https_only(), "http://prices.example/")]
    {
        let (upstream, handle) = stack(client);
        let request = http::Request::get(uri).body(backstop::ClientBody::empty()).unwrap();
        let error = upstream.oneshot(request).await.unwrap_err();
        assert_eq!(failures(&handle), 0, "{uri}");
        let rejection = backstop::Rejection::in_error(ErrorRef::new(&error)).unwrap();
        assert_eq!(rejection.reason().as_str(), "unsendable", "{uri}");
        assert_eq!(rejection.status(), StatusCode::INTERNAL_SERVER_ERROR, "our own request is wrong");
    }
}
