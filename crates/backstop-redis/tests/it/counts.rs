//! Counts: the script's decisions, on the server's clock.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use backstop_core::{Outcome, name};
use backstop_features::{
    Cause, CountReport, CountStore, Features,
    FleetVerdict::{self, Counting, Degraded, Malformed, OnlyReporter},
};
use backstop_redis::RedisStore;
use backstop_test::RedisServer;
use tokio::time::{Instant, sleep};

use crate::common::{SEARCH, command, connected, instance, number, text, within};

const KEY: &str = "feature:search:errors";

/// The rules of a report, short enough for a test.
#[derive(Clone, Copy)]
struct Rules {
    window: u64,
    degrade: u64,
    degrade_max: u64,
    settle: u64,
}

const RULES: Rules = Rules { window: 60_000, degrade: 300_000, degrade_max: 3_600_000, settle: 0 };

async fn report(store: &RedisStore, rules: Rules, instance: &str, calls: u64, errors: u64) -> FleetVerdict {
    let millis = Duration::from_millis;
    let report = CountReport::new(name!("search"), calls, errors)
        .window(millis(rules.window))
        .degrade(millis(rules.degrade), millis(rules.degrade_max))
        .settle(millis(rules.settle));
    store.report(instance, &[report]).await.unwrap()[0]
}

fn millis(verdict: FleetVerdict) -> u64 {
    match verdict {
        Degraded(remaining) => remaining.as_millis() as u64,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn healthy_traffic_writes_nothing() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    assert_eq!(report(&store, RULES, "a", 1_000, 0).await, Counting);
    assert_eq!(number(&redis, &["DBSIZE"]), 0);
}

#[tokio::test]
async fn it_takes_enough_errors_a_large_enough_share_and_two_instances() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    // 4 errors, then a fifth one by another instance.
    assert_eq!(report(&store, RULES, "a", 4, 4).await, Counting);
    let tripped = report(&store, RULES, "b", 1, 1).await;
    assert_eq!(millis(tripped), 300_000);
    // Others hear of it. What comes late doesn't prolong it.
    let later = millis(report(&store, RULES, "c", 100, 100).await);
    assert!((295_000..=300_000).contains(&later), "{later}");
    let ttl = number(&redis, &["PTTL", KEY]);
    assert!((7_500_000..=7_560_000).contains(&ttl), "{ttl}: the degradation, two longest ones, and a window");

    // 5 of 101 are too few, 6 of 102 are enough.
    command(&redis, &["FLUSHALL"]);
    assert_eq!(report(&store, RULES, "a", 50, 2).await, Counting);
    assert_eq!(report(&store, RULES, "b", 51, 3).await, Counting);
    assert_eq!(millis(report(&store, RULES, "b", 1, 1).await), 300_000);

    // Exactly 5 %.
    command(&redis, &["FLUSHALL"]);
    assert_eq!(report(&store, RULES, "a", 50, 2).await, Counting);
    assert_eq!(millis(report(&store, RULES, "b", 50, 3).await), 300_000);
}

#[tokio::test]
async fn one_bad_instance_among_several_hears_that_it_is_alone() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    assert_eq!(report(&store, RULES, "bad", 1, 1).await, Counting);
    assert_eq!(report(&store, RULES, "good", 10, 0).await, Counting);
    assert_eq!(report(&store, RULES, "bad", 10, 10).await, OnlyReporter);
    assert_eq!(report(&store, RULES, "good", 10, 0).await, Counting);
    // Until another one fails, too.
    assert_eq!(millis(report(&store, RULES, "good", 1, 1).await), 300_000);
}

#[tokio::test]
async fn an_instance_that_is_the_only_one_is_the_fleet() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    assert_eq!(millis(report(&store, RULES, "a", 5, 5).await), 300_000);
}

