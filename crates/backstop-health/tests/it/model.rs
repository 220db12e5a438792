//! Random reports, circuits, heartbeats, backlogs, pins and drains, against a simple model.
//!
//! The model knows each source's state at each tick, and nothing of how the level is worked out. It allows for the time
//! between two readings of a circuit or backlog.
//!
//! A service that is pinned reads its circuits, backlogs and heartbeats at other times than one that isn't, so it may see a short
//! failure that the other doesn't see, or not for long enough. Only without them both have the same level, exactly.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, Name};
use backstop_health::{Component, Health, Level, Reporter};
use backstop_test::assert_property;
use proptest::prelude::*;
use tokio::time::{Instant, sleep_until};

use crate::common::{millis, secs};

/// Ticks of 100 ms.
type Ticks = u64;
const SECOND: Ticks = 10;
/// Until the last report has expired, and the level is well again, with a relapse on the way.
const UNTIL_WELL: Ticks = Ticks::MAX;
/// A circuit is read every 500 ms.
const SLACK: Ticks = 6;
const REPORTED: [&str; 2] = ["database", "ml"];

#[derive(Clone, Debug)]
enum Op {
    Wait(Ticks),
    Report { component: usize, reporter: usize, level: Level, ttl: Ticks },
    Clear { component: usize, reporter: usize },
    Circuit { component: usize, isolated: bool },
    Beats(bool),
    Backlog(u64),
    OptionalFails(bool),
    Pin { level: Level, time: Ticks },
    Unpin,
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    let level = || prop::sample::select(vec![Level::Healthy, Level::Degraded, Level::Critical]);
    prop_oneof![
        8 => (1..40 * SECOND).prop_map(Op::Wait),
        4 => (1..3 * SECOND).prop_map(Op::Wait),
        4 => (0..2_usize, 0..2_usize, level(), 1..60 * SECOND)
            .prop_map(|(component, reporter, level, ttl)| Op::Report { component, reporter, level, ttl }),
        2 => (0..2_usize, 0..2_usize).prop_map(|(component, reporter)| Op::Clear { component, reporter }),
        4 => (0..2_usize, any::<bool>()).prop_map(|(component, isolated)| Op::Circuit { component, isolated }),
        1 => any::<bool>().prop_map(Op::Beats),
        2 => (0..=100_u64).prop_map(Op::Backlog),
        1 => any::<bool>().prop_map(Op::OptionalFails),
        1 => (level(), SECOND..60 * SECOND).prop_map(|(level, time)| Op::Pin { level, time }),
        1 => Just(Op::Unpin),
        1 => Just(Op::Drain),
    ]
}

/// What each essential source says, as its component counts it.
struct Sources {
    /// Level, end of its lifetime.
    reports: [[Option<(Level, Ticks)>; 2]; 2],
    circuits: [bool; 2],
    beats: bool,
    last_beat: Ticks,
    backlog: u64,
    backlog_is_bad: bool,
}

impl Sources {
    fn at(&mut self, now: Ticks) -> Vec<Level> {
        let mut all = Vec::new();
        for report in self.reports.iter().flatten() {
            all.push(match *report {
                Some((level, end)) if now < end => level,
                // Unknown for five seconds.
                Some((level, end)) if level > Level::Healthy && now < end + 5 * SECOND => Level::Degraded,
                _ => Level::Healthy,
            });
        }
        for (isolated, failed) in self.circuits.into_iter().zip([Level::Critical, Level::Degraded]) {
            all.push(if isolated { failed } else { Level::Healthy });
        }
        all.push(if now >= self.last_beat + 30 * SECOND { Level::Degraded } else { Level::Healthy });
        self.backlog_is_bad = self.backlog >= 80 || (self.backlog_is_bad && self.backlog > 50);
        all.push(if self.backlog_is_bad { Level::Degraded } else { Level::Healthy });
        all
    }
}

/// For how long something has held, or last held for longer than the slack.
#[derive(Clone, Copy, Default)]
struct Stretch {
    since: Option<Ticks>,
    last_long: Ticks,
}

impl Stretch {
    fn observe(&mut self, now: Ticks, holds: bool) {
        if !holds {
            self.since = None;
            return;
        }
        let since = *self.since.get_or_insert(now);
        if now - since > SLACK {
            self.last_long = now;
        }
    }

    fn held_for(&self, now: Ticks) -> Ticks {
        self.since.map_or(0, |since| now - since)
    }
}

