//! Two threads on one circuit: whether healthy calls hold each other up.

#![expect(clippy::disallowed_types, reason = "wall-clock time is what is measured")]

use std::{
    future::poll_fn,
    hint::black_box,
    pin::{Pin, pin},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use tower::Service;

use super::{Inner, consecutive, last, ours, peers};
use crate::measure::{print_table, rounds};

const ROUNDS: u64 = 41;
/// For how long the threads call: much longer than they take to start.
const TIME: Duration = Duration::from_millis(20);
/// How many calls are made before the clock is looked at.
const CALLS: u64 = 100;

/// Calls of a service, of which each thread has a clone.
struct Shared {
    name: &'static str,
    target: &'static str,
    calls: Box<dyn Fn() -> Calls>,
}

/// Makes calls for a time, and gives the nanoseconds that one took.
type Calls = Pin<Box<dyn Future<Output = f64> + Send>>;

pub(super) fn print() {
    let inner = Inner { percent: 0 };
    let mut contenders = [
        shared("bare", "", inner),
        shared("ours, consecutive failures", "3", ours(consecutive, inner)),
        shared("ours, last 100 calls", "3", ours(last(100), inner)),
        shared("tower-resilience, last 100 calls", "", peers::tower_resilience(inner)),
        shared("seatbelt", "", peers::seatbelt(inner)),
        shared("failsafe, consecutive failures", "", peers::failsafe(inner)),
        shared("recloser, last 100 calls", "", peers::recloser(inner)),
    ];
    let one = rounds(ROUNDS, &mut contenders, |contender| on_threads([(contender.calls)()]));
    let two = rounds(ROUNDS, &mut contenders, |contender| on_threads([(contender.calls)(), (contender.calls)()]));
    let rows = contenders.iter().zip(one).zip(two).map(|((contender, one), two)| {
        let figures = [format!("{one:.1}"), format!("{two:.1}"), format!("{:.1}", two / one)];
        let [one, two, ratio] = figures;
        vec![contender.name.to_owned(), one, two, ratio, contender.target.to_owned()]
    });
    let head = ["", "ns a call, one thread", "on each of two", "two : one", "target"];
    print_table("Closed, two threads on one circuit", &head, &rows.collect::<Vec<_>>());
}

fn shared<S>(name: &'static str, target: &'static str, service: S) -> Shared
where
    S: Service<u64, Future: Send> + Clone + Send + 'static,
{
    let calls = move || -> Calls {
        let mut service = service.clone();
        Box::pin(async move {
            let begun = Instant::now();
            let mut made = 0;
            while begun.elapsed() < TIME {
                for n in made..made + CALLS {
                    if poll_fn(|cx| service.poll_ready(cx)).await.is_ok() {
                        _ = black_box(pin!(service.call(black_box(n))).await.is_ok());
                    }
                }
                made += CALLS;
            }
            begun.elapsed().as_nanos() as f64 / made as f64
        })
    };
    Shared { name, target, calls: Box::new(calls) }
}

/// The nanoseconds of a call, the mean of the threads, each with a runtime of its own.
fn on_threads<const THREADS: usize>(calls: [Calls; THREADS]) -> f64 {
    let barrier = &Barrier::new(THREADS);
    let times = thread::scope(|scope| {
        let threads = calls.map(|calls| {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                let runtime = runtime.expect("a runtime");
                barrier.wait();
                runtime.block_on(calls)
            })
        });
        threads.map(|thread| thread.join().expect("a time"))
    });
    times.iter().sum::<f64>() / THREADS as f64
}
