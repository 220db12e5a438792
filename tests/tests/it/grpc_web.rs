//! Our layers inside tonic-web's, over HTTP/1.1: there, gRPC-Web calls are gRPC calls of an older HTTP version.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

use backstop::{CircuitBreakerLayer, DeadlineLayer, DegradationHeaderLayer, Standard, UntilBodyEnd, name};
use backstop_tests::{
    greeter::Echo,
    grpc::{GrpcServer, Scripted},
};
use bytes::Bytes;
use greeter::pb::greeter_server::GreeterServer;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tonic::{Status, transport::Server};
use tonic_health::pb::health_server::HealthServer;
use tonic_web::GrpcWebLayer;
use tower::ServiceBuilder;

/// A gRPC-Web server over HTTP/1.1 with these layers inside tonic-web's.
macro_rules! serve {
    ($health:expr, $layers:expr) => {{
        let (health, layers) = (HealthServer::new($health.clone()), $layers);
        GrpcServer::start(|incoming| {
            let mut server = Server::builder().accept_http1(true).layer(GrpcWebLayer::new()).layer(layers);
            server.add_service(health).serve_with_incoming(incoming)
        })
        .await
    }};
}

/// Calls `Check` for the whole server, as a browser does, with an empty message.
async fn check(server: &GrpcServer) -> Response<Bytes> {
    ask(server, "grpc.health.v1.Health/Check", &[0; 5]).await
}

/// A call with a framed message: its flag, its length and itself.
async fn ask(server: &GrpcServer, method: &str, message: &'static [u8]) -> Response<Bytes> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::post(format!("http://{}/{method}", server.address()))
        .header(CONTENT_TYPE, "application/grpc-web+proto")
        .header("x-grpc-web", "1");
    let answer = client.request(request.body(Full::from(message)).unwrap()).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_11);
    let (head, body) = answer.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

fn grpc_status(answer: &Response<Bytes>) -> &str {
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/grpc-web+proto");
    answer.headers().get("grpc-status").map_or("none in the head", |status| status.to_str().unwrap())
}

#[tokio::test]
async fn an_open_circuit_is_unavailable_over_http_1_1_too() {
    let health = Scripted::new().await;
    let server = serve!(health, CircuitBreakerLayer::builder("health").consecutive_failures(2).build().unwrap());
    let well = check(&server).await;
    assert_eq!(grpc_status(&well), "none in the head");
    assert!(String::from_utf8_lossy(well.body()).contains("grpc-status:0"), "{:?}", well.body());
    health.refuse(2, &Status::unavailable("down for repairs"));
    for _ in 0..2 {
        assert_eq!(grpc_status(&check(&server).await), "14");
    }
    let refused = check(&server).await;
    assert_eq!(grpc_status(&refused), "14");
    assert_eq!(refused.headers()["grpc-message"], "circuit health is open");
    assert_eq!(health.asked().len(), 3);
}

#[tokio::test]
async fn a_stream_passes_through_every_layer_with_its_trailers() {
    let layers = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(DeadlineLayer::new(name!("edge")))
        .layer(Standard::new(name!("greeter")))
        .layer(CircuitBreakerLayer::builder("until_the_end").observe(UntilBodyEnd).build().unwrap())
        .into_inner();
    let service = GreeterServer::new(Echo::default());
    let server = GrpcServer::start(|incoming| {
        let mut server = Server::builder().accept_http1(true).layer(GrpcWebLayer::new()).layer(layers);
        server.add_service(service).serve_with_incoming(incoming)
    })
    .await;
    // `HelloRequest { name: "Ada, fail" }`, in a frame.
    let message = b"\0\0\0\0\x0b\x0a\x09Ada, fail";
    let answer = ask(&server, "greeter.Greeter/GreetOften", message).await;
    assert_eq!(grpc_status(&answer), "none in the head");
    let body = answer.body();
    assert!(body.starts_with(b"\0\0\0\0\x05\x0a\x03Ada\x80"), "{body:?}");
    assert!(String::from_utf8_lossy(body).contains("grpc-status:14"), "{body:?}");
}

#[tokio::test]
async fn a_callers_grpc_timeout_counts_over_http_1_1_too() {
    let health = Scripted::new().await;
    // Set inside tonic's server, which would otherwise end the call itself.
    let timeout = |mut request: Request<tonic::body::Body>| {
        request.headers_mut().insert("grpc-timeout", HeaderValue::from_static("50m"));
        request
    };
    let layers = ServiceBuilder::new().map_request(timeout).layer(DeadlineLayer::new(name!("edge"))).into_inner();
    let server = serve!(health, layers);
    health.hang();
    assert_eq!(grpc_status(&check(&server).await), "4");
}

#[tokio::test]
async fn outside_tonic_webs_layer_a_refusal_is_grpc_webs_own() {
    let health = Scripted::new().await;
    let breaker = CircuitBreakerLayer::builder("health").consecutive_failures(2).build().unwrap();
    breaker.handle().isolate();
    let (service, outside) = (HealthServer::new(health.clone()), breaker);
    let server = GrpcServer::start(|incoming| {
        let mut server = Server::builder().accept_http1(true).layer(outside).layer(GrpcWebLayer::new());
        server.add_service(service).serve_with_incoming(incoming)
    })
    .await;
    assert_eq!(grpc_status(&check(&server).await), "14");
    assert_eq!(health.asked().len(), 0);
}
