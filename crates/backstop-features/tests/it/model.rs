//! Random levels, components, flags, errors and outages of the store, against a model that is simple because it works
//! everything out anew from all that has happened.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop_features::{Cause, Feature, FeatureState, Features, FlagChange, Level, Tier, feature};
use backstop_test::assert_property;
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use crate::common::{Breakable, Dial, Failure, drive, fail, secs, succeed};

static CORE: Feature = feature!("model-core");
static STANDARD: Feature = feature!("model-standard");
static NICE: Feature = feature!("model-nice");
static NEEDY: Feature = feature!("model-needy");
const FEATURES: [(&Feature, Tier); 4] =
    [(&CORE, Tier::Core), (&STANDARD, Tier::Standard), (&NICE, Tier::NiceToHave), (&NEEDY, Tier::Standard)];
const NEEDY_INDEX: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Level(Level),
    Component(Option<Level>),
    Calls { feature: usize, errors: u32, successes: u32 },
    Set { feature: usize, state: FeatureState, secs: u64 },
    Remove { feature: usize },
    Store(Failure),
    Wait { secs: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let level = || prop_oneof![Just(Level::Healthy), Just(Level::Degraded), Just(Level::Critical)];
    let state = prop_oneof![Just(FeatureState::Enabled), Just(FeatureState::Degraded), Just(FeatureState::Disabled)];
    let failure = prop_oneof![2 => Just(Failure::None), 1 => Just(Failure::Refuses), 1 => Just(Failure::Hangs)];
    let calls = (0..FEATURES.len(), 0..7_u32, 0..80_u32);
    prop_oneof![
        1 => level().prop_map(Step::Level),
        1 => proptest::option::of(level()).prop_map(Step::Component),
        4 => calls.prop_map(|(feature, errors, successes)| Step::Calls { feature, errors, successes }),
        1 => (0..FEATURES.len(), state, 5..600_u64).prop_map(|(feature, state, secs)| Step::Set { feature, state, secs }),
        1 => (0..FEATURES.len()).prop_map(|feature| Step::Remove { feature }),
        1 => failure.prop_map(Step::Store),
        3 => (1..400_u64).prop_map(|secs| Step::Wait { secs }),
    ]
}

/// All that has happened, with the second of each.
struct Model {
    start: Instant,
    level: Level,
    component: Option<Level>,
    flags: [Option<(FeatureState, f64)>; FEATURES.len()],
    /// What has happened to each feature.
    events: [Vec<(f64, Event)>; FEATURES.len()],
}

#[derive(Clone, Copy)]
enum Event {
    Call {
        failed: bool,
    },
    /// The level or the component began or ceased to keep it off.
    Shed(bool),
}

enum Expected {
    Exactly(FeatureState),
    /// It returns in steps: it may be degraded, or on.
    Returning,
    /// Something ends at about this time.
    Unsure,
}

impl Model {
    fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn expected(&self, index: usize) -> Expected {
        let now = self.now();
        let about = |time: f64| (now - time).abs() < 2.0;
        if let Some((state, until)) = self.flags[index] {
            if about(until) {
                return Expected::Unsure;
            }
            if now < until {
                return Expected::Exactly(state);
            }
        }
        let worst = self.surroundings(index);
        match self.degraded_until(index) {
            Some(until) if about(until) => Expected::Unsure,
            Some(until) if now < until => Expected::Exactly(worst.max(FeatureState::Degraded)),
            Some(until) if now < until + 4.0 * 60.0 + 2.0 && worst < FeatureState::Degraded => Expected::Returning,
            _ => Expected::Exactly(worst),
        }
    }

    /// What the level and the component allow.
    fn surroundings(&self, index: usize) -> FeatureState {
        let by_level = match (FEATURES[index].1, self.level) {
            (Tier::NiceToHave, Level::Degraded | Level::Critical) | (Tier::Standard, Level::Critical) => {
                FeatureState::Disabled
            }
            _ => FeatureState::Enabled,
        };
        match self.component {
            Some(Level::Critical) if index == NEEDY_INDEX => FeatureState::Disabled,
            Some(Level::Degraded) if index == NEEDY_INDEX => by_level.max(FeatureState::Degraded),
            _ => by_level,
        }
    }

    fn set_surroundings(&mut self, level: Level, component: Option<Level>) {
        (self.level, self.component) = (level, component);
        let now = self.now();
        for index in 0..FEATURES.len() {
            let is_shed = self.surroundings(index) > FeatureState::Enabled;
            self.events[index].push((now, Event::Shed(is_shed)));
        }
    }

    /// When the last degradation by errors ends or ended.
    fn degraded_until(&self, index: usize) -> Option<f64> {
        if index == 0 {
            return None;
        }
        let (mut until, mut began, mut last, mut trips) = (None::<f64>, 0.0, 0.0, 0);
        let (mut window, mut is_shed): (Vec<(f64, bool)>, bool) = (Vec::new(), false);
        for &(time, event) in &self.events[index] {
            let failed = match event {
                Event::Shed(shed) => {
                    if shed && !is_shed {
                        window.clear();
                        // The errors had the same cause.
                        if until.is_some_and(|until| time < until) && time - began < 90.0 {
                            until = None;
                            trips -= 1;
                        }
                    }
                    is_shed = shed;
                    continue;
                }
                Event::Call { failed } => failed,
            };
            if until.is_some_and(|until| time < until) || failed && is_shed {
                continue;
            }
            if window.first().is_some_and(|(start, _)| time - start >= 60.0) {
                window.clear();
            }
            if failed || !window.is_empty() {
                window.push((time, failed));
            }
            let errors = window.iter().filter(|(_, failed)| *failed).count();
            if failed && errors >= 5 && errors * 20 >= window.len() {
                if time - last > 2.0 * 3_600.0 {
                    trips = 0;
                }
                last = time + (300.0 * 2.0_f64.powi(trips)).min(3_600.0);
                (until, began) = (Some(last), time);
                trips += 1;
                window.clear();
            }
        }
        until
    }
}

