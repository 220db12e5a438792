//! A wait for the inner service is limited too, though its limit is known only in `call`.

#![allow(clippy::panic, clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use backstop_kit::{Elapsed, Progress};
use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{Outcome, Rejection, SetBy};
use backstop_timeout::{DeadlineLayer, DeadlineService};
use http::{Request, Response, Version};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit, service_fn};
use tower_test::mock::{self, Mock};

const LIMIT: Duration = Duration::from_millis(100);

type Inner = Mock<Request<()>, Response<String>>;
type Stack = DeadlineService<Inner>;

fn layer() -> DeadlineLayer {
    DeadlineLayer::builder("edge").limit(LIMIT).build().unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn grpc<T>(timeout: &str, body: T) -> Request<T> {
    let request = Request::post("/a.B/C").version(Version::HTTP_2).header("content-type", "application/grpc");
    request.header("grpc-timeout", timeout).body(body).unwrap()
}

fn stack() -> (task::Spawn<Stack>, mock::Handle<Request<()>, Response<String>>) {
    let (mock, mut handle) = mock::pair();
    handle.allow(0);
    (task::spawn(layer().layer(mock)), handle)
}

fn poll_ready(stack: &mut task::Spawn<Stack>) -> Poll<Result<(), BoxError>> {
    stack.enter(|cx, mut stack| stack.poll_ready(cx))
}

fn ended(response: &Response<String>) -> (SetBy, Progress) {
    let elapsed: &Elapsed = response.extensions().get::<Rejection>().unwrap().detail().unwrap();
    (elapsed.set_by, elapsed.progress)
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_whatever_the_service_is_and_the_wait_counts() {
    let (mut stack, mut handle) = stack();
    assert_ready_ok!(poll_ready(&mut stack));
    let mut call = task::spawn(stack.call(Request::new(())));
    assert_pending!(call.poll());
    advance(LIMIT + ms(1)).await;
    let response = assert_ready_ok!(call.poll());
    assert_eq!(ended(&response), (SetBy::Us, Progress::NotReady));
    assert_eq!(response.extensions().get::<Rejection>().unwrap().outcome(), Outcome::failure().transient());
    assert_pending!(task::spawn(handle.next_request()).poll());
}

#[tokio::test(start_paused = true)]
async fn the_callers_limit_ends_the_wait_too() {
    let (mut stack, _handle) = stack();
    assert_ready_ok!(poll_ready(&mut stack));
    let begun = Instant::now();
    let response = stack.call(grpc("7m", ())).await.unwrap();
    assert_eq!((begun.elapsed(), ended(&response)), (ms(7), (SetBy::Caller, Progress::NotReady)));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_turns_ready_in_time_is_called_with_what_is_left() {
    let (mut stack, mut handle) = stack();
    let mut call = task::spawn(stack.call(Request::new(())));
    assert_pending!(call.poll());
    advance(ms(60)).await;
    handle.allow(1);
    assert!(call.is_woken());
    assert_pending!(call.poll());
    let (_request, answer) = handle.next_request().await.unwrap();
    advance(ms(39)).await;
    assert_pending!(call.poll());
    answer.send_response(Response::new("well".to_owned()));
    assert_eq!(assert_ready_ok!(call.poll()).body(), "well");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_is_passed_on() {
    let (mut stack, mut handle) = stack();
    handle.send_error("gone");
    assert_eq!(assert_ready_err!(poll_ready(&mut stack)).to_string(), "gone");
    // Also where it comes only when the call waits for it.
    let (mut stack, mut handle) = self::stack();
    let mut call = task::spawn(stack.call(Request::new(())));
    assert_pending!(call.poll());
    handle.send_error("gone");
    assert_eq!(assert_ready_err!(call.poll()).to_string(), "gone");
}

/// Ready when it is asked for the second time, and panics when it is called without.
struct Strict(Asked);

enum Asked {
    Never,
    Once,
    Ready,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self(Asked::Never)
    }
}

impl<B> Service<Request<B>> for Strict {
    type Response = Response<String>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self.0 {
            Asked::Never => {
                self.0 = Asked::Once;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Asked::Once | Asked::Ready => {
                self.0 = Asked::Ready;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(matches!(mem::replace(&mut self.0, Asked::Never), Asked::Ready), "called without being ready");
        Box::pin(async { Ok(Response::new("well".to_owned())) })
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    let mut service = layer().layer(Strict(Asked::Never));
    for polls in [0, 1, 2, 3, 0, 2, 1] {
        let mut asking = task::spawn(());
        for _ in 0..polls {
            assert_ready_ok!(asking.enter(|cx, _| Service::<Request<()>>::poll_ready(&mut service, cx)));
        }
        assert_eq!(service.call(Request::new(())).await.unwrap().body(), "well", "asked {polls} times");
        let clone = service.clone();
        assert_eq!(clone.oneshot(Request::new(())).await.unwrap().body(), "well", "a clone is asked for itself");
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_that_has_waited_goes_on_waiting_in_the_call() {
    let mut service = layer().layer(Strict(Asked::Never));
    let mut asking = task::spawn(());
    assert_ready_ok!(asking.enter(|cx, _| Service::<Request<()>>::poll_ready(&mut service, cx)));
    let mut call = task::spawn(service.call(Request::new(())));
    assert_eq!(assert_ready_ok!(call.poll()).body(), "well", "a clone would have to wait first");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_ready_is_called_at_once() {
    let (mut stack, mut handle) = stack();
    handle.allow(1);
    assert_ready_ok!(poll_ready(&mut stack));
    let _call = stack.call(Request::new(()));
    assert!(handle.next_request().await.is_some(), "before the call is polled");
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_leaves_the_service_ready_for_the_next() {
    let (mut stack, mut handle) = stack();
    handle.allow(1);
    assert_ready_ok!(poll_ready(&mut stack));
    assert_eq!(ended(&stack.call(grpc("0m", ())).await.unwrap()), (SetBy::Caller, Progress::NotAsked));
    let mut call = task::spawn(stack.call(Request::new(())));
    assert_pending!(call.poll());
    handle.next_request().await.unwrap().1.send_response(Response::new("well".to_owned()));
    assert_eq!(assert_ready_ok!(call.poll()).body(), "well");
}

async fn takes(takes: Request<Duration>) -> Result<Response<String>, BoxError> {
    sleep(takes.into_body()).await;
    Ok(Response::new("well".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn over_a_concurrency_limit_each_call_has_its_own_limit_and_no_permit_is_lost() {
    let service = layer().layer(ConcurrencyLimit::new(service_fn(takes), 1));
    let begun = Instant::now();
    let hung = service.clone().oneshot(Request::new(ms(60_000)));
    let hurried = async {
        let response = service.clone().oneshot(grpc("7m", ms(1))).await.unwrap();
        (begun.elapsed(), ended(&response))
    };
    let (hung, hurried) = tokio::join!(hung, hurried);
    assert_eq!(hurried, (ms(7), (SetBy::Caller, Progress::NotReady)));
    assert_eq!((begun.elapsed(), ended(&hung.unwrap())), (LIMIT, (SetBy::Us, Progress::Called)));
    for _ in 0..3 {
        assert_eq!(service.clone().oneshot(Request::new(ms(10))).await.unwrap().body(), "well");
    }
}

#[tokio::test(start_paused = true)]
async fn over_a_buffer_every_call_is_answered_or_ended_in_time() {
    let inner = ServiceBuilder::new().buffer(1).concurrency_limit(1).service_fn(takes);
    let service = layer().layer(inner);
    let call = |takes| service.clone().oneshot(Request::new(takes));
    let begun = Instant::now();
    let (a, b, c) = tokio::join!(call(ms(60_000)), call(ms(60_000)), call(ms(60_000)));
    for answer in [a, b, c] {
        assert_eq!(answer.unwrap().status(), 504);
    }
    assert_eq!(begun.elapsed(), LIMIT);
    assert_eq!(call(ms(10)).await.unwrap().body(), "well");
}

#[tokio::test(start_paused = true)]
async fn inside_a_buffer_no_call_waits_for_another() {
    let limited = ServiceBuilder::new().concurrency_limit(1).service_fn(takes);
    let service = ServiceBuilder::new().buffer(4).layer(layer()).service(limited);
    let call = |takes| service.clone().oneshot(Request::new(takes));
    let begun = Instant::now();
    let (a, b, c) = tokio::join!(call(ms(60_000)), call(ms(60_000)), call(ms(60_000)));
    assert_eq!(begun.elapsed(), LIMIT, "all of them at once");
    for answer in [a, b, c] {
        assert_eq!(ended(&answer.unwrap()).0, SetBy::Us);
    }
    assert_eq!(call(ms(10)).await.unwrap().body(), "well");
}
