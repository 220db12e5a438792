//! What a query asks for, and what a page of metrics has. Just enough of both languages for ours.

use std::collections::{BTreeMap, BTreeSet};

/// The names of the labels of each metric.
pub(super) type Exported = BTreeMap<String, BTreeSet<String>>;

/// What Prometheus adds to all series.
const ADDED: [&str; 2] = ["instance", "job"];

const WORDS: [&str; 12] = ["and", "avg", "bool", "by", "count", "max", "min", "offset", "on", "or", "sum", "unless"];

/// Reads `/metrics`.
pub(super) fn exported(page: &str) -> Exported {
    let mut exported = Exported::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, _value)) = line.rsplit_once(' ') else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let known = exported.entry(name.to_owned()).or_default();
        // Values are configured names, which contain neither quotes nor commas.
        known.extend(labels.split(',').filter_map(|label| Some(label.split_once("=\"")?.0.to_owned())));
    }
    exported
}

/// The metrics and labels of `query` that aren't exported.
pub(super) fn missing(query: &str, exported: &Exported) -> Vec<String> {
    let mut missing = Vec::new();
    let mut labels = BTreeSet::new();
    let mut asked = Vec::new();
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            rest = rest[1..].split_once('"').unwrap().1;
        } else if first == '[' {
            rest = rest.split_once(']').unwrap().1;
        } else if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if first.is_ascii_alphabetic() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after.trim_start();
            if ["by", "on"].contains(&word) {
                let (list, after) = rest[1..].split_once(')').unwrap();
                asked.extend(list.split(',').map(|label| label.trim().to_owned()));
                rest = after;
            } else if rest.starts_with('{') {
                let (matchers, after) = rest[1..].split_once('}').unwrap();
                rest = after;
                let Some(known) = exported.get(word) else {
                    missing.push(word.to_owned());
                    continue;
                };
                labels.extend(known.clone());
                let names = matchers.split(',').map(|matcher| matcher.split(['=', '!']).next().unwrap().trim());
                missing.extend(names.filter(|name| !has(known, name)).map(|name| format!("{word}{{{name}}}")));
            } else if !rest.starts_with('(') && !WORDS.contains(&word) && !word.contains(':') {
                match exported.get(word) {
                    Some(known) => labels.extend(known.clone()),
                    None => missing.push(word.to_owned()),
                }
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    // The names of recorded series have colons, and their labels aren't exported.
    if !query.contains(':') && missing.is_empty() {
        missing.extend(asked.into_iter().filter(|label| !has(&labels, label)).map(|label| format!("by ({label})")));
    }
    missing
}

fn has(labels: &BTreeSet<String>, name: &str) -> bool {
    labels.contains(name) || ADDED.contains(&name)
}

#[test]
fn a_query_names_its_metrics_and_labels() {
    let page =
        "# HELP a_total x\na_total{name=\"x\",state=\"open\"} 1\nb_seconds_bucket{name=\"x\",le=\"0.1\"} 2\nup 1\n";
    let exported = exported(page);
    for (query, expected) in [
        ("sum by (name) (rate(a_total{state=~\"open|c{\"}[5m])) / 2", &[][..]),
        ("max by (name, instance) (a_total) > bool 0 and on (name) a_total offset 5m", &[]),
        ("histogram_quantile(0.5, sum by (le) (rate(b_seconds_bucket[1m])))", &[]),
        ("sum(increase(c_total[1h])) or vector(0)", &["c_total"]),
        ("rate(c_total{x=\"y\"}[1h])", &["c_total"]),
        ("a_total{zone=\"x\", state!=\"y\"}", &["a_total{zone}"]),
        ("sum by (queue) (a_total)", &["by (queue)"]),
        ("up{job=\"app\"}", &[]),
    ] {
        assert_eq!(missing(query, &exported), expected, "{query}");
    }
}
