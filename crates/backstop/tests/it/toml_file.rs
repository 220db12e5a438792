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
    StandardConfig, TimeoutConfig, name, standard,
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
            "b.bulkhead.max_concurrent: max_concurrent is 0, allowed is: 1 to 1000000",
        ),
        (
            "[a]\n[b]",
            "b.retry.part: part is present, allowed is: left out, as the stack was built: a reload can't add it",
        ),
        (
            "[a]\ntimeout = false\n[b]\nretry = false",
            "a.timeout.part: part is \"left out\", allowed is: present, as the stack was built: a reload can't remove it",
        ),
        (
            "[a]\nretry.max_body = 7\n[b]\nretry = false",
            "a.retry.max_body: max_body is 7, allowed is: what the layer was built with: it can't be reloaded",
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
        ("[ml]\nretry.max_attempts = 0", "ml.retry.max_attempts: max_attempts is 0, allowed is: 1 to 1000"),
        (
            "[default]\ntimeout = '5 parsecs'\n[ml]",
            "default.timeout.limit: invalid value: string \"5 parsecs\", expected a duration",
        ),
        (
            "[ml]\nbulkhead = '1s'",
            "ml.bulkhead: invalid type: string \"1s\", expected a table of settings, or false to leave the part out",
        ),
        ("[ml]\nname = 'other'", "ml.name: the name of a stack is that of its table"),
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
    let handle = standard(name!("ml")).handle();
    let mut config = StandardConfig::new("ml");
    config.timeout.as_mut().unwrap().limit = Duration::from_millis(250);
    config.bulkhead.as_mut().unwrap().max_concurrent = 0;
    assert_eq!(handle.check(&config).unwrap_err().field, "max_concurrent");
    assert_eq!(handle.reload(config.clone()).unwrap_err().field, "max_concurrent");
    assert_eq!(handle.timeout().unwrap().limit(), Duration::from_secs(1));
    assert_eq!(handle.reload(StandardConfig::new("other")).unwrap_err().field, "name");
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

proptest! {
    #[test]
    fn no_file_panics_and_a_refused_reload_changes_nothing(
        text in any::<String>(),
        table in "(default|a|b)",
        field in "(retry|timeout|bulkhead|retry\\.total|timeout\\.limit|bulkhead\\.max_wait|retry\\.budget)",
        value in prop_oneof![Just("false".to_owned()), Just("true".to_owned()), "'[0-9]{1,3}(ms|s|m)'", "[0-9]{1,3}"],
    ) {
        _ = Stacks::from_toml(&text);
        let stacks = Stacks::from_toml("[a]\n[b]").unwrap();
        let before = format!("{stacks:?}");
        let text = ["default", "a", "b"].map(|name| {
            let setting = if name == table { format!("{field} = {value}") } else { String::new() };
            format!("[{name}]\n{setting}\n")
        });
        if stacks.reload(&text.concat()).is_err() {
            prop_assert_eq!(format!("{stacks:?}"), before);
        }
    }
}