#[tokio::test]
async fn a_window_settles_and_ends_by_the_servers_clock() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let rules = Rules { settle: 300, window: 1_000, ..RULES };
    assert_eq!(report(&store, rules, "a", 10, 10).await, Counting);
    assert_eq!(report(&store, rules, "b", 10, 10).await, Counting, "it hasn't settled");
    let ttl = number(&redis, &["PTTL", KEY]);
    assert!((1..=1_000).contains(&ttl), "{ttl}: from the window's start");
    sleep(Duration::from_millis(310)).await;
    assert_eq!(millis(report(&store, rules, "b", 1, 0).await), 300_000, "a call without an error tells the share, too");

    command(&redis, &["FLUSHALL"]);
    let rules = Rules { window: 200, ..RULES };
    assert_eq!(report(&store, rules, "a", 4, 4).await, Counting);
    sleep(Duration::from_millis(210)).await;
    assert_eq!(number(&redis, &["EXISTS", KEY]), 0, "the window's key has ended");
    assert_eq!(report(&store, rules, "b", 4, 4).await, Counting, "another window");
}

#[tokio::test]
async fn a_relapse_doubles_the_time_up_to_the_longest_and_a_long_calm_forgets_it() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let rules = Rules { degrade: 50, degrade_max: 150, ..RULES };
    for expected in [50, 100, 150, 150] {
        assert_eq!(millis(report(&store, rules, "a", 5, 5).await), expected);
        sleep(Duration::from_millis(expected + 5)).await;
    }
    sleep(Duration::from_millis(2 * 150)).await;
    assert_eq!(millis(report(&store, rules, "a", 5, 5).await), 50);
}

#[tokio::test]
async fn garbage_is_left_alone_or_counts_as_nothing() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    command(&redis, &["SET", KEY, "mine"]);
    assert_eq!(report(&store, RULES, "a", 100, 100).await, Malformed);
    assert_eq!(text(&redis, &["GET", KEY]).unwrap(), "mine");
    assert_eq!(number(&redis, &["PTTL", KEY]), -1);

    command(&redis, &["DEL", KEY]);
    command(&redis, &["HSET", KEY, "start", "x", "calls", "-", "errors", "nan?", "trips", "many", "until", "soon"]);
    assert_eq!(report(&store, RULES, "a", 1, 1).await, Counting);
    assert!(number(&redis, &["PTTL", KEY]) > 0, "it ends now");

    // An end beyond all degradations, and a start in the future: another server's clock.
    command(&redis, &["DEL", KEY]);
    command(&redis, &["HSET", KEY, "until", "99999999999999", "start", "99999999999999", "errors", "50"]);
    assert_eq!(report(&store, RULES, "a", 1, 1).await, Counting);
}

#[tokio::test]
async fn numbers_that_are_none_count_as_nothing_and_fractions_are_cut_off() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    for start in ["nan", "-nan", "inf", "-1", "1e300"] {
        command(&redis, &["DEL", KEY]);
        command(&redis, &["HSET", KEY, "start", start, "calls", "nan", "errors", "nan", "trips", "1", "until", "nan"]);
        assert_eq!(report(&store, RULES, "a", 3, 3).await, Counting, "{start}");
        assert_eq!(millis(report(&store, RULES, "b", 2, 2).await), 300_000, "{start}");
    }

    command(&redis, &["DEL", KEY]);
    let [seconds, _]: [String; 2] = redis::from_redis_value(command(&redis, &["TIME"])).unwrap();
    command(&redis, &["HSET", KEY, "start", &(seconds + "000.5"), "calls", "4.5", "errors", "4.5", "who", "a"]);
    assert_eq!(millis(report(&store, RULES, "b", 1, 1).await), 300_000);
}

#[tokio::test]
async fn an_instance_with_a_shorter_longest_time_does_not_end_the_fleets_degradation() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    assert_eq!(millis(report(&store, RULES, "old", 5, 5).await), 300_000);
    let rules = Rules { degrade: 50_000, degrade_max: 100_000, ..RULES };
    assert_eq!(millis(report(&store, rules, "new", 5, 5).await), 100_000);
    let later = millis(report(&store, RULES, "old", 5, 5).await);
    assert!((295_000..=300_000).contains(&later), "{later}");
}

