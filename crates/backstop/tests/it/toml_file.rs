//! Standard stacks that are described by one file.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    http::{Response, StatusCode},
};
use backstop::{
    BulkheadConfig, CircuitBreakerConfig, CircuitState, PropagateDeadlineConfig, RetryConfig, Stacks, Standard,
    StandardConfig, TimeoutConfig, name,
};
use proptest::prelude::*;
use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceExt, service_fn};

const FILE: &str = r#"
    [default]
    timeout = "1s"
    retry.max_attempts = 2
    retry.backoff_base = "1ms"
    circuit_breaker.consecutive_failures = 50

    [ml_service]
    retry.max_attempts = 3

    [payments]
    retry = false
    timeout = { limit = "3s", after_upload = true }
"#;

fn error(text: &str) -> String {
    Stacks::from_toml(text).unwrap_err().to_string()
}

/// A service that answers 503, and counts its calls.
fn failing() -> (
    impl Service<Request, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    Arc<AtomicU32>,
) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let service = service_fn(move |_: Request| {
        counted.fetch_add(1, Relaxed);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        async { Ok(response) }
    });
    (service, calls)
}

#[tokio::test(start_paused = true)]
async fn each_dependency_has_its_settings_else_the_default_ones_else_those_of_the_crate() {
    let stacks = Stacks::from_toml(FILE).unwrap();
    assert_eq!(stacks.names().map(ToString::to_string).collect::<Vec<_>>(), ["ml_service", "payments"]);
    let limit = |name: &str| stacks.handle(name).unwrap().timeout().unwrap().limit();
    assert_eq!((limit("ml_service"), limit("payments")), (Duration::from_secs(1), Duration::from_secs(3)));
    assert!(stacks.handle("payments").unwrap().retry().is_none());
    assert_eq!(stacks.handle("payments").unwrap().bulkhead().unwrap().max_concurrent(), 100);

    for (dependency, attempts) in [("ml_service", 3), ("payments", 1)] {
        let (service, calls) = failing();
        let layer = stacks.get(dependency).unwrap();
        assert_eq!(layer.layer(service).oneshot(Request::default()).await.unwrap().status(), 503);
        assert_eq!(calls.load(Relaxed), attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_reaches_living_stacks_and_keeps_their_state() {
    let stacks = Stacks::from_toml(FILE).unwrap();
    let (service, calls) = failing();
    let client = stacks.get("ml_service").unwrap().layer(service);
    client.clone().oneshot(Request::default()).await.unwrap();
    let circuit = || stacks.handle("ml_service").unwrap().circuit_breaker().unwrap().clone();
    let budget = || stacks.handle("ml_service").unwrap().retry().unwrap().budget().unwrap().available();
    assert_eq!((calls.load(Relaxed), circuit().counts().failures, budget()), (3, 3, 198));
    let mut running = task::spawn(client.clone().oneshot(Request::default()));
    assert_pending!(running.poll());

    let reloaded = FILE.replace("max_attempts = 3", "max_attempts = 1").replace("failures = 50", "failures = 5");
    stacks.reload(&reloaded).unwrap();
    assert_eq!((circuit().counts().failures, budget()), (4, 197), "nothing is forgotten");
    assert_eq!(circuit().state(), CircuitState::Closed);
    client.clone().oneshot(Request::default()).await.unwrap();
    assert_eq!(calls.load(Relaxed), 3 + 1 + 1, "one attempt, and the last that the circuit lets through");
    assert_eq!(circuit().state(), CircuitState::Open);
    assert_eq!(running.await.unwrap().status(), 503);
    assert_eq!(calls.load(Relaxed), 5);
}

#[test]
fn a_reload_changes_all_stacks_or_none() {
    let stacks = Stacks::from_toml("[a]\n[b]\nretry = false").unwrap();
    let limits = || ["a", "b"].map(|name| stacks.handle(name).unwrap().timeout().unwrap().limit().as_secs());
    let default = "[default]\ntimeout = '7s'\n";
    for (rest, message) in [
        ("[a]\n[b]\nretry = false\n[c]", "c: dependency is c, allowed is: a, b"),
        ("[a]", "b: missing: its stack exists, and a reload can't remove it"),
        (
            "[a]\n[b]\nretry = false\nbulkhead.max_concurrent = 0",
            "b.bulkhead.max_concurrent: bulkhead.max_concurrent is 0, allowed is: 1 to 1000000",
        ),
        ("[a]\n[b]", "b.retry: retry is present, allowed is: left out, as the stack was built: a reload can't add it"),
        (
            "[a]\ntimeout = false\n[b]\nretry = false",
            "a.timeout: timeout is \"left out\", allowed is: present, as the stack was built: a reload can't remove it",
        ),
        (
            "[a]\nretry.max_body = 7\n[b]\nretry = false",
            "a.retry.max_body: retry.max_body is 7, allowed is: what the layer was built with: it can't be reloaded",
        ),
        (
            "[a]\nretry.total = '2s'\n[b]\nretry = false",
            "a.timeout.limit: timeout.limit is 7s, allowed is: up to retry.total, which is 2s",
        ),
    ] {
        assert_eq!(stacks.reload(&format!("{default}{rest}")).unwrap_err().to_string(), message);
        assert_eq!(limits(), [1, 1], "{rest}");
    }
    stacks.reload(&format!("{default}[a]\n[b]\nretry = false")).unwrap();
    assert_eq!(limits(), [7, 7]);
}

#[test]
fn an_error_names_the_setting() {
    for (text, message) in [
        ("[ml]\nretry.max_attempts = 'many'", "ml.retry.max_attempts: invalid type: string \"many\", expected u32"),
        ("[ml]\nretry.max_attempts = 0", "ml.retry.max_attempts: retry.max_attempts is 0, allowed is: 1 to 1000"),
        (
            "[default]\ntimeout = '5 parsecs'\n[ml]",
            "default.timeout.limit: invalid value: string \"5 parsecs\", expected a duration",
        ),
        (
            "[ml]\nbulkhead = '1s'",
            "ml.bulkhead: invalid type: string \"1s\", expected a table of settings, or false to leave the part out",
        ),
        ("[ml]\nname = 'other'", "ml.name: \"other\" isn't allowed: the name is \"ml\", the table's"),
        ("[ml.retry]\nname = 'other'", "ml.retry.name: \"other\" isn't allowed: the name is \"ml\", the table's"),
        (
            "[default.retry]\nname = 'ml'\n[ml]",
            "default.retry.name: \"ml\" isn't allowed: the name is \"default\", the table's",
        ),
        ("[ml]\ndeadline = '1ns'", "ml.deadline.limit: deadline.limit is 1ns, allowed is: 1 ms to 24 h"),
        (
            "[ml.deadline]\nlimits = 1",
            "ml.deadline.limits: unknown field `limits`, expected one of `name`, `limit`, `trust`",
        ),
        (
            "['a b']",
            "a b.name: name is \"a b\", allowed is: a letter, then at most 63 letters, digits, '_', '.' or '-'",
        ),
        (
            "[ml]\ntimeout = '90s'",
            "ml.timeout.limit: timeout.limit is 90s, allowed is: up to retry.total, which is 60s",
        ),
    ] {
        assert_eq!(error(text), message);
    }
    let unknown = error("[ml]\nretry.attempts = 3");
    assert!(unknown.starts_with("ml.retry.attempts: unknown field `attempts`, expected one of `name`, "), "{unknown}");
    assert!(error("ml = 5").starts_with("ml: invalid type: integer `5`"));
    assert!(error("[ml").starts_with("TOML parse error at line 1"));

    let stacks = Stacks::from_toml("[ml]\n[users]").unwrap();
    let unknown = stacks.get("mll").unwrap_err();
    assert_eq!(unknown.to_string(), "mll: dependency is mll, allowed is: ml, users");
    assert_eq!(unknown.config_error().map(|error| &*error.field), Some("dependency"));
}

#[test]
fn all_calls_for_a_dependency_share_one_stack() {
    let stacks = Stacks::from_toml("[ml]").unwrap();
    stacks.get("ml").unwrap().handle().circuit_breaker().unwrap().isolate();
    let other = stacks.clone().get("ml").unwrap().handle();
    assert_eq!(other.circuit_breaker().unwrap().state(), CircuitState::Isolated);
}

#[test]
fn a_stack_by_its_config_is_reloaded_whole_or_not_at_all() {
    let handle = Standard::new(name!("ml")).handle();
    let mut config = StandardConfig::new("ml");
    config.timeout.as_mut().unwrap().limit = Duration::from_millis(250);
    config.bulkhead.as_mut().unwrap().max_concurrent = 0;
    assert_eq!(handle.check(&config).unwrap_err().field, "bulkhead.max_concurrent");
    assert_eq!(handle.reload(config.clone()).unwrap_err().field, "bulkhead.max_concurrent");
    assert_eq!(handle.timeout().unwrap().limit(), Duration::from_secs(1));
    assert_eq!(handle.reload(StandardConfig::new("other")).unwrap_err().field, "retry.name");
    config.bulkhead.as_mut().unwrap().max_concurrent = 3;
    assert_eq!(handle.check(&config), Ok(()));
    handle.reload(config).unwrap();
    assert_eq!(handle.timeout().unwrap().limit(), Duration::from_millis(250));
    assert_eq!(handle.bulkhead().unwrap().max_concurrent(), 3);
}

#[test]
fn a_configuration_is_read_from_a_file() {
    let part = any::<bool>;
    let samples = (any::<u32>(), part(), part(), part(), part(), part()).prop_map(|(number, r, c, b, t, p)| {
        let mut config = StandardConfig::new("ml");
        config.retry = r.then(|| RetryConfig::new("ml"));
        config.circuit_breaker = c.then(|| CircuitBreakerConfig::new("ml"));
        config.bulkhead = b.then(|| {
            let mut config = BulkheadConfig::new("ml");
            config.max_concurrent = number;
            config
        });
        config.timeout = t.then(|| TimeoutConfig::new("ml"));
        config.propagate_deadline = p.then(|| PropagateDeadlineConfig::new("ml"));
        config
    });
    let fields = &[
        "retry",
        "retry.max_attempts",
        "circuit_breaker",
        "circuit_breaker.wait",
        "bulkhead",
        "bulkhead.max_wait",
        "timeout",
        "timeout.limit",
        "propagate_deadline",
        "propagate_deadline.margin",
    ];
    let defaults = StandardConfig::new("ml");
    backstop_test::assert_config_file("name = 'ml'", &defaults, fields, samples, Standard::from_config);
}

#[test]
fn a_part_of_a_file_has_no_name_of_its_own() {
    let error = toml::from_str::<StandardConfig>("name = 'ml'\nretry.name = 'other'").unwrap_err();
    assert!(error.message().contains("a part has the name \"other\""), "{error}");
    assert!(toml::from_str::<StandardConfig>("name = 'ml'\nretry.name = 'ml'").is_ok());
}

#[test]
fn a_deadline_and_what_is_stored_are_described_and_reloaded_with_the_stack() {
    let stacks = Stacks::from_toml("[default]\n deadline = '5s'\n [a]\n [b.deadline]\n limit = '2s'").unwrap();
    let limits = || ["a", "b"].map(|name| stacks.deadline_handle(name).unwrap().limit().as_secs());
    assert_eq!(limits(), [5, 2]);
    stacks.reload("[default]\n deadline = '4s'\n [a]\n [b]").unwrap();
    assert_eq!(limits(), [4, 4]);
    for (text, message) in [
        (
            "[a]\n [b]\n deadline = '1s'",
            "a.deadline: deadline is \"left out\", allowed is: a table: a reload can't remove it",
        ),
        (
            "[default]\n deadline = '3s'\n [a]\n [b]\n deadline = '0s'",
            "b.deadline.limit: deadline.limit is 0ns, allowed is: 1 ms to 24 h",
        ),
    ] {
        assert_eq!(stacks.reload(text).unwrap_err().to_string(), message);
        assert_eq!(limits(), [4, 4]);
    }
    let none = Stacks::from_toml("[a]").unwrap();
    assert_eq!(
        none.deadline("a").unwrap_err().to_string(),
        "a.deadline: no such table: the file needs it for a deadline"
    );
    assert_eq!(
        none.reload("[a]\n deadline = true").unwrap_err().to_string(),
        "a.deadline: deadline is \"a table\", allowed is: left out: a reload can't add it"
    );
}

#[cfg(feature = "last-known-good")]
#[test]
fn stored_answers_are_described_and_reloaded_with_the_stack() {
    let stacks = Stacks::from_toml("[a.last_known_good]\n max_stale = '1h'\n [b]\n last_known_good = false").unwrap();
    let known = stacks.last_known_good("a").unwrap();
    assert_eq!(known.handle().max_stale().as_secs(), 3600);
    stacks.reload("[a.last_known_good]\n max_stale = '2h'\n [b]").unwrap();
    assert_eq!(known.handle().max_stale().as_secs(), 7200);
    assert_eq!(stacks.last_known_good("b").unwrap_err().path(), "b.last_known_good");
    let fixed = "[a.last_known_good]\n max_bytes = 7\n [b]";
    assert_eq!(stacks.reload(fixed).unwrap_err().path(), "a.last_known_good.max_bytes");
    assert_eq!(known.handle().max_stale().as_secs(), 7200);
}

#[cfg(feature = "fallback")]
#[test]
fn a_chain_has_the_files_times_and_is_reloaded_with_the_stack() {
    use backstop::{FallbackChain, Provider};

    let providers = || {
        FallbackChain::<u32, u32>::builder("a")
            .total(Duration::from_secs(9))
            .provider(Provider::from_fn(name!("live"), |item| async move { item }))
    };
    let stacks = Stacks::from_toml("[default]\n fallback.total = '3s'\n [a]\n [b]").unwrap();
    stacks.reload("[default]\n fallback.total = '4s'\n [a]\n [b]").unwrap();
    let chain = stacks.chain("a", providers()).unwrap();
    let total = || chain.handle().total().as_secs();
    assert_eq!(total(), 4, "that of the last reload, although the chain is built only now");
    stacks.reload("[a]\n fallback = { total = '5s', providers.live.timeout = '2s' }\n [b]").unwrap();
    assert_eq!(total(), 5);
    let wrong = [
        (
            "[a.fallback.providers.dead]\n timeout = '2s'\n [b]",
            "a.fallback.providers: fallback.providers is dead, allowed is: live",
        ),
        (
            "[a]\n fallback.providers.live.timeout = '10s'\n [b]",
            "a.fallback.providers.live.timeout: fallback.providers.live.timeout is 10s, allowed is: more than 0 s, up to the \
             chain's total, which is 9s",
        ),
    ];
    for (text, message) in wrong {
        assert_eq!(stacks.reload(text).unwrap_err().to_string(), message);
        assert_eq!(total(), 5);
    }
    stacks.reload("[a]\n [b]").unwrap();
    assert_eq!(total(), 9, "as the code has it");
    assert_eq!(stacks.chain("b", providers()).unwrap_err().path(), "b.fallback.name");
}
