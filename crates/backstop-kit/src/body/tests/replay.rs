//! What a copy of a body is.

use std::{
    fmt, io,
    sync::{Arc, Mutex},
    task::Poll,
};

use bytes::Bytes;
use http_body::{Body, SizeHint};
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};

use super::script::{Act, BoxError, Erased, Length, Script, data, poll_once, read_all, read_some, trailers};
use crate::body::{NotReplayable, ReplayError, ReplayState, ReplayableBody};

const CAP: usize = 64 * 1024;

fn script(acts: impl IntoIterator<Item = Act>) -> Erased {
    Erased::new(Script::new(acts))
}

fn replay_error<E: AsRef<dyn std::error::Error + Send + Sync>>(error: &E) -> Option<ReplayError> {
    error.as_ref().downcast_ref().copied()
}

#[tokio::test]
async fn a_body_is_replayed_with_its_trailers() {
    let (first, mut replay) =
        script([data(b"hello "), Act::Later, data(b"world"), Act::Trailers(trailers("1"))]).split(CAP);
    let expected = (b"hello world".to_vec(), vec![trailers("1")]);
    assert_eq!(read_all(first).await.unwrap(), expected);
    for _ in 0..3 {
        assert_eq!(read_all(replay.copy().unwrap()).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_first_reader_dropped_at_any_frame_leaves_a_copy_that_gives_everything_once() {
    for frames in 0..=4 {
        let acts = [data(b"one "), data(b"two "), data(b"three"), Act::Trailers(trailers("3"))];
        let (mut first, mut replay) = script(acts).split(CAP);
        read_some(&mut first, frames).await.unwrap();
        drop(first);
        let (bytes, ends) = read_all(replay.copy().unwrap()).await.unwrap();
        assert_eq!((bytes.as_slice(), ends.len()), (&b"one two three"[..], 1), "after {frames} frames");
    }
}

#[tokio::test]
async fn a_first_reader_dropped_while_the_source_is_pending_leaves_a_whole_copy() {
    let (mut first, mut replay) = script([data(b"one "), Act::Later, data(b"two")]).split(CAP);
    assert!(poll_once(&mut first).is_ready());
    assert!(poll_once(&mut first).is_pending());
    drop(first);
    assert_eq!(read_all(replay.copy().unwrap()).await.unwrap().0, b"one two");
}

#[tokio::test]
async fn a_copy_of_a_copy_in_the_middle_gives_everything() {
    let (mut first, mut replay) = script([data(b"a"), data(b"b"), data(b"c"), data(b"d")]).split(CAP);
    read_some(&mut first, 1).await.unwrap();
    let mut second = replay.copy().unwrap();
    assert_eq!(read_some(&mut second, 2).await.unwrap().0, b"ab");
    let mut third = replay.copy().unwrap();
    assert_eq!(read_some(&mut third, 2).await.unwrap().0, b"ab");
    assert_eq!(read_all(third).await.unwrap().0, b"cd");
}

#[tokio::test]
async fn the_earlier_reader_gets_an_error_and_never_an_end_that_looks_complete() {
    let (mut first, mut replay) = script([data(b"one "), data(b"two")]).split(CAP);
    read_some(&mut first, 1).await.unwrap();
    let copy = replay.copy().unwrap();
    assert!(!first.is_end_stream());
    assert_eq!(first.size_hint().exact(), None);
    let error = first.frame().await.unwrap().unwrap_err();
    assert_eq!(replay_error(&error), Some(ReplayError::Superseded));
    assert!(!first.is_end_stream());
    assert!(first.frame().await.is_none());
    assert_eq!(read_all(copy).await.unwrap().0, b"one two");
}

#[tokio::test]
async fn an_earlier_reader_at_the_end_is_superseded_all_the_same() {
    let (mut first, mut replay) = script([data(b"one")]).split(CAP);
    read_some(&mut first, 1).await.unwrap();
    let _copy = replay.copy().unwrap();
    assert!(first.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn an_earlier_reader_that_waits_is_woken_to_learn_that_it_is_out() {
    let waker = Arc::new(Mutex::new(None));
    let (first, mut replay) = script([data(b"one "), Act::Hang(waker)]).split(CAP);
    let mut reading = tokio_test::task::spawn(read_all(first));
    assert!(reading.poll().is_pending());
    let _copy = replay.copy().unwrap();
    assert!(reading.is_woken());
    let Poll::Ready(Err(error)) = reading.poll() else { panic!("still reading") };
    assert_eq!(replay_error(&error), Some(ReplayError::Superseded));
}

#[tokio::test]
async fn a_body_at_its_end_costs_nothing_and_its_copies_are_the_default() {
    let (body, mut replay) = Erased::default().split(CAP);
    assert!(body.is_end_stream());
    assert_eq!(replay.state(), ReplayState::Whole);
    assert!(replay.copy().unwrap().is_end_stream());
    let (_, mut replay) = Empty::<Bytes>::new().split(0);
    assert!(replay.copy().unwrap().is_end_stream());
}

#[tokio::test]
async fn a_full_body_is_shared_not_copied() {
    let bytes = Bytes::from(vec![7; 4096]);
    let (first, mut replay) = Full::new(bytes.clone()).split(CAP);
    let copy = replay.copy().unwrap();
    for body in [first, copy] {
        assert_eq!(body.into_inner().unwrap().as_ptr(), bytes.as_ptr());
    }
    let (mut empty, mut replay) = Full::<Bytes>::default().split(0);
    assert!(empty.frame().await.is_none());
    assert!(replay.copy().unwrap().is_end_stream());
}

#[tokio::test]
async fn a_failing_source_gives_its_own_error_and_no_more_copies() {
    let failure = io::Error::from(io::ErrorKind::ConnectionReset);
    let (mut first, mut replay) = script([data(b"one"), Act::Fail(failure.into())]).split(CAP);
    read_some(&mut first, 1).await.unwrap();
    let error = first.frame().await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::ConnectionReset);
    assert!(!first.is_end_stream(), "a failed body never looks complete");
    assert!(first.frame().await.is_none());
    assert_eq!(replay.state(), ReplayState::Nothing(NotReplayable::SourceFailed));
    assert_eq!(replay.copy().unwrap_err(), NotReplayable::SourceFailed);
}

#[tokio::test]
async fn size_hints_and_ends_are_those_of_the_original_at_every_frame() {
    let acts = || [data(b"12"), data(b"345"), data(b"6")];
    let declared = || Script::new(acts()).with_length(Length::Declared);
    let (first, mut replay) = Erased::new(declared()).split(CAP);
    let mut bodies = vec![first];
    // Each copy is made when the one before it has read one frame more.
    for frames in 0..3 {
        let mut body = bodies.pop().unwrap();
        let mut left = 6;
        for _ in 0..frames {
            assert_eq!(body.size_hint().exact(), Some(left));
            assert!(!body.is_end_stream());
            left -= body.frame().await.unwrap().unwrap().into_data().unwrap().len() as u64;
        }
        assert_eq!(body.size_hint().exact(), Some(left));
        bodies.push(replay.copy().unwrap());
    }
    let mut last = bodies.pop().unwrap();
    assert_eq!(last.size_hint().exact(), Some(6));
    while !last.is_end_stream() {
        last.frame().await.unwrap().unwrap();
    }
    assert_eq!(last.size_hint().exact(), Some(0));
    assert_eq!(replay.state(), ReplayState::Whole, "a body that knows its end needn't be polled for it");
}

#[tokio::test]
async fn a_body_of_unknown_length_stays_one() {
    let (mut first, mut replay) = script([data(b"12"), data(b"345")]).split(CAP);
    let unknown = |body: &Erased| (body.size_hint().upper(), body.is_end_stream());
    assert_eq!(unknown(&first), (None, false));
    read_some(&mut first, 1).await.unwrap();
    assert_eq!(first.size_hint().lower(), 0);
    let mut copy = replay.copy().unwrap();
    assert_eq!((copy.size_hint().lower(), unknown(&copy)), (2, (None, false)));
    read_some(&mut copy, 3).await.unwrap();
    let whole = replay.copy().unwrap();
    assert_eq!(whole.size_hint().exact(), Some(5), "once it has been read, the length is known");
}

#[tokio::test]
async fn huge_hints_don_t_overflow() {
    struct Huge(bool);
    impl Body for Huge {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
            self.0 = true;
            Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"x")))))
        }
        fn size_hint(&self) -> SizeHint {
            if self.0 { SizeHint::with_exact(u64::MAX) } else { SizeHint::new() }
        }
    }
    let (mut first, mut replay) = Erased::new(Huge(false)).split(CAP);
    read_some(&mut first, 1).await.unwrap();
    let hint = replay.copy().unwrap().size_hint();
    assert_eq!((hint.lower(), hint.upper()), (u64::MAX, None));
}

#[tokio::test]
async fn a_shared_boxed_body_is_replayed_too() {
    let body = BoxBody::<Bytes, BoxError>::new(SyncScript(Mutex::new(Script::new([data(b"one "), data(b"two")]))));
    let (mut first, mut replay) = body.split(CAP);
    read_some(&mut first, 1).await.unwrap();
    assert_eq!(read_all(replay.copy().unwrap()).await.unwrap().0, b"one two");
}

struct SyncScript(Mutex<Script>);

impl Body for SyncScript {
    type Data = Bytes;
    type Error = BoxError;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        std::pin::Pin::new(self.0.get_mut().unwrap()).poll_frame(cx)
    }
}

#[test]
fn handles_are_send_and_sync_whatever_the_body_is() {
    fn assert<T: Send + Sync + fmt::Debug>(_: &T) {}
    let (_, replay) = script([data(b"one")]).split(CAP);
    assert(&replay);
}
