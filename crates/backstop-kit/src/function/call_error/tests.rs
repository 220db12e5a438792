use std::{io, time::Duration};

use backstop_core::{ErrorRef, Reason, name};

use super::*;

fn open() -> CallError<io::Error> {
    let rejection = Rejection::refused(name!("db"), Reason::CIRCUIT_OPEN);
    CallError::Rejected(rejection.with_retry_after(Some(Duration::from_millis(1500))))
}

fn failed() -> CallError<io::Error> {
    CallError::Failed(io::Error::other("secret"))
}

#[test]
fn its_text_says_which_layer_rejected_and_why_or_how_the_function_failed() {
    assert_eq!(open().to_string(), "the call was rejected: db rejected the call: circuit-open");
    assert_eq!(failed().to_string(), "the call failed: secret");
}

#[test]
fn its_rejection_is_found_in_a_box() {
    let boxed: Box<dyn Error + Send + Sync> = open().into();
    assert_eq!(Rejection::in_error(ErrorRef::new(&boxed)).unwrap().by(), "db");
    let boxed: Box<dyn Error + Send + Sync> = failed().into();
    assert!(ErrorRef::new(&boxed).find::<io::Error>().is_some());
}

#[test]
fn it_gives_what_it_holds() {
    let (open, failed) = (open(), failed());
    assert!(open.error().is_none() && failed.rejection().is_none());
    assert_eq!(open.rejection().unwrap().reason(), Reason::CIRCUIT_OPEN);
    assert_eq!(failed.error().unwrap().to_string(), "secret");
    assert_eq!(failed.map(|error| error.kind()).error(), Some(&io::ErrorKind::Other));
}

#[cfg(feature = "axum")]
mod as_a_response {
    use axum_core::response::{IntoResponse, Response};
    use backstop_core::SetBy;
    use http::{StatusCode, header::RETRY_AFTER};

    use super::*;
    use crate::{Elapsed, Progress};

    async fn parts(response: Response) -> (StatusCode, Option<String>, usize) {
        let (head, body) = response.into_parts();
        assert_eq!(head.headers["cache-control"], "no-store");
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        let wait = head.headers.get(RETRY_AFTER).map(|wait| wait.to_str().unwrap().to_owned());
        (head.status, wait, body.len())
    }

    #[tokio::test]
    async fn a_refusal_is_a_503_with_its_wait_and_a_deadline_a_504_and_neither_has_a_text() {
        let refused = (StatusCode::SERVICE_UNAVAILABLE, Some("2".to_owned()), 0);
        assert_eq!(parts(open().into_response()).await, refused);
        let late = Elapsed::new(SetBy::Us, Progress::Called).rejection(name!("db"));
        let late = CallError::<io::Error>::Rejected(late).into_response();
        assert_eq!(Rejection::in_response(&late).unwrap().reason(), Reason::TIMEOUT);
        assert_eq!(parts(late).await, (StatusCode::GATEWAY_TIMEOUT, None, 0));
        assert_eq!(parts(failed().into_response()).await, (StatusCode::INTERNAL_SERVER_ERROR, None, 0));
    }
}
