use std::{io, time::Duration};

use http::{Response, header::CONTENT_TYPE};

use super::*;
use crate::name;

fn response(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

fn grpc(code: &str) -> Response<()> {
    let mut response = response(200);
    response.headers_mut().insert(CONTENT_TYPE, "application/grpc".parse().unwrap());
    response.headers_mut().insert("grpc-status", code.parse().unwrap());
    response
}

fn judge(response: &Response<()>) -> Outcome {
    HttpClassify::new().classify(Ok(response))
}

fn judge_error<E: 'static>(error: &E) -> Outcome {
    Classify::<Response<()>>::classify(&HttpClassify::new(), Err(ErrorRef::new(error)))
}

#[test]
fn every_http_status_counts_as_the_table_says() {
    for status in 100..=999 {
        let expected = match status {
            408 | 429 => Outcome::neutral().transient(),
            425 => Outcome::neutral().transient().blaming(Blame::EarlyData),
            502..=504 => Outcome::failure().transient(),
            ..400 => Outcome::success(),
            400..500 => Outcome::callers_fault(),
            500.. => Outcome::failure(),
        };
        assert_eq!(judge(&response(status)), expected, "{status}");
    }
}

#[test]
fn every_grpc_code_counts_as_the_table_says() {
    for code in 0..=17 {
        let expected = match code {
            0 => Outcome::success(),
            8 => Outcome::neutral(),
            14 => Outcome::failure().transient(),
            1 | 3 | 5 | 6 | 7 | 9..=12 | 16 => Outcome::callers_fault(),
            _ => Outcome::failure(),
        };
        assert_eq!(judge(&grpc(&code.to_string())), expected, "{code}");
    }
}

#[test]
fn exhausted_grpc_is_repeated_only_when_the_server_says_when() {
    let mut response = grpc("8");
    response.headers_mut().insert("grpc-retry-pushback-ms", "20".parse().unwrap());
    let after = Some(Pushback::After(Duration::from_millis(20)));
    assert_eq!(judge(&response), Outcome::neutral().transient().pushback(after));

    response.headers_mut().insert("grpc-retry-pushback-ms", "-1".parse().unwrap());
    assert_eq!(judge(&response), Outcome::neutral().pushback(Some(Pushback::Stop)));
}

#[test]
fn a_grpc_status_on_an_answer_that_is_not_grpc_means_nothing() {
    let mut response = response(200);
    response.headers_mut().insert("grpc-status", "14".parse().unwrap());
    assert_eq!(judge(&response), Outcome::success());
}

#[test]
fn a_503_in_an_ok_is_a_failure_and_carries_the_servers_delay() {
    let mut response = response(503);
    response.headers_mut().insert("retry-after", "7".parse().unwrap());
    let after = Some(Pushback::After(Duration::from_secs(7)));
    assert_eq!(judge(&response), Outcome::failure().transient().pushback(after));
}

#[test]
fn no_error_proves_that_nothing_was_processed() {
    let error = |kind: io::ErrorKind| judge_error(&io::Error::from(kind));
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, TimedOut, UnexpectedEof};
    for kind in [ConnectionRefused, ConnectionReset, TimedOut, UnexpectedEof] {
        assert_eq!(error(kind), Outcome::failure().transient(), "{kind}");
    }
    assert_eq!(judge_error(&"unknown"), Outcome::failure().transient());
}

#[test]
fn rejections_count_the_same_as_responses_and_as_errors() {
    for expected in [
        Outcome::refusal(),
        Outcome::neutral(),
        Outcome::failure(),
        Outcome::failure().transient(),
        Outcome::callers_fault(),
        Outcome::neutral().blaming(Blame::Request),
    ] {
        let wait = Duration::from_secs(3);
        let rejection = Rejection::new(name!("ml"), Reason::new("anyones-own"), expected).with_retry_after(Some(wait));
        let expected = expected.pushback(Some(Pushback::After(wait)));
        let mut response = response(503);
        response.extensions_mut().insert(rejection.clone());
        assert_eq!(judge(&response), expected, "{rejection:?}");
        let boxed: Box<dyn Error + Send + Sync> = Box::new(rejection);
        assert_eq!(judge_error(&boxed), expected);
    }
}

#[test]
fn knobs_change_what_is_worth_repeating_and_what_is_an_answer() {
    let judge = HttpClassify::new()
        .transient(StatusCode::INTERNAL_SERVER_ERROR)
        .lasting(StatusCode::TOO_MANY_REQUESTS)
        .unanswered(StatusCode::NOT_FOUND)
        .transient_code(GrpcCode::INTERNAL);
    assert_eq!(judge.classify(Ok(&response(500))), Outcome::failure().transient());
    assert_eq!(judge.classify(Ok(&response(429))), Outcome::neutral());
    assert!(!judge.classify(Ok(&response(404))).answers());
    assert!(judge.classify(Ok(&response(410))).answers());
    assert!(judge.classify(Ok(&response(200))).answers());
    assert_eq!(judge.classify(Ok(&grpc("13"))), Outcome::failure().transient());
}

#[test]
fn the_reason_names_the_status_or_the_rejection() {
    let judge = HttpClassify::new();
    assert_eq!(judge.reason(Ok(&response(503))).to_string(), "status-503");
    assert_eq!(judge.reason(Ok(&grpc("14"))).to_string(), "grpc-14");
    let mut refused = response(503);
    refused.extensions_mut().insert(Rejection::refused(name!("ml"), Reason::CIRCUIT_OPEN));
    assert_eq!(judge.reason(Ok(&refused)), Reason::CIRCUIT_OPEN);
    let error = io::Error::other("x");
    assert_eq!(Classify::<Response<()>>::reason(&judge, Err(ErrorRef::new(&error))), Reason::ERROR);
}
