//! A required part that fails.

use std::{io, time::Duration};

use backstop_core::{Blame, ErrorRef, Reason, Rejection, Verdict, scope::EndedBy};
use backstop_partial::{RequiredPartFailed, name, part};
use http::{Response, StatusCode};

use crate::common::{Fate, MS, after, dashboard};

const SECOND: Duration = Duration::from_secs(1);

fn open(wait: Duration) -> Rejection {
    Rejection::refused(name!("users"), Reason::CIRCUIT_OPEN).with_retry_after(Some(wait))
}

fn status(status: u16) -> Result<Response<&'static str>, io::Error> {
    Ok(Response::builder().status(status).header("retry-after", "30").body("the body").unwrap())
}

#[tokio::test(start_paused = true)]
async fn it_ends_the_others_which_is_no_failure_of_theirs() {
    let fate = Fate::default();
    let parts = (
        part(name!("orders"), fate.hang::<u32>()).or_default(),
        part(name!("profile"), after(5 * MS, Err::<u32, _>(open(3 * SECOND)))).required(),
        part(name!("reviews"), fate.hang::<u32>()).required(),
    );
    let failed = dashboard().gather(parts).await.unwrap_err();
    assert_eq!(fate.ends(), [Some(EndedBy::Replaced); 2]);
    assert_eq!((failed.part().as_str(), failed.reason()), ("profile", Reason::CIRCUIT_OPEN));
    assert_eq!(failed.rejection().to_string(), "dashboard needs profile, which failed");
    assert_eq!(
        (failed.rejection().status(), failed.retry_after()),
        (StatusCode::SERVICE_UNAVAILABLE, Some(3 * SECOND))
    );
    assert_eq!(failed.rejection().outcome().verdict, Verdict::Failure);
    assert!(!failed.is_callers_fault());
}

#[tokio::test(start_paused = true)]
async fn of_several_that_fail_together_the_first_is_named_and_the_greatest_wait_is_asked_for() {
    let fails = |name, wait| part(name, after(MS, Err::<u32, _>(open(wait))));
    let parts = (
        fails(name!("a"), SECOND).required(),
        fails(name!("b"), 9 * SECOND).required(),
        fails(name!("c"), 60 * SECOND).or_default(),
        fails(name!("d"), 3 * SECOND).required(),
    );
    let failed = dashboard().gather(parts).await.unwrap_err();
    assert_eq!(
        (failed.part().as_str(), failed.retry_after()),
        ("a", Some(9 * SECOND)),
        "nobody waits for an optional part"
    );
}

#[tokio::test]
async fn no_further_part_begins_once_it_has_failed() {
    let has_begun = std::cell::Cell::new(false);
    let begins = async {
        has_begun.set(true);
        Ok::<_, &str>(())
    };
    let parts = (part(name!("a"), async { Err::<u32, _>("down") }).required(), part(name!("b"), begins).required());
    assert_eq!(dashboard().gather(parts).await.unwrap_err().part(), "a");
    assert!(!has_begun.get());
}

