//! The layer and a sequential model are driven with the same random steps, under paused time.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

mod sequential;

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use backstop_circuit_breaker::{
    CircuitBreakerLayer, CircuitState, HttpClassify, HttpReject, OnDrop, Rejection, UntilBodyEnd, Wait, Window,
};
use backstop_core::{
    Verdict,
    scope::{self, EndedBy},
};
use backstop_kit::Http;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use proptest::prelude::*;
use sequential::{Call, Counts, Model, SECOND, Settings, Trip};
use tokio::time::advance;
use tower::{Layer, Service, service_fn};

type AnyBody = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Response<AnyBody>;

#[derive(Clone, Copy, Debug)]
enum Ends {
    Well,
    Badly,
    Neutral,
    /// Badly, with a `Retry-After`.
    BadlyFor(u64),
    WithBody,
}

#[derive(Clone, Copy, Debug)]
enum BodyStep {
    Waits,
    Data,
    Ends,
    Breaks,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    ReadyAtOnce(Ends),
    Start,
    Finish(usize, Ends),
    Drop(usize, Option<EndedBy>),
    Body(usize, BodyStep),
    DropBody(usize, Option<EndedBy>),
    Pass(Duration),
    Isolate,
    Close,
    Reset,
}

fn ends() -> impl Strategy<Value = Ends> {
    prop_oneof![
        4 => Just(Ends::Well),
        5 => Just(Ends::Badly),
        1 => Just(Ends::Neutral),
        1 => (0..40u64).prop_map(Ends::BadlyFor),
        2 => Just(Ends::WithBody),
    ]
}

fn dropped_by() -> impl Strategy<Value = Option<EndedBy>> {
    prop_oneof![2 => Just(None), 1 => Just(Some(EndedBy::OurLimit)), 1 => Just(Some(EndedBy::CallersLimit)),
        1 => Just(Some(EndedBy::Replaced))]
}

fn step() -> impl Strategy<Value = Step> {
    let body = prop_oneof![Just(BodyStep::Waits), Just(BodyStep::Data), Just(BodyStep::Ends), Just(BodyStep::Breaks)];
    prop_oneof![
        10 => ends().prop_map(Step::ReadyAtOnce),
        6 => Just(Step::Start),
        5 => (any::<usize>(), ends()).prop_map(|(which, ends)| Step::Finish(which, ends)),
        2 => (any::<usize>(), dropped_by()).prop_map(|(which, by)| Step::Drop(which, by)),
        4 => (any::<usize>(), body).prop_map(|(which, step)| Step::Body(which, step)),
        1 => (any::<usize>(), dropped_by()).prop_map(|(which, by)| Step::DropBody(which, by)),
        5 => (0..12_000u64).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
        1 => Just(Step::Isolate),
        1 => Just(Step::Close),
        1 => Just(Step::Reset),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    // Sixteenths, which are exact, so that the model needs no millionths.
    let share = || (1..=16u32).prop_map(|sixteenths| f64::from(sixteenths) / 16.0);
    let either = (1..5u32, share()).prop_map(|(failures, share)| Trip::Either(failures, share));
    let trip = prop_oneof![(1..5u32).prop_map(Trip::Consecutive), share().prop_map(Trip::Rate), either];
    let slow = proptest::option::of(((1..8u32).prop_map(|n| n * SECOND), share()));
    let calls = (1..70u32).prop_flat_map(|calls| (Just(Window::Calls(calls)), 1..=calls));
    let time = ((1..120u32).prop_map(|n| Window::Time(n * SECOND)), 1..20u32);
    let fixed = (1..20u32).prop_map(|n| Wait::Fixed(n * SECOND));
    let growing = (1..20u32, 1..9u32)
        .prop_map(|(first, times)| Wait::Growing { first: first * SECOND, max: first * times * SECOND });
    let on_drop = prop_oneof![
        Just(OnDrop::Ignore),
        Just(OnDrop::Failure),
        (1..9u32).prop_map(|n| OnDrop::FailureAfter(n * SECOND))
    ];
    let respects = proptest::option::of((1..40u32).prop_map(|n| n * SECOND));
    let waits = (prop_oneof![fixed, growing], respects);
    (trip, slow, prop_oneof![calls, time], waits, (1..4u32, 1..4u32, 1..20u32), on_drop).prop_map(
        |(trip, slow, (window, min_calls), (wait, respects), (successes, probes, lease), on_drop)| Settings {
            trip,
            slow,
            window,
            min_calls,
            wait,
            respects,
            success_threshold: successes,
            max_concurrent_probes: probes,
            probe_lease: lease * SECOND,
            on_drop,
        },
    )
}

fn layer(settings: &Settings) -> CircuitBreakerLayer<Http<HttpClassify, HttpReject, UntilBodyEnd>> {
    let mut builder = CircuitBreakerLayer::builder("upstream")
        .wait(settings.wait)
        .wait_jitter(0.0)
        .retry_after_jitter(0.0)
        .success_threshold(settings.success_threshold)
        .max_concurrent_probes(settings.max_concurrent_probes)
        .probe_lease(settings.probe_lease)
        .on_drop(settings.on_drop);
    builder = match settings.trip {
        Trip::Consecutive(failures) => builder.consecutive_failures(failures),
        Trip::Rate(share) => builder.failure_rate(share),
        Trip::Either(failures, share) => builder.consecutive_failures(failures).failure_rate(share),
    };
    if let Some((threshold, share)) = settings.slow {
        builder = builder.slow_calls(threshold, share);
    }
    if !matches!(settings.trip, Trip::Consecutive(_)) || settings.slow.is_some() {
        builder = builder.window(settings.window).min_calls(settings.min_calls);
    }
    if let Some(at_most) = settings.respects {
        builder = builder.respect_retry_after(at_most);
    }
    builder.observe(UntilBodyEnd).build().unwrap()
}

/// What a call or a body does next; shared with the test.
type Script<T> = Arc<Mutex<Option<T>>>;

struct ScriptedBody(Script<BodyStep>);

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.0.lock().unwrap().unwrap_or(BodyStep::Waits) {
            BodyStep::Waits => Poll::Pending,
            BodyStep::Data => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data"))))),
            BodyStep::Ends => Poll::Ready(None),
            BodyStep::Breaks => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
        }
    }
}

