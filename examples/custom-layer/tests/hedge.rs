//! What the layer does, in paused time.
#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use backstop_core::{
    Deadline, Degradation, Freshness, Reason, Scope, SetBy, name,
    scope::{self, EndedBy},
};
use backstop_kit::{CloneCopy, Http, HttpCopy, NotCopied, NotReplayable, Plain, Repeat, RetryBudget, proof};
use bytes::Bytes;
use custom_layer::{HedgeEvent, HedgeLayer};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tokio::time::{Instant, Sleep, advance, sleep};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, BoxError>;

const DELAY: Duration = Duration::from_millis(100);

#[derive(Clone)]
struct Seen<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Seen<T> {
    fn push(&self, seen: T) {
        self.0.lock().unwrap().push(seen);
    }

    fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }
}

/// What one call does.
#[derive(Clone, Copy)]
enum Act {
    /// Answers with this status after so many milliseconds.
    Answer(u16, u64),
    Hang,
}

use Act::{Answer, Hang};

/// An upstream whose calls act in turn. Keeps why each call was dropped; `None` also where it ended by itself.
#[derive(Clone, Default)]
struct Upstream {
    begun: Seen<Instant>,
    dropped: Seen<(usize, Option<EndedBy>)>,
    bodies: Seen<(usize, Bytes)>,
    events: Seen<HedgeEvent>,
}

struct Call(usize, Seen<(usize, Option<EndedBy>)>);

impl Drop for Call {
    fn drop(&mut self) {
        self.1.push((self.0, scope::ended_by()));
    }
}

impl Upstream {
    fn hedged(
        &self,
        acts: &'static [Act],
        budget: &RetryBudget,
    ) -> impl Service<Request<Body>, Response = Response<()>, Error = Infallible, Future: Send> + use<> {
        let events = self.events.clone();
        let layer = HedgeLayer::new(DELAY, budget.clone(), <Http>::default(), move |event| events.push(event));
        let upstream = self.clone();
        layer.layer(service_fn(move |request: Request<Body>| {
            let number = upstream.begun.all().len();
            upstream.begun.push(Instant::now());
            let (call, upstream) = (Call(number, upstream.dropped.clone()), upstream.clone());
            async move {
                let _call = call;
                if let Ok(body) = request.into_body().collect().await {
                    upstream.bodies.push((number, body.to_bytes()));
                }
                report(if number == 0 { "primary" } else { "hedge" });
                match acts[number] {
                    Answer(status, after) => {
                        sleep(Duration::from_millis(after)).await;
                        let mut response = Response::new(());
                        *response.status_mut() = status.try_into().unwrap();
                        Ok::<_, Infallible>(response)
                    }
                    Hang => pending().await,
                }
            }
        }))
    }

    /// The status of the answer, and how many milliseconds it took.
    async fn get(&self, acts: &'static [Act], budget: &RetryBudget) -> (u16, u128) {
        let begun = Instant::now();
        let response = self.hedged(acts, budget).oneshot(Request::new(Body::default())).await.unwrap();
        (response.status().as_u16(), begun.elapsed().as_millis())
    }
}

fn report(source: &'static str) {
    let source = backstop_core::Name::new(source).unwrap();
    scope::report(Degradation::new(name!("chain"), source, 1, Reason::ERROR, Freshness::Degraded));
}

