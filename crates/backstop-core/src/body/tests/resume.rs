//! A body whose first frame was read is the same body when it is given again.

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;

use super::script::{Act, Erased, Length, Script, data, read_all, trailers};
use crate::body::{WrapBody, resume_body};

fn script(length: Length) -> Erased {
    let acts = [data(b"one"), Act::Later, data(b"two"), Act::Trailers(trailers("1"))];
    Erased::wrap(Script::new(acts).with_length(length))
}

#[tokio::test]
async fn it_has_the_same_frames_and_the_same_hints() {
    for length in [Length::Declared, Length::Unknown] {
        let mut body = script(length);
        let exact = body.size_hint().exact();
        let first = body.frame().await;
        let body = resume_body(first, body);
        assert_eq!(body.size_hint().exact(), exact);
        assert!(body.size_hint().lower() >= 3, "what was read is known");
        assert!(!body.is_end_stream());
        assert_eq!(read_all(body).await.unwrap(), (b"onetwo".to_vec(), vec![trailers("1")]));
    }
}

#[tokio::test]
async fn its_end_is_told_as_soon_as_it_is_known() {
    let mut body = Erased::wrap(Script::new([data(b"one")]).with_length(Length::Declared));
    let first = body.frame().await;
    let mut body = resume_body(first, body);
    assert!(!body.is_end_stream(), "its only frame is still to come");
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), Bytes::from_static(b"one"));
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn an_error_in_place_of_the_first_frame_comes_again_and_an_empty_body_is_empty() {
    let mut broken = Erased::wrap(Script::new([Act::Fail("broken".into()), data(b"one")]));
    let first = broken.frame().await;
    let mut broken = resume_body(first, broken);
    assert_eq!(broken.frame().await.unwrap().unwrap_err().to_string(), "broken");

    let mut empty = Erased::wrap(Script::new([]));
    let first = empty.frame().await;
    assert!(first.is_none());
    assert!(resume_body(first, empty).is_end_stream());
}
