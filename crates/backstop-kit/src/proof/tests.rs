use std::{
    convert::Infallible,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    thread,
};

use tower::{Service, service_fn};

use super::*;
use crate::{EagerCall, Readiness, ServiceCall, client};

type Answer = Pin<Box<dyn Future<Output = &'static str> + Send>>;

/// A service of ours that refuses.
fn refuse() -> Answer {
    let entered = Entered::now();
    Box::pin(async move {
        entered.prove();
        "refused"
    })
}

/// A service of ours that passes requests on to one that isn't.
fn process() -> Answer {
    pass_through(|| Box::pin(async { "processed" }))
}

/// Whether a layer believes that the call was not processed.
fn believes(call: impl FnOnce() -> Answer) -> bool {
    let mut frame = Frame::open();
    let mut call = frame.call(call);
    frame.listen();
    _ = poll_once(&mut call);
    frame.ended()
}

fn poll_once<F: Future + Unpin>(call: &mut F) -> Option<F::Output> {
    match tokio_test::task::spawn(call).poll() {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn one_layer_that_was_entered_and_refuses_is_believed_through_any_that_pass_on() {
    assert!(believes(refuse));
    assert!(believes(|| pass_through(refuse)));
    assert!(believes(|| pass_through(|| pass_through(refuse))));
    assert!(!believes(process));
    assert!(!believes(|| Box::pin(async { "something else" })));
}

#[test]
fn a_refusal_among_several_calls_is_not_believed() {
    for first in [refuse, process] {
        assert!(!believes(|| {
            let (first, second) = (first(), refuse());
            Box::pin(async { (first.await, second.await).1 })
        }));
    }
    assert!(!believes(|| pass_through(|| {
        let (first, second) = (process(), refuse());
        Box::pin(async { (first.await, second.await).1 })
    })));
}

#[test]
fn what_is_called_in_a_poll_is_not_believed() {
    assert!(!believes(|| Box::pin(async { refuse().await })));
    assert!(!believes(|| {
        let first = refuse();
        Box::pin(async {
            first.await;
            process().await
        })
    }));
    assert!(!believes(|| {
        let first = process();
        Box::pin(async {
            first.await;
            refuse().await
        })
    }));
}

/// Whether a layer believes that the call was not processed, which it polls to the end.
fn believes_in_the_end(call: impl FnOnce() -> Answer) -> bool {
    let mut frame = Frame::open();
    let mut call = frame.call(call);
    for _ in 0..10 {
        frame.listen();
        if poll_once(&mut call).is_some() {
            return frame.ended();
        }
        frame.waits();
    }
    panic!("it never ends")
}

#[test]
fn what_was_called_at_once_and_awaited_after_something_else_is_not_believed() {
    // The other one isn't ours, so that nobody hears of it.
    let charge = || tokio::task::yield_now();
    assert!(!believes_in_the_end(|| {
        let second = refuse();
        Box::pin(async move {
            charge().await;
            second.await
        })
    }));
    // Nor is it where layers of ours stand in between.
    assert!(!believes_in_the_end(|| {
        let second = pass_through(|| {
            let mut frame = Frame::open();
            let mut call = frame.call(refuse);
            let answer: Answer = Box::pin(async move {
                frame.listen();
                let answer = poll_once(&mut call).unwrap();
                assert!(frame.ended(), "of its own call it is sure");
                frame.pass_on();
                answer
            });
            answer
        });
        Box::pin(async move {
            charge().await;
            second.await
        })
    }));
    assert!(!believes_in_the_end(|| {
        let error = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let second = client(service_fn(move |()| async move { Err::<&str, _>(error()) })).call(());
        Box::pin(async move {
            charge().await;
            second.await.unwrap_or("failed")
        })
    }));
    assert!(!believes_in_the_end(|| {
        let at_once = service_fn(|()| {
            let answer = refuse();
            async { Ok::<_, Infallible>(answer.await) }
        });
        let second = ServiceCall::<_, _>::when_ready(at_once, ());
        Box::pin(async move {
            charge().await;
            second.await.unwrap_or("failed")
        })
    }));
}

#[test]
fn what_was_called_at_once_and_failed_beside_something_else_is_not_believed() {
    let beside = |first_charges: bool| {
        believes_in_the_end(move || {
            let slow = service_fn(|()| async {
                tokio::task::yield_now().await;
                Err::<&str, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
            });
            let second = client(slow).call(());
            Box::pin(async move {
                let charge = async {
                    if !first_charges {
                        tokio::task::yield_now().await;
                    }
                    client(service_fn(|()| async { Ok::<_, Infallible>("charged") })).call(()).await
                };
                _ = tokio::join!(second, charge);
                "failed"
            })
        })
    };
    assert!(!beside(true));
    assert!(!beside(false));
    // What is known to process nothing may be called beside it.
    assert!(believes_in_the_end(|| {
        let second = client(service_fn(|()| async {
            tokio::task::yield_now().await;
            Err::<&str, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
        }))
        .call(());
        Box::pin(async move {
            drop(processing_nothing(refuse));
            _ = second.await;
            "failed"
        })
    }));
}

#[test]
fn what_takes_its_time_is_believed_if_it_was_polled_from_the_start() {
    assert!(believes_in_the_end(|| {
        let slow = service_fn(|()| async {
            tokio::task::yield_now().await;
            Err::<&str, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
        });
        let call = client(slow).call(());
        Box::pin(async { call.await.unwrap_or("failed") })
    }));
}

#[test]
fn what_was_proved_in_an_earlier_poll_is_not_believed() {
    let mut frame = Frame::open();
    let mut call: Answer = frame.call(|| {
        let refused = refuse();
        Box::pin(async {
            refused.await;
            tokio::task::yield_now().await;
            "more was done"
        })
    });
    frame.listen();
    assert_eq!(poll_once(&mut call), None);
    frame.listen();
    assert_eq!(poll_once(&mut call), Some("more was done"));
    assert!(!frame.ended());
}

#[test]
fn a_service_that_panics_leaves_no_frame_open() {
    let panicking = || -> Answer { pass_through(|| panic!("broken")) };
    assert!(!believes(|| {
        assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
        refuse()
    }));
    assert!(!believes(|| {
        let mut inner = Frame::open();
        assert!(catch_unwind(AssertUnwindSafe(|| inner.call(panicking))).is_err());
        refuse()
    }));
    assert!(believes(refuse));
}

#[test]
fn a_future_that_moves_to_another_thread_is_believed_about_its_own_call_alone() {
    let other = thread::spawn(|| {
        let mut frame = Frame::open();
        (frame.call(refuse), frame)
    });
    let (mut call, mut frame) = other.join().unwrap();
    let mut own = Frame::open();
    let mut own_call = own.call(process);
    frame.listen();
    poll_once(&mut call);
    assert!(!own.ended());
    assert!(frame.ended());
    own.listen();
    poll_once(&mut own_call);
    assert!(!own.ended());
}

#[test]
fn a_frame_in_a_frame_passes_on_what_is_true_of_all_its_calls() {
    let layer = |calls: &[fn() -> Answer]| {
        let calls = calls.to_vec();
        let mut frame = Frame::open();
        let mut first = frame.call(calls[0]);
        let answer: Answer = Box::pin(async move {
            frame.listen();
            let mut answer = poll_once(&mut first).unwrap();
            frame.ended();
            for call in &calls[1..] {
                let mut call = frame.call(call);
                frame.listen();
                answer = poll_once(&mut call).unwrap();
                frame.ended();
            }
            frame.pass_on();
            answer
        });
        answer
    };
    assert!(believes(|| layer(&[refuse])));
    assert!(believes(|| layer(&[refuse, refuse, refuse])));
    assert!(!believes(|| layer(&[process])));
    assert!(!believes(|| layer(&[process, refuse])));
    assert!(!believes(|| layer(&[refuse, process, refuse])));
    assert!(!believes(|| {
        let mut frame = Frame::open();
        let (given_up, mut refused) = (frame.call(process), frame.call(refuse));
        Box::pin(async move {
            drop(given_up);
            frame.listen();
            let answer = poll_once(&mut refused).unwrap();
            assert!(frame.ended());
            frame.pass_on();
            answer
        })
    }));
}

#[test]
fn ignored_proof_proves_nothing() {
    assert!(!believes(|| ignore_proof(refuse)));
    let mut frame = Frame::open();
    let mut call = frame.call_ignoring_proof(refuse);
    frame.listen();
    poll_once(&mut call);
    assert!(!frame.ended());
}

#[test]
fn a_call_that_waits_for_readiness_passes_the_word_on() {
    let refusing = || service_fn(|()| async { Ok::<_, Infallible>(refuse().await) });
    let refusing_at_once = || {
        service_fn(|()| {
            let answer = refuse();
            async { Ok::<_, Infallible>(answer.await) }
        })
    };
    let two = || {
        service_fn(|()| {
            let (first, second) = (process(), refuse());
            async { Ok::<_, Infallible>((first.await, second.await).1) }
        })
    };
    fn answer<T: Send + 'static>(call: impl Future<Output = Result<&'static str, T>> + Send + 'static) -> Answer {
        Box::pin(async { call.await.unwrap_or("failed") })
    }
    assert!(!believes(|| answer(ServiceCall::<_, _>::when_ready(refusing(), ()))));
    assert!(believes(|| answer(ServiceCall::<_, _>::when_ready(refusing_at_once(), ()))));
    assert!(!believes(|| answer(ServiceCall::<_, _>::when_ready(two(), ()))));
    assert!(!believes(|| answer(EagerCall::when_ready(refusing(), ()))));
    assert!(believes(|| answer(EagerCall::when_ready(refusing_at_once(), ()))));
    assert!(!believes(|| answer(EagerCall::when_ready(two(), ()))));
    assert!(believes(|| answer(EagerCall::begin(&mut refusing_at_once(), Readiness::Ready, ()))));
    assert!(!believes(|| answer(EagerCall::begin(&mut two(), Readiness::Ready, ()))));
}

/// Never gets ready: fails to be.
#[derive(Clone)]
struct Broken;

impl Service<()> for Broken {
    type Response = &'static str;
    type Error = &'static str;
    type Future = std::future::Ready<Result<&'static str, &'static str>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), &'static str>> {
        std::task::Poll::Ready(Err("broken"))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(Ok("called"))
    }
}

