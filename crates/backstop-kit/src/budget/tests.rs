#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{borrow::Cow, thread, time::Duration};

use proptest::prelude::*;

use super::*;

const NOW: Duration = Duration::ZERO;
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn account(per_mille: u32, reserve: u32, burst: u32) -> Account {
    Account::new(Ratio { paid: per_mille, retry: 1000 }, reserve, burst, burst)
}

/// How many retries there are to be had.
fn drain(account: &Account, age: Duration) -> u64 {
    (0..u64::MAX).take_while(|_| account.withdraw(age)).count() as u64
}

fn refused_field(builder: RetryBudgetBuilder) -> Cow<'static, str> {
    builder.build().unwrap_err().field
}

#[test]
fn every_ratio_is_exact_to_a_thousandth() {
    for per_mille in [1_u32, 2, 3, 33, 200, 300, 333, 500, 600, 667, 999, 1000, 1500, 10_000] {
        let budget = RetryBudget::builder().ratio(f64::from(per_mille) / 1000.0).reserve_per_second(0).burst(LARGEST);
        let budget = budget.build().unwrap();
        let account = budget.account();
        assert_eq!(drain(&account, NOW), u64::from(LARGEST), "it begins full");
        (0..1000).for_each(|_| account.deposit());
        assert_eq!(drain(&account, NOW), u64::from(per_mille));
    }
}

#[test]
fn every_share_of_up_to_30_requests_pays_for_exactly_so_many_retries() {
    for requests in 1..=30_u32 {
        for retries in 1..=10 * requests {
            let ratio = f64::from(retries) / f64::from(requests);
            let budget = RetryBudget::builder().ratio(ratio).reserve_per_second(0).burst(300).build().unwrap();
            let account = budget.account();
            drain(&account, NOW);
            (1..requests).for_each(|_| account.deposit());
            let before = drain(&account, NOW);
            account.deposit();
            assert_eq!(before + drain(&account, NOW), u64::from(retries), "{retries} for {requests}");
        }
    }
}

#[test]
fn a_ratio_that_is_no_such_fraction_is_taken_for_the_nearest() {
    for ratio in [std::f64::consts::FRAC_1_PI, 0.123_456_789, 9.999_999_99, 1e-9] {
        let Ratio { paid, retry } = Ratio::nearest(ratio);
        assert!((f64::from(paid) / f64::from(retry) - ratio).abs() < 1e-4, "{ratio}");
    }
}

#[test]
fn the_reserve_is_exact_whenever_it_is_asked_for() {
    let account = account(0, 7, 2);
    assert_eq!(drain(&account, NOW), 2);
    let nanos = |n: u64| Duration::from_nanos(n);
    let granted = (1..=1000_u64).filter(|n| account.withdraw(nanos(n * 10_000_019))).count();
    // 7 a second for 10.000019 s.
    assert_eq!(granted, 70);
}

#[test]
fn a_burst_after_an_idle_week_is_bounded() {
    let account = account(200, 10, 100);
    (0..1_000_000).for_each(|_| account.deposit());
    assert_eq!(account.available(WEEK), 100);
    assert_eq!(drain(&account, WEEK), 100);
    assert_eq!(drain(&account, WEEK + Duration::from_secs(1)), 10);
    assert_eq!(drain(&account, Duration::MAX), 100, "nothing overflows");
}

#[test]
fn what_is_given_back_can_be_taken_once_more() {
    let account = account(0, 1, 1);
    assert!(account.withdraw(NOW) && !account.withdraw(NOW));
    account.give_back();
    assert!(account.withdraw(NOW) && !account.withdraw(NOW));
}

#[test]
fn what_is_given_back_without_being_taken_never_saves_more_than_the_burst() {
    let account = account(200, 10, 3);
    (0..5).for_each(|_| account.give_back());
    assert_eq!((account.available(NOW), drain(&account, NOW)), (3, 3));
    account.give_back();
    assert_eq!(drain(&account, NOW), 1);
    (0..1000).for_each(|_| account.deposit());
    (0..5).for_each(|_| account.give_back());
    assert_eq!(drain(&account, NOW), 3);
}