/// What the level may be, going by the causes alone.
#[derive(Default)]
struct Model {
    /// By source, and level.
    causes: Vec<[Stretch; 2]>,
    /// By level: some cause, no cause.
    bad: [Stretch; 2],
    clear: [Stretch; 2],
    last_bad: Ticks,
    level: Level,
    changed: Ticks,
    got_better: Option<Ticks>,
    recovery: Ticks,
}

const LEVELS: [(usize, Level, Ticks); 2] = [(0, Level::Degraded, 2 * SECOND), (1, Level::Critical, 10 * SECOND)];

impl Model {
    fn check(&mut self, now: Ticks, sources: &[Level], level: Level) {
        self.causes.resize(sources.len(), Default::default());
        let worst = *sources.iter().max().unwrap();
        if worst > Level::Healthy {
            self.last_bad = now;
        }
        for (i, threshold, _) in LEVELS {
            for (cause, source) in self.causes.iter_mut().zip(sources) {
                cause[i].observe(now, *source >= threshold);
            }
            self.bad[i].observe(now, worst >= threshold);
            self.clear[i].observe(now, worst < threshold);
        }
        self.check_causes(now, level);
        if level > self.level {
            for (i, threshold, delay) in LEVELS {
                if level >= threshold && self.level < threshold {
                    let clear = self.clear[i].last_long;
                    assert!(clear + delay <= now + 2 * SLACK, "{now}: {level} too soon, all was well at {clear}");
                }
            }
            if let Some(got_better) = self.got_better.take() {
                let is_relapse = now - got_better < 600 * SECOND;
                self.recovery = if is_relapse { (self.recovery * 2).min(300 * SECOND) } else { 30 * SECOND };
            }
        } else if level < self.level {
            let left = usize::from(self.level == Level::Critical);
            assert_eq!((self.level as u8) - (level as u8), 1, "{now}: one step at a time");
            let bad = self.bad[left].last_long.max(self.changed);
            assert!(bad + self.recovery <= now + 2 * SLACK, "{now}: {level} too soon, bad at {bad}");
            self.got_better = Some(now);
        }
        if level != self.level {
            (self.level, self.changed) = (level, now);
        }
        // Nothing stays bad without a cause.
        let calm = now - self.last_bad;
        assert!(calm <= 2 * self.recovery + 2 * SLACK || level == Level::Healthy, "{now}: {level} for nothing");
    }

    /// Nothing shows better while a cause lasts.
    fn check_causes(&self, now: Ticks, level: Level) {
        for (i, threshold, delay) in LEVELS {
            let longest = self.causes.iter().map(|cause| cause[i].held_for(now)).max().unwrap();
            assert!(longest <= delay + SLACK || level >= threshold, "{now}: {level}, caused for {longest}");
        }
    }
}

/// The service. Two of them, of which only one is pinned and drained.
struct Service {
    health: Health,
    reporters: [[Reporter; 2]; 2],
}

struct World {
    circuits: [CircuitBreakerHandle; 3],
    backlog: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        let circuits =
            ["database", "ml", "search"].map(|name| CircuitBreakerLayer::new(Name::new(name).unwrap()).handle());
        Self { circuits, backlog: Arc::default() }
    }

    fn service(&self) -> Service {
        let [database, ml, search] = self.circuits.clone();
        let backlog = Arc::clone(&self.backlog);
        let health = Health::builder()
            .component(Component::essential("database").without_fallback().circuit(database))
            .component(Component::essential("ml").circuit(ml))
            .component(Component::essential("importer").heartbeat(secs(30)))
            .component(Component::essential("queue").backlog(100, move || backlog.load(Relaxed)))
            .component(Component::optional("search").circuit(search))
            .build()
            .unwrap();
        tokio::spawn(health.run());
        let reporters = REPORTED.map(|component| ["r0", "r1"].map(|name| health.reporter(component, name).unwrap()));
        Service { health, reporters }
    }
}

fn set(circuit: &CircuitBreakerHandle, isolated: bool) {
    if isolated {
        circuit.isolate();
    } else {
        circuit.close();
    }
}

