//! What is kept of an answer.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, Version};
use http_body::Body;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::time::{Instant, advance};
use tokio_test::task::spawn;

use super::*;
use crate::body::tests::script::{Act, Erased, Length, Script, counted_chunk, data, read_all, trailers};

fn answer(body: Erased) -> Response<Erased> {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    *answer.version_mut() = Version::HTTP_11;
    answer.headers_mut().append("retry-after", HeaderValue::from_static("7"));
    answer.headers_mut().append("set-cookie", HeaderValue::from_static("a=1"));
    answer.headers_mut().append("set-cookie", HeaderValue::from_static("b=2"));
    answer.extensions_mut().insert("an extension");
    answer
}

fn script(acts: impl IntoIterator<Item = Act>) -> Response<Erased> {
    answer(Erased::new(Script::new(acts)))
}

/// Beyond every other limit.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

async fn keep(answer: Response<Erased>) -> Option<Response<Erased>> {
    KeepReplaced::default().keep(answer, later()).await
}

#[tokio::test]
async fn an_answer_comes_out_as_it_went_in() {
    let kept = keep(script([data(b"not "), Act::Later, data(b"now"), Act::Trailers(trailers("1"))])).await.unwrap();
    assert_eq!(kept.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(kept.version(), Version::HTTP_11);
    assert_eq!(kept.headers(), answer(Erased::default()).headers());
    assert_eq!(kept.extensions().get(), Some(&"an extension"));
    assert_eq!(kept.body().size_hint().upper(), None, "a body of unknown length stays one");
    assert!(!kept.body().is_end_stream());
    assert_eq!(read_all(kept.into_body()).await.unwrap(), (b"not now".to_vec(), vec![trailers("1")]));
}

#[test]
fn an_answer_that_is_there_needs_no_timer_and_no_second_poll() {
    // Outside a runtime a timer would panic.
    let at_end = spawn(KeepReplaced::default().keep(answer(Erased::default()), later())).poll();
    assert!(matches!(at_end, Poll::Ready(Some(_))));
    let ready = spawn(KeepReplaced::default().keep(script([data(b"not now")]), later())).poll();
    assert!(matches!(ready, Poll::Ready(Some(_))));
}

#[tokio::test]
async fn what_the_answer_held_is_free_once_it_is_kept() {
    let drops = Arc::new(AtomicUsize::new(0));
    let body = Script::new([data(b"one"), data(b"two")]).counted(&drops);
    let kept = keep(answer(Erased::new(body))).await.unwrap();
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    assert_eq!(read_all(kept.into_body()).await.unwrap().0, b"onetwo");
}

#[test]
fn a_body_that_knows_its_end_isn_t_waited_for_beyond_it() {
    let body = Script::new([data(b"one"), Act::Hang(Arc::default())]).with_length(Length::Declared);
    let Poll::Ready(kept) = spawn(KeepReplaced::default().keep(answer(Erased::new(body)), later())).poll() else {
        panic!("it waits")
    };
    assert_eq!(kept.unwrap().body().size_hint().exact(), Some(3));
}

#[tokio::test]
async fn an_answer_of_32_kib_is_kept_and_one_byte_more_is_dropped() {
    for (last, kept) in [(1, true), (2, false)] {
        let drops = Arc::new(AtomicUsize::new(0));
        let acts = [Act::Data(Bytes::from(vec![b'x'; 32 * 1024 - 1])), Act::Data(Bytes::from(vec![b'x'; last]))];
        let keeping = keep(answer(Erased::new(Script::new(acts).counted(&drops)))).await;
        assert_eq!(keeping.is_some(), kept);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn an_answer_that_declares_too_much_is_dropped_before_it_is_read() {
    let drops = Arc::new(AtomicUsize::new(0));
    let body = Script::new([data(b"too long")]).with_length(Length::Declared).counted(&drops);
    let keeping = KeepReplaced::default().max_body(7).unwrap().keep(answer(Erased::new(body)), later());
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    assert!(matches!(spawn(keeping).poll(), Poll::Ready(None)));
}

#[tokio::test]
async fn an_answer_that_fails_is_dropped() {
    assert!(keep(script([data(b"one"), Act::Fail("reset".into())])).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_answer_slower_than_100_ms_is_dropped() {
    let drops = Arc::new(AtomicUsize::new(0));
    let hang = Act::Hang(Arc::default());
    let body = Script::new([data(b"one"), hang]).counted(&drops);
    let start = Instant::now();
    let mut keeping = spawn(KeepReplaced::default().keep(answer(Erased::new(body)), later()));
    assert!(keeping.poll().is_pending());
    advance(Duration::from_millis(99)).await;
    assert!(keeping.poll().is_pending());
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    assert!(keeping.await.is_none());
    assert!(start.elapsed() < Duration::from_millis(105));
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dripping_answer_has_100_ms_in_all() {
    let (sender, receiver) = fed_body();
    let mut keeping = spawn(KeepReplaced::default().keep(answer(receiver), later()));
    for _ in 0..9 {
        assert!(keeping.poll().is_pending());
        advance(Duration::from_millis(11)).await;
        sender.send(b"x");
        assert!(keeping.is_woken());
    }
    assert!(keeping.poll().is_pending());
    advance(Duration::from_millis(2)).await;
    assert!(matches!(keeping.poll(), Poll::Ready(None)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_still_coming_when_the_time_is_up_is_given_back_and_streams_on() {
    for (left, max_wait) in [(40, 60_000), (99, 100), (100, 100)] {
        let (sender, receiver) = fed_body();
        let start = Instant::now();
        let config = KeepReplaced::default().max_wait(Duration::from_millis(max_wait)).unwrap();
        let mut keeping = spawn(config.keep(answer(receiver), start + Duration::from_millis(left)));
        sender.send(b"not ");
        assert!(keeping.poll().is_pending());
        let mut kept = keeping.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_millis(left));
        assert_eq!(kept.headers(), answer(Erased::default()).headers());
        assert_eq!(kept.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "not ");
        sender.send(b"now");
        assert_eq!(kept.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "now");
    }
}

#[test]
fn an_answer_that_can_t_be_kept_is_dropped_however_little_time_is_left() {
    let body = Script::new([data(b"too long"), Act::Hang(Arc::default())]);
    let keeping = KeepReplaced::default().max_body(7).unwrap().keep(answer(Erased::new(body)), Instant::now());
    assert!(matches!(spawn(keeping).poll(), Poll::Ready(None)));
}

#[tokio::test]
async fn an_endless_answer_that_is_always_ready_ends_too() {
    struct Endless;
    impl Body for Endless {
        type Data = Bytes;
        type Error = crate::body::tests::script::BoxError;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::new()))))
        }
    }
    let keeping =
        KeepReplaced::default().max_wait(Duration::from_millis(1)).unwrap().keep(answer(Erased::new(Endless)), later());
    assert!(keeping.await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_keeping_dropped_at_any_frame_drops_the_answer() {
    for frames in 0..=2 {
        let drops = Arc::new(AtomicUsize::new(0));
        let chunks = (0..frames).flat_map(|_| [data(b"one"), Act::Later]);
        let body = Script::new(chunks.chain([Act::Hang(Arc::default())])).counted(&drops);
        let mut keeping = spawn(KeepReplaced::default().keep(answer(Erased::new(body)), later()));
        for _ in 0..=frames {
            assert!(keeping.poll().is_pending());
        }
        drop(keeping);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }
    let drops = Arc::new(AtomicUsize::new(0));
    drop(KeepReplaced::default().keep(answer(Erased::new(Script::new([data(b"one")]).counted(&drops))), later()));
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn tiny_chunks_of_large_buffers_keep_no_buffer_alive() {
    let released = Arc::new(AtomicUsize::new(0));
    let acts = (0..50).map(|_| Act::Data(counted_chunk(100_000, &released).slice(..10)));
    let Poll::Ready(Some(kept)) = spawn(KeepReplaced::default().keep(script(acts), later())).poll() else {
        panic!("not kept")
    };
    assert_eq!(released.load(Ordering::SeqCst), 50);
    drop(kept);
}

#[test]
fn limits_that_can_t_work_are_refused() {
    let keep = KeepReplaced::default();
    assert_eq!(keep.max_body(usize::MAX).unwrap_err().field, "max_body");
    assert_eq!(keep.max_wait(Duration::ZERO).unwrap_err().field, "max_wait");
    assert_eq!(keep.max_wait(Duration::MAX).unwrap_err().field, "max_wait");
    let minute = keep.max_wait(Duration::from_secs(60)).unwrap();
    assert_eq!(minute.check_within(Duration::from_secs(59)).unwrap_err().field, "max_wait");
    assert!(minute.check_within(Duration::from_secs(60)).is_ok());
    assert!(keep.check_within(Duration::from_millis(1)).is_ok(), "what isn't set contradicts nothing");
}

#[tokio::test]
async fn discarding_drops_the_answer_before_anything_else() {
    let drops = Arc::new(AtomicUsize::new(0));
    let keeping = DiscardReplaced.keep(answer(Erased::new(Script::new([data(b"one")]).counted(&drops))), later());
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    assert!(keeping.await.is_none());
    assert_eq!(DiscardReplaced.keep("any type", later()).await, None);
}

#[test]
fn the_future_is_send_where_the_body_is() {
    fn assert<T: Send>(_: &T) {}
    assert(&KeepReplaced::default().keep(answer(Erased::default()), later()));
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn an_axum_answer_is_kept() {
    let answer = Response::new(axum_core::body::Body::from("not now"));
    let kept = KeepReplaced::default().keep(answer, later()).await.unwrap();
    assert_eq!(kept.body().size_hint().exact(), Some(7));
    assert_eq!(kept.into_body().collect().await.unwrap().to_bytes(), "not now");
}

proptest! {
    #[test]
    fn any_body_is_kept_byte_for_byte(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..10),
        pending in any::<u16>(),
        declared in any::<bool>(),
        ends in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let acts = chunks.iter().enumerate().flat_map(|(index, chunk)| {
                let later = (pending >> index & 1 == 1).then_some(Act::Later);
                later.into_iter().chain([Act::Data(Bytes::copy_from_slice(chunk))])
            });
            let acts = acts.chain(ends.then(|| Act::Trailers(trailers("1"))));
            let length = if declared { Length::Declared } else { Length::Unknown };
            let original = Erased::new(Script::new(acts).with_length(length));
            let hint = original.size_hint();
            let mut kept = keep(answer(original)).await.unwrap().into_body();
            prop_assert_eq!((kept.size_hint().lower(), kept.size_hint().upper()), (hint.lower(), hint.upper()));
            let mut read = Vec::new();
            let mut seen = Vec::new();
            while let Some(frame) = kept.frame().await {
                match frame.unwrap().into_data() {
                    Ok(bytes) => read.extend_from_slice(&bytes),
                    Err(frame) => seen.push(frame.into_trailers().unwrap()),
                }
                let left = hint.exact().map(|all| all - read.len() as u64);
                prop_assert_eq!(kept.size_hint().exact(), left);
            }
            prop_assert!(kept.is_end_stream());
            prop_assert_eq!(read, chunks.concat());
            prop_assert_eq!(seen.len(), usize::from(ends));
            Ok(())
        })?;
    }
}

/// A body that is fed from outside.
fn fed_body() -> (Sender, Erased) {
    let shared: Arc<Mutex<Feed>> = Arc::default();
    (Sender(Arc::clone(&shared)), Erased::new(Fed(shared)))
}

#[derive(Default)]
struct Feed {
    chunks: Vec<Bytes>,
    waker: Option<Waker>,
}

struct Sender(Arc<Mutex<Feed>>);

impl Sender {
    fn send(&self, bytes: &'static [u8]) {
        let mut feed = self.0.lock().unwrap();
        feed.chunks.push(Bytes::from_static(bytes));
        if let Some(waker) = feed.waker.take() {
            waker.wake();
        }
    }
}

struct Fed(Arc<Mutex<Feed>>);

impl Body for Fed {
    type Data = Bytes;
    type Error = crate::body::tests::script::BoxError;
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let mut feed = self.0.lock().unwrap();
        match feed.chunks.pop() {
            Some(chunk) => Poll::Ready(Some(Ok(http_body::Frame::data(chunk)))),
            None => {
                feed.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