#[test]
fn a_service_that_fails_to_be_ready_was_not_called() {
    assert!(believes(|| {
        let call = ServiceCall::<_, _>::when_ready(Broken, ());
        Box::pin(async { call.await.unwrap_or("failed") })
    }));
    assert!(believes(|| {
        let call = EagerCall::when_ready(Broken, ());
        Box::pin(async { call.await.unwrap_or("failed") })
    }));
}

#[test]
fn a_client_proves_what_its_own_errors_prove_and_nothing_else() {
    let failing = |kind: io::ErrorKind| {
        move || -> Answer {
            let call = client(service_fn(move |()| async move { Err::<&str, _>(io::Error::from(kind)) })).call(());
            Box::pin(async { call.await.unwrap_or("failed") })
        }
    };
    assert!(believes(failing(io::ErrorKind::ConnectionRefused)));
    assert!(!believes(failing(io::ErrorKind::ConnectionReset)));
    assert!(!believes(failing(io::ErrorKind::TimedOut)));
    // What refuses in there isn't the client's own error.
    assert!(!believes(|| {
        let inner = service_fn(|()| {
            let answer = refuse();
            async { Ok::<_, Infallible>(answer.await) }
        });
        let call = client(inner).call(());
        Box::pin(async { call.await.unwrap_or("failed") })
    }));
}
