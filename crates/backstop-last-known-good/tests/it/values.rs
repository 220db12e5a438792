//! Values of functions: what is remembered of them, for how long, and what isn't.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{future::ready, sync::Arc, time::Duration};

use backstop_core::{Deadline, Degradation, Freshness, Reason, Scope, SetBy, name, scope};
use backstop_last_known_good::{LastKnownValues, LastKnownValuesBuilder, LastKnownValuesConfig, NotStored};
use tokio::time::{advance, sleep};
use tokio_test::{assert_pending, assert_ready, task};

const S: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

type Prices = LastKnownValues<u32, u32>;

fn builder() -> LastKnownValuesBuilder<u32, u32> {
    LastKnownValues::builder("prices")
}

fn prices() -> Prices {
    Prices::new(name!("prices"))
}

/// What is known of 7, with its age in seconds.
fn known(prices: &Prices) -> Option<(u32, u64)> {
    prices.get(&7).map(|answer| {
        let age = answer.freshness().and_then(Freshness::age).unwrap();
        (answer.into_value(), age.as_secs())
    })
}

async fn price(value: u32) -> Result<u32, &'static str> {
    Ok(value)
}

#[tokio::test(start_paused = true)]
async fn what_a_call_gives_is_passed_on_and_given_again_with_its_true_age() {
    let prices = prices();
    assert_eq!(known(&prices), None);
    assert_eq!(prices.remember_result(7, price(99)).await, Ok(99));
    assert_eq!(known(&prices), Some((99, 0)));
    advance(90 * S).await;
    assert_eq!(known(&prices), Some((99, 90)));
    assert_eq!(known(&prices.clone()), Some((99, 90)), "clones share it");
    assert!(prices.get(&8).is_none(), "each key has its own");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_passed_on_and_leaves_what_was_known() {
    let prices = prices();
    prices.remember(7, 99);
    advance(S).await;
    assert_eq!(prices.remember_result(7, ready(Err("closed"))).await, Err("closed"));
    assert_eq!(known(&prices), Some((99, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_value_counts_as_from_when_its_call_began() {
    let prices = prices();
    let slow = async {
        sleep(5 * S).await;
        price(99).await
    };
    prices.remember_result(7, slow).await.unwrap();
    assert_eq!(known(&prices), Some((99, 5)), "it may have been read at the very beginning");
}

#[tokio::test(start_paused = true)]
async fn an_earlier_call_that_ends_later_does_not_replace_a_later_value() {
    let prices = prices();
    let slow = prices.remember_result(7, async {
        sleep(5 * S).await;
        price(1).await
    });
    advance(S).await;
    let quick = prices.remember_result(7, price(2));
    assert_eq!(quick.await, Ok(2));
    assert_eq!(slow.await, Ok(1), "its caller has it");
    assert_eq!(known(&prices), Some((2, 5)));
    for value in [3, 4] {
        prices.remember(7, value);
        assert_eq!(known(&prices), Some((value, 0)), "of those of the same moment, the last one counts");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_forgotten_does_not_come_back_by_a_call_that_ran_then() {
    let prices = prices();
    prices.remember(7, 98);
    let mut runs = task::spawn(prices.remember_result(7, async {
        sleep(5 * S).await;
        price(99).await
    }));
    assert_pending!(runs.poll());
    advance(S).await;
    prices.forget(7);
    assert_eq!(known(&prices), None);
    assert_eq!(runs.await, Ok(99));
    assert_eq!(known(&prices), None, "it may have been read before");
    prices.remember_result(7, price(100)).await.unwrap();
    assert_eq!(known(&prices), Some((100, 0)));
}

#[tokio::test(start_paused = true)]
async fn what_was_cleared_does_not_come_back_either() {
    let prices = prices();
    prices.remember(7, 98);
    let slow = prices.remember_result(7, async {
        sleep(5 * S).await;
        price(99).await
    });
    advance(S).await;
    prices.clear();
    assert_eq!(known(&prices), None);
    assert_eq!(slow.await, Ok(99));
    assert_eq!(known(&prices), None);
    prices.remember(7, 100);
    assert_eq!(known(&prices), Some((100, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_leaves_what_was_known() {
    let prices = prices();
    prices.remember(7, 98);
    let mut call = task::spawn(prices.remember_result(7, std::future::pending::<Result<u32, &str>>()));
    assert_pending!(call.poll());
    advance(S).await;
    drop(call);
    assert_eq!(known(&prices), Some((98, 1)));
}

#[tokio::test(start_paused = true)]
async fn what_something_degraded_is_made_of_is_passed_on_with_its_report_and_not_remembered() {
    let prices = prices();
    prices.remember(7, 98);
    let degraded = prices.remember_result(7, async {
        tokio::task::yield_now().await;
        scope::report(Degradation::new(name!("rates"), name!("cached"), 1, Reason::TIMEOUT, Freshness::Degraded));
        price(99).await
    });
    let mut outer = Scope::new();
    let mut degraded = std::pin::pin!(degraded);
    let value = std::future::poll_fn(|cx| outer.enter(|| degraded.as_mut().poll(cx))).await;
    assert_eq!(value, Ok(99));
    assert_eq!(outer.take_reports()[0].source(), "cached");
    assert_eq!(known(&prices), Some((98, 0)));
}

#[tokio::test(start_paused = true)]
async fn what_a_replica_gave_is_as_good_and_remembered() {
    let prices = prices();
    let fresh = || Degradation::new(name!("rates"), name!("replica"), 1, Reason::TIMEOUT, Freshness::Fresh);
    let mut outer = Scope::new();
    let mut kept = task::spawn(prices.remember_result(7, async {
        scope::report(fresh());
        price(99).await
    }));
    assert_eq!(outer.enter(|| assert_ready!(kept.poll())), Ok(99));
    assert_eq!(outer.take_reports()[0].source(), "replica");
    assert_eq!(known(&prices), Some((99, 0)));
}

#[tokio::test(start_paused = true)]
async fn the_call_sees_the_deadline_that_it_runs_under() {
    let deadline = Deadline::after(S, SetBy::Caller);
    let mut outer = Scope::narrowed(deadline);
    let mut seen =
        task::spawn(prices().remember_result(7, async { Ok::<_, ()>(scope::time_left().unwrap().as_millis() as u32) }));
    assert_eq!(outer.enter(|| assert_ready!(seen.poll())), Ok(1_000));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_given_that_is_older_than_max_stale() {
    let prices = builder().max_stale(60 * S).build().unwrap();
    prices.remember(7, 99);
    advance(60 * S).await;
    assert_eq!(known(&prices), Some((99, 60)));
    advance(Duration::from_millis(1)).await;
    assert_eq!(known(&prices), None);
    assert_eq!(prices.provider()(7).await, Err(NotStored::TooStale));
    assert_eq!(prices.provider()(8).await.unwrap_err().to_string(), "no answer is stored for this request");
    prices.remember(7, 100);
    assert_eq!(known(&prices), Some((100, 0)));
}

#[tokio::test(start_paused = true)]
async fn there_are_never_too_many_and_the_newest_are_kept() {
    let prices = builder().max_entries(10).build().unwrap();
    for key in 0..1_000 {
        prices.remember(key, key);
        // However popular others are.
        assert!(prices.get(&key).is_some());
        assert!(prices.len() <= 10);
    }
    assert_eq!((990..1_000).filter(|key| prices.get(key).is_some()).count(), 10);
    prices.clear();
    assert!(prices.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nor_too_many_bytes() {
    let pages: LastKnownValues<String, Arc<str>> = LastKnownValues::builder("pages")
        .max_entries(100)
        .max_bytes(1_000, |path: &String, page: &Arc<str>| path.len() + page.len())
        .build()
        .unwrap();
    let page: Arc<str> = "x".repeat(298).into();
    for key in 10..100_u32 {
        pages.remember(key.to_string(), Arc::clone(&page));
        assert!(pages.len() <= 3);
    }
    assert_eq!(pages.get("99").unwrap().into_value(), page, "asked for by a borrowed key");
    pages.remember("large".to_owned(), "x".repeat(1_000).into());
    assert!(pages.len() <= 3);
    assert!(pages.get("large").is_none());

    // Small ones count as a hundredth of it each.
    pages.clear();
    for key in 0..1_000_u32 {
        pages.remember(key.to_string(), "".into());
    }
    assert_eq!(pages.len(), 100);
}

#[test]
fn what_can_not_work_is_refused_by_field_value_and_what_is_allowed() {
    let days = "1 s to 365 days";
    let entries = "1 to 16777216";
    let bytes = "1 to 1099511627776 (1 TiB)";
    let size = |_: &u32, _: &u32| 4;
    for (builder, field, value, allowed) in [
        (builder().max_stale(Duration::ZERO), "max_stale", "0ns", days),
        (builder().max_stale(366 * DAY), "max_stale", "31622400s", days),
        (builder().max_entries(0), "max_entries", "0", entries),
        (builder().max_entries((1 << 24) + 1), "max_entries", "16777217", entries),
        (builder().max_bytes(0, size), "max_bytes", "0", bytes),
        (builder().max_bytes((1 << 40) + 1, size), "max_bytes", "1099511627777", bytes),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!((&*error.field, &*error.value, &*error.allowed), (field, value, allowed));
    }
    assert_eq!(Prices::from_config(LastKnownValuesConfig::new("no name")).unwrap_err().field, "name");
    let defaults = LastKnownValuesConfig::new("prices");
    assert_eq!((defaults.max_stale, defaults.max_entries), (DAY, 10_000));
}

#[test]
fn many_callers_at_once_never_see_a_value_of_another_key() {
    let values: LastKnownValues<u32, u32> = LastKnownValues::builder("values").max_entries(8).build().unwrap();
    std::thread::scope(|scope| {
        for caller in 0..8_u32 {
            let values = values.clone();
            scope.spawn(move || {
                let mut seen = 0;
                for call in 1..5_000 {
                    let key = (caller + call) % 12;
                    values.remember(key, key);
                    let other = (key + call) % 12;
                    if let Some(answer) = values.get(&other) {
                        assert_eq!(answer.into_value(), other);
                        seen += 1;
                    }
                    if call % 64 == 0 {
                        values.forget(key);
                    }
                }
                assert!(seen > 0);
            });
        }
    });
    assert!(values.len() <= 8);
}

#[tokio::test(start_paused = true)]
async fn a_shorter_time_holds_at_once_and_a_longer_one_for_what_is_remembered_afterwards() {
    let config = |max_stale| {
        let mut config = LastKnownValuesConfig::new("prices");
        config.max_stale = max_stale;
        config
    };
    let prices = Prices::from_config(config(60 * S)).unwrap();
    prices.remember(7, 99);
    advance(30 * S).await;
    prices.clone().reload(config(29 * S)).unwrap();
    assert_eq!((known(&prices), prices.max_stale()), (None, 29 * S));
    prices.reload(config(90 * S)).unwrap();
    assert_eq!(known(&prices), Some((99, 30)), "nothing was lost");
    prices.remember(7, 100);
    advance(90 * S).await;
    assert_eq!(known(&prices), Some((100, 90)));
    advance(S).await;
    assert_eq!(known(&prices), None);
}

type Change = fn(&mut LastKnownValuesConfig);

#[test]
fn a_wrong_reload_of_values_is_refused_and_changes_nothing() {
    let prices = prices();
    let wrong: [(&str, Change); 4] = [
        ("name", |c| c.name = "costs".into()),
        ("name", |c| c.name = "no name".into()),
        ("max_stale", |c| c.max_stale = Duration::ZERO),
        ("max_entries", |c| c.max_entries += 1),
    ];
    for (field, change) in wrong {
        let mut config = LastKnownValuesConfig::new("prices");
        config.max_stale = S;
        change(&mut config);
        assert_eq!(prices.check(&config).unwrap_err().field, field);
        assert_eq!(prices.reload(config).unwrap_err().field, field);
        assert_eq!(prices.max_stale(), DAY);
    }
}

#[tokio::test]
async fn an_operator_sees_the_values_and_clears_them_with_who_and_why() {
    use backstop_core::{EventLog, Inspect, OperationRequest, Reach, Value};

    let known: LastKnownValues<u32, u32> =
        LastKnownValues::builder("prices").max_stale(Duration::from_secs(60)).max_entries(8).build().unwrap();
    known.remember(7, 999);
    let (of, log, logs): (&dyn Inspect, _, _) =
        (&known, EventLog::new(8), backstop_test::Logs::up_to(tracing::Level::INFO));
    of.report_to(&log);
    let _guard = logs.listen();
    assert_eq!((of.name().as_str(), of.kind()), ("prices", "last-known-values"));
    let settings = [("max_stale", Value::Duration(Duration::from_secs(60))), ("max_entries", Value::Integer(8))];
    assert_eq!((of.settings().as_slice(), of.state()), (settings.as_slice(), vec![("entries", Value::Integer(1))]));

    for request in [OperationRequest::new("clear", "", "why"), OperationRequest::new("explode", "ada", "why")] {
        assert!(of.operate(&request).await.is_err());
    }
    assert!(known.get(&7).is_some() && log.after(0).is_empty(), "nothing has changed");
    assert_eq!(of.operate(&OperationRequest::new("clear", "ada", "wrong prices")).await, Ok(Reach::Instance));
    assert!(known.get(&7).is_none());
    let fields = [("operation", "clear".into()), ("who", "ada".into()), ("reason", "wrong prices".into())];
    assert_eq!(log.after(0)[0].fields, fields);
    let line = logs.take().only();
    assert_eq!((line.field("who"), line.field("reason")), (Some("ada"), Some("wrong prices")));
}
