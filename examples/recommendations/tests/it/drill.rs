//! `recommendations drill`, small.
#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backstop::circuit_breaker::Recovery;
use backstop_test::RedisServer;
use recommendations::{Config, DrillConfig, DrillReport, PhaseReport, StoreUrl, drill};
use serde_json::Value;

use crate::program::{output, program};

const PHASE: Duration = Duration::from_millis(1_500);

/// Under this load, a second of health is behind the outage when it begins: the circuit opens once as much has failed.
fn small(redis_url: Option<StoreUrl>) -> DrillConfig {
    let ml_recovery = Recovery::ramp([0.1, 0.5]).each(Duration::from_millis(200));
    let circuit_wait = Duration::from_millis(200);
    DrillConfig {
        app: Config { circuit_wait, ml_recovery, redis_url, ..Config::default() },
        rate: NonZeroU32::new(50).unwrap(),
        phase: PHASE,
        json: PathBuf::new(),
        svg: PathBuf::new(),
    }
}

fn assert_all_answered(report: &DrillReport) {
    assert!(report.is_passed(), "{report}");
    for phase in report.phases() {
        assert!(phase.requests > 50, "{report}");
        assert_eq!((phase.answered, phase.unanswered, phase.mislabelled, phase.late), (phase.requests, 0, 0, 0));
    }
}

fn sources(phase: &PhaseReport) -> Vec<&'static str> {
    phase.sources.iter().map(|(source, _)| *source).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_each_outage_all_are_answered_in_time_and_only_probes_reach_what_hangs() {
    let report = drill(&small(None), |_| {}).await.unwrap();
    assert_all_answered(&report);
    let names: Vec<_> = report.phases().iter().map(|phase| phase.name).collect();
    assert_eq!(names, ["healthy", "ML errors", "ML hangs", "ML and catalog down", "store down, too", "recovered"]);

    let [healthy, errors, hangs, both, store, recovered] = report.phases() else { panic!("{report}") };
    for well in [healthy, recovered] {
        assert_eq!(sources(well), ["ml_service"], "{report}");
        assert_eq!((well.calls, well.time_to_degrade, well.time_to_recover), (0, None, None), "{report}");
    }
    assert_eq!(sources(errors), ["ml_service", "cached", "popular_items"], "{report}");
    for only_bestsellers in [both, store] {
        assert!(sources(only_bestsellers).contains(&"static_bestsellers"), "{report}");
    }
    for outage in [errors, hangs] {
        assert!(outage.time_to_degrade.is_some_and(|time| time < PHASE), "{report}");
        assert!(outage.calls >= 10 && outage.probes > 0, "{report}");
        // At most one probe at a time.
        assert!(outage.calls_while_open <= outage.probes, "{report}");
    }
    // Nobody listens.
    assert_eq!(both.calls, 0, "{report}");
    let slowest_open = hangs.p99_open.unwrap();
    assert!(slowest_open <= Duration::from_millis(850), "{slowest_open:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_cut_off_in_an_outage_of_its_own() {
    let Some(redis) = RedisServer::start() else { return };
    let report = drill(&small(Some(StoreUrl::redis(&redis.url()).unwrap())), |_| {}).await.unwrap();
    assert_all_answered(&report);
    assert_eq!(report.phases().len(), 7);
    assert_eq!(report.phases()[5].name, "Redis down, ML errors");
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[tokio::test]
async fn the_program_writes_the_report_to_files_and_says_what_it_does() {
    let (json, svg) = (file("drill.json"), file("drill.svg"));
    let options = ["drill", "--rate", "20", "--phase", "50ms", "--json"];
    let mut short = program(&options);
    short.arg(&json).arg("--svg").arg(&svg);
    let ran = output(short).await;
    let (said, progress) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
    assert!(ran.status.success(), "{said}{progress}");
    assert!(said.contains("passed: 20 requests a second"), "{said}");
    assert!(progress.contains("ML hangs: ") && progress.contains(" answered, 0 wrong"), "{progress}");
    let report: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["phases"].as_array().unwrap().len(), 6);
    assert!(report["phases"][0]["p99_ms"].as_f64().is_some(), "{report}");
    let chart = fs::read_to_string(svg).unwrap();
    assert!(chart.starts_with("<svg ") && chart.ends_with("</svg>\n") && chart.contains("ML hangs"), "{chart}");
}

#[tokio::test]
async fn a_report_that_cannot_be_written_fails_the_program() {
    let options = ["drill", "--rate", "20", "--phase", "50ms", "--json", "/", "--svg", "/"];
    let ran = output(program(&options)).await;
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8(ran.stderr).unwrap().contains("error: /: "));
    for wrong in [&["--rate", "0"][..], &["--phase", "soon"]] {
        let ran = output(program(&[&["drill"], wrong].concat())).await;
        assert_eq!(ran.status.code(), Some(2), "{wrong:?}");
    }
}
