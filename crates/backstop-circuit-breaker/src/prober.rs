//! Probe calls made in the background, without a caller.

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{Classify, ErrorRef, Outcome, ResultClassify, Verdict};
use pin_project_lite::pin_project;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    CircuitState,
    breaker::{Breaker, HasBreaker},
    failure::Failure,
    state::{Admission, Nanos, Turn},
    tracked_call::TrackedCall,
};

pin_project! {
    /// A future that makes probe calls: see [`CircuitBreakerHandle::prober`](crate::CircuitBreakerHandle::prober) and
    /// [`KeyedCircuitBreakerHandle::prober`](crate::KeyedCircuitBreakerHandle::prober).
    ///
    /// # Cancellation
    /// Dropping it stops the prober. A running probe is dropped, isn't counted, and gives its permit back.
    #[must_use = "futures do nothing unless polled"]
    pub struct Prober<T> {
        #[pin]
        inner: T,
    }
}

impl<T: Future<Output = ()>> Prober<T> {
    pub(crate) const fn new(inner: T) -> Self {
        Self { inner }
    }

    /// Ends when `stop` ends, for example when the service begins to drain.
    pub fn until<U: Future>(self, stop: U) -> Prober<impl Future<Output = ()> + use<T, U>> {
        Prober::new(async move {
            let (mut prober, mut stop) = (pin!(self), pin!(stop));
            poll_fn(|cx| if stop.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { prober.as_mut().poll(cx) })
                .await;
        })
    }
}

impl<T: Future<Output = ()>> Future for Prober<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().inner.poll(cx)
    }
}

impl<T> fmt::Debug for Prober<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober").finish_non_exhaustive()
    }
}

/// Probes one circuit for as long as it exists.
pub(crate) async fn probe_circuit<F, Fut, E>(circuit: Weak<dyn HasBreaker>, mut probe: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: 'static,
{
    let Some(mut state) = circuit.upgrade().map(|has| subscribe(has.breaker())) else {
        return;
    };
    loop {
        // From here on, a change ends the waits below.
        state.borrow_and_update();
        let Some(has) = circuit.upgrade() else {
            return;
        };
        let longest = match has.breaker().circuit.turn(has.breaker().now()) {
            Turn::Probe { admission, lease } => {
                let mut under_way = ProbeCall::new(has, admission);
                let call = under_way.run(&mut probe);
                under_way.ends(call, lease).await;
                continue;
            }
            Turn::After(wait) => Some(Duration::from_nanos(wait)),
            Turn::Idle => None,
        };
        // A waiting prober must not keep the circuit alive.
        drop(has);
        let changed = match longest {
            Some(longest) => timeout(longest, state.changed()).await.unwrap_or(Ok(())),
            None => state.changed().await,
        };
        if changed.is_err() {
            return;
        }
    }
}

fn subscribe(breaker: &Breaker) -> watch::Receiver<CircuitState> {
    breaker.circuit.listeners().subscribe(|| breaker.circuit.state())
}

/// The permit of a running probe.
pub(crate) struct ProbeCall {
    call: TrackedCall,
    has: Arc<dyn HasBreaker>,
}

impl ProbeCall {
    pub(crate) const fn new(has: Arc<dyn HasBreaker>, admission: Admission) -> Self {
        Self { call: TrackedCall::new(admission), has }
    }

    /// Runs the user's code, which may panic.
    pub(crate) fn run<R>(&mut self, code: impl FnOnce() -> R) -> R {
        self.call.enter();
        let result = code();
        self.call.leave();
        result
    }

    /// Waits for the call to end, and gives the permit back with the call's result. If the lease passes first, the call has
    /// failed.
    pub(crate) async fn ends<E: 'static>(mut self, call: impl Future<Output = Result<(), E>>, lease: Nanos) {
        let (mut call, mut lease) = (pin!(call), pin!(sleep(Duration::from_nanos(lease))));
        let result = poll_fn(|cx| {
            if let Poll::Ready(result) = self.run(|| call.as_mut().poll(cx)) {
                return Poll::Ready(Some(result));
            }
            self.call.start_waiting(self.has.breaker());
            lease.as_mut().poll(cx).map(|()| None)
        })
        .await;
        let breaker = self.has.breaker();
        match &result {
            Some(Ok(())) => self.call.finish_well(breaker, Outcome::success()),
            Some(Err(error)) => {
                let error = ErrorRef::new(error);
                let outcome = Classify::<()>::classify(&ResultClassify::new(), Err(error));
                if outcome.verdict == Verdict::Failure {
                    self.call.finish(breaker, outcome, Failure::Probe(error));
                } else {
                    self.call.finish_well(breaker, outcome);
                }
            }
            None => self.call.finish(breaker, Outcome::failure(), Failure::ProbeTimeout),
        }
    }
}

impl Drop for ProbeCall {
    fn drop(&mut self) {
        if !self.call.has_ended() {
            // Stopping the prober says nothing about the service.
            if self.call.is_running() {
                self.call.finish(self.has.breaker(), Outcome::failure(), Failure::Panic);
            } else {
                self.call.finish_well(self.has.breaker(), Outcome::neutral());
            }
        }
    }
}
