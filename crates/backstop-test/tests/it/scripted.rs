//! Services that answer by a script.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use backstop_test::{Scripted, Step};
use http::{Request, Response, StatusCode};
use tokio::time::{Instant, timeout};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Service, ServiceExt};

type Http = Scripted<Request<String>, Response<String>>;

fn get(path: &str) -> Request<String> {
    Request::get(path).body(String::new()).unwrap()
}

#[tokio::test]
async fn statuses_come_in_turn_and_the_last_one_stays() {
    let service: Http = Scripted::statuses([503, 200]);
    for status in [503, 200, 200] {
        assert_eq!(service.clone().oneshot(get("/")).await.unwrap().status(), status);
    }
    assert_eq!(service.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_step_answers_fails_waits_or_hangs() {
    let second = Duration::from_secs(1);
    let service = Scripted::<u8, Response<String>, &str>::steps([
        Step::status(418),
        Step::error("gone").after(second),
        Step::answer(Response::new("well".to_owned())).after(second * 2),
        Step::hang(),
    ]);
    let call = || service.clone().oneshot(7);
    assert_eq!(call().await.unwrap().status(), StatusCode::IM_A_TEAPOT);
    let begun = Instant::now();
    assert_eq!(call().await.unwrap_err(), "gone");
    assert_eq!(begun.elapsed(), second);
    assert_eq!(call().await.unwrap().body(), "well");
    assert_eq!(begun.elapsed(), second * 3);
    assert!(timeout(Duration::from_secs(3600), call()).await.is_err());
    assert_eq!(service.gaps(), [Duration::ZERO, second, second * 2]);
    assert_eq!(service.call_times()[1], begun);
}

#[tokio::test]
#[should_panic(expected = "call 2 of a script of 1 steps")]
async fn a_call_beyond_the_last_step_fails_the_test() {
    let service = Scripted::<(), (), Infallible>::steps([Step::answer(())]);
    service.clone().oneshot(()).await.unwrap();
    service.oneshot(()).await.unwrap();
}

#[tokio::test]
async fn a_closure_gets_the_number_of_the_call_and_the_request() {
    let service = Scripted::new(|call, request: usize| async move { Ok::<_, Infallible>(call * request) });
    assert_eq!(service.clone().oneshot(10).await, Ok(10));
    assert_eq!(service.oneshot(10).await, Ok(20));
}

#[tokio::test]
async fn what_a_test_wants_of_each_request_is_recorded() {
    let service = Http::statuses([200]).recording(|request| request.uri().path().to_owned());
    service.clone().oneshot(get("/a?secret")).await.unwrap();
    service.clone().oneshot(get("/b")).await.unwrap();
    assert_eq!(service.requests(), ["/a", "/b"]);
    assert_eq!(service.calls(), 2);
}

#[tokio::test]
async fn a_call_that_is_dropped_before_its_end_is_counted() {
    let service = Scripted::<(), (), &str>::steps([Step::hang(), Step::hang(), Step::error("gone"), Step::answer(())]);
    let mut hangs = task::spawn(service.clone().oneshot(()));
    assert_pending!(hangs.poll());
    assert_eq!(service.dropped(), 0);
    drop(hangs);
    assert_eq!(service.dropped(), 1);
    let mut never_polled = service.clone();
    drop(never_polled.ready().await.unwrap().call(()));
    assert_eq!((service.calls(), service.dropped()), (2, 2));
    service.clone().oneshot(()).await.unwrap_err();
    service.clone().oneshot(()).await.unwrap();
    assert_eq!((service.calls(), service.dropped()), (4, 2));
}

#[test]
fn it_is_ready_as_a_closure_says() {
    let open = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&open);
    let service = Http::statuses([200])
        .readiness(move |_| if is_open.load(Ordering::Relaxed) { Poll::Ready(Ok(())) } else { Poll::Pending });
    let mut call = task::spawn(service.clone().oneshot(get("/")));
    assert_pending!(call.poll());
    assert_eq!((service.readiness_polls(), service.calls()), (1, 0));
    open.store(true, Ordering::Relaxed);
    assert_ready_ok!(call.poll());
    assert_eq!((service.readiness_polls(), service.calls()), (2, 1));

    let failing = Scripted::<(), (), &str>::steps([]).readiness(|_| Poll::Ready(Err("broken")));
    assert_eq!(assert_ready_err!(task::spawn(failing.oneshot(())).poll()), "broken");
}

#[test]
#[should_panic(expected = "called without having been ready")]
fn a_clone_of_a_ready_service_is_not_ready() {
    let mut service = Http::statuses([200]);
    let mut ready = task::spawn(());
    assert_ready_ok!(ready.enter(|cx, _| service.poll_ready(cx)));
    drop(service.clone().call(get("/")));
}

#[tokio::test]
#[should_panic(expected = "called without having been ready")]
async fn readiness_is_for_one_call() {
    let mut service = Http::statuses([200]);
    drop(service.ready().await.unwrap().call(get("/")));
    drop(service.call(get("/")));
}

#[tokio::test]
async fn as_a_function_it_is_counted_as_well() {
    let service = Scripted::<&str, u8, &str>::steps([Step::error("gone"), Step::answer(7)]).recording(|key| *key);
    let function = service.function();
    assert_eq!(function("a").await, Err("gone"));
    assert_eq!(tower::service_fn(function).oneshot("b").await, Ok(7));
    assert_eq!(service.requests(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn each_call_is_answered_fails_or_hangs() {
    let (answers, fails, hangs) = (Scripted::answering(7), Scripted::failing("gone"), Scripted::hanging());
    for calls in 1..4 {
        assert_eq!(answers.clone().oneshot("a").await, Ok(7));
        assert_eq!(fails.clone().oneshot("a").await, Err::<u8, _>("gone"));
        let hung: Result<Result<u8, Infallible>, _> =
            timeout(Duration::from_secs(3600), hangs.clone().oneshot("a")).await;
        assert!(hung.is_err());
        assert_eq!([answers.calls(), fails.calls(), hangs.calls(), hangs.dropped()], [calls; 4]);
    }
}
