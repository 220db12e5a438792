//! A client's body: what it is made of comes out, and is sent again.

use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt, Full};

use super::script::{Script, data, read_all};
use crate::body::{ClientBody, NotReplayable, ReplayableBody};

async fn text(body: ClientBody) -> Bytes {
    body.collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn content_in_memory_comes_out_at_once_and_its_end_is_known() {
    for mut body in ["abc".into(), "abc".to_owned().into(), b"abc".to_vec().into(), ClientBody::new(Full::from("abc"))]
    {
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(3), false));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
        assert!(body.frame().await.is_none());
    }
    for empty in [ClientBody::empty(), ClientBody::default(), "".into(), Bytes::new().into()] {
        assert_eq!((empty.size_hint().exact(), empty.is_end_stream()), (Some(0), true));
        assert_eq!(text(empty).await, "");
    }
}

#[tokio::test]
async fn content_in_memory_is_shared_by_its_copies_up_to_the_cap() {
    let (first, mut replay) = ClientBody::from("abc").split(3);
    assert_eq!(text(replay.copy().unwrap()).await, "abc");
    assert_eq!(text(first).await, "abc", "a copy doesn't end it");
    let (first, mut replay) = ClientBody::from("abcd").split(3);
    assert_eq!(replay.copy().unwrap_err(), NotReplayable::TooLarge);
    assert_eq!(text(first).await, "abcd");
    let (_, mut replay) = ClientBody::empty().split(0);
    assert!(replay.copy().unwrap().is_end_stream());
}

#[tokio::test]
async fn a_streamed_body_is_recorded_while_it_is_sent() {
    let (first, mut replay) = ClientBody::new(Script::new([data(b"one"), data(b"two")])).split(100);
    assert_eq!(read_all(first).await.unwrap().0, b"onetwo");
    assert_eq!(read_all(replay.copy().unwrap()).await.unwrap().0, b"onetwo");
}
