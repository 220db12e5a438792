//! Settings that change while requests run.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]
#![allow(clippy::disallowed_methods, reason = "callers run at once")]

use std::time::Duration;

use backstop_kit::Repeat;
use backstop_retry::{
    Backoff, BackoffFn, Budget, RetryBudget, RetryBudgetConfig, RetryConfig, RetryHandle, RetryLayer,
};
use http::{Method, Request};
use tokio::time::Instant;
use tokio_test::{assert_pending, task};
use tower::{Layer, ServiceExt};

use crate::support::{Upstream, get, ms, with_method};

fn config(change: impl FnOnce(&mut RetryConfig)) -> RetryConfig {
    let mut config = RetryConfig::new("ml");
    // Waits that are known.
    config.backoff = Backoff::Constant;
    config.backoff_base = Some(ms(100));
    change(&mut config);
    config
}

fn layer(change: impl FnOnce(&mut RetryConfig)) -> (RetryLayer, RetryHandle) {
    let layer = RetryLayer::from_config(config(change)).unwrap();
    let handle = layer.handle();
    (layer, handle)
}

#[tokio::test(start_paused = true)]
async fn a_running_request_keeps_its_settings_and_the_next_one_has_the_new() {
    let (layer, handle) = layer(|_| ());
    let upstream = Upstream::statuses([503]);
    let mut running = task::spawn(layer.layer(upstream.clone()).oneshot(get()));
    assert_pending!(running.poll());
    assert_eq!(upstream.calls(), 1);

    handle.reload(config(|c| (c.max_attempts, c.backoff_base) = (5, Some(ms(7))))).unwrap();
    let start = Instant::now();
    assert_eq!(layer.layer(upstream.clone()).oneshot(get()).await.unwrap().status(), 503);
    assert_eq!((upstream.calls(), start.elapsed()), (1 + 5, ms(4 * 7)));
    running.await.unwrap();
    assert_eq!(upstream.calls(), 5 + 3);

    handle.reload(config(|c| c.max_attempts = 1)).unwrap();
    layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!(upstream.calls(), 8 + 1);
}