/// When calls were let through of a feature that was off, which are at least 8 s apart, and at most 12.
#[derive(Clone, Copy, Default)]
struct Probes {
    /// Since when it has been probed, and when it was probed last.
    since: Option<f64>,
    last: Option<f64>,
}

impl Probes {
    /// One call asks for the feature, as one does each second.
    fn ask(&mut self, features: &Features, feature: &Feature, now: f64) {
        let status = features.handle().get(feature).unwrap();
        let is_let_through = features.is_enabled(feature);
        let context = || format!("{feature:?} at {now}, probed at {:?}: {status:?}", self.last);
        match status.cause {
            Cause::Level | Cause::Component | Cause::Errors => {
                let since = *self.since.get_or_insert(now);
                if is_let_through {
                    assert!(self.last.is_none_or(|last| now - last >= 7.999), "{}", context());
                    self.last = Some(now);
                } else {
                    // The first one comes within 12 s, each later one, too. Calls come once a second.
                    assert!(now - self.last.unwrap_or(since) <= 14.0, "{}", context());
                }
            }
            Cause::Operator => {
                assert_eq!(is_let_through, status.state == FeatureState::Enabled, "{}", context());
                *self = Self::default();
            }
            _ => *self = Self::default(),
        }
    }
}

async fn run(steps: Vec<Step>) {
    let (dial, store) = (Dial::default(), Breakable::default());
    let component = Arc::new(Mutex::new(Some(Level::Healthy)));
    let of = Arc::clone(&component);
    let features = Features::builder()
        .declare(CORE.core())
        .declare(STANDARD.standard())
        .declare(NICE.nice_to_have())
        .declare(NEEDY.standard().needs("api"))
        .level(dial.source())
        .components(move |_| *of.lock().unwrap())
        .flags(store.clone())
        .build()
        .unwrap();
    let mut model = Model {
        start: Instant::now(),
        level: Level::Healthy,
        component: Some(Level::Healthy),
        flags: [None; FEATURES.len()],
        events: [const { Vec::new() }; FEATURES.len()],
    };
    drive(&features).await;
    let mut probes = [Probes::default(); FEATURES.len()];
    let mut ask = |now| {
        for (probes, (feature, _)) in probes.iter_mut().zip(FEATURES) {
            probes.ask(&features, feature, now);
        }
    };
    let check = |model: &Model, step: &dyn std::fmt::Debug| {
        for (index, (feature, _)) in FEATURES.iter().enumerate() {
            let status = features.handle().get(feature).unwrap();
            let context = format!("{feature:?} at {} after {step:?}: {status:?}", model.now());
            match model.expected(index) {
                Expected::Exactly(expected) => {
                    assert_eq!(status.state, expected, "{context}");
                }
                Expected::Returning => assert!(status.state <= FeatureState::Degraded, "{context}"),
                Expected::Unsure => {}
            }
        }
    };
    for step in &steps {
        match *step {
            Step::Level(level) => {
                dial.set(level);
                model.set_surroundings(level, model.component);
            }
            Step::Component(state) => {
                *component.lock().unwrap() = state;
                model.set_surroundings(model.level, state);
            }
            Step::Calls { feature, errors, successes } => {
                let now = model.now();
                succeed(&features, FEATURES[feature].0, successes);
                fail(&features, FEATURES[feature].0, errors);
                let calls = |count, failed| (0..count).map(move |_| (now, Event::Call { failed }));
                model.events[feature].extend(calls(successes, false).chain(calls(errors, true)));
            }
            Step::Set { feature, state, secs } => {
                let change = FlagChange::to(state, "ada", "why").until(Duration::from_secs(secs));
                if features.handle().set(FEATURES[feature].0, change).await.is_ok() {
                    model.flags[feature] = Some((state, model.now() + secs as f64));
                }
            }
            Step::Remove { feature } => {
                if features.handle().remove(FEATURES[feature].0, "ada", "why").await.is_ok() {
                    model.flags[feature] = None;
                }
            }
            Step::Store(failure) => store.set(failure),
            Step::Wait { secs: seconds } => {
                for _ in 0..seconds {
                    sleep(secs(1)).await;
                    ask(model.now());
                }
            }
        }
        sleep(secs(1)).await;
        ask(model.now());
        check(&model, step);
    }

    // All causes end. The longest degradation, the steps, and a poll of the store.
    dial.set(Level::Healthy);
    *component.lock().unwrap() = Some(Level::Healthy);
    store.set(Failure::None);
    sleep(secs(3_600 + 4 * 60 + 3)).await;
    for (feature, _) in FEATURES {
        let status = features.handle().get(feature).unwrap();
        assert_eq!((status.state, status.cause), (FeatureState::Enabled, Cause::None), "{feature:?}");
        assert!(features.is_enabled(feature));
    }
    assert_eq!(features.handle().store_error(), None);
}

#[test]
fn a_feature_is_what_its_causes_say_and_on_again_without_traffic_when_they_are_gone() {
    // Each case is some hours of simulated time.
    assert_property(16, &prop::collection::vec(step(), 1..40), |steps| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(steps));
    });
}
