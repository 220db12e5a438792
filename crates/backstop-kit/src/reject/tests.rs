use std::fmt;

use backstop_core::{Name, Outcome, Reason, RejectionDetail, SetBy, name};
use http::{Method, StatusCode, Version};

use super::*;
use crate::{Elapsed, Progress, RequestFailure};

type Response = http::Response<String>;

#[derive(Debug)]
struct Open;

impl RejectionDetail for Open {
    fn describe(&self, by: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "circuit {by} is open")
    }
}

fn open(wait: Option<Duration>) -> Rejection {
    Rejection::refused(name!("ml"), Reason::CIRCUIT_OPEN).with_retry_after(wait).with_static_detail(&Open)
}

fn deadline() -> Rejection {
    Elapsed::new(SetBy::Us, Progress::Called).rejection(name!("ml"))
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
    assert!(response.extensions().get::<Rejection>().unwrap().detail::<Open>().is_some());
}

#[test]
fn a_rejection_can_be_the_services_error_or_what_a_closure_makes() {
    type BoxError = Box<dyn std::error::Error + Send + Sync>;
    let error = Reject::<(), (), BoxError>::reject(&RejectAsError, (), open(None)).unwrap_err();
    assert!(error.downcast_ref::<Rejection>().unwrap().detail::<Open>().is_some());

    let with = RejectWith::new(|rejection: Rejection| Ok::<Name, ()>(rejection.by().clone()));
    assert_eq!(Reject::<(), _, _>::reject(&with, (), open(None)), Ok(name!("ml")));
}

#[test]
fn a_limit_of_our_own_speaks_against_the_service_and_the_callers_does_not() {
    for (set_by, progress, expected) in [
        (SetBy::Us, Progress::Called, Outcome::failure().transient()),
        (SetBy::Us, Progress::NotReady, Outcome::failure().transient()),
        (SetBy::Us, Progress::NotAsked, Outcome::refusal()),
        (SetBy::Caller, Progress::Called, Outcome::neutral()),
        (SetBy::Caller, Progress::NotReady, Outcome::neutral()),
        (SetBy::Caller, Progress::NotAsked, Outcome::refusal()),
    ] {
        let rejection = Elapsed::new(set_by, progress).rejection(name!("ml"));
        assert_eq!(rejection.outcome(), expected, "{set_by:?} {progress:?}");
        assert_eq!(rejection.reason(), Reason::TIMEOUT);
        assert_eq!(rejection.detail(), Some(&Elapsed::new(set_by, progress)));
    }
}

#[test]
fn a_request_whose_body_failed_is_the_callers_fault_and_is_told_so() {
    for (failure, status, code) in
        [(RequestFailure::Broken, 400, "1"), (RequestFailure::TooLarge, 413, "8"), (RequestFailure::TooSlow, 408, "4")]
    {
        let rejection = failure.rejection(name!("ml"));
        assert_eq!(rejection.outcome(), Outcome::neutral().blaming(backstop_core::Blame::Request));
        assert_eq!(answer(&http_request(), rejection.clone()).status(), status);
        let grpc = answer(&grpc_request(), rejection);
        assert_eq!(header(&grpc, "grpc-status"), Some(code));
        assert_eq!(header(&grpc, "grpc-retry-pushback-ms"), None);
    }
}

#[test]
fn a_grpc_message_is_percent_encoded() {
    #[derive(Debug)]
    struct Anything;
    impl RejectionDetail for Anything {
        fn describe(&self, _: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("50 % of\nthe quota – used")
        }
    }
    let rejection = Rejection::refused(name!("ml"), Reason::ERROR).with_detail(Anything);
    let response = answer(&grpc_request(), rejection);
    assert_eq!(header(&response, "grpc-message"), Some("50 %25 of%0Athe quota %E2%80%93 used"));
}