#[test]
fn threads_that_race_neither_lose_a_share_nor_get_a_retry_too_many() {
    const EACH: u64 = 200_000;
    let account = account(333, 0, LARGEST);
    let begun = drain(&account, NOW);
    let race = || (0..EACH).filter(|_| (account.deposit(), account.withdraw(NOW)).1).count() as u64;
    let granted: u64 = thread::scope(|threads| {
        let racing = [threads.spawn(race), threads.spawn(race)];
        racing.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(begun, u64::from(LARGEST));
    assert_eq!(granted + drain(&account, NOW), 2 * EACH * 333 / 1000);
}

#[test]
fn threads_that_race_for_the_last_retries_get_no_more_than_there_are() {
    for _ in 0..200 {
        let account = account(0, 1, 7);
        let granted: u64 = thread::scope(|threads| {
            let racing = [(); 2].map(|()| threads.spawn(|| drain(&account, NOW)));
            racing.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(granted, 7);
    }
}

#[test]
fn what_can_not_work_is_refused_by_name() {
    for ratio in [-0.1, 10.1, f64::NAN, f64::INFINITY] {
        assert_eq!(refused_field(RetryBudget::builder().ratio(ratio)), "ratio");
    }
    assert_eq!(refused_field(RetryBudget::builder().reserve_per_second(LARGEST + 1)), "reserve_per_second");
    assert_eq!(refused_field(RetryBudget::builder().ratio(0.00004).reserve_per_second(0)), "reserve_per_second");
    assert_eq!(refused_field(RetryBudget::builder().burst(0)), "burst");
    assert_eq!(refused_field(RetryBudget::builder().burst(LARGEST + 1)), "burst");
}

#[test]
fn the_defaults_are_a_fifth_and_ten_a_second() {
    let built = RetryBudget::builder().build().unwrap();
    let shown = "RetryBudget { ratio: 0.2, reserve_per_second: 10, burst: 200, available: 200 }";
    assert_eq!(format!("{built:?}"), shown);
    assert_eq!(format!("{:?}", RetryBudget::default()), shown);
    assert_ne!(built, RetryBudget::default());
    assert_eq!(built, built.clone());
}

#[derive(Clone, Debug)]
enum Act {
    Requests(u16),
    Millis(u32),
    Retry,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..2000_u16).prop_map(Act::Requests),
        (0..5000_u32).prop_map(Act::Millis),
        Just(Act::Retry),
        Just(Act::Retry),
    ]
}

proptest! {
    /// The bucket as one would write it with a lock: a level that is topped up, cut off and drawn from at every step.
    #[test]
    fn it_is_the_bucket_that_a_lock_would_make(
        per_mille in 0..=10_000_u32,
        reserve in 0..=1000_u32,
        burst in 1..=1000_u32,
        acts in proptest::collection::vec(act(), 0..200),
    ) {
        let account = account(per_mille, reserve, burst);
        let room = u64::from(burst) * 1000;
        let (mut level, mut millis) = (room, 0);
        for act in acts {
            let earned = match act {
                Act::Requests(n) => {
                    (0..n).for_each(|_| account.deposit());
                    u64::from(n) * u64::from(per_mille)
                }
                Act::Millis(more) => {
                    millis += u64::from(more);
                    u64::from(more) * u64::from(reserve)
                }
                Act::Retry => {
                    let enough = level >= 1000;
                    prop_assert_eq!(account.withdraw(Duration::from_millis(millis)), enough);
                    level -= if enough { 1000 } else { 0 };
                    0
                }
            };
            level = (level + earned).min(room);
            prop_assert_eq!(u64::from(account.available(Duration::from_millis(millis))), level / 1000);
        }
    }
}

#[test]
fn every_clone_of_a_reloaded_budget_keeps_what_is_saved_and_has_the_new_settings() {
    let config = |ratio, reserve_per_second, burst| RetryBudgetConfig { ratio, reserve_per_second, burst: Some(burst) };
    for (burst, saved) in [(10, 6), (200, 6), (4, 4)] {
        let budget = RetryBudget::from_config(&config(1.0 / 3.0, 0, 10)).unwrap();
        let clone = budget.clone();
        assert!((0..4).all(|_| budget.withdraw()));
        budget.reload(&config(2.0 / 7.0, 0, burst)).unwrap();
        assert_eq!((budget.available(), clone.available()), (saved, saved));
        assert_eq!(drain(&clone.account(), NOW), u64::from(saved));
        (0..7).for_each(|_| budget.deposit());
        assert_eq!(drain(&clone.account(), NOW), 2);
        assert_eq!(budget.reload(&config(0.0, 0, 10)).unwrap_err().field, "reserve_per_second");
        clone.give_back();
        assert_eq!((budget.available(), budget == clone), (1, true), "a wrong configuration changes nothing");
    }
}

#[test]
fn nothing_saved_is_lost_or_spent_twice_while_a_budget_is_reloaded() {
    let config = |burst| RetryBudgetConfig { ratio: 0.0, reserve_per_second: 1, burst: Some(burst) };
    let budget = RetryBudget::from_config(&config(1000)).unwrap();
    let withdraw = || (0..400).filter(|_| budget.withdraw()).count() as u32;
    let taken = thread::scope(|threads| {
        let racing = [(); 2].map(|()| threads.spawn(withdraw));
        (0..50).for_each(|n| budget.reload(&config(1000 + n)).unwrap());
        racing.into_iter().map(|it| it.join().unwrap()).sum::<u32>()
    });
    // It begins with 1,000, and gets one a second.
    let left = budget.available();
    assert!((1000..1010).contains(&(taken + left)), "{taken} + {left}");
}

#[test]
fn as_data_it_has_the_same_defaults() {
    let config = RetryBudgetConfig::default();
    assert_eq!(config, RetryBudgetConfig { ratio: 0.2, reserve_per_second: 10, burst: None });
    let [built, default] = [RetryBudget::from_config(&config).unwrap(), RetryBudget::default()]
        .map(|budget| (budget.account().ratio, budget.account().reserve, budget.account().burst));
    assert_eq!(built, default);
}
