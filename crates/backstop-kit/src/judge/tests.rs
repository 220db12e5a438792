use std::{error::Error, fmt, io};

use backstop_core::{
    ClassifyFn,
    grpc::{GrpcCode, WireProtocol},
    name,
};

use super::*;
use crate::{HttpReject, Reject};

type Body = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, std::convert::Infallible>;
type BoxError = Box<dyn Error + Send + Sync>;

fn full() -> Rejection {
    Rejection::refused(name!("ml"), Reason::BULKHEAD_FULL)
}

fn refusal(protocol: WireProtocol) -> Response<Body> {
    let refused: Result<_, io::Error> = Reject::<Request<()>, _, _>::reject(&HttpReject, protocol, full());
    refused.unwrap()
}

type Closure<Res> = fn(Result<&Res, ErrorRef<'_>>) -> Outcome;

/// Counts everything as a failure.
fn harsh<Res>() -> ClassifyFn<Closure<Res>> {
    fn failure<Res>(_: Result<&Res, ErrorRef<'_>>) -> Outcome {
        Outcome::failure()
    }
    ClassifyFn::new(failure::<Res> as Closure<Res>)
}

fn harshly(answer: &mut Response<Body>) -> Outcome {
    HttpJudge { classify: harsh() }.outcome(RequestFacts::none(), Ok(answer))
}

#[test]
fn a_refusal_of_ours_is_judged_before_any_closure() {
    for protocol in [WireProtocol::Http, WireProtocol::Grpc, WireProtocol::GrpcWeb, WireProtocol::GrpcWebText] {
        let mut refused = refusal(protocol);
        assert_eq!(harshly(&mut refused), full().outcome());
        let judge = HttpJudge { classify: harsh() };
        assert_eq!(judge.reason(RequestFacts::none(), Ok(&mut refused)), Reason::BULKHEAD_FULL);
    }
    let errors: [BoxError; 3] =
        [full().into(), io::Error::other(full()).into(), Box::new(io::Error::other(io::Error::other(full())))];
    for error in errors {
        let error = ErrorRef::new(&error);
        assert_eq!(judge_error::<(), _>(&harsh(), error), full().outcome());
        assert_eq!(Classify::<()>::classify(&ResultClassify::new(), Err(error)), full().outcome());
        assert_eq!(Classify::<()>::reason(&ResultClassify::new(), Err(error)), Reason::BULKHEAD_FULL);
    }
    let lost: BoxError = "lost".into();
    assert_eq!(judge_error::<(), _>(&harsh(), ErrorRef::new(&lost)), Outcome::failure());
}

#[test]
fn a_refusal_that_was_turned_into_a_good_answer_is_judged_as_that() {
    let mut turned = refusal(WireProtocol::Http);
    *turned.status_mut() = StatusCode::OK;
    assert_eq!(harshly(&mut turned), Outcome::failure(), "the closure's word");
    assert!(Rejection::in_response(&turned).is_none());
}

#[derive(Debug)]
struct Own(Rejection);

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("own")
    }
}

impl Error for Own {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn a_refusal_in_an_error_of_ones_own_is_found_where_the_type_is_named() {
    let own = Own(full());
    let judge = harsh::<()>().see_through::<Own>();
    assert_eq!(judge.classify(Err(ErrorRef::new(&own))), full().outcome());
    assert_eq!(judge.reason(Err(ErrorRef::new(&own))), Reason::BULKHEAD_FULL);
    let judge = ResultClassify::new().see_through::<Own>();
    assert_eq!(Classify::<()>::classify(&judge, Err(ErrorRef::new(&own))), full().outcome());
}

/// A classifier with one word.
struct Says(Reason);

impl<Res> Classify<Res> for Says {
    fn classify(&self, _: Result<&Res, ErrorRef<'_>>) -> Outcome {
        Outcome::failure()
    }

    fn reason(&self, _: Result<&Res, ErrorRef<'_>>) -> Reason {
        self.0
    }
}

#[test]
fn an_answer_tells_why_it_is_none_where_the_classifier_has_no_word_for_it() {
    let unavailable = &mut Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(()).unwrap();
    let (facts, http) = (RequestFacts::none(), |word| HttpJudge { classify: Says(word) });
    let status = Reason::status(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(http(Reason::ERROR).reason(facts, Ok(unavailable)), status);
    assert_eq!(http(Reason::BODY).reason(facts, Ok(unavailable)), Reason::BODY, "the classifier's word");
    assert_eq!(PlainJudge { classify: Says(Reason::ERROR) }.reason(facts, Ok(unavailable)), Reason::ERROR);
}

#[test]
fn for_functions_every_ok_is_a_success_and_errors_are_transient() {
    let judge = ResultClassify::new();
    assert_eq!(judge.classify(Ok(&7)), Outcome::success());
    assert_eq!(Classify::<()>::classify(&judge, Err(ErrorRef::new(&"anything"))), Outcome::failure().transient());
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    let outcome = Classify::<()>::classify(&judge, Err(ErrorRef::new(&refused)));
    assert_eq!((outcome.verdict, outcome.transient), (backstop_core::Verdict::Failure, true));
}

#[test]
fn an_answer_to_a_grpc_call_that_is_not_grpcs_is_judged_by_the_status_that_it_maps_to() {
    let classify = HttpClassify::new();
    let judge = HttpJudge { classify: classify.clone() };
    let call = RequestFacts::none().grpc();
    for (status, code) in
        [(200, 2), (302, 2), (400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14)]
    {
        let mut page =
            Response::builder().status(status).header("content-type", "text/html").body(Body::default()).unwrap();
        let code = GrpcCode::from_number(code);
        let trailers_only = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", code.number().to_string());
        let expected = classify.classify(Ok(&trailers_only.body(()).unwrap()));
        assert_eq!(judge.outcome(call, Ok(&mut page)), expected, "{status}");
        assert_eq!(judge.reason(call, Ok(&mut page)), Reason::grpc(code));
        assert_eq!(HttpJudge { classify: harsh() }.reason(call, Ok(&mut page)), Reason::grpc(code));
        assert_eq!(page.headers()["content-type"], "text/html", "it is as it was");
        // To any other request it is what it says.
        assert_eq!(judge.outcome(RequestFacts::none(), Ok(&mut page)), classify.classify(Ok(&page)));
    }
}
