//! A body that was read ahead is the same body when it is passed on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio_test::{assert_pending, task::spawn};

use super::script::{Act, BoxError, Erased, Length, Script, data, read_all, trailers};
use crate::body::{Ahead, ReadAhead};

async fn read(acts: impl IntoIterator<Item = Act>, max_bytes: usize) -> Result<Ahead<Erased>, BoxError> {
    ReadAhead::new(Erased::new(Script::new(acts)), max_bytes).await
}

#[tokio::test]
async fn a_body_that_fits_is_read_to_its_end() {
    let ahead = read([data(b"one"), Act::Later, data(b"two"), Act::Trailers(trailers("1"))], 100).await.unwrap();
    assert!(ahead.is_whole);
    assert_eq!(ahead.trailers, Some(trailers("1")));
    assert_eq!(read_all(ahead.body).await.unwrap(), (b"onetwo".to_vec(), vec![trailers("1")]));
}

#[tokio::test]
async fn a_longer_body_goes_on_where_reading_stopped() {
    let ahead = read([data(b"one"), data(b"two"), Act::Later, data(b"three")], 5).await.unwrap();
    assert!(!ahead.is_whole);
    assert_eq!(ahead.trailers, None);
    assert_eq!(read_all(ahead.body).await.unwrap().0, b"onetwothree");

    let ahead = read([data(b"one"), Act::Fail("reset".into())], 2).await.unwrap();
    assert_eq!(read_all(ahead.body).await.unwrap_err().to_string(), "reset", "later, that is whoever reads it's");
}

#[tokio::test]
async fn with_0_it_waits_for_the_first_frame_that_holds_anything() {
    let first = read([data(b""), Act::Later, data(b"one"), Act::Hang(Arc::default())], 0).await.unwrap();
    assert!(!first.is_whole);
    let status = read([Act::Trailers(trailers("1"))], 0).await.unwrap();
    assert_eq!(status.trailers, Some(trailers("1")));
    assert_eq!(read_all(status.body).await.unwrap().1, [trailers("1")]);
    assert!(read([data(b"")], 0).await.unwrap().is_whole);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_its_error() {
    assert_eq!(read([data(b"one"), Act::Fail("reset".into())], 100).await.unwrap_err().to_string(), "reset");
    assert_eq!(read([Act::Fail("reset".into())], 0).await.unwrap_err().to_string(), "reset");
}

fn panics<T>(poll: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(poll)).is_err()
}

#[test]
fn the_body_is_dropped_with_it_and_once_it_is_read() {
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = |acts: Vec<Act>| Erased::new(Script::new(acts).counted(&drops));

    let mut hanging = spawn(ReadAhead::new(counted(vec![data(b"one"), Act::Hang(Arc::default())]), 100));
    assert_pending!(hanging.poll());
    drop(hanging);
    assert_eq!(drops.load(Ordering::SeqCst), 1);

    let mut whole = spawn(ReadAhead::new(counted(vec![data(b"one")]), 100));
    assert!(whole.poll().is_ready());
    assert_eq!(drops.load(Ordering::SeqCst), 2, "what is in memory needs no connection");

    let mut broken = spawn(ReadAhead::new(counted(vec![Act::Fail("reset".into())]), 100));
    assert!(broken.poll().is_ready());
    assert_eq!(drops.load(Ordering::SeqCst), 3);
    assert!(panics(|| broken.poll()), "polled once too often, it hangs nobody");
}

#[tokio::test]
async fn reading_that_is_stopped_gives_the_body_as_far_as_it_came_and_goes_on_from_there() {
    for length in [Length::Declared, Length::Unknown] {
        let body = Erased::new(Script::new([data(b"one"), Act::Later, data(b"two")]).with_length(length));
        let hint = body.size_hint();
        let mut reading = spawn(ReadAhead::new(body, 100));
        assert_pending!(reading.poll());
        let mut ahead = reading.stop().unwrap();
        assert!(reading.stop().is_none());
        assert!(panics(|| reading.poll()));

        assert!(!ahead.is_whole && !ahead.body.is_end_stream());
        assert_eq!((ahead.body.size_hint().lower(), ahead.body.size_hint().upper()), (hint.lower(), hint.upper()));
        for (frame, left) in [("one", 3), ("two", 0)] {
            assert_eq!(ahead.body.frame().await.unwrap().unwrap().into_data().unwrap(), frame);
            assert_eq!(ahead.body.size_hint().exact(), hint.exact().map(|_| left));
        }
        assert!(ahead.body.frame().await.is_none());
    }
}

#[tokio::test]
async fn reading_that_is_stopped_before_it_began_or_after_the_trailers_loses_nothing() {
    let early = ReadAhead::new(Erased::new(Script::new([data(b"one")])), 100).stop().unwrap();
    assert_eq!(read_all(early.body).await.unwrap().0, b"one");

    let acts = [data(b"one"), Act::Trailers(trailers("1")), Act::Later];
    let mut reading = spawn(ReadAhead::new(Erased::new(Script::new(acts)), 100));
    assert_pending!(reading.poll());
    let late = reading.stop().unwrap();
    assert_eq!(late.trailers, Some(trailers("1")));
    assert_eq!(read_all(late.body).await.unwrap(), (b"one".to_vec(), vec![trailers("1")]));
}

proptest! {
    #[test]
    fn any_body_comes_out_byte_for_byte_however_much_is_read_ahead_and_whenever_that_is_stopped(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..10),
        pending in any::<u16>(),
        declared in any::<bool>(),
        ends in any::<bool>(),
        max_bytes in 0_usize..30_000,
        polls in 1_usize..20,
    ) {
        let acts = chunks.iter().enumerate().flat_map(|(index, chunk)| {
            let later = (pending >> index & 1 == 1).then_some(Act::Later);
            later.into_iter().chain([Act::Data(Bytes::copy_from_slice(chunk))])
        });
        let acts = acts.chain(ends.then(|| Act::Trailers(trailers("1"))));
        let original = Erased::new(Script::new(acts).with_length(if declared { Length::Declared } else { Length::Unknown }));
        let exact = original.size_hint().exact();
        let mut reading = spawn(ReadAhead::new(original, max_bytes));
        let read = (0..polls).find_map(|_| match reading.poll() {
            std::task::Poll::Ready(ahead) => Some(ahead.unwrap()),
            std::task::Poll::Pending => None,
        });
        let was_stopped = read.is_none();
        let ahead = read.or_else(|| reading.stop()).unwrap();
        let all = chunks.concat();
        prop_assert_eq!(ahead.body.size_hint().exact(), exact);
        prop_assert!(!ahead.is_whole || all.len() <= max_bytes);
        prop_assert!(ahead.is_whole || was_stopped || all.len() + 1000 > max_bytes);

        let mut body = ahead.body;
        let (mut read, mut seen) = (Vec::new(), 0);
        let mut frames = spawn(async {
            while let Some(frame) = body.frame().await {
                match frame.unwrap().into_data() {
                    Ok(data) => read.extend_from_slice(&data),
                    Err(_) => seen += 1,
                }
                assert_eq!(body.size_hint().exact(), exact.map(|exact| exact - read.len() as u64));
            }
            assert!(body.is_end_stream() || exact.is_none());
        });
        while frames.poll().is_pending() {}
        drop(frames);
        prop_assert_eq!(read, all);
        prop_assert_eq!(seen, usize::from(ends));
    }
}
