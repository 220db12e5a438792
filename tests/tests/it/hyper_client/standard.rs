use std::time::Duration;

use axum::{Router, body::Body, routing::get};
use backstop::{CircuitState, ClientBody, Reason, Rejection, Standard, StandardService, name, standard};
use http::{Request, Response, StatusCode};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::task::JoinSet;
use tower::{Layer, ServiceBuilder, ServiceExt};

use super::upstream::{Client, Misdeed, Opening, Upstream, client, deaf_port, get as get_from, post, text};

/// What an app's state holds.
#[derive(Clone)]
struct Shop {
    prices: StandardService<Client>,
}

#[tokio::test]
async fn the_client_as_it_is_is_asked_from_anywhere() {
    let upstream = Upstream::start().await;
    let shop = Shop { prices: ServiceBuilder::new().layer(Standard::new(name!("prices"))).service(client()) };

    let mut tasks = JoinSet::new();
    let (spawned, request) = (shop.prices.clone(), upstream.post());
    tasks.spawn(async move { text(spawned.oneshot(request).await.unwrap()).await });
    assert_eq!(tasks.join_next().await.unwrap().unwrap(), "fresh");

    // A handler returns the answer unchanged.
    let address = upstream.address;
    let handler = move || async move { shop.prices.oneshot(post(address)).await.unwrap() };
    let app: Router = Router::new().route("/", get(handler));
    let answer = app.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(text(answer).await, "fresh");
    assert_eq!(upstream.asked(), ["POST the order"; 2]);
}

#[tokio::test]
async fn a_request_body_can_be_the_clients_own_and_is_sent_again() {
    let upstream = Upstream::start().await;
    let http: legacy::Client<HttpConnector, ClientBody> = legacy::Client::builder(TokioExecutor::new()).build_http();
    let prices = Standard::new(name!("prices")).layer(http);
    upstream.next([Misdeed::Fail, Misdeed::Break]);
    let request = Request::put(format!("http://{}/", upstream.address)).body(ClientBody::from("the order")).unwrap();
    assert_eq!(text(prices.oneshot(request).await.unwrap()).await, "fresh");
    assert_eq!(upstream.asked(), ["PUT the order"; 3]);
}

#[tokio::test]
async fn a_refused_post_is_sent_again_and_a_sent_one_is_not() {
    let (port, address) = deaf_port();
    let opening = Opening::new(port);
    let stack = ServiceBuilder::new().layer(Standard::new(name!("prices"))).map_request({
        let opening = opening.clone();
        move |request: Request<Body>| {
            opening.lock().unwrap().attempt();
            request
        }
    });
    let prices = stack.service(client());
    assert_eq!(text(prices.clone().oneshot(post(address)).await.unwrap()).await, "fresh");
    {
        let opening = opening.lock().unwrap();
        let upstream = opening.upstream.as_ref().unwrap();
        assert_eq!((opening.attempts, upstream.asked()), (3, vec!["POST the order".to_owned()]));
        upstream.next([Misdeed::Break]);
    }
    prices.oneshot(post(address)).await.unwrap_err();
    assert_eq!(opening.lock().unwrap().upstream.as_ref().unwrap().asked(), ["POST the order"; 2]);
}

#[tokio::test]
async fn the_circuit_refuses_by_a_response_with_a_body() {
    let upstream = Upstream::start().await;
    let layer = standard("prices").circuit_breaker(|circuit| circuit.consecutive_failures(1)).build().unwrap();
    let handle = layer.handle();
    let prices = layer.layer(client());
    upstream.next([Misdeed::Fail]);
    assert_eq!(prices.clone().oneshot(upstream.get()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(handle.circuit_breaker().unwrap().state(), CircuitState::Open);
    let refused = prices.oneshot(get_from(upstream.address)).await.unwrap();
    assert_eq!(refused.extensions().get().map(Rejection::reason), Some(Reason::CIRCUIT_OPEN));
    assert_eq!(text(refused).await, "");
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test]
async fn a_body_that_is_not_read_holds_its_permit_and_ends_with_an_error() {
    let upstream = Upstream::start().await;
    let hold = Duration::from_millis(50);
    let layer = standard("prices").bulkhead(|bulkhead| bulkhead.max_concurrent(1).max_hold(hold)).build().unwrap();
    let handle = layer.handle();
    let prices = layer.layer(client());
    let unread: Response<ClientBody> = prices.clone().oneshot(upstream.get()).await.unwrap();
    assert_eq!(handle.bulkhead().unwrap().in_use(), 1);
    // Waits until the other body loses its permit.
    assert_eq!(text(prices.oneshot(upstream.get()).await.unwrap()).await, "fresh");
    let error = http_body_util::BodyExt::collect(unread.into_body()).await.unwrap_err();
    assert!(error.is::<Rejection>(), "{error}");
}
