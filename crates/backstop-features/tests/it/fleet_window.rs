//! Random reports to the counts of a fleet, against an oracle that works each decision out from all reports so far.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use backstop_core::name;
use backstop_features::{CountReport, CountStore, FleetVerdict, MemoryStore};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

const WINDOW: u64 = 10_000;
const SETTLE: u64 = 2_000;
const DEGRADE: u64 = 20_000;
const DEGRADE_MAX: u64 = 70_000;
const MIN_ERRORS: u64 = 5;
const SHARE_PPM: u64 = 50_000;
const INSTANCES: [&str; 3] = ["one", "two", "three"];

/// A report, and the wait before it. All times are in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Step {
    wait: u64,
    instance: usize,
    calls: u64,
    errors: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![8 => 0..1_500_u64, 2 => 0..WINDOW + 500, 1 => 0..2 * DEGRADE_MAX, 1 => 0..4 * DEGRADE_MAX];
    let errors = prop_oneof![2 => Just(0), 3 => 0..4_u64, 1 => 0..40_u64];
    (wait, 0..INSTANCES.len(), 0..60_u64, errors).prop_map(|(wait, instance, calls, errors)| Step {
        wait,
        instance,
        calls,
        errors,
    })
}

#[derive(Clone, Copy)]
struct Report {
    at: u64,
    step: Step,
}

/// When the fleet degraded, and until when.
#[derive(Clone, Copy)]
struct Decision {
    at: u64,
    until: u64,
}

#[derive(Default)]
struct Oracle {
    /// All, except those that came while the fleet was degraded.
    reports: Vec<Report>,
    decisions: Vec<Decision>,
}

impl Oracle {
    fn report(&mut self, at: u64, step: Step) -> FleetVerdict {
        if let Some(last) = self.decisions.last().filter(|last| last.until > at) {
            return FleetVerdict::Degraded(Duration::from_millis(last.until - at));
        }
        self.reports.push(Report { at, step });
        let Some(window) = self.current_window() else { return FleetVerdict::Counting };
        let errors: u64 = window.iter().map(|report| report.step.errors).sum();
        let calls: u64 = window.iter().map(|report| report.step.calls.max(report.step.errors)).sum();
        let has_settled = at - window[0].at >= SETTLE;
        if errors < MIN_ERRORS || errors * 1_000_000 < calls * SHARE_PPM || !has_settled {
            return FleetVerdict::Counting;
        }
        let first = window[0].step.instance;
        let others = || window.iter().filter(|report| report.step.instance != first);
        if others().count() > 0 && others().all(|report| report.step.errors == 0) {
            return if step.instance == first { FleetVerdict::OnlyReporter } else { FleetVerdict::Counting };
        }
        let time = (DEGRADE << self.relapses(at)).min(DEGRADE_MAX);
        self.decisions.push(Decision { at, until: at + time });
        FleetVerdict::Degraded(Duration::from_millis(time))
    }

    /// The reports of the window that the last report belongs to. Each window starts with an error, and lasts until its time
    /// has passed or the fleet degrades.
    fn current_window(&self) -> Option<&[Report]> {
        let decided = self.decisions.last().map_or(0, |last| last.until);
        let mut start: Option<usize> = None;
        for (i, report) in self.reports.iter().enumerate().filter(|(_, report)| report.at >= decided) {
            if start.is_some_and(|start| report.at - self.reports[start].at >= WINDOW) {
                start = None;
            }
            start = start.or((report.step.errors > 0).then_some(i));
        }
        start.map(|start| &self.reports[start..])
    }

    /// How many degradations came before, each within twice the longest time of the one before it.
    fn relapses(&self, at: u64) -> u32 {
        let ends = self.decisions.iter().rev().map(|decision| decision.until);
        let begins = std::iter::once(at).chain(self.decisions.iter().rev().map(|decision| decision.at));
        begins.zip(ends).take_while(|(begin, end)| begin - end <= 2 * DEGRADE_MAX).count() as u32
    }
}

async fn compare(steps: Vec<Step>) {
    let (store, mut oracle, start) = (MemoryStore::new(), Oracle::default(), Instant::now());
    for (i, step) in steps.iter().enumerate() {
        sleep(Duration::from_millis(step.wait)).await;
        let (window, settle) = (Duration::from_millis(WINDOW), Duration::from_millis(SETTLE));
        let report = CountReport::new(name!("search"), step.calls, step.errors)
            .window(window)
            .degrade(Duration::from_millis(DEGRADE), Duration::from_millis(DEGRADE_MAX))
            .settle(settle);
        let verdict = store.report(INSTANCES[step.instance], &[report]).await.unwrap()[0];
        let expected = oracle.report(start.elapsed().as_millis() as u64, *step);
        assert_eq!(verdict, expected, "after {:?}", &steps[..=i]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_in_memory_decides_as_all_reports_say(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(compare(steps));
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_with_a_shorter_longest_time_does_not_end_the_degradation() {
    let (store, secs) = (MemoryStore::new(), Duration::from_secs);
    let report = CountReport::new(name!("search"), 5, 5).settle(Duration::ZERO);
    let shorter = report.clone().degrade(secs(50), secs(100));
    for (report, expected) in [(&report, 300), (&shorter, 100), (&report, 300)] {
        let verdict = store.report("one", std::slice::from_ref(report)).await.unwrap();
        assert_eq!(verdict, [FleetVerdict::Degraded(secs(expected))]);
    }
}
