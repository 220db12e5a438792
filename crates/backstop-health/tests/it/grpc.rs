//! gRPC health checks follow readiness.

use backstop_health::{Component, Health, Level};
use tokio_stream::StreamExt;
use tonic::{Code, Request};
use tonic_health::pb::{
    HealthCheckRequest,
    health_check_response::ServingStatus::{self, NotServing, Serving},
    health_client::HealthClient,
};

use crate::common::{Clock, running, secs};

fn of(service: &str) -> Request<HealthCheckRequest> {
    Request::new(HealthCheckRequest { service: service.to_owned() })
}

async fn check(health: &Health) -> ServingStatus {
    HealthClient::new(health.grpc()).check(of("")).await.unwrap().into_inner().status()
}

#[tokio::test(start_paused = true)]
async fn the_whole_server_serves_while_it_is_ready() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    let mut watch = HealthClient::new(health.grpc()).watch(of("")).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), NotServing);
    assert_eq!(check(&health).await, NotServing);
    health.report("database", Level::Critical, "", secs(86_400)).unwrap();
    clock.at(30.0).await;
    assert_eq!((health.level(), check(&health).await), (Level::Critical, Serving));
    assert_eq!(watch.next().await.unwrap().unwrap().status(), Serving);
    health.drain().begin();
    assert_eq!(check(&health).await, NotServing);
    assert_eq!(watch.next().await.unwrap().unwrap().status(), NotServing);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_the_listener_closes_so_that_it_holds_up_no_drain() {
    let health = running([Component::optional("search")]);
    let mut watch = HealthClient::new(health.grpc()).watch(of("")).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), Serving);
    let clock = Clock::start();
    health.drain().begin();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), NotServing);
    let end = tokio::time::timeout(secs(20), watch.next()).await;
    assert!(end.expect("it ends").is_none());
    assert_eq!(clock.elapsed() / 1000, 10);
}

#[tokio::test(start_paused = true)]
async fn other_services_are_not_known() {
    let health = running([Component::essential("database")]);
    let mut client = HealthClient::new(health.grpc());
    assert_eq!(client.check(of("database")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.watch(of("database")).await.unwrap_err().code(), Code::NotFound);
}
