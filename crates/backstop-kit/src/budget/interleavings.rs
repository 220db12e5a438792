//! The budget under the model checker, which tries every interleaving with at most so many preemptions: see `.ci/loom`.
//!
//! `LOOM_MAX_PREEMPTIONS` sets another number than 3.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{sync::Arc, time::Duration};

use loom::{model::Builder, thread};

use super::{Account, Ratio};

const NOW: Duration = Duration::ZERO;
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn account(per_mille: u32, reserve: u32, burst: u32) -> Account {
    Account::new(Ratio { paid: per_mille, retry: 1000 }, reserve, burst, burst)
}

fn check(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(test);
}

type Step = fn(&Account) -> u32;

/// Runs the first on this thread and the others on threads of their own, and returns how many retries they got in all.
fn race<const N: usize>(account: &Arc<Account>, first: Step, others: [Step; N]) -> u32 {
    let others = others.map(|other| {
        let account = Arc::clone(account);
        thread::spawn(move || other(&account))
    });
    let granted = first(account);
    others.into_iter().fold(granted, |granted, other| granted + other.join().unwrap())
}

fn withdraws(account: &Account) -> u32 {
    u32::from(account.withdraw(NOW))
}

fn withdraws_after_a_week(account: &Account) -> u32 {
    u32::from(account.withdraw(WEEK))
}

fn deposits(account: &Account) -> u32 {
    account.deposit();
    0
}

fn deposits_then_withdraws(account: &Account) -> u32 {
    deposits(account) + withdraws(account)
}

fn gives_back_what_it_gets(account: &Account) -> u32 {
    if account.withdraw(NOW) {
        account.give_back();
    }
    0
}

/// Takes everything that is left.
fn drain(account: &Account, age: Duration) -> u32 {
    (0..).take_while(|_| account.withdraw(age)).count() as u32
}

/// Empty, with room for two retries, and paid half a one by each request.
fn empty() -> Arc<Account> {
    let account = account(500, 0, 2);
    assert_eq!(drain(&account, NOW), 2);
    Arc::new(account)
}

#[test]
fn the_last_retries_are_all_granted_and_no_more() {
    for there in [1, 2] {
        check(move || {
            let account = Arc::new(account(0, 1, there));
            assert_eq!(race(&account, withdraws, [withdraws; 2]), there);
            assert_eq!(account.available(NOW), 0);
        });
    }
}

#[test]
fn no_share_is_lost_and_none_counts_twice() {
    check(|| {
        let account = empty();
        let granted = race(&account, withdraws, [deposits; 2]);
        assert_eq!(granted + drain(&account, NOW), 1, "two halves");
    });
    check(|| {
        let account = empty();
        let granted = race(&account, deposits_then_withdraws, [deposits_then_withdraws; 2]);
        assert_eq!(granted + drain(&account, NOW), 1, "three halves");
        account.deposit();
        assert_eq!(drain(&account, NOW), 1, "and a fourth");
    });
}

#[test]
fn what_is_given_back_is_there_again_once() {
    check(|| {
        let account = Arc::new(account(0, 1, 2));
        let granted = race(&account, withdraws, [gives_back_what_it_gets; 2]);
        assert_eq!(granted + drain(&account, NOW), 2);
    });
}

#[test]
fn a_burst_after_an_idle_week_is_what_was_saved() {
    check(|| {
        let account = Arc::new(account(200, 10, 2));
        assert_eq!(race(&account, withdraws_after_a_week, [withdraws_after_a_week; 2]), 2);
        assert_eq!(account.available(WEEK), 0);
    });
    // Some of those who race saw the time before the week had passed.
    check(|| {
        let account = Arc::new(account(200, 10, 1));
        let granted = race(&account, withdraws, [withdraws_after_a_week; 2]);
        assert!((1..=2).contains(&granted), "one of before the week, one of after it: {granted}");
        assert_eq!(account.available(WEEK), 0);
    });
}

#[test]
fn a_share_that_is_paid_while_a_full_budget_is_drawn_from_adds_no_more_than_itself() {
    check(|| {
        let account = Arc::new(account(1000, 0, 1));
        let granted = race(&account, deposits, [withdraws; 2]) + drain(&account, NOW);
        assert!((1..=2).contains(&granted), "{granted}");
    });
}

#[test]
fn what_is_taken_over_is_withdrawn_once() {
    check(|| {
        let account = Arc::new(account(0, 1, 3));
        let granted = race(&account, |account| account.withdraw_all(NOW), [withdraws, gives_back_what_it_gets]);
        let left = drain(&account, NOW);
        assert_eq!(granted + left, 3);
    });
}
