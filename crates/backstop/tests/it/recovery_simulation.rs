//! An upstream that recovers slowly, and falls over when it gets too much: with a ramp and without.
//!
//! 1,000 callers ask once a second through a chain, whose last answer is always there. The upstream is down for 10 s. Then its
//! capacity grows from 5 % to 100 % of the traffic within a minute. If a tenth of a second brings more calls than it can
//! answer, it falls over: it is down for 5 s, and begins again with 5 %.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a simulation prints its table, and its helpers may fail it"
)]

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop::{
    CircuitBreakerLayer, CircuitState, FallbackChain, Provider,
    circuit_breaker::{Recovery, Wait},
    name,
};
use tokio::time::{Instant, advance};

const CALLERS: u64 = 1_000;
/// Callers come evenly: so many in each tick.
const TICK: Duration = Duration::from_millis(100);
const IN_A_TICK: u64 = CALLERS / 10;
const LASTS: Duration = Duration::from_secs(180);

struct Upstream {
    down_until: Instant,
    /// Since when its capacity grows.
    grows_since: Instant,
    calls_in_tick: u64,
    falls: u32,
}

impl Upstream {
    fn capacity(&self, now: Instant) -> u64 {
        let grown = now.saturating_duration_since(self.grows_since).as_secs_f64() / 60.0;
        // Some room beyond the traffic once it is well.
        ((0.05 + 1.0 * grown).min(1.2) * IN_A_TICK as f64) as u64
    }

    fn ask(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if now < self.down_until {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.calls_in_tick += 1;
        if self.calls_in_tick > self.capacity(now) {
            self.falls += 1;
            self.down_until = now + Duration::from_secs(5);
            self.grows_since = self.down_until;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    falls: u32,
    times_opened: u32,
    answered: u64,
    by_upstream: u64,
    asked: u64,
    well_after: Option<Duration>,
}

async fn simulate(recovery: Recovery) -> Seen {
    let wait = Wait::Growing { first: Duration::from_secs(5), max: Duration::from_secs(60) };
    let builder = CircuitBreakerLayer::builder("upstream").consecutive_failures(20).failure_rate(0.1).min_calls(100);
    let builder = builder.window(Duration::from_secs(30)).wait(wait).wait_jitter(0.0).recovery(recovery);
    let circuit = builder.build().unwrap().handle();
    let began = Instant::now();
    let back = began + Duration::from_secs(10);
    let upstream = Upstream { down_until: back, grows_since: back, calls_in_tick: 0, falls: 0 };
    let upstream = Arc::new(Mutex::new(upstream));
    let (asked, guard) = (Arc::clone(&upstream), circuit.clone());
    let chain =
        FallbackChain::<(), &str>::builder("page")
            .provider(Provider::from_fn(name!("upstream"), move |()| {
                let (asked, guard) = (Arc::clone(&asked), guard.clone());
                async move {
                    guard.call(|| async { asked.lock().map_or(Ok(()), |mut up| up.ask()) }).await.map(|()| "fresh")
                }
            }))
            .provider(Provider::value(name!("static"), || async { "static" }))
            .build()
            .unwrap();
    let (mut seen, mut before) = (Seen::default(), CircuitState::Closed);
    while began.elapsed() < LASTS {
        upstream.lock().unwrap().calls_in_tick = 0;
        for _ in 0..IN_A_TICK {
            seen.asked += 1;
            if let Ok(answer) = chain.execute(()).await {
                seen.answered += 1;
                seen.by_upstream += u64::from(!answer.is_fallback);
            }
            let state = circuit.state();
            seen.times_opened += u32::from(state == CircuitState::Open && before != CircuitState::Open);
            if state != before {
                seen.well_after = (state == CircuitState::Closed).then(|| began.elapsed());
            }
            before = state;
        }
        advance(TICK).await;
    }
    seen.falls = upstream.lock().unwrap().falls;
    seen
}

#[tokio::test(start_paused = true)]
async fn with_a_ramp_a_weak_upstream_recovers_and_without_one_it_falls_over_again() {
    let at_once = simulate(Recovery::at_once()).await;
    let ramp = simulate(Recovery::ramp([0.01, 0.05, 0.1, 0.25, 0.4, 0.6, 0.8]).each(Duration::from_secs(10))).await;
    println!("| | at once | by a ramp |\n|---|---|---|");
    println!("| the upstream falls over again | {} | {} |", at_once.falls, ramp.falls);
    println!("| the circuit opens | {} | {} |", at_once.times_opened, ramp.times_opened);
    let percent = |seen: &Seen| 100 * seen.by_upstream / seen.asked;
    println!("| answered by the upstream within 3 min | {} % | {} % |", percent(&at_once), percent(&ramp));
    println!("| answered at all | {} of {} | {} of {} |", at_once.answered, at_once.asked, ramp.answered, ramp.asked);
    println!("| closed for good after | {:?} | {:?} |", at_once.well_after, ramp.well_after);
    assert!(at_once.falls >= 1 && at_once.times_opened > ramp.times_opened, "{at_once:?}");
    assert_eq!((ramp.falls, ramp.times_opened), (0, 1), "{ramp:?}");
    assert!(ramp.well_after.is_some() && ramp.by_upstream > at_once.by_upstream, "{at_once:?} {ramp:?}");
    for seen in [&at_once, &ramp] {
        assert_eq!(seen.answered, seen.asked);
    }
}
