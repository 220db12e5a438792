//! The files in `ops/`: what Prometheus says of the alerts, and whether the app exports what alerts and dashboard ask for.
//!
//! `promtool` and `prometheus` are in Debian's package `prometheus`. What needs them is skipped where they are missing, or fails if the
//! variable `BACKSTOP_PROMTOOL` is `required`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "the helpers of a test may fail it, or say that it is skipped, as the test itself may"
)]

mod dashboard;
mod prometheus;
mod promql;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file of `ops/`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ops").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// Says that a test is skipped, or fails it.
fn skip(program: &str) {
    assert_ne!(std::env::var("BACKSTOP_PROMTOOL").as_deref(), Ok("required"), "there is no {program}");
    eprintln!("skipped: {program} isn't installed");
}

/// Fails the test if `promtool` objects to `input`, or to the files among `arguments`.
#[track_caller]
fn promtool(arguments: &[&str], input: &str) {
    let started = Command::new("promtool")
        .args(arguments)
        .current_dir(file("prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut process = match started {
        Err(error) if error.kind() == ErrorKind::NotFound => return skip("promtool"),
        started => started.unwrap(),
    };
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{said}\n{input}");
}

#[test]
fn the_alerts_are_valid_and_see_outages_and_only_outages() {
    promtool(&["check", "config", "prometheus.yml"], "");
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"], "");
    promtool(&["test", "rules", "alerts_test.yml"], "");
}

#[test]
fn each_alert_has_a_test_and_a_section_in_the_runbook() {
    let (alerts, tests, runbook) =
        (text("prometheus/alerts.yml"), text("prometheus/alerts_test.yml"), text("RUNBOOK.md"));
    let names: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 11, "{names:?}");
    for name in &names {
        let (_, rule) = alerts.split_once(&format!("- alert: {name}\n")).unwrap();
        let rule = rule.split("- alert: ").next().unwrap();
        assert!(rule.contains(&format!("runbook: RUNBOOK.md#{}\n", name.to_lowercase())), "{name}");
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} has no test");
        let (_, section) = runbook.split_once(&format!("\n## {name}\n")).unwrap_or_else(|| panic!("no section {name}"));
        let section = section.split("\n## ").next().unwrap();
        for part in ["**What it means.**", "**What to look at.**", "**What to do.**"] {
            assert!(section.contains(part), "{name}: {part}");
        }
    }
    let sections = runbook.matches("\n## ").count();
    assert_eq!(sections, names.len(), "a section without an alert");
}

/// Without their tools, this is what can be known of them.
#[test]
fn the_grace_period_of_kubernetes_and_compose_is_longer_than_the_drain() {
    let (kubernetes, compose) = (text("kubernetes.yaml"), text("compose.yaml"));
    let seconds = |text: &str, key: &str| {
        let (_, rest) = text.split_once(key).unwrap_or_else(|| panic!("no {key}"));
        rest.trim_start().chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().unwrap()
    };
    // The drain, the running requests, and the rest: see `health.rs`.
    let drain = seconds(&kubernetes, "RECOMMENDATIONS_DRAIN, value:") + 5 + 3;
    assert!(seconds(&kubernetes, "terminationGracePeriodSeconds:") >= drain + 10);
    assert!(seconds(&compose, "stop_grace_period:") >= drain + 10);
    let noticed = seconds(&kubernetes, "periodSeconds:") * seconds(&kubernetes, "failureThreshold:");
    assert!(noticed < seconds(&kubernetes, "RECOMMENDATIONS_DRAIN, value:"), "unready for too short a time");
    for path in ["path: /readyz", "path: /livez"] {
        assert!(kubernetes.contains(path), "{path}");
    }
}
