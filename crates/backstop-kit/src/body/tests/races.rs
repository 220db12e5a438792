//! Two readers at once, and a source that breaks while it is read.
//!
//! A source that makes the copy itself, while it is being polled, stands for another thread: the older reader has the
//! source, the newer one finds it taken.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    task::Poll,
};

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio_test::task::Spawn;

use super::script::{Act, BoxError, Erased, Script, data, poll_once, read_all, trailers};
use crate::body::{NotReplayable, Replay, ReplayError, ReplayableBody};

type Reading = Spawn<std::pin::Pin<Box<dyn Future<Output = Result<super::script::Read, BoxError>> + Send>>>;

#[derive(Default)]
struct Scene {
    replay: Mutex<Option<Replay<Erased>>>,
    newer: Mutex<Option<Reading>>,
}

/// A body that is copied while its third frame is being read; `then` are the acts from there on. Returns what the older
/// reader saw then, and the scene.
fn copied_in_mid_poll(then: Vec<Act>, cap: usize, after: AfterCopy) -> (BoxError, Arc<Scene>) {
    let scene = Arc::new(Scene::default());
    let inside = Arc::clone(&scene);
    let copy = Act::Call(Box::new(move |_| {
        let mut slot = inside.replay.lock().unwrap();
        let newer = slot.as_mut().unwrap().copy().unwrap();
        if let AfterCopy::HandleDropped = after {
            *slot = None;
        }
        let mut newer: Reading = tokio_test::task::spawn(Box::pin(read_all(newer)));
        assert!(newer.poll().is_pending(), "the source is taken");
        *inside.newer.lock().unwrap() = Some(newer);
    }));
    let acts = [data(b"one "), data(b"two "), copy].into_iter().chain(then);
    let (mut first, replay) = Erased::new(Script::new(acts)).split(cap);
    *scene.replay.lock().unwrap() = Some(replay);
    assert!(poll_once(&mut first).is_ready());
    assert!(poll_once(&mut first).is_ready());
    let Poll::Ready(Some(Err(error))) = poll_once(&mut first) else { panic!("the older reader is out") };
    assert!(!first.is_end_stream());
    (error, scene)
}

#[derive(Clone, Copy)]
enum AfterCopy {
    HandleKept,
    HandleDropped,
}

fn newer(scene: &Scene) -> Result<super::script::Read, BoxError> {
    let mut newer = scene.newer.lock().unwrap().take().unwrap();
    assert!(newer.is_woken(), "whoever waits for the source is told that it is back");
    loop {
        if let Poll::Ready(read) = newer.poll() {
            return read;
        }
        assert!(newer.is_woken());
    }
}

#[test]
fn what_an_older_reader_had_begun_to_read_reaches_the_newer_one() {
    for after in [AfterCopy::HandleKept, AfterCopy::HandleDropped] {
        for then in [
            vec![data(b"three"), Act::Trailers(trailers("1"))],
            vec![Act::Data(Bytes::from(vec![b'x'; 5000])), Act::Later, data(b"end"), Act::Trailers(trailers("1"))],
            vec![Act::Trailers(trailers("1"))],
            vec![Act::Later, data(b"end"), Act::Trailers(trailers("1"))],
        ] {
            let rest: usize = then.iter().map(|act| if let Act::Data(data) = act { data.len() } else { 0 }).sum();
            let (error, scene) = copied_in_mid_poll(then, 64 * 1024, after);
            assert_eq!(error.downcast_ref(), Some(&ReplayError::Superseded));
            let (bytes, ends) = newer(&scene).unwrap();
            assert!(bytes.starts_with(b"one two "));
            assert_eq!((bytes.len(), ends.len()), (8 + rest, 1));
        }
    }
}

#[test]
fn an_end_that_an_older_reader_met_is_the_newer_one_s_end() {
    let (error, scene) = copied_in_mid_poll(vec![], 100, AfterCopy::HandleKept);
    assert_eq!(error.downcast_ref(), Some(&ReplayError::Superseded));
    assert_eq!(newer(&scene).unwrap().0, b"one two ");
    let again = scene.replay.lock().unwrap().as_mut().unwrap().copy().unwrap();
    assert_eq!(again.size_hint().exact(), Some(8));
}