#[tokio::test(start_paused = true)]
async fn its_time_being_up_is_a_504() {
    let failed = dashboard()
        .gather((part(name!("a"), std::future::pending::<Result<u32, &str>>()).timeout(MS).required(),))
        .await;
    let failed = failed.unwrap_err();
    assert_eq!((failed.rejection().status(), failed.reason()), (StatusCode::GATEWAY_TIMEOUT, Reason::TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_blames_the_caller_is_the_pages_answer_as_it_was() {
    for code in [403, 404, 410, 422] {
        let parts = (
            part(name!("down"), after(MS, status(503))).response().required(),
            part(name!("profile"), after(MS, status(code))).response().required(),
        );
        let failed = dashboard().gather(parts).await.unwrap_err();
        assert!(failed.is_callers_fault());
        assert_eq!((failed.part().as_str(), failed.rejection().status().as_u16()), ("profile", code));
        let outcome = failed.rejection().outcome();
        assert_eq!((outcome.verdict, outcome.blame), (Verdict::Success, Some(Blame::Request)));
        let response = failed.into_original::<Response<&str>>().unwrap();
        assert_eq!((response.status().as_u16(), response.into_body()), (code, "the body"));
    }
}

#[tokio::test]
async fn a_response_that_is_a_failure_fails_the_page_with_its_wait() {
    for (code, reason) in [(429, "status-429"), (500, "status-500"), (503, "status-503")] {
        let failed = dashboard().gather((part(name!("a"), async move { status(code) }).response().required(),)).await;
        let failed = failed.unwrap_err();
        assert_eq!((failed.is_callers_fault(), failed.reason().as_str()), (false, reason));
        assert_eq!(failed.rejection().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(failed.retry_after(), Some(30 * SECOND), "{code}");
    }
}

#[tokio::test]
async fn an_error_blames_the_caller_if_a_rule_says_so_or_a_status_does() {
    let not_found = || async { Err::<u32, _>(io::Error::from(io::ErrorKind::NotFound)) };
    let failed = dashboard().gather((part(name!("a"), not_found()).required(),)).await.unwrap_err();
    assert!(!failed.is_callers_fault());

    let rule = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let failed = dashboard().gather((part(name!("a"), not_found()).is_answer(rule).required(),)).await.unwrap_err();
    assert_eq!((failed.is_callers_fault(), failed.rejection().status()), (true, StatusCode::BAD_REQUEST));
    assert_eq!(failed.rejection().outcome().blame, Some(Blame::Request));
    let failed = failed.into_original::<StatusCode>().unwrap_err();
    assert_eq!(failed.into_original::<io::Error>().unwrap().kind(), io::ErrorKind::NotFound);

    for (code, blames) in [(404, true), (403, true), (429, false), (503, false), (200, false)] {
        let code = StatusCode::from_u16(code).unwrap();
        let failed =
            dashboard().gather((part(name!("a"), async { Err::<u32, _>(code) }).required(),)).await.unwrap_err();
        let status = if blames { code } else { StatusCode::SERVICE_UNAVAILABLE };
        assert_eq!((failed.is_callers_fault(), failed.rejection().status()), (blames, status));
    }
}

#[tokio::test]
async fn layers_further_out_recognise_it() {
    backstop_core::see_through::<RequiredPartFailed>();
    let failed = dashboard().gather((part(name!("a"), async { Err::<u32, _>("down") }).required(),)).await.unwrap_err();
    let rejection = Rejection::in_error(ErrorRef::new(&failed)).unwrap();
    assert_eq!(RequiredPartFailed::part_in_rejection(rejection), Some(&name!("a")));
    let boxed: Box<dyn std::error::Error + Send + Sync> = failed.into();
    assert_eq!(boxed.to_string(), "no page from dashboard");
}

#[cfg(feature = "axum")]
mod as_a_response {
    use axum::{body::to_bytes, response::IntoResponse};

    use super::*;

    #[tokio::test]
    async fn it_is_a_problem_document_that_names_the_part() {
        let failed =
            dashboard().gather((part(name!("profile"), async { Err::<u32, _>(open(2 * SECOND)) }).required(),)).await;
        let response = failed.unwrap_err().into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let body = to_bytes(response.into_body(), 1_000).await.unwrap();
        let expected = concat!(
            r#"{"title":"Service Unavailable","status":503,"detail":"dashboard needs profile, which failed","#,
            r#""reason":"circuit-open","by":"dashboard","part":"profile"}"#
        );
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn it_is_the_parts_own_response_where_that_blames_the_caller() {
        let not_found = async { Ok::<_, io::Error>((StatusCode::NOT_FOUND, "no such user").into_response()) };
        let failed = dashboard().gather((part(name!("profile"), not_found).response().required(),)).await.unwrap_err();
        let response = failed.into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), "no such user");
    }
}
