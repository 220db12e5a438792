//! The layers around a call, under many calls at once.

use std::future::poll_fn;
use std::task::Poll;

use backstop::{Reason, name};
use serde_json::Value;
use tokio::net::TcpListener;

use super::*;

impl Dependency {
    /// Calls `service` without any layer.
    pub(crate) fn answered_by(service: Service) -> Self {
        let circuit = CircuitBreakerLayer::new(name!("unused")).handle();
        Self { past_circuit: service.clone(), service, circuit, layers: Vec::new() }
    }
}

#[tokio::test]
async fn calls_beyond_those_that_run_and_wait_are_refused_at_once_and_others_after_a_short_wait() {
    // Accepts connections, and never answers.
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri: Uri = format!("http://{}/", hung.local_addr().unwrap()).parse().unwrap();
    let dependency =
        Dependency::new(name!("hung"), http_client(), Duration::from_secs(5), Recovery::at_once()).unwrap();

    let mut calls: Vec<_> = (0..2 * CALLS + 7).map(|_| Box::pin(dependency.get::<Value>(uri.clone()))).collect();
    let mut refused_at_once = 0;
    poll_fn(|cx| {
        calls.retain_mut(|call| match call.as_mut().poll(cx) {
            Poll::Ready(result) => {
                refused_at_once += usize::from(is_full(&result.unwrap_err()));
                false
            }
            Poll::Pending => true,
        });
        Poll::Ready(())
    })
    .await;
    assert_eq!(refused_at_once, 7);
    assert_eq!(dependency.circuit().counts().failures, 0, "a full bulkhead isn't the dependency's failure");

    // The waiting calls are refused before a running one ends.
    let waiting = calls.split_off(CALLS as usize);
    for call in waiting {
        assert!(is_full(&call.await.unwrap_err()));
    }
}

fn is_full(error: &BoxError) -> bool {
    error.downcast_ref().is_some_and(|rejection: &Rejection| rejection.reason() == Reason::BULKHEAD_FULL)
}
