//! A file that describes standard stacks.

use std::collections::BTreeSet;

use backstop::Stacks;

/// Settings, and a value that each of them allows.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("name", "'ml'"),
    ("retry", "false"),
    ("retry.name", "'ml'"),
    ("retry.max_attempts", "2"),
    ("retry.total", "'5s'"),
    ("retry.backoff_base", "'1ms'"),
    ("retry.backoff", "'constant'"),
    ("retry.budget", "'unlimited'"),
    ("retry.budget.ratio", "0.1"),
    ("retry.max_body", "1024"),
    ("circuit_breaker", "true"),
    ("circuit_breaker.consecutive_failures", "7"),
    ("circuit_breaker.failure_rate", "0.5"),
    ("circuit_breaker.window", "'10s'"),
    ("circuit_breaker.wait", "'5s'"),
    ("circuit_breaker.probe_lease", "'20s'"),
    ("circuit_breaker.slow_calls", "{ threshold = '500ms', share = 0.5 }"),
    ("bulkhead.max_concurrent", "20"),
    ("bulkhead.max_waiting", "0"),
    ("bulkhead.max_wait", "'250ms'"),
    ("bulkhead.max_hold", "'1m'"),
    ("timeout", "'1s'"),
    ("timeout.limit", "'2s'"),
    ("timeout.after_upload", "true"),
    ("propagate_deadline.margin", "'5ms'"),
    ("propagate_deadline.send", "['x-envoy-expected-rq-timeout-ms']"),
    ("deadline", "'5s'"),
    ("deadline.limit", "'3s'"),
    ("deadline.trust", "['grpc-timeout']"),
    ("last_known_good", "false"),
    ("last_known_good.max_stale", "'1h'"),
    ("last_known_good.max_bytes", "65536"),
    ("fallback.total", "'2s'"),
    ("fallback.primary_timeout", "'500ms'"),
    ("fallback.providers.live.timeout", "'400ms'"),
    ("fallback.providers.live.concurrency", "3"),
    ("fallbak.total", "'2s'"),
    ("retry.attempts", "3"),
    ("timeout.limits", "'1s'"),
];

/// The input is a file. It describes stacks, which can then be reloaded with it, or the error says where it is wrong.
pub(crate) fn holds_for(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Stacks::from_toml(&text) {
        Ok(stacks) => assert_eq!(stacks.reload(&text), Ok(())),
        Err(error) => {
            check_path(&text, error.path());
            assert!(!error.to_string().trim().is_empty());
        }
    }
}

/// Every key of a document, however deep.
fn keys(value: &toml::Value, into: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(key, value)| {
            into.insert(key.clone());
            keys(value, into);
        }),
        toml::Value::Array(values) => values.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

/// Settings that an error may name although the document doesn't, because they have a default.
const DEFAULTS: &[&str] = &["max_entries", "max_body", "store_timeout", "credentials", "reserve_per_second", "burst"];

/// Where an error may be: at a table of the document, and from there at its settings or those that have defaults.
fn check_path(text: &str, path: &str) {
    let Ok(document) = toml::from_str::<toml::Table>(text) else {
        assert_eq!(path, "", "no TOML, so there is no path: the message has the line");
        return;
    };
    let is_at =
        |name: &str| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let table = document.keys().filter(|name| is_at(name)).max_by_key(|name| name.len());
    assert!(table.is_some(), "{path:?} is at no table");
    let mut known = BTreeSet::new();
    document.values().for_each(|table| keys(table, &mut known));
    if known.iter().any(|key| key.contains(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-'))) {
        // Such a key can't be told from the path around it.
        return;
    }
    known.extend(SETTINGS.iter().flat_map(|(setting, _)| setting.split('.')).map(str::to_owned));
    known.extend(["threshold", "share"].iter().chain(DEFAULTS).map(|setting| (*setting).to_owned()));
    let settings = table.and_then(|name| path.strip_prefix(name.as_str())).unwrap_or_default();
    for setting in settings.split('.').filter(|setting| !setting.is_empty()) {
        // `send[0]`
        let setting = setting.split('[').next().unwrap_or_default();
        assert!(setting.is_empty() || known.contains(setting), "{setting:?} of {path:?} is no setting");
    }
}
