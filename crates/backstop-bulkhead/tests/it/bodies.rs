//! Permits that last to the end of the response body, and those that expire before.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    cell::RefCell,
    collections::VecDeque,
    convert::Infallible,
    future::ready,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use crate::support::{self, room_for};
use axum::body::Body;
use backstop_bulkhead::{BulkheadLayer, Rejection, Until, UntilBodyEnd};
use backstop_core::{ErrorRef, Outcome, SetBy};
use backstop_kit::{Elapsed, Progress, Reject};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{BoxError, Layer, ServiceExt, service_fn};

const MAX_HOLD: Duration = Duration::from_secs(60);
const MS: Duration = Duration::from_millis(1);

/// A body that gives these frames, and then ends or hangs.
struct Script {
    frames: VecDeque<Result<Frame<Bytes>, BoxError>>,
    hangs: bool,
    dropped: Arc<AtomicBool>,
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match this.frames.pop_front() {
            None if this.hangs => Poll::Pending,
            frame => Poll::Ready(frame),
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.dropped.store(true, Relaxed);
    }
}

fn data(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn ends<const N: usize>(frames: [Result<Frame<Bytes>, BoxError>; N]) -> Body {
    Body::new(Script { frames: frames.into(), hangs: false, dropped: Arc::default() })
}

/// And whether it was dropped.
fn hangs<const N: usize>(frames: [Result<Frame<Bytes>, BoxError>; N]) -> (Body, Arc<AtomicBool>) {
    let dropped = Arc::default();
    (Body::new(Script { frames: frames.into(), hangs: true, dropped: Arc::clone(&dropped) }), dropped)
}

/// The body of a call of a dependency that answers so.
fn answered<R, B: Default>(layer: &BulkheadLayer<R>, body: B) -> B
where
    R: Reject<Request<()>, Response<B>, Infallible>,
    UntilBodyEnd: Until<Response<B>>,
{
    let body = RefCell::new(Some(body));
    let service = service_fn(|_: Request<()>| ready(Ok(Response::new(body.take().unwrap()))));
    let mut call = task::spawn(layer.layer(service).oneshot(Request::new(())));
    assert_ready_ok!(call.poll()).into_body()
}

type Polled = Poll<Option<Result<Bytes, axum::Error>>>;

/// A reader of a body, who reads when told to.
struct Reader(task::Spawn<Body>);

impl Reader {
    fn new(body: Body) -> Self {
        Self(task::spawn(body))
    }

    fn read(&mut self) -> Polled {
        self.0.enter(|cx, body| body.poll_frame(cx)).map_ok(|frame| frame.into_data().unwrap())
    }
}

fn rejected(polled: Polled) -> Rejection {
    match polled {
        Poll::Ready(Some(Err(error))) => Rejection::in_error(ErrorRef::new(&error)).unwrap().clone(),
        other => panic!("{other:?}"),
    }
}

fn too_long(kept_by: SetBy) -> Elapsed {
    Elapsed::new(kept_by, Progress::Called)
}

#[tokio::test(start_paused = true)]
async fn a_permit_goes_back_with_the_last_of_the_body_whatever_that_is() {
    let layer = room_for(9, 0);
    let handle = layer.handle();
    let error = || Err::<Frame<Bytes>, BoxError>("gone".into());
    let trailers = || Ok(Frame::trailers(HeaderMap::new()));
    for (i, body) in
        [ends([data("a")]), ends([data("a"), trailers()]), ends([data("a"), error()])].into_iter().enumerate()
    {
        let mut body = task::spawn(answered(&layer, body));
        assert_eq!(handle.in_use(), 1, "body {i}");
        let mut next = || body.enter(|cx, body| body.poll_frame(cx));
        assert!(assert_ready!(next()).unwrap().is_ok());
        assert_eq!(handle.in_use(), 1, "body {i} goes on");
        assert!(assert_ready!(next()).is_none_or(|frame| frame.map_or(true, |frame| frame.is_trailers())));
        assert_eq!(handle.in_use(), 0, "body {i}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_knows_that_a_frame_is_the_last_may_not_ask_again() {
    let layer = room_for(1, 0);
    let mut reader = Reader::new(answered(&layer, Body::from("all of it")));
    assert_eq!(layer.handle().in_use(), 1);
    assert_eq!(assert_ready!(reader.read()).unwrap().unwrap(), "all of it");
    assert!(reader.0.is_end_stream());
    assert_eq!(layer.handle().in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_or_that_isnt_there_holds_nothing() {
    let layer = room_for(1, 0);
    let body = answered(&layer, hangs([]).0);
    assert_eq!(layer.handle().in_use(), 1);
    drop(body);
    assert_eq!(layer.handle().in_use(), 0);
    let empty = answered(&layer, Body::empty());
    assert_eq!(layer.handle().in_use(), 0);
    drop(empty);
}

#[tokio::test(start_paused = true)]
async fn frames_trailers_size_hint_and_end_pass_as_they_are() {
    let layer = room_for(1, 0);
    let body = answered(&layer, Body::from("12345"));
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
    drop(body);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "3".parse().unwrap());
    let collected =
        answered(&layer, ends([data("1"), data("23"), Ok(Frame::trailers(trailers.clone()))])).collect().await;
    let collected = collected.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "123");
}

#[tokio::test(start_paused = true)]
async fn a_body_whose_dependency_hangs_is_broken_off_and_is_a_failure() {
    let layer = room_for(1, 0);
    let (body, dropped) = hangs([data("a")]);
    let mut reader = Reader::new(answered(&layer, body));
    assert!(assert_ready!(reader.read()).is_some());
    assert_pending!(reader.read());
    advance(MAX_HOLD - MS).await;
    assert!(!reader.0.is_woken());
    assert_pending!(reader.read());
    advance(MS).await;
    assert!(reader.0.is_woken());
    let rejection = rejected(reader.read());
    assert_eq!((rejection.by().as_str(), rejection.detail::<Elapsed>()), ("ml_service", Some(&too_long(SetBy::Us))));
    assert_eq!(rejection.outcome(), Outcome::failure().transient());
    assert!(dropped.load(Relaxed), "the connection is free");
    assert_eq!(layer.handle().in_use(), 0);
    assert!(assert_ready!(reader.read()).is_none());
    assert!(reader.0.is_end_stream());
    assert_eq!(reader.0.size_hint().exact(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_permit_whose_body_nobody_reads_goes_to_the_next_newcomer_and_trips_no_circuit() {
    let layer = room_for(1, 0);
    let mut unread = Reader::new(answered(&layer, ends([data("a"), data("b")])));
    assert!(assert_ready!(unread.read()).is_some());
    advance(MAX_HOLD - MS).await;
    let refused = layer.layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(Body::empty())))));
    let refused = refused.oneshot(Request::new(())).await.unwrap();
    assert!(support::is_full(&refused));

    advance(MS).await;
    let newcomer = answered(&layer, hangs([]).0);
    let rejection = rejected(unread.read());
    assert_eq!(rejection.detail::<Elapsed>(), Some(&too_long(SetBy::Caller)));
    assert_eq!(rejection.outcome(), Outcome::neutral());
    drop(unread);
    assert_eq!(layer.handle().in_use(), 1, "the newcomer's permit is its own");
    drop(newcomer);
    assert_eq!(layer.handle().in_use(), 0);
}

/// A body that gives a frame this long after the one before, and then hangs.
struct Slow {
    waits: VecDeque<Duration>,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl http_body::Body for Slow {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(wait) = self.waits.front().copied() else {
            return Poll::Pending;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(wait)));
        std::task::ready!(sleep.as_mut().poll(cx));
        self.sleep = None;
        self.waits.pop_front();
        Poll::Ready(Some(data("a")))
    }
}

/// What the body of this dependency ends with, read at these moments after the head.
async fn kept_by(waits: &[Duration], reads_at: &[Duration]) -> Elapsed {
    let layer = room_for(1, 0);
    let body = Body::new(Slow { waits: waits.iter().copied().collect(), sleep: None });
    let (began, mut reader) = (Instant::now(), Reader::new(answered(&layer, body)));
    for at in reads_at {
        advance(*at - began.elapsed()).await;
        match reader.read() {
            read @ Poll::Ready(Some(Err(_))) => return rejected(read).detail::<Elapsed>().copied().unwrap(),
            read => assert!(began.elapsed() < MAX_HOLD, "{read:?}"),
        }
    }
    panic!("not ended by {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_idles_for_most_of_the_time_and_then_hurries_is_to_blame() {
    let ms = Duration::from_millis;
    let at_once = Duration::ZERO;
    // It waits for half a second, to the end.
    assert_eq!(kept_by(&[at_once], &[at_once, ms(59_500), ms(60_000)]).await, too_long(SetBy::Caller));
    // The same, a moment too late.
    assert_eq!(kept_by(&[at_once], &[at_once, ms(59_500), ms(90_000)]).await, too_long(SetBy::Caller));
    // It asked, and didn't come back for what was there a second later.
    assert_eq!(kept_by(&[ms(1_000)], &[at_once, ms(60_000)]).await, too_long(SetBy::Caller));
    // It waits ten times for a second.
    let reads: Vec<_> = (1..=10).flat_map(|i| [ms(i * 6_000 - 1_000), ms(i * 6_000)]).collect();
    assert_eq!(kept_by(&[ms(1_000); 10], &reads).await, too_long(SetBy::Caller));
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_hangs_for_most_of_the_time_is_to_blame_though_its_reader_comes_late_in_the_end() {
    let ms = Duration::from_millis;
    let at_once = Duration::ZERO;
    // It gives a frame after 59.5 s, and the reader takes its time with that.
    assert_eq!(kept_by(&[ms(59_500), at_once], &[at_once, ms(59_500), ms(60_000)]).await, too_long(SetBy::Us));
    assert_eq!(kept_by(&[ms(59_500), at_once], &[at_once, ms(59_500), ms(90_000)]).await, too_long(SetBy::Us));
    // It hangs, and the reader comes back late.
    assert_eq!(kept_by(&[], &[at_once, ms(90_000)]).await, too_long(SetBy::Us));
    // It drips.
    let reads: Vec<_> = (0..=12).map(|i| ms(i * 5_000)).collect();
    assert_eq!(kept_by(&[ms(5_000); 20], &reads).await, too_long(SetBy::Us));
}

#[tokio::test(start_paused = true)]
async fn the_first_in_line_gets_a_permit_at_the_moment_in_which_it_expires() {
    let builder = BulkheadLayer::builder("ml_service").max_concurrent(2).max_waiting(3);
    let layer = builder.max_wait(MAX_HOLD * 10).build().unwrap();
    let _first = answered(&layer, hangs([]).0);
    advance(Duration::from_secs(20)).await;
    let _second = answered(&layer, hangs([]).0);

    let started = Instant::now();
    let arrives = async |limit: Duration| {
        let hangs = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(hangs([]).0))));
        let answer = timeout(limit, layer.layer(hangs).oneshot(Request::new(()))).await;
        (answer.map(Result::unwrap), started.elapsed())
    };
    // The first in line leaves it, so that another has to look after the permits.
    let (left, first, second) = tokio::join!(arrives(Duration::from_secs(1)), arrives(MAX_HOLD), arrives(MAX_HOLD));
    assert!(left.0.is_err());
    assert!(
        first.0.is_ok_and(|answer| !support::is_full(&answer))
            && second.0.is_ok_and(|answer| !support::is_full(&answer))
    );
    assert_eq!((first.1, second.1), (Duration::from_secs(40), Duration::from_secs(60)));
}

