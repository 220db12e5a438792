//! A wrapped body is the same body.

use bytes::Bytes;
use http_body::Body;
use http_body_util::{
    BodyExt,
    combinators::{BoxBody, UnsyncBoxBody},
};

use super::script::{Act, BoxError, Length, Script, data, read_all, trailers};
use crate::body::{ClientBody, WrapBody};

async fn check<B>(make: impl Fn(Script<B::Error>) -> B)
where
    B: WrapBody,
    B::Error: std::fmt::Debug + Unpin + Send + 'static,
{
    let script = Script::new([
        Act::Data(Bytes::from_static(b"one")),
        Act::Later,
        Act::Data(Bytes::from_static(b"two")),
        Act::Trailers(trailers("1")),
    ]);
    let body = B::wrap(B::wrap(make(script.with_length(Length::Declared))));
    assert_eq!(body.size_hint().exact(), Some(6));
    assert!(!body.is_end_stream());
    assert_eq!(read_all(body).await.unwrap(), (b"onetwo".to_vec(), vec![trailers("1")]));
    assert!(B::wrap(B::default()).is_end_stream());
}

#[tokio::test]
async fn boxed_bodies_hold_any_other_body() {
    check(UnsyncBoxBody::<Bytes, BoxError>::wrap).await;
    check(BoxBody::<Bytes, BoxError>::wrap).await;
    check(ClientBody::wrap).await;
}

#[tokio::test]
async fn a_shared_boxed_body_follows_the_hints_of_one_that_isn_t() {
    let script = Script::new([data(b"one"), data(b"two")]).with_length(Length::Declared);
    let mut body = BoxBody::<Bytes, BoxError>::wrap(script);
    for left in [3, 0] {
        body.frame().await.unwrap().unwrap();
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(left), left == 0));
    }
    fn assert_sync<T: Sync>(_: &T) {}
    assert_sync(&body);
}

#[cfg(feature = "axum")]
mod axum {
    use axum_core::{body::Body as AxumBody, extract::FromRequest, response::IntoResponse};
    use http::{Request, StatusCode};
    use http_body_util::Limited;

    use super::*;
    use crate::body::{ReplayError, ReplayableBody};

    #[tokio::test]
    async fn axum_s_body_holds_any_other_body() {
        check(AxumBody::wrap).await;
    }

    /// As `tower_http::limit::RequestBodyLimitLayer` leaves a body that then comes into an axum router.
    fn limited() -> AxumBody {
        let long = AxumBody::new(Script::new([data(b"12345"), data(b"67890")]));
        AxumBody::new(Limited::new(long, 7))
    }

    async fn status_of(body: AxumBody) -> StatusCode {
        let rejection = Bytes::from_request(Request::new(body), &()).await.unwrap_err();
        rejection.into_response().status()
    }

    #[tokio::test]
    async fn an_outer_body_limit_stays_a_413_under_any_number_of_layers() {
        assert_eq!(status_of(limited()).await, StatusCode::PAYLOAD_TOO_LARGE, "as it is without us");
        let (first, _replay) = limited().split(1000);
        assert_eq!(status_of(first).await, StatusCode::PAYLOAD_TOO_LARGE);
        let (outer, mut replay) = limited().split(1000);
        let (inner, _inner_replay) = outer.split(1000);
        assert_eq!(status_of(AxumBody::wrap(inner)).await, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(replay.copy().is_err());
        let (mut first, mut replay) = limited().split(1000);
        first.frame().await.unwrap().unwrap();
        assert_eq!(status_of(replay.copy().unwrap()).await, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn a_superseded_axum_body_says_so() {
        let (mut first, mut replay) = AxumBody::from("hello").split(1000);
        let copy = replay.copy().unwrap();
        let error = first.frame().await.unwrap().unwrap_err().into_inner();
        assert_eq!(error.downcast_ref(), Some(&ReplayError::Superseded));
        assert_eq!(copy.size_hint().exact(), Some(5));
        assert_eq!(read_all(copy).await.unwrap().0, b"hello");
    }
}

#[cfg(feature = "tonic")]
mod tonic {
    use std::{error::Error, sync::Arc};

    use ::tonic::{Code, Status, body::Body as TonicBody, metadata::MetadataMap};

    use super::*;
    use crate::body::{NotReplayable, ReplayError, ReplayableBody};

    #[tokio::test]
    async fn tonic_s_body_holds_any_other_body() {
        check(TonicBody::wrap).await;
    }

    #[tokio::test]
    async fn a_status_comes_through_untouched() {
        let mut status = Status::with_metadata(Code::DataLoss, "half of it", MetadataMap::new());
        status.metadata_mut().insert("x-row", "7".parse().unwrap());
        status.set_source(Arc::new(std::io::Error::other("disk")));
        let (first, mut replay) = TonicBody::new(Script::new([Act::Fail(status)])).split(1000);
        let seen = read_all(TonicBody::wrap(first)).await.unwrap_err();
        assert_eq!((seen.code(), seen.message()), (Code::DataLoss, "half of it"));
        assert_eq!(seen.metadata().get("x-row").unwrap(), "7");
        assert_eq!(seen.source().unwrap().to_string(), "disk");
        assert_eq!(replay.copy().unwrap_err(), NotReplayable::SourceFailed);
    }

    #[tokio::test]
    async fn a_superseded_tonic_body_is_cancelled() {
        let script = Script::<Status>::new([Act::Data(Bytes::from_static(b"hello"))]);
        let (mut first, mut replay) = TonicBody::new(script).split(1000);
        let copy = replay.copy().unwrap();
        let status = first.frame().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Cancelled);
        assert_eq!(status.source().unwrap().downcast_ref(), Some(&ReplayError::Superseded));
        assert_eq!(read_all(copy).await.unwrap().0, b"hello");
    }
}
