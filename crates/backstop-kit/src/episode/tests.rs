use backstop_core::name;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The state, driven without a clock.
struct Chain {
    state: State,
    lines: Vec<(Duration, Line)>,
}

impl Chain {
    fn new() -> Self {
        Self { state: State { quiet: SHORTEST_QUIET, ended: None, episode: None }, lines: Vec::new() }
    }

    fn fresh(&mut self, now: Duration) {
        self.state.add_fresh(1);
        let line = self.state.fresh(now);
        self.lines.extend(line.map(|line| (now, line)));
    }

    fn degraded(&mut self, now: Duration) {
        let line = self.state.failed(Call::Degraded(&name!("cached")), Reason::TIMEOUT, now);
        self.lines.extend(line.map(|line| (now, line)));
    }

    fn exhausted(&mut self, now: Duration) {
        let line = self.state.failed(Call::Exhausted, Reason::TIMEOUT, now);
        self.lines.extend(line.map(|line| (now, line)));
    }

    /// The kinds of the lines, with their whole minutes.
    fn told(&self) -> Vec<(u64, &'static str)> {
        let kind = |line: &Line| match line {
            Line::Began => "began",
            Line::Continues(_) => "continues",
            Line::Rose(_) => "rose",
            Line::Exhausted => "exhausted",
            Line::Ended(..) => "ended",
        };
        self.lines.iter().map(|(at, line)| (at.as_secs() / 60, kind(line))).collect()
    }
}

#[test]
fn a_chain_that_fails_one_percent_all_day_logs_one_warning_and_28_summaries() {
    let mut chain = Chain::new();
    let calls = 24 * 60 * 60 * 40;
    for i in 0..calls {
        let now = Duration::from_millis(25 * i);
        if i % 100 == 50 { chain.degraded(now) } else { chain.fresh(now) }
    }
    let told = chain.told();
    assert_eq!(told.iter().filter(|(_, kind)| *kind == "began").count(), 1);
    assert_eq!(told.iter().filter(|(_, kind)| *kind == "continues").count(), 28);
    assert_eq!(told.len(), 29, "{told:?}");
    assert_eq!(told[1..8].iter().map(|(minute, _)| *minute).collect::<Vec<_>>(), [1, 3, 7, 15, 31, 63, 123]);
    let Line::Continues(last) = chain.lines[28].1 else { panic!("{:?}", chain.lines[28]) };
    assert!((last.last_minute - 0.01).abs() < 0.001, "{last:?}");
}

#[test]
fn it_ends_with_the_first_fresh_answer_a_minute_after_the_last_degraded_one() {
    let mut chain = Chain::new();
    chain.fresh(Duration::ZERO);
    chain.degraded(SECOND);
    chain.degraded(10 * SECOND);
    chain.fresh(69 * SECOND);
    assert_eq!(chain.told(), [(0, "began"), (1, "continues")]);
    chain.fresh(70 * SECOND);
    let expected = Summary { calls: 4, degraded: 2, exhausted: 0, last_minute: 2.0 / 3.0, duration: 9 * SECOND };
    assert_eq!(chain.lines[2], (70 * SECOND, Line::Ended(expected, 60 * SECOND)));
    chain.fresh(300 * SECOND);
    assert_eq!(chain.lines.len(), 3);
}

#[test]
fn nothing_but_a_fresh_answer_ends_it() {
    let mut chain = Chain::new();
    chain.degraded(Duration::ZERO);
    chain.degraded(5 * 60 * 60 * SECOND);
    assert_eq!(chain.told(), [(0, "began"), (300, "continues")]);
}

#[test]
fn relapses_wait_longer_for_their_end_up_to_ten_minutes_and_a_calm_one_does_not() {
    let mut chain = Chain::new();
    let mut now = Duration::ZERO;
    for minutes in [1, 2, 4, 8, 10, 10] {
        chain.degraded(now);
        chain.fresh(now + MINUTE * minutes - SECOND);
        assert!(!matches!(chain.lines.last(), Some((_, Line::Ended(..)))), "before {minutes} min");
        now += MINUTE * minutes;
        chain.fresh(now);
        assert!(matches!(chain.lines.last(), Some((_, Line::Ended(..)))), "after {minutes} min");
        now += RELAPSE - SECOND;
    }
    now += SECOND;
    chain.degraded(now);
    chain.fresh(now + MINUTE);
    assert!(matches!(chain.lines.last(), Some((_, Line::Ended(..)))));
}

#[test]
fn a_share_that_quadruples_to_five_percent_is_one_more_warning() {
    let mut chain = Chain::new();
    let mut minute = 0;
    let mut run = |percent: u64, minutes: u64| {
        for _ in 0..minutes {
            for i in 0..100 {
                let now = MINUTE * minute + Duration::from_millis(600 * i);
                if i % 100 < percent { chain.degraded(now) } else { chain.fresh(now) }
            }
            minute += 1;
        }
    };
    run(2, 3);
    run(7, 3); // less than four times as much
    run(8, 1);
    run(100, 10);
    let rises: Vec<_> = chain.told().into_iter().filter(|(_, kind)| *kind == "rose").collect();
    assert_eq!(rises, [(7, "rose"), (8, "rose")]);
}

#[test]
fn a_small_share_never_warns_again() {
    let mut chain = Chain::new();
    chain.degraded(Duration::ZERO);
    for minute in 0..10u32 {
        for i in 0..1000u32 {
            let now = MINUTE * minute + Duration::from_millis(60 * u64::from(i));
            if i < 4 * minute { chain.degraded(now) } else { chain.fresh(now) }
        }
    }
    assert!(chain.told().iter().all(|(_, kind)| *kind != "rose"), "{:?}", chain.told());
}