fn full() -> RetryBudget {
    RetryBudget::builder().ratio(0.0).reserve_per_second(1).burst(10).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_fast_answer_is_not_hedged_good_or_bad() {
    for (acts, status) in [(&[Answer(200, 50)], 200), (&[Answer(404, 50)], 404), (&[Answer(503, 50)], 503)] {
        let (upstream, budget) = (Upstream::default(), full());
        assert_eq!(upstream.get(acts, &budget).await, (status, 50));
        assert_eq!((upstream.begun.all().len(), upstream.events.all(), budget.available()), (1, vec![], 10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_is_sent_again_and_the_loser_is_dropped_as_replaced() {
    let (upstream, budget) = (Upstream::default(), full());
    assert_eq!(upstream.get(&[Hang, Answer(200, 30)], &budget).await, (200, 130));
    assert_eq!(upstream.events.all(), [HedgeEvent::Sent, HedgeEvent::Won]);
    assert_eq!(upstream.dropped.all(), [(1, None), (0, Some(EndedBy::Replaced))]);
    assert_eq!(budget.available(), 9, "the budget pays for the hedge");
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_answers_first_after_all_replaces_the_hedge() {
    let upstream = Upstream::default();
    assert_eq!(upstream.get(&[Answer(200, 120), Hang], &full()).await, (200, 120));
    assert_eq!(upstream.events.all(), [HedgeEvent::Sent]);
    assert_eq!(upstream.dropped.all(), [(0, None), (1, Some(EndedBy::Replaced))]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_waits_for_the_other_call() {
    let primary_fails: &[Act] = &[Answer(503, 110), Answer(200, 30)];
    assert_eq!(Upstream::default().get(primary_fails, &full()).await, (200, 130));
    let hedge_fails: &[Act] = &[Answer(200, 150), Answer(503, 10)];
    assert_eq!(Upstream::default().get(hedge_fails, &full()).await, (200, 150));
}

#[tokio::test(start_paused = true)]
async fn if_both_fail_the_primarys_failure_is_returned() {
    assert_eq!(Upstream::default().get(&[Answer(503, 110), Answer(500, 30)], &full()).await, (503, 130));
    assert_eq!(Upstream::default().get(&[Answer(503, 150), Answer(500, 10)], &full()).await, (503, 150));
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_sends_no_hedge() {
    let (upstream, budget) = (Upstream::default(), full());
    while budget.withdraw() {}
    let acts: &[Act] = &[Answer(200, 400)];
    assert_eq!(upstream.get(acts, &budget).await, (200, 400));
    assert_eq!((upstream.begun.all().len(), upstream.events.all()), (1, vec![HedgeEvent::BudgetEmpty]));
}

#[tokio::test(start_paused = true)]
async fn only_requests_that_may_be_sent_twice_are_hedged() {
    for (method, repeat, calls) in [
        (Method::POST, None, 1),
        (Method::POST, Some(Repeat::Safe), 2),
        (Method::GET, Some(Repeat::Never), 1),
        (Method::CONNECT, Some(Repeat::Safe), 1),
        (Method::PUT, None, 2),
    ] {
        let upstream = Upstream::default();
        let mut request = Request::new(Body::default());
        *request.method_mut() = method.clone();
        if let Some(repeat) = repeat {
            request.extensions_mut().insert(repeat);
        }
        upstream.hedged(&[Answer(200, 200), Answer(200, 200)], &full()).oneshot(request).await.unwrap();
        assert_eq!(upstream.begun.all().len(), calls, "{method} {repeat:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_drops_both_calls_and_replaces_none() {
    let upstream = Upstream::default();
    let mut service = upstream.hedged(&[Hang, Hang], &full());
    let mut call = task::spawn(service.call(Request::new(Body::default())));
    assert_pending!(call.poll());
    advance(DELAY).await;
    assert_pending!(call.poll());
    assert_eq!((upstream.begun.all().len(), upstream.dropped.all()), (2, vec![]));
    drop(call);
    assert_eq!(upstream.dropped.all(), [(0, None), (1, None)]);
}

#[tokio::test(start_paused = true)]
async fn reports_of_the_winner_alone_move_up() {
    for (acts, winner) in [
        (&[Hang, Answer(200, 10)] as &[Act], "hedge"),
        (&[Answer(200, 120), Hang], "primary"),
        (&[Answer(503, 110), Answer(503, 30)], "primary"),
    ] {
        let mut scope = Scope::new();
        let mut service = Upstream::default().hedged(acts, &full());
        let mut call = task::spawn(scope.enter_as_reader(|| service.call(Request::new(Body::default()))));
        loop {
            if scope.enter_as_reader(|| call.poll()).is_ready() {
                break;
            }
            advance(Duration::from_millis(10)).await;
        }
        let sources = scope.take_reports().iter().map(|report| report.source().to_string()).collect::<Vec<_>>();
        assert_eq!(sources, [winner]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_for_the_hedge() {
    // No hedge begins once it has passed.
    let upstream = Upstream::default();
    let mut scope = Scope::narrowed(Deadline::after(DELAY / 2, SetBy::Us));
    let mut service = upstream.hedged(&[Hang], &full());
    let mut call = task::spawn(service.call(Request::new(Body::default())));
    assert_pending!(scope.enter(|| call.poll()));
    advance(DELAY).await;
    assert_pending!(scope.enter(|| call.poll()));
    assert_eq!(upstream.events.all(), [HedgeEvent::NoTimeLeft]);

    // A hedge that is all that is left ends at the deadline, and the failure is returned.
    let upstream = Upstream::default();
    let mut scope = Scope::narrowed(Deadline::after(2 * DELAY, SetBy::Us));
    let mut service = upstream.hedged(&[Answer(503, 110), Hang], &full());
    let mut call = task::spawn(service.call(Request::new(Body::default())));
    for _ in 0..20 {
        assert_pending!(scope.enter(|| call.poll()));
        advance(Duration::from_millis(10)).await;
    }
    assert_eq!(assert_ready!(scope.enter(|| call.poll())).unwrap().status(), 503);
    assert_eq!(upstream.dropped.all(), [(0, None), (1, Some(EndedBy::OurLimit))]);
}

/// A body that isn't in memory: one frame after each `apart`.
struct Slow {
    frames: std::vec::IntoIter<&'static str>,
    apart: Duration,
    next: Pin<Box<Sleep>>,
}

impl http_body::Body for Slow {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        ready!(self.next.as_mut().poll(cx));
        let next = Instant::now() + self.apart;
        self.next.as_mut().reset(next);
        Poll::Ready(self.frames.next().map(|frame| Ok(http_body::Frame::data(Bytes::from_static(frame.as_bytes())))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.len() == 0
    }
}

fn streamed(apart: u64) -> Body {
    let apart = Duration::from_millis(apart);
    Body::new(Slow { frames: vec!["one ", "two"].into_iter(), apart, next: Box::pin(sleep(apart)) })
}

async fn put(upstream: &Upstream, body: Body) {
    let acts: &[Act] = &[Answer(200, 400), Answer(200, 10)];
    let request = Request::put("/").body(body).unwrap();
    upstream.hedged(acts, &full()).oneshot(request).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_streamed_body_that_was_sent_whole_is_sent_again() {
    let upstream = Upstream::default();
    put(&upstream, streamed(10)).await;
    assert_eq!(upstream.events.all(), [HedgeEvent::Sent, HedgeEvent::Won]);
    assert_eq!(upstream.bodies.all(), [(0, "one two".into()), (1, "one two".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_the_primary_still_sends_is_not_taken_away() {
    let upstream = Upstream::default();
    put(&upstream, streamed(80)).await;
    assert_eq!(upstream.events.all(), [HedgeEvent::StillUploading]);
    assert_eq!(upstream.bodies.all(), [(0, "one two".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_cap_is_not_copied_and_the_budget_gets_its_retry_back() {
    let (upstream, budget) = (Upstream::default(), full());
    let events = upstream.events.clone();
    let protocol = <Http>::default().with_copy(HttpCopy::default().max_body(5).unwrap());
    let layer = HedgeLayer::new(DELAY, budget.clone(), protocol, move |event| events.push(event));
    let service = layer.layer(service_fn(|request: Request<Body>| async {
        request.into_body().collect().await.unwrap();
        sleep(2 * DELAY).await;
        Ok::<_, Infallible>(Response::new(()))
    }));
    service.oneshot(Request::put("/").body(streamed(10)).unwrap()).await.unwrap();
    let too_large = HedgeEvent::NotCopied(NotCopied::Body(NotReplayable::TooLarge));
    assert_eq!((upstream.events.all(), budget.available()), (vec![too_large], 10));
}

#[tokio::test(start_paused = true)]
async fn two_copies_of_a_body_in_memory_are_read_side_by_side() {
    let read = Seen::default();
    let seen = read.clone();
    let layer = HedgeLayer::new(DELAY, full(), <Http>::default(), |_| ());
    let service = layer.layer(service_fn(move |request: Request<Full<Bytes>>| {
        let seen = seen.clone();
        async move {
            // Each reads after the other was begun.
            sleep(DELAY * 2).await;
            seen.push(request.into_body().collect().await.unwrap().to_bytes());
            pending::<Result<Response<()>, Infallible>>().await
        }
    }));
    let request = Request::put("/").body(Full::from("one two")).unwrap();
    tokio::time::timeout(DELAY * 10, service.oneshot(request)).await.unwrap_err();
    assert_eq!(read.all(), ["one two", "one two"]);
}

#[tokio::test(start_paused = true)]
async fn functions_are_hedged_too() {
    let calls = Seen::default();
    let seen = calls.clone();
    let layer = HedgeLayer::new(DELAY, full(), <Plain>::default(), |_| ());
    let service = layer.layer(service_fn(move |request: u32| {
        let is_first = seen.all().is_empty();
        seen.push(request);
        async move { if is_first { pending().await } else { Ok::<_, Infallible>(request + 1) } }
    }));
    assert_eq!(service.oneshot(1).await.unwrap(), 2);
    assert_eq!(calls.all(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_an_intermediary_is_no_answer_to_a_grpc_call_however_requests_are_copied() {
    let calls = Seen::default();
    let seen = calls.clone();
    let layer = HedgeLayer::new(DELAY, full(), <Http>::default().with_copy(CloneCopy), |_| ());
    let service = layer.layer(service_fn(move |_: Request<()>| {
        let is_first = seen.all().is_empty();
        seen.push(is_first);
        async move {
            sleep(2 * DELAY).await;
            let content_type = if is_first { "text/html" } else { "application/grpc" };
            Response::builder().header("content-type", content_type).body(())
        }
    }));
    let call = Request::post("/shop.Prices/Get").header("content-type", "application/grpc").body(()).unwrap();
    assert_eq!(service.oneshot(call).await.unwrap().headers()["content-type"], "application/grpc");
}

/// Refuses, and proves it.
#[derive(Clone)]
struct Refuses;

impl Service<Request<Body>> for Refuses {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let entered = proof::Entered::now();
        Box::pin(async move {
            entered.prove();
            Ok(Response::new(()))
        })
    }
}

#[tokio::test]
async fn proof_that_a_request_was_not_processed_passes_through() {
    for method in [Method::GET, Method::POST] {
        let mut service = HedgeLayer::new(DELAY, full(), <Http>::default(), |_| ()).layer(Refuses);
        let request = Request::builder().method(method).body(Body::default()).unwrap();
        let mut frame = proof::Frame::detached();
        let mut call = task::spawn(frame.call(|| service.call(request)));
        frame.listen();
        assert_ready!(call.poll()).unwrap();
        assert!(frame.ended());
    }
}

#[test]
#[should_panic(expected = "`HedgeFuture` was polled after it had ended")]
fn a_future_that_is_polled_again_panics() {
    let mut service = HedgeLayer::new(DELAY, full(), <Http>::default(), |_| ()).layer(Refuses);
    let mut call = task::spawn(service.call(Request::new(Body::default())));
    assert_ready!(call.poll()).unwrap();
    _ = call.poll();
}
