//! The script decides as `backstop-features` does in memory, whatever is reported, by whom and when.
//!
//! The same script with another clock: a test's, instead of the server's. What expires by the server's clock, expires here by
//! the test's.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use backstop_core::name;
use backstop_features::{CountReport, CountStore, FleetVerdict, MemoryStore};
use backstop_test::RedisServer;
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};

use crate::common::client;

const SCRIPT: &str = include_str!("../../src/count_errors.lua");
const KEY: &str = "feature:search:errors";

#[derive(Clone, Debug)]
struct Step {
    /// Since the last one, in ms.
    after: u64,
    instance: &'static str,
    calls: u64,
    errors: u64,
    /// For how long the report was under way, in ms.
    age: u64,
}

/// Times are short beside the steps' and long beside them.
#[derive(Clone, Copy, Debug)]
struct Rules {
    window: u64,
    min_errors: u64,
    share_ppm: u32,
    degrade: u64,
    degrade_max: u64,
    settle: u64,
}

fn rules() -> impl Strategy<Value = Rules> {
    let times = (1..100_u64, 1..100_u64, 1..8_u64, 0..100_u64);
    (times, 1..8_u64, select(vec![1, 50_000, 333_333, 1_000_000])).prop_map(
        |((window, degrade, relapses, settle), min_errors, share_ppm)| Rules {
            window,
            min_errors,
            share_ppm,
            degrade,
            degrade_max: degrade * relapses,
            settle,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![4 => 0..20_u64, 2 => 0..200_u64, 1 => 0..3_000_u64];
    let counts = (0..20_u64, prop_oneof![0..5_u64, Just(0)]);
    let age = prop_oneof![3 => Just(0), 1 => 0..200_u64];
    let step = (after, select(vec!["a", "b", "c"]), counts, age);
    let step = step.prop_map(|(after, instance, (calls, errors), age)| Step { after, instance, calls, errors, age });
    vec(step, 1..60)
}

/// Redis, with a clock of the test's.
struct Server {
    connection: redis::Connection,
    script: redis::Script,
    now: u64,
    /// When the key expires.
    ends: u64,
}

impl Server {
    fn new(redis: &RedisServer) -> Self {
        let script = SCRIPT
            .replace("redis.call('TIME')", "{0, ARGV[11] * 1000}")
            .replace("redis.call('PEXPIRE', key,", "redis.call('HSET', key, 'ttl',");
        assert!(!script.contains("'TIME'") && !script.contains("EXPIRE"), "{script}");
        let connection = client(redis).get_connection().unwrap();
        Self { connection, script: redis::Script::new(&script), now: 0, ends: 0 }
    }

    fn clear(&mut self) {
        redis::cmd("DEL").arg(KEY).exec(&mut self.connection).unwrap();
        self.now = 1_000;
    }

    fn report(&mut self, step: &Step, rules: Rules) -> (i64, i64, u64) {
        self.now += step.after;
        if self.ends <= self.now {
            redis::cmd("DEL").arg(KEY).exec(&mut self.connection).unwrap();
        }
        let Rules { window, min_errors, share_ppm, degrade, degrade_max, settle } = rules;
        let mut report = self.script.key(KEY);
        report.arg(step.calls).arg(step.errors).arg(step.instance).arg(window).arg(min_errors).arg(share_ppm);
        report.arg(degrade).arg(degrade_max).arg(settle).arg(self.now - step.age).arg(self.now);
        let verdict = report.invoke(&mut self.connection).unwrap();
        let ttl: Option<u64> = redis::cmd("HGET").arg(KEY).arg("ttl").query(&mut self.connection).unwrap();
        if let Some(ttl) = ttl {
            redis::cmd("HDEL").arg(KEY).arg("ttl").exec(&mut self.connection).unwrap();
            self.ends = self.now + ttl;
        }
        verdict
    }
}

fn model(step: &Step, rules: Rules) -> CountReport {
    let millis = Duration::from_millis;
    let mut report = CountReport::new(name!("search"), step.calls, step.errors)
        .window(millis(rules.window))
        .degrade(millis(rules.degrade), millis(rules.degrade_max))
        .settle(millis(rules.settle));
    (report.min_errors, report.share_ppm) = (rules.min_errors, rules.share_ppm);
    report
}

#[test]
fn the_script_decides_as_the_store_in_memory_does() {
    let Some(redis) = RedisServer::start() else { return };
    // Redis is asked by blocking calls, so that the paused clock moves only as a step says.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let server = std::cell::RefCell::new(Server::new(&redis));
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let case = (rules(), steps());
    let result = runner.run(&case, |(rules, steps)| {
        let (mut server, memory) = (server.borrow_mut(), MemoryStore::new());
        server.clear();
        for step in &steps {
            runtime.block_on(tokio::time::advance(Duration::from_millis(step.after)));
            let expected = match step.age > rules.window {
                true => FleetVerdict::Counting,
                false => runtime.block_on(memory.report(step.instance, &[model(step, rules)])).unwrap()[0],
            };
            let (verdict, remaining, _) = server.report(step, rules);
            let verdict = match verdict {
                0 => FleetVerdict::Counting,
                1 | 2 => FleetVerdict::Degraded(Duration::from_millis(remaining as u64)),
                _ => FleetVerdict::OnlyReporter,
            };
            prop_assert_eq!(verdict, expected, "at {:?}", step);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