#[test]
fn a_failure_that_an_older_reader_met_reaches_the_newer_one_as_it_was() {
    let failure = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let (_, scene) = copied_in_mid_poll(vec![Act::Fail(failure.into())], 100, AfterCopy::HandleKept);
    let error = newer(&scene).unwrap_err();
    assert!(error.is::<std::io::Error>(), "{error:?}");
    let refused = scene.replay.lock().unwrap().as_mut().unwrap().copy().unwrap_err();
    assert_eq!(refused, NotReplayable::SourceFailed);
}

#[test]
fn a_chunk_over_the_cap_that_an_older_reader_met_still_reaches_the_newer_one() {
    let (_, scene) = copied_in_mid_poll(vec![data(b"three"), data(b" four")], 10, AfterCopy::HandleKept);
    assert_eq!(newer(&scene).unwrap().0, b"one two three four");
    let refused = scene.replay.lock().unwrap().as_mut().unwrap().copy().unwrap_err();
    assert_eq!(refused, NotReplayable::TooLarge);
}

#[test]
fn a_source_that_panics_fails_its_body_and_wedges_nobody() {
    let (mut first, mut replay) = Erased::new(Script::new([data(b"one"), Act::Panic])).split(100);
    assert!(poll_once(&mut first).is_ready());
    catch_unwind(AssertUnwindSafe(|| poll_once(&mut first))).unwrap_err();
    assert!(!first.is_end_stream());
    let Poll::Ready(Some(Err(error))) = poll_once(&mut first) else { panic!("no error") };
    assert_eq!(error.downcast_ref(), Some(&ReplayError::SourceLost));
    assert_eq!(replay.copy().unwrap_err(), NotReplayable::SourceFailed);
}

#[test]
fn a_source_that_panics_under_an_older_reader_fails_the_newer_one() {
    let scene = Arc::new(Scene::default());
    let inside = Arc::clone(&scene);
    let copy = Act::Call(Box::new(move |_| {
        let newer = inside.replay.lock().unwrap().as_mut().unwrap().copy().unwrap();
        let mut newer: Reading = tokio_test::task::spawn(Box::pin(read_all(newer)));
        assert!(newer.poll().is_pending());
        *inside.newer.lock().unwrap() = Some(newer);
    }));
    let (mut first, replay) = Erased::new(Script::new([copy, Act::Panic])).split(100);
    *scene.replay.lock().unwrap() = Some(replay);
    catch_unwind(AssertUnwindSafe(|| poll_once(&mut first))).unwrap_err();
    assert_eq!(newer(&scene).unwrap_err().downcast_ref(), Some(&ReplayError::SourceLost));
}

#[test]
fn readers_on_two_threads_lose_and_repeat_nothing() {
    let expected: Vec<u8> = (0..400_u32).flat_map(|n| n.to_le_bytes().repeat(3)).collect();
    for round in 0..50 {
        let acts = (0..400_u32).flat_map(|n| {
            let chunk = Act::Data(Bytes::from(n.to_le_bytes().repeat(3)));
            if n % 7 == round % 7 { vec![Act::Later, chunk] } else { vec![chunk] }
        });
        let (first, mut replay) = Erased::new(Script::new(acts)).split(64 * 1024);
        let mut readers = vec![std::thread::spawn(move || read_on_this_thread(first))];
        let mut last = None;
        for _ in 0..4 {
            std::thread::yield_now();
            let copy = replay.copy().unwrap();
            readers.extend(last.replace(copy).map(|copy| std::thread::spawn(move || read_on_this_thread(copy))));
        }
        assert_eq!(read_on_this_thread(last.unwrap()).unwrap().0, expected);
        for reader in readers {
            match reader.join().unwrap() {
                Ok((bytes, _)) => assert_eq!(bytes, expected, "it had ended before the next copy was made"),
                Err(error) => assert_eq!(error.downcast_ref(), Some(&ReplayError::Superseded)),
            }
        }
    }
}

fn read_on_this_thread(body: Erased) -> Result<super::script::Read, BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(read_all(body.map_err(|error| error)))
}
