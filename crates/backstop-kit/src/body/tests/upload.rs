//! A request's body remembers what became of it, for all layers of its call.

use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::{
    BodyExt, Empty, Full, Limited,
    combinators::{BoxBody, UnsyncBoxBody},
};
use tokio::time::advance;

use super::script::{Act, BoxError, Length, Script, data, read_all, trailers};
use crate::{
    RequestFailure, Upload,
    body::{ReplayableBody, WrapBody},
};

type Boxed = UnsyncBoxBody<Bytes, BoxError>;

fn boxed(acts: impl IntoIterator<Item = Act<BoxError>>) -> Boxed {
    Boxed::new(Script::new(acts).with_length(Length::Declared))
}

#[tokio::test]
async fn a_watched_body_is_the_same_body_and_is_watched_once() {
    let acts = || [data(b"one"), Act::Later, data(b"two"), Act::Trailers(trailers("1"))];
    let mut body = boxed(acts());
    let first = Upload::of(&mut body).unwrap();
    // Through a layer that wraps it, too.
    let mut body = Boxed::wrap(body.map_err(|error| error));
    let second = Upload::of(&mut body).unwrap();
    assert!(first.is_same(&second));
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(6), false));
    assert_eq!(read_all(body).await.unwrap(), (b"onetwo".to_vec(), vec![trailers("1")]));
    assert_eq!(first.failure(), None);
    // Another request's is another one.
    assert!(!first.is_same(&Upload::of(&mut boxed(acts())).unwrap()));
}

#[tokio::test]
async fn a_body_that_is_kept_to_be_sent_again_is_watched_already_and_its_copies_as_well() {
    let (mut body, mut replay) = boxed([data(b"one"), Act::Fail("gone".into())]).split(100);
    let upload = Upload::of(&mut body).unwrap();
    drop(body);
    let mut copy = replay.copy().unwrap();
    assert!(upload.is_same(&Upload::of(&mut copy).unwrap()));
    copy.collect().await.unwrap_err();
    assert_eq!(upload.failure(), Some(RequestFailure::Broken));
}

#[test]
fn what_is_at_its_end_or_of_a_type_that_can_not_be_wrapped_costs_nothing() {
    assert!(Upload::of(&mut Boxed::default()).is_none());
    assert!(Upload::of_any(&mut Boxed::default()).is_none());
    assert!(Upload::of_any(&mut Full::new(Bytes::from_static(b"one"))).is_none());
    assert!(Upload::of_any(&mut Empty::<Bytes>::new()).is_none());
    assert!(Upload::of_any(&mut ()).is_none());
    assert!(Upload::of_any(&mut "text".to_owned()).is_none());
    assert!(Upload::of_any(&mut boxed([data(b"one")])).is_some());
    assert!(Upload::of_any(&mut BoxBody::<Bytes, BoxError>::wrap(Script::new([data(b"one")]))).is_some());
}

#[tokio::test]
async fn a_body_over_an_outer_limit_is_too_large() {
    let mut body = Boxed::new(Limited::new(boxed([data(b"one"), data(b"two")]), 4));
    let upload = Upload::of(&mut body).unwrap();
    body.collect().await.unwrap_err();
    assert_eq!(upload.failure(), Some(RequestFailure::TooLarge));
}

#[tokio::test(start_paused = true)]
async fn only_a_body_that_was_asked_for_more_and_has_nothing_is_waited_for() {
    let second = Duration::from_secs(1);
    let mut body = boxed([data(b"one"), Act::Later, data(b"two")]);
    let upload = Upload::of(&mut body).unwrap();
    let mut body = tokio_test::task::spawn(body);
    let mut poll = || body.enter(|cx, body| body.poll_frame(cx).is_ready());
    // Nobody asks.
    advance(second).await;
    assert_eq!((upload.waited(), upload.idle()), (Duration::ZERO, second));
    assert!(poll());
    advance(second).await;
    assert_eq!((upload.waited(), upload.idle()), (Duration::ZERO, second));
    assert!(!poll());
    advance(second * 3).await;
    assert_eq!((upload.waited(), upload.idle()), (second * 3, Duration::ZERO));
    assert!(poll());
    advance(second).await;
    assert_eq!((upload.waited(), upload.idle()), (second * 3, second));
    assert!(upload.held_up(second * 5) && !upload.held_up(second * 6));
}
