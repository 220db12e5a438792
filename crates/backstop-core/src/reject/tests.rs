use http::{Method, Version};

use super::*;
use crate::{AllProvidersFailed, CircuitState, Name, Progress, ProviderFailure, Reason, RejectionKind, SetBy, name};

type Response = http::Response<String>;

fn open(wait: Option<Duration>) -> Rejection {
    Rejection::new(name!("ml"), RejectionKind::CircuitOpen(CircuitState::Open)).with_retry_after(wait)
}

fn deadline() -> Rejection {
    let kind = RejectionKind::DeadlinePassed { set_by: SetBy::Us, progress: Progress::Called };
    Rejection::new(name!("ml"), kind)
}

fn http_request() -> http::Request<()> {
    http::Request::new(())
}

fn grpc_request() -> http::Request<()> {
    let mut request = http_request();
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request
}

fn answer(request: &http::Request<()>, rejection: Rejection) -> Response {
    let context = Reject::<_, Response, ()>::context(&HttpReject, request);
    Reject::<http::Request<()>, _, ()>::reject(&HttpReject, context, rejection).unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn a_refusal_is_a_503_that_nobody_stores_with_its_wait_rounded_up() {
    for (wait, seconds) in [(1, "1"), (999, "1"), (1000, "1"), (1001, "2"), (59_000, "59")] {
        let response = answer(&http_request(), open(Some(Duration::from_millis(wait))));
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
        assert_eq!(header(&response, "retry-after"), Some(seconds), "{wait} ms");
    }
    assert_eq!(header(&answer(&http_request(), open(None)), "retry-after"), None);
}

#[test]
fn a_passed_deadline_is_a_504() {
    assert_eq!(answer(&http_request(), deadline()).status(), StatusCode::GATEWAY_TIMEOUT);
}

#[test]
fn a_grpc_request_gets_a_trailers_only_answer() {
    for (wait, pushback) in [(Some(250), "250"), (Some(1000), "1000"), (Some(1001), "-1"), (None, "-1")] {
        let response = answer(&grpc_request(), open(wait.map(Duration::from_millis)));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, "content-type"), Some("application/grpc"));
        assert_eq!(header(&response, "grpc-status"), Some("14"));
        assert_eq!(header(&response, "grpc-message"), Some("circuit ml is open"));
        assert_eq!(header(&response, "grpc-retry-pushback-ms"), Some(pushback));
    }
    let late = answer(&grpc_request(), deadline());
    assert_eq!(header(&late, "grpc-status"), Some("4"));
    assert_eq!(header(&late, "grpc-retry-pushback-ms"), None);
}

#[test]
fn the_rejection_travels_with_the_response() {
    let response = answer(&http_request(), open(None));
    assert_eq!(response.extensions().get::<Rejection>(), Some(&open(None)));
}

#[test]
fn a_rejection_can_be_the_services_error_or_what_a_closure_makes() {
    type BoxError = Box<dyn std::error::Error + Send + Sync>;
    let error = Reject::<(), (), BoxError>::reject(&RejectAsError, (), open(None)).unwrap_err();
    assert_eq!(error.downcast_ref::<Rejection>(), Some(&open(None)));

    let with = RejectWith::new(|rejection: Rejection| Ok::<Name, ()>(rejection.by().clone()));
    assert_eq!(Reject::<(), _, _>::reject(&with, (), open(None)), Ok(name!("ml")));
}

#[test]
fn an_exhausted_chain_names_each_provider_and_its_reason() {
    let failures = vec![
        ProviderFailure::new(name!("ml"), Reason::CircuitOpen),
        ProviderFailure::new(name!("catalog"), Reason::Status(StatusCode::BAD_GATEWAY)),
    ];
    let all = AllProvidersFailed::new(name!("recommendations"), failures, None);
    let text = "all providers of recommendations failed: ml (circuit-open), catalog (status-502)";
    assert_eq!(all.to_string(), text);
    let kind = RejectionKind::AllProvidersFailed(all);
    let response = answer(&grpc_request(), Rejection::new(name!("recommendations"), kind));
    assert_eq!(header(&response, "grpc-message"), Some(text));
}