fn answer(ends: Ends, body: &Script<BodyStep>) -> Result<Answer, io::Error> {
    let mut answer = Response::new(AnyBody::default());
    match ends {
        Ends::Well => {}
        Ends::Badly => return Err(io::ErrorKind::ConnectionRefused.into()),
        Ends::Neutral => *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS,
        Ends::BadlyFor(seconds) => {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            answer.headers_mut().insert("retry-after", seconds.into());
        }
        Ends::WithBody => *answer.body_mut() = AnyBody::new(ScriptedBody(Arc::clone(body))),
    }
    Ok(answer)
}

fn counts(ends: Ends) -> Counts {
    match ends {
        Ends::Well | Ends::WithBody => Verdict::Success.into(),
        Ends::Badly => Verdict::Failure.into(),
        Ends::Neutral => Verdict::Neutral.into(),
        Ends::BadlyFor(seconds) => {
            Counts { verdict: Verdict::Failure, asked: Some(Duration::from_secs(seconds)), abandoned: false }
        }
    }
}

fn drop_by<T>(by: Option<EndedBy>, dropped: T) {
    match by {
        None => drop(dropped),
        Some(ended_by) => scope::end(ended_by, || drop(dropped)),
    }
}

async fn agree(settings: Settings, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let layer = layer(&settings);
    let handle = layer.handle();
    let mut model = Model::new(settings);
    let mut cx = Context::from_waker(Waker::noop());
    let mut running = Vec::new();
    let mut bodies: Vec<(AnyBody, Script<BodyStep>, Call)> = Vec::new();
    for step in steps {
        match step {
            Step::ReadyAtOnce(_) | Step::Start => {
                let (script, body) = (Script::<Ends>::default(), Script::<BodyStep>::default());
                if let Step::ReadyAtOnce(ends) = step {
                    *script.lock().unwrap() = Some(ends);
                }
                let (plan, body_plan) = (Arc::clone(&script), Arc::clone(&body));
                let mut service = layer.layer(service_fn(move |_: Request<()>| {
                    let (plan, body_plan) = (Arc::clone(&plan), Arc::clone(&body_plan));
                    std::future::poll_fn(move |_| match *plan.lock().unwrap() {
                        None => Poll::Pending,
                        Some(ends) => Poll::Ready(answer(ends, &body_plan)),
                    })
                }));
                prop_assert!(service.poll_ready(&mut cx).is_ready());
                let mut call = Box::pin(service.call(Request::new(())));
                let polled = call.as_mut().poll(&mut cx);
                match (model.admit(), polled) {
                    (Err((state, wait)), Poll::Ready(Ok(refused))) => {
                        let rejection = refused.extensions().get::<Rejection>();
                        let rejection = rejection.ok_or_else(|| TestCaseError::fail("should have been refused"))?;
                        prop_assert_eq!(rejection.detail::<CircuitState>(), Some(&state));
                        prop_assert_eq!(rejection.retry_after(), wait);
                    }
                    (Ok(mut admitted), Poll::Pending) => {
                        prop_assert!(matches!(step, Step::Start));
                        model.is_pending(&mut admitted);
                        running.push((call, script, body, admitted));
                    }
                    (Ok(mut admitted), Poll::Ready(result)) => match (step, result) {
                        (Step::ReadyAtOnce(Ends::WithBody), Ok(answer)) => {
                            model.has_head(&mut admitted);
                            bodies.push((answer.into_body(), body, admitted));
                        }
                        (Step::ReadyAtOnce(ends), result) => {
                            let refused = result.is_ok_and(|answer| answer.extensions().get::<Rejection>().is_some());
                            prop_assert!(!refused);
                            model.ended(&mut admitted, counts(ends));
                        }
                        _ => return Err(TestCaseError::fail("should have been let in")),
                    },
                    (Err(_), _) => return Err(TestCaseError::fail("should have been refused")),
                }
            }
            Step::Finish(which, ends) if !running.is_empty() => {
                let (mut call, script, body, mut admitted) = running.swap_remove(which % running.len());
                *script.lock().unwrap() = Some(ends);
                let Poll::Ready(result) = call.as_mut().poll(&mut cx) else {
                    return Err(TestCaseError::fail("should have ended"));
                };
                match (ends, result) {
                    (Ends::WithBody, Ok(answer)) => {
                        model.has_head(&mut admitted);
                        bodies.push((answer.into_body(), body, admitted));
                    }
                    _ => model.ended(&mut admitted, counts(ends)),
                }
            }
            Step::Drop(which, by) if !running.is_empty() => {
                let (call, _, _, mut admitted) = running.swap_remove(which % running.len());
                drop_by(by, call);
                model.dropped(&mut admitted, by);
            }
            Step::Body(which, body_step) if !bodies.is_empty() => {
                let which = which % bodies.len();
                let (body, script, admitted) = &mut bodies[which];
                *script.lock().unwrap() = Some(body_step);
                _ = Pin::new(body).poll_frame(&mut cx);
                match body_step {
                    BodyStep::Waits => model.body_is_pending(admitted),
                    BodyStep::Data => model.has_got_on(admitted),
                    BodyStep::Ends => model.ended(admitted, Verdict::Success.into()),
                    BodyStep::Breaks => model.ended(admitted, Verdict::Failure.into()),
                }
                if matches!(body_step, BodyStep::Ends | BodyStep::Breaks) {
                    // Dropping it now counts nothing more.
                    drop_by(Some(EndedBy::OurLimit), bodies.swap_remove(which));
                }
            }
            Step::DropBody(which, by) if !bodies.is_empty() => {
                let (body, _, mut admitted) = bodies.swap_remove(which % bodies.len());
                drop_by(by, body);
                model.dropped(&mut admitted, by);
            }
            Step::Finish(..) | Step::Drop(..) | Step::Body(..) | Step::DropBody(..) => {}
            Step::Pass(time) => {
                advance(time).await;
                model.now += time;
            }
            Step::Isolate => {
                handle.isolate();
                if model.state() != CircuitState::Isolated {
                    model.isolate();
                }
            }
            Step::Close => {
                handle.close();
                if model.state() != CircuitState::Closed {
                    model.close();
                }
            }
            Step::Reset => {
                handle.reset();
                model.close();
            }
        }
        let counts = handle.counts();
        let counted = [counts.calls, counts.failures, counts.slow, counts.probes, counts.probe_successes];
        prop_assert_eq!(handle.state(), model.state());
        prop_assert_eq!(counted.map(|count| count as usize), model.counts());
        prop_assert_eq!(handle.generation(), model.generation);
        prop_assert_eq!(handle.remaining_wait(), model.remaining_wait());
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_layer_does_what_a_sequential_model_does(
        settings in settings(),
        steps in proptest::collection::vec(step(), 100..400),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(agree(settings, steps))?;
    }
}