#[tokio::test(start_paused = true)]
async fn services_made_before_a_reload_have_the_new_settings_too() {
    let (layer, handle) = layer(|_| ());
    let upstream = Upstream::statuses([503]);
    let service = layer.layer(upstream.clone());
    for attempts in [2, 4, 1, 3] {
        handle.reload(config(|c| c.max_attempts = attempts)).unwrap();
        let before = upstream.calls();
        service.clone().oneshot(get()).await.unwrap();
        assert_eq!(upstream.calls() - before, attempts as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_keeps_what_it_has_saved() {
    let own = |burst| {
        let mut budget = RetryBudgetConfig::default();
        (budget.ratio, budget.reserve_per_second, budget.burst) = (0.1, 0, Some(burst));
        Budget::Own(budget)
    };
    let (layer, handle) = layer(|c| c.budget = own(10));
    let upstream = Upstream::statuses([503]);
    // Planned, and so paid: one of ten.
    let mut running = task::spawn(layer.layer(upstream.clone()).oneshot(get()));
    assert_pending!(running.poll());
    let available = || handle.budget().map(|budget| budget.available());
    assert_eq!(available(), Some(9));

    let before = handle.budget();
    handle.reload(config(|c| (c.budget, c.max_attempts) = (own(10), 7))).unwrap();
    assert_eq!(handle.budget(), before, "the same settings, the same budget");
    handle.reload(config(|c| c.budget = own(100))).unwrap();
    assert_eq!(available(), Some(9));
    assert_eq!(handle.budget(), before, "others that hold it still share it");
    handle.reload(config(|c| c.budget = own(4))).unwrap();
    assert_eq!(available(), Some(4));
    // Its second retry is paid from the new budget.
    running.await.unwrap();
    assert_eq!(available(), Some(3));
    handle.reload(config(|c| c.budget = own(10))).unwrap();
    assert_eq!(available(), Some(3));

    handle.reload(config(|c| c.budget = Budget::Unlimited)).unwrap();
    assert_eq!(available(), None);
    handle.reload(config(|c| c.budget = own(5))).unwrap();
    assert_eq!(available(), Some(5));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_while_it_is_reloaded_under_load() {
    let (layer, handle) = layer(|c| c.budget = Budget::Unlimited);
    let upstream = Upstream::statuses([503]);
    let requests: Vec<_> = (0..200_u64)
        .map(|n| {
            let (service, handle) = (layer.layer(upstream.clone()), handle.clone());
            tokio::spawn(async move {
                tokio::time::sleep(ms(n)).await;
                if n % 10 == 0 {
                    let attempts = u32::try_from(n / 10).unwrap() % 4 + 1;
                    handle.reload(config(|c| (c.budget, c.max_attempts) = (Budget::Unlimited, attempts))).unwrap();
                }
                service.oneshot(get()).await.unwrap().status()
            })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), 503);
    }
    // 50 requests of each number of attempts.
    assert_eq!(upstream.calls(), 50 * (1 + 2 + 3 + 4));
}

type Change = fn(&mut RetryConfig, RetryBudget);

#[test]
fn a_wrong_reload_changes_nothing() {
    let (_layer, handle) = layer(|c| c.max_attempts = 2);
    let shared = RetryBudget::default();
    let before = format!("{handle:?}");
    let wrong: [(&str, Change); 7] = [
        ("name", |c, _| c.name = "other".into()),
        ("max_attempts", |c, _| c.max_attempts = 0),
        ("total", |c, _| c.total = Duration::ZERO),
        ("max_body", |c, _| c.max_body = 7),
        ("seed", |c, _| c.seed = Some(7)),
        ("ratio", |c, _| {
            let mut budget = RetryBudgetConfig::default();
            budget.ratio = 11.0;
            c.budget = Budget::Own(budget);
        }),
        ("budget", |c, shared| c.budget = Budget::Shared(shared)),
    ];
    for (field, change) in wrong {
        let config = config(|c| change(c, shared.clone()));
        assert_eq!(handle.check(&config).unwrap_err().field, field);
        assert_eq!(handle.reload(config).unwrap_err().field, field);
        assert_eq!(format!("{handle:?}"), before);
    }
    let right = config(|c| c.max_attempts = 9);
    assert_eq!(handle.check(&right), Ok(()));
    assert_eq!(format!("{handle:?}"), before, "a check changes nothing");
}

#[test]
fn a_shared_budget_stays_shared() {
    let shared = RetryBudget::default();
    let handle = RetryLayer::builder("ml").budget(shared.clone()).build().unwrap().handle();
    assert_eq!(handle.reload(RetryConfig::new("ml")).unwrap_err().field, "budget");
    let mut config = RetryConfig::new("ml");
    (config.budget, config.max_attempts) = (Budget::Shared(shared.clone()), 5);
    handle.reload(config).unwrap();
    assert_eq!(handle.budget(), Some(shared));
}

#[tokio::test(start_paused = true)]
async fn closures_that_no_file_holds_stay() {
    let upstream = Upstream::statuses([503]);
    let layer = RetryLayer::builder("ml").backoff_fn(|_, _| ms(7)).repeat_when(|_, _| false).build().unwrap();
    let handle = layer.handle();
    let mut file = RetryConfig::new("ml");
    handle.reload(file.clone()).unwrap();
    layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!(upstream.calls(), 1, "the rule that forbids all repeats");

    file.repeat = file.repeat.repeat_when(|_, _| true);
    handle.reload(file.clone()).unwrap();
    let start = Instant::now();
    layer.layer(upstream.clone()).oneshot(with_method(Method::POST)).await.unwrap();
    assert_eq!((upstream.calls(), start.elapsed()), (1 + 3, ms(14)));
    file.backoff = Backoff::Constant;
    assert_eq!(handle.reload(file.clone()).unwrap_err().field, "backoff");
    file.backoff = Backoff::Custom(BackoffFn::new(|_, _| ms(1)));
    handle.reload(file).unwrap();

    let mut never = Request::new(axum::body::Body::empty());
    never.extensions_mut().insert(Repeat::Never);
    layer.layer(upstream.clone()).oneshot(never).await.unwrap();
    assert_eq!(upstream.calls(), 5);
}

#[cfg(feature = "serde")]
#[test]
fn a_configuration_is_read_from_a_file() {
    use backstop_kit::RepeatRule;
    use http::HeaderName;
    use proptest::{option, prelude::*, sample::select};

    let time = || any::<u64>().prop_map(Duration::from_nanos);
    let own = (0.0..20.0_f64, any::<u32>(), option::of(any::<u32>())).prop_map(|(ratio, reserve, burst)| {
        let mut budget = RetryBudgetConfig::default();
        (budget.ratio, budget.reserve_per_second, budget.burst) = (ratio, reserve, burst);
        Budget::Own(budget)
    });
    let backoffs = select(vec![Backoff::FullJitter, Backoff::EqualJitter, Backoff::Decorrelated, Backoff::Constant]);
    let times = (option::of(time()), option::of(time()), option::of(time()), time());
    let numbers = (any::<u32>(), 0..usize::MAX / 2, option::of(0..u64::MAX / 2));
    let repeats = any::<bool>()
        .prop_map(|trusts| if trusts { RepeatRule::new().trust_idempotency_key() } else { RepeatRule::new() });
    let headers = option::of("[a-z]{1,9}(-[a-z]{1,9})?".prop_map(|name| name.parse::<HeaderName>().unwrap()));
    let budgets = prop_oneof![own, Just(Budget::Unlimited)];
    let samples = (backoffs, times, numbers, repeats, headers, budgets).prop_map(|values| {
        let mut config = RetryConfig::new("ml");
        (config.backoff, _, _, config.repeat, config.attempt_header, config.budget) = values.clone();
        (config.backoff_base, config.backoff_cap, config.max_retry_after, config.total) = values.1;
        (config.max_attempts, config.max_body, config.seed) = values.2;
        config
    });
    let fields = &[
        "max_attempts",
        "backoff",
        "backoff_base",
        "backoff_cap",
        "max_retry_after",
        "total",
        "max_body",
        "repeat",
        "attempt_header",
        "budget",
        "budget.ratio",
        "budget.burst",
        "repeat.trust_idempotency_key",
        "seed",
    ];
    let defaults = RetryConfig::new("ml");
    backstop_test::assert_config_file("name = \"ml\"", &defaults, fields, samples, RetryLayer::from_config);

    let error = |text: &str| toml::from_str::<RetryConfig>(text).unwrap_err().message().to_owned();
    let expected = "invalid value: string \"none\", expected the settings of a budget, or \"unlimited\"";
    assert_eq!(error("budget = \"none\""), expected);
    assert_eq!(error("attempt_header = \"a b\""), "\"a b\": invalid HTTP header name");
    assert!(toml::to_string(&config(|c| c.budget = Budget::Shared(RetryBudget::default()))).is_err());
    assert!(toml::to_string(&config(|c| c.backoff = Backoff::Custom(BackoffFn::new(|_, _| ms(1))))).is_err());
}
