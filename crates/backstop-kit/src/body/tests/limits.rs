//! What a body that may be replayed takes of memory, and how long.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};

use super::script::{Act, Erased, Length, Script, counted_chunk, data, read_all, read_some, trailers};
use crate::body::{NotReplayable, ReplayState, ReplayableBody};

const CAP: usize = 64 * 1024;

fn script(acts: impl IntoIterator<Item = Act>) -> Erased {
    Erased::new(Script::new(acts))
}

#[tokio::test]
async fn a_full_body_over_the_cap_is_sent_but_not_held() {
    let released = Arc::new(AtomicUsize::new(0));
    let (first, mut replay) = Full::new(counted_chunk(11, &released)).split(10);
    assert_eq!(replay.copy().unwrap_err(), NotReplayable::TooLarge);
    drop(first);
    assert_eq!(released.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_that_declares_more_than_the_cap_is_left_alone() {
    let declared = Script::new([data(b"too long")]).with_length(Length::Declared);
    let (body, mut replay) = Erased::new(declared).split(7);
    assert_eq!(replay.state(), ReplayState::Nothing(NotReplayable::TooLarge));
    assert_eq!(replay.copy().unwrap_err(), NotReplayable::TooLarge);
    assert_eq!(read_all(body).await.unwrap().0, b"too long");
}

#[tokio::test]
async fn a_body_of_exactly_the_cap_is_replayed_and_one_byte_more_is_not() {
    for (cap, expected) in [(8, Ok(())), (7, Err(NotReplayable::TooLarge))] {
        let (first, mut replay) = script([data(b"1234"), data(b"5678")]).split(cap);
        assert_eq!(read_all(first).await.unwrap().0, b"12345678");
        assert_eq!(replay.copy().map(drop), expected);
    }
}

#[tokio::test]
async fn a_body_that_proves_too_long_streams_on_and_releases_what_was_buffered() {
    let released = Arc::new(AtomicUsize::new(0));
    let chunk = || Act::Data(counted_chunk(2000, &released));
    let (mut first, mut replay) = script([chunk(), chunk(), chunk(), chunk()]).split(5000);
    read_some(&mut first, 2).await.unwrap();
    assert_eq!(released.load(Ordering::SeqCst), 0, "two are held");
    assert_eq!(replay.state(), ReplayState::Partly);
    read_some(&mut first, 1).await.unwrap();
    assert_eq!(released.load(Ordering::SeqCst), 3);
    assert_eq!(replay.state(), ReplayState::Nothing(NotReplayable::TooLarge));
    assert_eq!(replay.copy().unwrap_err(), NotReplayable::TooLarge);
    assert_eq!(read_all(first).await.unwrap().0.len(), 2000, "the refused copy doesn't disturb the reader");
}

#[tokio::test]
async fn a_body_that_nobody_reads_on_is_free_to_be_copied() {
    let (mut first, mut replay) = script([data(b"12"), data(b"34")]).split(CAP);
    read_some(&mut first, 1).await.unwrap();
    assert_eq!(replay.state(), ReplayState::Partly);
    drop(first);
    assert_eq!(replay.state(), ReplayState::Abandoned);
    let copy = replay.copy().unwrap();
    assert_eq!(replay.state(), ReplayState::Partly, "the copy's reader is another one");
    assert_eq!(read_all(copy).await.unwrap().0, b"1234");
    assert_eq!(replay.state(), ReplayState::Whole);
}

#[tokio::test]
async fn a_copy_may_prove_too_long_as_well() {
    let (mut first, mut replay) = script([data(b"12"), data(b"34"), data(b"56")]).split(4);
    read_some(&mut first, 1).await.unwrap();
    let copy = replay.copy().unwrap();
    assert_eq!(read_all(copy).await.unwrap().0, b"123456");
    assert_eq!(replay.copy().unwrap_err(), NotReplayable::TooLarge);
}

#[tokio::test]
async fn trailers_count_against_the_cap() {
    let (first, mut replay) = script([data(b"1234"), Act::Trailers(trailers("long enough"))]).split(8);
    assert_eq!(read_all(first).await.unwrap().1.len(), 1);
    assert_eq!(replay.copy().unwrap_err(), NotReplayable::TooLarge);
}

#[tokio::test]
async fn tiny_chunks_of_large_buffers_keep_no_buffer_alive() {
    let released = Arc::new(AtomicUsize::new(0));
    let acts = (0..100).map(|_| Act::Data(counted_chunk(100_000, &released).slice(..10)));
    let (first, mut replay) = script(acts).split(1000);
    assert_eq!(read_all(first).await.unwrap().0.len(), 1000);
    assert_eq!(released.load(Ordering::SeqCst), 100);
    assert_eq!(read_all(replay.copy().unwrap()).await.unwrap().0, [b'x'; 1000]);
}

#[tokio::test]
async fn dropping_the_handle_releases_what_was_read_and_ends_the_recording() {
    let released = Arc::new(AtomicUsize::new(0));
    let chunk = || Act::Data(counted_chunk(2000, &released));
    let (mut first, replay) = script([chunk(), chunk(), chunk()]).split(CAP);
    read_some(&mut first, 2).await.unwrap();
    drop(replay);
    assert_eq!(released.load(Ordering::SeqCst), 2);
    read_some(&mut first, 1).await.unwrap();
    assert_eq!(released.load(Ordering::SeqCst), 3);
    assert!(first.frame().await.is_none());
}

#[tokio::test]
async fn dropping_the_handle_takes_nothing_from_the_copy_that_is_being_read() {
    for frames in 0..=3 {
        let acts = [data(b"one "), Act::Data(Bytes::from(vec![b'x'; 2000])), data(b"two"), data(b"three")];
        let (mut first, mut replay) = script(acts).split(CAP);
        read_some(&mut first, 3).await.unwrap();
        let mut copy = replay.copy().unwrap();
        let mut read = read_some(&mut copy, frames).await.unwrap().0;
        drop(replay);
        read.extend(read_all(copy).await.unwrap().0);
        assert_eq!(read.len(), 4 + 2000 + 3 + 5, "after {frames} frames");
        assert!(read.ends_with(b"xxtwothree"));
    }
}

#[tokio::test]
async fn the_source_is_dropped_as_soon_as_it_has_ended_or_failed() {
    for last in [None, Some(Act::Fail("broken".into()))] {
        let drops = Arc::new(AtomicUsize::new(0));
        let source = Script::new([data(b"one")].into_iter().chain(last)).counted(&drops);
        let (mut first, replay) = Erased::new(source).split(CAP);
        read_some(&mut first, 1).await.unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 0);
        let _ = read_some(&mut first, 1).await;
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        drop(replay);
    }
}

#[tokio::test]
async fn a_cancelled_request_lets_go_of_its_body() {
    for frames in 0..=2 {
        let drops = Arc::new(AtomicUsize::new(0));
        let (mut first, replay) = Erased::new(Script::new([data(b"1"), data(b"2")]).counted(&drops)).split(CAP);
        read_some(&mut first, frames).await.unwrap();
        drop(first);
        assert_eq!(drops.load(Ordering::SeqCst), 0, "a copy may want it");
        drop(replay);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }
}
