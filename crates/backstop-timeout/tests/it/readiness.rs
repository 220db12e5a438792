//! A service that isn't ready in time.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use backstop_kit::{Elapsed, Progress};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{Deadline, Outcome, Rejection, Scope, SetBy};
use backstop_timeout::{Timeout, TimeoutLayer};
use http::{Request, Response};
use tokio::time::{Instant, Sleep, advance, sleep};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit, service_fn, util::BoxCloneService,
};
use tower_test::mock::{self, Mock};

const LIMIT: Duration = Duration::from_millis(100);

type Inner = Mock<Request<()>, Response<String>>;
type Stack = Timeout<Inner>;

fn layer() -> TimeoutLayer {
    TimeoutLayer::builder("upstream").limit(LIMIT).build().unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn stack() -> (task::Spawn<Stack>, mock::Handle<Request<()>, Response<String>>) {
    let (mock, mut handle) = mock::pair();
    handle.allow(0);
    (task::spawn(layer().layer(mock)), handle)
}

fn poll_ready(stack: &mut task::Spawn<Stack>) -> Poll<Result<(), BoxError>> {
    stack.enter(|cx, mut stack| stack.poll_ready(cx))
}

fn not_ready(response: &Response<String>) {
    let rejection: &Rejection = response.extensions().get().unwrap();
    let kind = Elapsed::new(SetBy::Us, Progress::NotReady);
    assert_eq!(rejection.detail(), Some(&kind));
    assert_eq!(rejection.outcome(), Outcome::failure().transient());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_never_ready_is_refused_at_the_limit_without_being_called() {
    let (mut stack, mut handle) = stack();
    assert_pending!(poll_ready(&mut stack));
    advance(ms(99)).await;
    assert!(!stack.is_woken());
    assert_pending!(poll_ready(&mut stack));
    advance(ms(2)).await;
    assert!(stack.is_woken());
    assert_ready_ok!(poll_ready(&mut stack));

    let response = stack.call(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 504);
    not_ready(&response);
    assert_pending!(task::spawn(handle.next_request()).poll());
}

/// Polls in a scope with this deadline.
fn poll_ready_within(scope: &mut Scope, stack: &mut task::Spawn<Stack>) -> Poll<Result<(), BoxError>> {
    scope.enter(|| poll_ready(stack))
}

#[tokio::test(start_paused = true)]
async fn an_earlier_deadline_of_the_scope_ends_the_wait_by_whoever_set_it() {
    for set_by in [SetBy::Us, SetBy::Caller] {
        let (mut stack, mut handle) = stack();
        let mut scope = Scope::narrowed(Deadline::after(ms(7), set_by));
        assert_pending!(poll_ready_within(&mut scope, &mut stack));
        advance(ms(6)).await;
        assert!(!stack.is_woken());
        advance(ms(2)).await;
        assert!(stack.is_woken());
        assert_ready_ok!(poll_ready_within(&mut scope, &mut stack));
        let call = scope.enter(|| stack.call(Request::new(())));
        let response = call.await.unwrap();
        let kind = Elapsed::new(set_by, Progress::NotReady);
        assert_eq!(response.extensions().get::<Rejection>().unwrap().detail(), Some(&kind));
        assert_pending!(task::spawn(handle.next_request()).poll());
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_caller_who_gave_up_is_not_the_next_ones() {
    let (mut stack, _handle) = stack();
    let mut hurried = Scope::narrowed(Deadline::after(ms(7), SetBy::Caller));
    assert_pending!(poll_ready_within(&mut hurried, &mut stack));
    advance(ms(8)).await;
    assert_pending!(poll_ready(&mut stack));
    advance(LIMIT).await;
    assert_ready_ok!(poll_ready(&mut stack));
    not_ready(&stack.call(Request::new(())).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_the_next_caller_has_the_whole_limit_again() {
    let (mut stack, mut handle) = stack();
    assert_pending!(poll_ready(&mut stack));
    advance(LIMIT).await;
    assert_ready_ok!(poll_ready(&mut stack));
    not_ready(&stack.call(Request::new(())).await.unwrap());

    let begun = Instant::now();
    not_ready(&(*stack).ready().await.unwrap().call(Request::new(())).await.unwrap());
    assert_eq!(begun.elapsed(), LIMIT);

    handle.allow(1);
    assert_ready_ok!(poll_ready(&mut stack));
    let mut call = task::spawn(stack.call(Request::new(())));
    assert_pending!(call.poll());
    handle.next_request().await.unwrap().1.send_response(Response::new("well".to_owned()));
    assert_eq!(assert_ready_ok!(call.poll()).body(), "well");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_turns_ready_before_the_refusal_is_due_is_called() {
    let (mut stack, mut handle) = stack();
    assert_pending!(poll_ready(&mut stack));
    advance(ms(60)).await;
    handle.allow(1);
    assert_ready_ok!(poll_ready(&mut stack));
    let mut call = task::spawn(stack.call(Request::new(())));
    assert_pending!(call.poll());
    let (_request, _answer) = handle.next_request().await.unwrap();

    // The time that was waited counts: 40 ms are left.
    advance(ms(39)).await;
    assert_pending!(call.poll());
    advance(ms(2)).await;
    let response = assert_ready_ok!(call.poll());
    let kind = Elapsed::new(SetBy::Us, Progress::Called);
    assert_eq!(response.extensions().get::<Rejection>().unwrap().detail(), Some(&kind));
}

#[tokio::test(start_paused = true)]
async fn time_between_ready_and_call_is_not_counted() {
    let (mut stack, mut handle) = stack();
    assert_pending!(poll_ready(&mut stack));
    advance(ms(60)).await;
    handle.allow(1);
    assert_ready_ok!(poll_ready(&mut stack));
    advance(ms(10_000)).await;
    assert_ready_ok!(poll_ready(&mut stack));
    let mut call = task::spawn(stack.call(Request::new(())));
    assert_pending!(call.poll());
    handle.next_request().await.unwrap().1.send_response(Response::new("well".to_owned()));
    assert_eq!(assert_ready_ok!(call.poll()).body(), "well");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_the_first_poll_after_the_limit_however_late_that_comes() {
    for late in [LIMIT, LIMIT * 2, LIMIT * 3, LIMIT * 1000] {
        let (mut stack, mut handle) = stack();
        assert_pending!(poll_ready(&mut stack));
        advance(late).await;
        assert_ready_ok!(poll_ready(&mut stack));
        not_ready(&stack.call(Request::new(())).await.unwrap());
        assert_pending!(task::spawn(handle.next_request()).poll());
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_polls_every_50_ms_is_refused_within_a_limit_of_20_ms() {
    let (mock, mut handle) = mock::pair::<Request<()>, Response<String>>();
    handle.allow(0);
    let mut stack = TimeoutLayer::builder("upstream").limit(ms(20)).build().unwrap().layer(mock);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    for _ in 0..3 {
        assert!(stack.poll_ready(&mut cx).is_pending());
        advance(ms(50)).await;
        assert!(matches!(stack.poll_ready(&mut cx), Poll::Ready(Ok(()))));
        not_ready(&stack.call(Request::new(())).await.unwrap());
    }
}

#[test]
fn a_runtime_that_lags_refuses_at_the_first_poll_after_the_limit() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(std::future::poll_fn(|cx| {
        let (mock, mut handle) = mock::pair::<Request<()>, Response<String>>();
        handle.allow(0);
        let mut stack = TimeoutLayer::builder("upstream").limit(ms(5)).build().unwrap().layer(mock);
        assert!(stack.poll_ready(cx).is_pending());
        // Blocks the thread, as code does that makes a runtime lag: no timer runs meanwhile.
        let begun = Instant::now();
        while begun.elapsed() < ms(20) {
            std::hint::spin_loop();
        }
        assert!(matches!(stack.poll_ready(cx), Poll::Ready(Ok(()))));
        Poll::Ready(())
    }));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_given_up_is_not_held_against_a_service_that_is_ready_by_then() {
    let (mut stack, mut handle) = stack();
    assert_pending!(poll_ready(&mut stack));
    advance(ms(60_000)).await;
    handle.allow(1);
    assert_ready_ok!(poll_ready(&mut stack));
    let mut call = task::spawn(stack.call(Request::new(())));
    assert_pending!(call.poll());
    handle.next_request().await.unwrap().1.send_response(Response::new("well".to_owned()));
    assert_eq!(assert_ready_ok!(call.poll()).body(), "well");
}

#[tokio::test(start_paused = true)]
async fn a_clone_waits_for_its_own_readiness() {
    let (mut stack, mut handle) = stack();
    assert_pending!(poll_ready(&mut stack));
    advance(LIMIT).await;
    assert_ready_ok!(poll_ready(&mut stack));

    let mut clone = task::spawn((*stack).clone());
    assert_pending!(poll_ready(&mut clone));
    handle.allow(1);
    assert_ready_ok!(poll_ready(&mut clone));
    not_ready(&stack.call(Request::new(())).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_is_passed_on() {
    let (mut stack, mut handle) = stack();
    handle.send_error("gone");
    let error = match poll_ready(&mut stack) {
        Poll::Ready(Err(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(error.to_string(), "gone");
}

#[tokio::test(start_paused = true)]
async fn over_a_concurrency_limit_the_wait_for_a_permit_is_limited_and_no_permit_is_lost() {
    let slow = service_fn(|takes: Request<Duration>| async move {
        sleep(takes.into_body()).await;
        Ok::<_, BoxError>(Response::new("well".to_owned()))
    });
    let service = layer().layer(ConcurrencyLimit::new(slow, 1));
    let begun = Instant::now();
    let call = |takes| service.clone().oneshot(Request::new(takes));
    // The first has the permit until its own limit, at 100 ms; the second asked at 0 ms too.
    let (hung, waiting) = tokio::join!(call(ms(60_000)), call(ms(10)));
    assert_eq!(hung.unwrap().status(), 504);
    assert_eq!(waiting.unwrap().status(), 504);
    assert!(begun.elapsed() <= ms(102));
    for _ in 0..3 {
        assert_eq!(call(ms(10)).await.unwrap().body(), "well");
    }
}

#[tokio::test(start_paused = true)]
async fn over_a_buffer_every_call_is_answered_or_ended() {
    let slow = service_fn(|takes: Request<Duration>| async move {
        sleep(takes.into_body()).await;
        Ok::<_, BoxError>(Response::new("well".to_owned()))
    });
    let inner = ServiceBuilder::new().buffer(1).concurrency_limit(1).service(slow);
    let service = layer().layer(inner);
    let call = |takes| service.clone().oneshot(Request::new(takes));
    let begun = Instant::now();
    let (a, b, c) = tokio::join!(call(ms(60_000)), call(ms(60_000)), call(ms(60_000)));
    for answer in [a, b, c] {
        assert_eq!(answer.unwrap().status(), 504);
    }
    assert!(begun.elapsed() <= ms(102));
    assert_eq!(call(ms(10)).await.unwrap().body(), "well");
}

#[tokio::test(start_paused = true)]
async fn inside_a_buffer_a_service_that_is_not_ready_ends_each_call_in_turn() {
    let (mock, mut handle) = mock::pair::<Request<()>, Response<String>>();
    handle.allow(0);
    let service = ServiceBuilder::new().buffer(4).layer(layer()).service(mock);
    let call = || service.clone().oneshot(Request::new(()));
    let (a, b) = tokio::join!(call(), call());
    not_ready(&a.unwrap());
    not_ready(&b.unwrap());
}

/// Ready some time after it was first asked, for ever. Not `Clone`.
struct Slow(Pin<Box<Sleep>>);

impl Service<Request<()>> for Slow {
    type Response = Response<String>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<String>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.as_mut().poll(cx).map(Ok)
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        std::future::ready(Ok(Response::new("well".to_owned())))
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_need_not_be_clone_and_is_asked_again_after_a_refusal() {
    let mut service = layer().layer(Slow(Box::pin(sleep(ms(150)))));
    not_ready(&service.ready().await.unwrap().call(Request::new(())).await.unwrap());
    assert_eq!(service.ready().await.unwrap().call(Request::new(())).await.unwrap().body(), "well");
}

#[tokio::test(start_paused = true)]
async fn a_boxed_clone_of_a_stack_still_refuses_in_time() {
    let (mock, mut handle) = mock::pair::<Request<()>, Response<String>>();
    handle.allow(0);
    let service = BoxCloneService::new(layer().layer(mock));
    not_ready(&service.oneshot(Request::new(())).await.unwrap());
}