#[tokio::test(start_paused = true)]
async fn who_waits_already_learns_of_a_body_that_starts_later() {
    let builder = BulkheadLayer::builder("ml_service").max_concurrent(1).max_wait(MAX_HOLD * 10);
    let layer = builder.build().unwrap();
    let slow = service_fn(|_: Request<()>| async {
        sleep(Duration::from_secs(5)).await;
        Ok::<_, Infallible>(Response::new(hangs([]).0))
    });
    let started = Instant::now();
    let _unread = tokio::join!(layer.layer(slow).oneshot(Request::new(())), async {
        tokio::task::yield_now().await;
        let waits = layer.layer(slow).oneshot(Request::new(())).await;
        assert_eq!(started.elapsed(), Duration::from_secs(5) + MAX_HOLD + Duration::from_secs(5));
        waits
    });
}

#[tokio::test(start_paused = true)]
async fn whoever_looks_sees_expired_permits_as_free() {
    let layer = room_for(3, 0);
    let unread = [(); 3].map(|()| answered(&layer, hangs([]).0));
    advance(MAX_HOLD - MS).await;
    assert_eq!(layer.handle().in_use(), 3);
    advance(MS).await;
    assert_eq!(layer.handle().in_use(), 0);
    drop(unread);
    assert_eq!(layer.handle().in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_always_read_and_always_has_more_ends_too() {
    struct Endless;

    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(Some(data("more")))
        }
    }

    let layer = room_for(1, 0);
    let mut reader = Reader::new(answered(&layer, Body::new(Endless)));
    for _ in 0..59 {
        advance(Duration::from_secs(1)).await;
        assert_eq!(assert_ready!(reader.read()).unwrap().unwrap(), "more");
    }
    advance(Duration::from_secs(1)).await;
    assert_eq!(rejected(reader.read()).detail::<Elapsed>(), Some(&too_long(SetBy::Caller)));
}

#[tokio::test(start_paused = true)]
async fn boxed_bodies_are_broken_off_in_their_own_type() {
    let layer = BulkheadLayer::builder("ml_service").max_hold(MS).build().unwrap();
    let script = Script { frames: VecDeque::new(), hangs: true, dropped: Arc::default() };
    let body = answered(&layer, UnsyncBoxBody::<Bytes, BoxError>::new(script));
    let error = body.collect().await.unwrap_err();
    assert_eq!(error.downcast_ref::<Rejection>().unwrap().detail::<Elapsed>(), Some(&too_long(SetBy::Us)));
    assert_eq!(error.to_string(), "ml_service took too long");
}

#[tokio::test(start_paused = true)]
async fn until_headers_a_response_of_any_type_gives_the_permit_back_at_its_head() {
    let layer = BulkheadLayer::builder("ml_service").max_concurrent(1).until_headers().build().unwrap();
    let service = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new("text".to_owned()))));
    let response = layer.layer(service).oneshot(Request::new(())).await.unwrap();
    assert_eq!(layer.handle().in_use(), 0);
    assert_eq!(response.body(), "text");
}