async fn run(mut ops: Vec<Op>, with_readings: bool) {
    if !with_readings {
        ops.retain(|op| !matches!(op, Op::Circuit { .. } | Op::Backlog(_) | Op::Beats(_)));
    }
    let began = Instant::now();
    let world = World::new();
    let services = [world.service(), world.service()];
    let [plain, pinned] = services.each_ref().map(|service| &service.health);
    let beats = services.each_ref().map(|service| service.health.heartbeat("importer").unwrap());
    let mut sources = Sources {
        reports: Default::default(),
        circuits: [false; 2],
        beats: true,
        last_beat: 0,
        backlog: 0,
        backlog_is_bad: false,
    };
    beats.iter().for_each(backstop_health::Heartbeat::beat);
    let mut model = Model { recovery: 30 * SECOND, ..Model::default() };
    let (mut pin, mut frozen): (Option<(Level, Ticks)>, Option<Level>) = (None, None);
    let mut now: Ticks = 0;
    // In the end all causes go away, and then everything must become well.
    let end = [
        Op::Beats(true),
        Op::Backlog(0),
        Op::Circuit { component: 0, isolated: false },
        Op::Circuit { component: 1, isolated: false },
        Op::Wait(UNTIL_WELL),
    ];
    for (number, op) in ops.into_iter().chain(end).enumerate() {
        // Each at another moment after its tick, so that none comes at the very instant at which something is due.
        sleep_until(began + millis(now * 100) + Duration::from_micros(500) * number as u32).await;
        // Each holds until it was seen.
        let mut wait = 1;
        match op {
            Op::Wait(UNTIL_WELL) => wait = 65 * SECOND + 4 * model.recovery + 3 * SLACK,
            Op::Wait(ticks) => wait = ticks,
            Op::Report { component, reporter, level, ttl } => {
                for service in &services {
                    let ttl = millis(ttl * 100).max(millis(100));
                    service.reporters[component][reporter].report_for(level, "", ttl).unwrap();
                }
                sources.reports[component][reporter] = Some((level, now + ttl.max(1)));
            }
            Op::Clear { component, reporter } => {
                services.iter().for_each(|service| service.reporters[component][reporter].clear());
                sources.reports[component][reporter] = None;
            }
            Op::Circuit { component, isolated } => {
                let circuit = &world.circuits[component];
                set(circuit, isolated);
                sources.circuits[component] = isolated;
            }
            Op::OptionalFails(fails) => {
                let circuit = &world.circuits[2];
                set(circuit, fails);
            }
            Op::Beats(on) => sources.beats = on,
            Op::Backlog(len) => {
                world.backlog.store(len, Relaxed);
                sources.backlog = len;
                // What it counts as depends on the length before, so each one is read.
                wait = SLACK;
            }
            Op::Pin { level, time } => {
                let result = pinned.pin(level, millis(time * 100), "ada", "to see what happens");
                assert_eq!(result.is_ok(), frozen.is_none());
                if frozen.is_none() {
                    pin = Some((level, now + time));
                }
            }
            Op::Unpin => {
                let removed = pinned.unpin("ada", "seen").unwrap();
                // It comes after the moment of the tick at which a pin may end.
                let was_pinned = pin.take().is_some_and(|(_, until)| now < until);
                assert_eq!(removed, frozen.is_none() && was_pinned);
            }
            Op::Drain => {
                if frozen.is_none() {
                    frozen = Some(pinned.level());
                    pinned.drain().begin();
                }
            }
        }
        for _ in 0..wait {
            if sources.beats && now.is_multiple_of(10 * SECOND) {
                sleep_until(began + millis(now * 100 + 45)).await;
                beats.iter().for_each(backstop_health::Heartbeat::beat);
                sources.last_beat = now;
            }
            // Operations come soon after a tick, and this checks between two.
            sleep_until(began + millis(now * 100 + 50)).await;
            pin.take_if(|(_, until)| now >= *until);
            let level = plain.level();
            model.check(now, &sources.at(now), level);
            match (frozen, pin) {
                (Some(frozen), _) => assert_eq!(pinned.level(), frozen, "{now}: a draining service keeps its level"),
                (None, Some((level, _))) => assert_eq!(pinned.level(), level, "{now}: an operator has the last word"),
                (None, None) if with_readings => model.check_causes(now, pinned.level()),
                (None, None) => assert_eq!(pinned.level(), level, "{now}: a pin leaves nothing behind"),
            }
            now += 1;
            sleep_until(began + millis(now * 100)).await;
        }
    }
    assert_eq!(plain.level(), Level::Healthy);
}

#[test]
fn the_level_follows_causes_as_fast_as_damping_allows_and_heals() {
    // Each case takes long.
    assert_property(16, &(prop::collection::vec(op(), 1..60), any::<bool>()), |(ops, with_readings)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(ops, with_readings));
    });
}
