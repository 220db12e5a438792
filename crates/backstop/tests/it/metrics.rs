//! Every metric is described and documented.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it, as the test itself may")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use backstop_test::Metrics;

/// The Rust files below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    entries.flat_map(of).filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The names in `Metric::counter("…", …)` and its like.
fn metrics_in(source: &str) -> impl Iterator<Item = &str> {
    source.split("Metric::").skip(1).filter_map(|rest| {
        let (constructor, arguments) = rest.split_once('(')?;
        let is_constructor = ["counter", "gauge", "histogram"].contains(&constructor);
        let name = arguments.trim_start().strip_prefix('"')?.split('"').next()?;
        is_constructor.then_some(name)
    })
}

#[test]
fn every_metric_of_the_workspace_is_described_and_documented_in_its_crate() {
    let described = Metrics::new();
    {
        let _guard = described.listen();
        backstop::describe_metrics();
    }
    let mut found = BTreeSet::new();
    for layer in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap().map(|entry| entry.unwrap().path()) {
        let name = layer.file_name().unwrap().to_str().unwrap().to_owned();
        // The kit has an example, and the others no metrics of ours.
        if ["backstop-kit", "backstop-bench", "backstop-test"].contains(&&*name) {
            continue;
        }
        let docs = fs::read_to_string(layer.join("src/lib.rs")).unwrap_or_default();
        for path in sources(&layer.join("src")) {
            let source = fs::read_to_string(&path).unwrap();
            for bypass in ["metrics::counter!", "metrics::gauge!", "metrics::histogram!"] {
                assert!(!source.contains(bypass), "{} makes a metric by `{bypass}`", path.display());
            }
            for metric in metrics_in(&source) {
                assert!(docs.contains(&format!("`{metric}")), "{metric} isn't in the docs of {name}");
                found.insert(metric.to_owned());
            }
        }
    }
    let descriptions = described.descriptions();
    assert_eq!(descriptions.keys().cloned().collect::<BTreeSet<_>>(), found);
    for (name, description) in descriptions {
        let (kind, text) = description.split_once(": ").unwrap();
        let unit = if name.ends_with("_seconds") { "in seconds" } else { "in count" };
        assert!(kind.ends_with(unit) && text.len() > 10, "{name} is a {description}");
        assert_eq!(kind.starts_with("counter"), name.ends_with("_total"), "{name} is a {description}");
    }
}

#[test]
fn the_guide_and_its_alerts_ask_only_for_metrics_that_exist() {
    let described = Metrics::new();
    {
        let _guard = described.listen();
        backstop::describe_metrics();
    }
    let known = described.descriptions();
    let mut asked = 0;
    for text in [include_str!("../../src/guides/telemetry.md"), include_str!("../../src/guides/alerts.yml")] {
        for word in text.split(|c: char| !(c.is_ascii_lowercase() || c == '_')) {
            let metric = word.trim_end_matches("_bucket").trim_end_matches("_count");
            if metric.ends_with("_total") || metric.ends_with("_seconds") && metric != "_seconds" {
                assert!(known.contains_key(metric), "{word} doesn't exist");
                asked += 1;
            }
        }
    }
    assert!(asked > 10, "{asked}");
}

#[test]
fn the_guide_asks_for_shares_as_its_alerts_do() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let guide = words(include_str!("../../src/guides/telemetry.md"));
    let rules = include_str!("../../src/guides/alerts.yml");
    let shares: Vec<_> = rules.split("expr: |").skip(1).map(|rest| words(rest.split("- ").next().unwrap())).collect();
    assert_eq!(shares.len(), rules.matches("record:").count());
    for share in shares {
        // Without the comment of the next rule.
        let share = share.split(" # ").next().unwrap();
        assert!(guide.contains(&format!("`{share}`")), "the guide doesn't have {share}");
    }
}