#[test]
fn the_first_exhaustion_is_told_whether_it_begins_the_episode_or_not() {
    let mut chain = Chain::new();
    chain.degraded(Duration::ZERO);
    chain.exhausted(SECOND);
    chain.exhausted(2 * SECOND);
    assert_eq!(chain.told(), [(0, "began"), (0, "exhausted")]);
    let mut chain = Chain::new();
    chain.exhausted(Duration::ZERO);
    chain.exhausted(SECOND);
    assert_eq!(chain.told(), [(0, "began")]);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_due_nothing_decide_nothing_and_are_counted_all_the_same() {
    let episodes = Episodes::new();
    assert_eq!(episodes.fresh(), None);
    assert_eq!(episodes.current(), None);
    assert_eq!(episodes.degraded(&name!("cached"), Reason::TIMEOUT), Some(Line::Began));
    for _ in 0..5 {
        assert_eq!(episodes.fresh(), None);
    }
    tokio::time::advance(30 * SECOND).await;
    let current = episodes.current().unwrap();
    assert_eq!((current.summary.calls, current.summary.degraded, current.last_degraded), (6, 1, 30 * SECOND));
    assert_eq!((current.last_reason, current.last_fresh), (Reason::TIMEOUT, Some(30 * SECOND)));
    tokio::time::advance(30 * SECOND).await;
    let Some(Line::Ended(summary, quiet)) = episodes.fresh() else { panic!("it didn't end") };
    assert_eq!((summary.calls, summary.degraded, summary.duration, quiet), (7, 1, Duration::ZERO, MINUTE));
    assert_eq!(episodes.fresh(), None);
    assert_eq!(episodes.current(), None);
}

#[test]
fn threads_that_race_begin_and_end_it_once_and_lose_no_degraded_answer() {
    let episodes = Episodes::new();
    let lines: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..5_000)
                        .filter_map(|i| {
                            if i % 2 == 0 {
                                episodes.degraded(&name!("cached"), Reason::TIMEOUT)
                            } else {
                                episodes.fresh()
                            }
                        })
                        .collect()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| -> Vec<Line> { thread.join().unwrap() }).collect()
    });
    assert_eq!(lines, [Line::Began]);
    let Current { summary, recent, .. } = episodes.current().unwrap();
    assert_eq!((recent.calls, recent.degraded), (summary.calls, 10_000));
    assert_eq!(summary.degraded, 10_000);
    assert!((15_000..=20_000).contains(&summary.calls), "{summary:?}");
}

#[test]
fn the_last_five_minutes_are_counted_by_provider() {
    let (cached, popular) = (name!("cached"), name!("popular"));
    let mut state = State { quiet: SHORTEST_QUIET, ended: None, episode: None };
    for minute in 0..10u32 {
        let now = MINUTE * minute;
        state.failed(Call::Degraded(&cached), Reason::TIMEOUT, now);
        if minute >= 8 {
            state.failed(Call::Degraded(&popular), Reason::ERROR, now);
        }
        state.failed(Call::Exhausted, Reason::ERROR, now);
        state.add_fresh(7);
    }
    let recent = |now| state.episode.as_ref().unwrap().recent(now);
    let expected = Recent { calls: 47, degraded: 7, exhausted: 5, providers: vec![(cached.clone(), 5), (popular, 2)] };
    // The minute that runs and the four before it.
    assert_eq!(recent(MINUTE * 9 + 59 * SECOND), expected);
    // Without calls no minute ends, and what is long ago is left out all the same.
    let long_after = recent(MINUTE * 60);
    assert_eq!((long_after.calls, long_after.degraded, long_after.exhausted), (10, 2, 1));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Fresh,
    Degraded,
    Exhausted,
}

proptest! {
    /// Whatever comes when: every degraded answer lies in an episode, episodes begin and end in turn, counts add up, and
    /// what is logged is bounded by time and not by calls.
    #[test]
    fn episodes_hold_every_degraded_answer_and_few_lines(
        steps in prop::collection::vec(
            (prop_oneof![Just(Step::Fresh), Just(Step::Degraded), Just(Step::Exhausted)], 0u64..200),
            1..400,
        )
    ) {
        let mut chain = Chain::new();
        let mut now = Duration::ZERO;
        let (mut degraded, mut last_degraded, mut in_ended) = (0, None::<Duration>, 0);
        for (step, seconds) in steps {
            now += SECOND * seconds as u32;
            match step {
                Step::Fresh => chain.fresh(now),
                Step::Degraded => chain.degraded(now),
                Step::Exhausted => chain.exhausted(now),
            }
            if !matches!(step, Step::Fresh) {
                degraded += 1;
                last_degraded = Some(now);
                prop_assert!(chain.state.episode.is_some());
            } else if last_degraded.is_none_or(|last| now >= last + LONGEST_QUIET) {
                prop_assert!(chain.state.episode.is_none(), "a fresh answer long after ends it");
            }
        }
        let mut runs = false;
        for (_, line) in &chain.lines {
            match line {
                Line::Began => { prop_assert!(!runs); runs = true; }
                Line::Ended(summary, _) => {
                    prop_assert!(runs);
                    runs = false;
                    in_ended += summary.degraded + summary.exhausted;
                }
                _ => prop_assert!(runs),
            }
        }
        let open = chain.state.episode.as_ref().map_or(0, |episode| episode.degraded + episode.exhausted);
        prop_assert_eq!(in_ended + open, degraded);
        // At most one line of the minutes for each minute, and three for each episode, which takes at least one.
        let minutes = now.as_secs() / 60 + 1;
        prop_assert!(chain.lines.len() as u64 <= 4 * minutes + 3, "{} lines in {minutes} min", chain.lines.len());
    }
}