#[tokio::test]
async fn a_servers_clock_that_goes_back_does_not_prolong_a_degradation() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    assert_eq!(millis(report(&store, RULES, "a", 5, 5).await), 300_000);
    // For the script, a clock that goes back by 12 h is the same as times that are 12 h later.
    for time in ["tripped", "until"] {
        command(&redis, &["HINCRBY", KEY, time, "43200000"]);
    }
    assert_eq!(report(&store, RULES, "a", 10, 0).await, Counting);
    // The next degradation is the first one by this clock, and others hear of it.
    assert_eq!(millis(report(&store, RULES, "a", 5, 5).await), 300_000);
    let later = millis(report(&store, RULES, "b", 1, 0).await);
    assert!((295_000..=300_000).contains(&later), "{later}");
}

#[tokio::test]
async fn a_key_that_the_server_refuses_hides_no_other_verdict() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    command(&redis, &["ACL", "SETUSER", "default", "resetkeys", "~feature:search:*"]);
    let reports =
        ["reviews", "search"].map(|feature| CountReport::new(feature.parse().unwrap(), 5, 5).settle(Duration::ZERO));
    let verdicts = store.report("a", &reports).await.unwrap();
    assert_eq!(verdicts, [Malformed, Degraded(Duration::from_secs(300))]);
    // The age of the next report is known by the server's clock.
    assert!(matches!(store.report("a", &reports).await.unwrap()[..], [Malformed, Degraded(_)]));

    let error = store.report("a", &reports[..1]).await.unwrap_err();
    assert!(error.to_string().contains("NOPERM"), "{error}");
    assert!(store.is_connected());
}

#[tokio::test]
async fn a_report_that_reaches_the_server_after_a_window_counts_as_nothing() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let window = Duration::from_secs(1);
    let rules = Rules { window: 1_000, ..RULES };
    assert_eq!(report(&store, rules, "a", 1, 0).await, Counting);
    redis.pause();
    let late = CountReport::new(name!("search"), 4, 4).window(window).settle(Duration::ZERO);
    store.report("a", &[late]).await.unwrap_err();
    sleep(window).await;
    // The server reads now what was sent to it.
    redis.resume();
    within(Duration::from_secs(5), "another connection", || store.is_connected()).await;
    assert_eq!(number(&redis, &["EXISTS", KEY]), 0);
}

#[tokio::test]
async fn reports_of_many_features_are_one_round_trip_and_survive_a_flushed_script() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let reports: Vec<_> =
        (0..100).map(|i| CountReport::new(format!("feature-{i}").parse().unwrap(), 10, i % 2)).collect();
    assert_eq!(store.report("a", &reports).await.unwrap().len(), 100);
    assert_eq!(number(&redis, &["DBSIZE"]), 50);
    command(&redis, &["SCRIPT", "FLUSH"]);
    assert!(store.report("a", &reports).await.is_err(), "lost, since it is never repeated");
    assert_eq!(store.report("a", &reports).await.unwrap().len(), 100);
    assert!(store.is_connected());
}

#[tokio::test]
async fn two_instances_count_errors_together() {
    let Some(redis) = RedisServer::start() else { return };
    let (one, two) = (instance(&redis).await, instance(&redis).await);
    let record =
        |features: &Features, outcome: &Outcome, times| (0..times).for_each(|_| features.record(&SEARCH, outcome));
    for features in [&one, &two] {
        record(features, &Outcome::failure(), 3);
        record(features, &Outcome::success(), 20);
        assert!(features.is_enabled(&SEARCH), "3 errors are too few");
    }
    let is_degraded = |features: &Features| features.handle().get(&SEARCH).unwrap().cause == Cause::Errors;
    let since = Instant::now();
    while !(is_degraded(&one) && is_degraded(&two)) {
        assert!(since.elapsed() < Duration::from_secs(6), "the fleet's decision");
        // Traffic goes on, so that both report once the window has settled.
        [&one, &two].iter().for_each(|features| record(features, &Outcome::success(), 1));
        sleep(Duration::from_millis(200)).await;
    }
}
