//! Probe calls made in the background, without a caller.

use std::{
    fmt,
    future::poll_fn,
    mem,
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{CircuitState, Classify, ErrorRef, Outcome, ResultClassify};
use pin_project_lite::pin_project;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    breaker::{Breaker, HasBreaker, Permit},
    failure::Failure,
    keyed::Keyed,
    state::{Admission, Nanos, Turn},
};

/// How many keys are probed at once.
const MAX_KEYS: usize = 16;

/// How many keys of a shard are looked at more closely at a time.
const CANDIDATES: usize = 1024;

/// How often circuits with keys are looked for that may be tried, at the most and at the least.
const SOONEST: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_secs(5);

pin_project! {
    /// A future that makes probe calls: see [`CircuitBreakerHandle::prober`](crate::CircuitBreakerHandle::prober) and
    /// [`KeyedCircuitBreakerHandle::prober`](crate::KeyedCircuitBreakerHandle::prober).
    ///
    /// # Cancellation
    /// Dropping it stops the prober. A probe that is running then is dropped, counts as nothing, and gives its permit back.
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

    /// Ends when `stop` does, such as when the service begins to drain.
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
        // A change from here on ends the waits below.
        state.borrow_and_update();
        let Some(has) = circuit.upgrade() else {
            return;
        };
        let longest = match has.breaker().circuit.turn(has.breaker().now()) {
            Turn::Probe { admission, lease } => {
                let mut under_way = Probe::new(has, admission);
                let call = under_way.run(&mut probe);
                under_way.ends(call, lease).await;
                continue;
            }
            Turn::After(wait) => Some(Duration::from_nanos(wait)),
            Turn::Idle => None,
        };
        // Who waits keeps no circuit alive.
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

/// The permit of a probe that is under way.
struct Probe {
    permit: Permit,
    has: Arc<dyn HasBreaker>,
}

impl Probe {
    const fn new(has: Arc<dyn HasBreaker>, admission: Admission) -> Self {
        Self { permit: Permit::new(admission), has }
    }

    /// Runs code of the user's, which may panic.
    fn run<R>(&mut self, code: impl FnOnce() -> R) -> R {
        self.permit.enter();
        let result = code();
        self.permit.leave();
        result
    }

    /// Waits for the call to end, and gives the permit back with what came of it. When the lease has passed, it has failed.
    async fn ends<E: 'static>(mut self, call: impl Future<Output = Result<(), E>>, lease: Nanos) {
        let (mut call, mut lease) = (pin!(call), pin!(sleep(Duration::from_nanos(lease))));
        let result = poll_fn(|cx| {
            if let Poll::Ready(result) = self.run(|| call.as_mut().poll(cx)) {
                return Poll::Ready(Some(result));
            }
            self.permit.start_waiting(self.has.breaker());
            lease.as_mut().poll(cx).map(|()| None)
        })
        .await;
        let (outcome, failure) = match &result {
            Some(Ok(())) => (Outcome::success(), Failure::Slow),
            Some(Err(error)) => {
                let error = ErrorRef::new(error);
                (Classify::<()>::classify(&ResultClassify::new(), Err(error)), Failure::Probe(error))
            }
            None => (Outcome::failure(), Failure::ProbeTimeout),
        };
        self.permit.finish(self.has.breaker(), outcome, failure);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if !self.permit.has_ended() {
            // That the prober was stopped says nothing of the service.
            let outcome = if self.permit.is_running() { Outcome::failure() } else { Outcome::neutral() };
            self.permit.finish(self.has.breaker(), outcome, Failure::Panic);
        }
    }
}

/// Probes the circuits of all keys for as long as they exist.
pub(crate) async fn probe_keys<K, C, J, F, Fut, E>(keys: Weak<Keyed<K, C, J>>, mut probe: F)
where
    K: Clone,
    C: Send + Sync + 'static,
    J: Send + Sync + 'static,
    F: FnMut(K) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: 'static,
{
    // Boxed, so that they may end in any order.
    let mut running = Vec::new();
    // How many transitions there had been when none of the circuits was open.
    let mut all_closed_at = None;
    let mut first = 0;
    loop {
        let Some(keyed) = keys.upgrade() else {
            return;
        };
        let transitions = keyed.common().transitions();
        if all_closed_at != Some(transitions) {
            let (mut found, mut has_room) = (false, true);
            for shard in keyed.shards_from(first) {
                for (key, has) in keyed.open_in(shard, CANDIDATES) {
                    found = true;
                    has_room = running.len() < MAX_KEYS;
                    if !has_room {
                        // They come first when others have ended.
                        first = shard;
                        break;
                    }
                    let breaker = has.breaker();
                    if breaker.circuit.may_be_tried(breaker.now())
                        && let Turn::Probe { admission, lease } = breaker.circuit.turn(breaker.now())
                    {
                        let mut under_way = Probe::new(has, admission);
                        let call = under_way.run(|| probe(key));
                        running.push(Box::pin(under_way.ends(call, lease)));
                    }
                }
                if !has_room {
                    break;
                }
                yield_now().await;
            }
            all_closed_at = (!found).then_some(transitions);
        }
        let pace = (keyed.common().first_wait() / 4).clamp(SOONEST, LATEST);
        drop(keyed);
        let mut next = pin!(sleep(pace));
        poll_fn(|cx| {
            let before = running.len();
            running.retain_mut(|probe| probe.as_mut().poll(cx).is_pending());
            let made_room = before == MAX_KEYS && running.len() < before;
            if made_room { Poll::Ready(()) } else { next.as_mut().poll(cx) }
        })
        .await;
    }
}

/// A look at very many keys must not keep others from this thread.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
