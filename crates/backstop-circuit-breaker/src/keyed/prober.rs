//! Probe calls for the circuits of all keys.

use std::{future::poll_fn, mem, pin::pin, sync::Weak, task::Poll, time::Duration};

use tokio::time::sleep;

use super::{breaker_map::Circuits, shards};
use crate::{prober::ProbeCall, state::Turn};

/// How many keys are probed at once.
const MAX_KEYS: usize = 16;

/// The shortest and the longest pause between two searches for circuits that may be probed.
const SOONEST: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_secs(5);

/// The most circuits of a shard that are checked at a time.
const CANDIDATES: usize = 1024;

/// Probes the circuits of all keys for as long as they exist.
pub(crate) async fn probe_keys<K, F, Fut, E>(keys: Weak<dyn Circuits<K>>, mut probe: F)
where
    K: Clone,
    F: FnMut(K) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: 'static,
{
    // Boxed, so that they may end in any order.
    let mut running = Vec::new();
    // The number of transitions when all circuits were last closed.
    let mut all_closed_at = None;
    let mut first = 0;
    loop {
        let Some(keyed) = keys.upgrade() else {
            return;
        };
        let transitions = keyed.group().transitions();
        if all_closed_at != Some(transitions) {
            let (mut found, mut has_room) = (false, true);
            for shard in shards::indexes_from(first) {
                for (key, has) in keyed.open_in(shard, CANDIDATES) {
                    found = true;
                    has_room = running.len() < MAX_KEYS;
                    if !has_room {
                        // The next search starts with this shard.
                        first = shard;
                        break;
                    }
                    let breaker = has.breaker();
                    if breaker.circuit.may_be_tried(breaker.now())
                        && let Turn::Probe { admission, lease } = breaker.circuit.turn(breaker.now())
                    {
                        let mut under_way = ProbeCall::new(has, admission);
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
        let pace = (keyed.group().first_wait() / 4).clamp(SOONEST, LATEST);
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

/// Lets other tasks run, because checking very many keys takes long.
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
