//! Settings that change while calls run.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{convert::Infallible, future::pending, time::Duration};

use backstop_core::{Deadline, Scope, SetBy};
use backstop_timeout::{
    DeadlineConfig, DeadlineHeader, DeadlineLayer, PropagateDeadlineConfig, PropagateDeadlineLayer, TimeoutConfig,
    TimeoutLayer, name, time_left,
};
use http::{Request, Response, StatusCode};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, service_fn};

const ENVOY: &str = "x-envoy-expected-rq-timeout-ms";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn limit(limit: Duration) -> TimeoutConfig {
    let mut config = TimeoutConfig::new("ml");
    config.limit = limit;
    config
}

async fn hang(_: Request<String>) -> Result<Response<String>, Infallible> {
    pending().await
}

#[tokio::test(start_paused = true)]
async fn a_running_call_keeps_its_limit_and_the_next_one_has_the_new() {
    let layer = TimeoutLayer::from_config(limit(ms(1000))).unwrap();
    let handle = layer.handle();
    let service = layer.layer(service_fn(hang));
    let mut running = task::spawn(service.clone().oneshot(Request::default()));
    assert_pending!(running.poll());

    handle.reload(limit(ms(100))).unwrap();
    assert_eq!(handle.limit(), ms(100));
    let start = Instant::now();
    let response = service.oneshot(Request::default()).await.unwrap();
    assert_eq!((response.status(), start.elapsed()), (StatusCode::GATEWAY_TIMEOUT, ms(100)));
    advance(ms(899)).await;
    assert_pending!(running.poll());
    advance(ms(1)).await;
    assert_eq!(assert_ready_ok!(running.poll()).status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn whether_the_limit_waits_for_the_upload_can_be_reloaded() {
    let layer = TimeoutLayer::from_config(limit(ms(100))).unwrap();
    let service = layer.layer(service_fn(|request: Request<axum::body::Body>| async move {
        // The upload ends after 1 s.
        _ = axum::body::to_bytes(request.into_body(), 100).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let upload = || {
        let acts = [crate::scripted::Act::Wait(ms(1000)), crate::scripted::Act::Data("uploaded")];
        Request::post("/").body(crate::scripted::Scripted::new(acts).axum()).unwrap()
    };
    assert_eq!(service.clone().oneshot(upload()).await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    let mut config = limit(ms(100));
    config.after_upload = true;
    layer.handle().reload(config).unwrap();
    assert_eq!(service.oneshot(upload()).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_readiness_keeps_to_the_new_limit() {
    let layer = TimeoutLayer::from_config(limit(ms(1000))).unwrap();
    let busy = tower::limit::ConcurrencyLimit::new(service_fn(hang), 1);
    let mut holder = busy.clone();
    holder.ready().await.unwrap();
    let mut service = task::spawn(layer.layer(busy));
    assert!(service.enter(|cx, mut service| service.poll_ready(cx)).is_pending());
    layer.handle().reload(limit(ms(100))).unwrap();
    advance(ms(100)).await;
    assert!(service.enter(|cx, mut service| service.poll_ready(cx)).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_reloaded_for_later_requests() {
    let config = |limit, trust: &[DeadlineHeader]| {
        let mut config = DeadlineConfig::new("edge");
        (config.limit, config.trust) = (limit, trust.to_vec());
        config
    };
    let layer = DeadlineLayer::from_config(config(ms(1000), &[])).unwrap();
    let handle = layer.handle();
    let service = layer.layer(service_fn(|_: Request<String>| async {
        Ok::<_, Infallible>(Response::new(format!("{:?}", time_left().unwrap_or_default())))
    }));
    let left = async || {
        let request = Request::get("/").header(ENVOY, "70").body(String::new()).unwrap();
        service.clone().oneshot(request).await.unwrap().into_body()
    };
    assert_eq!(left().await, "1s");
    let hung = layer.layer(service_fn(hang));
    let mut running = task::spawn(hung.oneshot(Request::default()));
    assert_pending!(running.poll());

    handle.reload(config(ms(200), &[])).unwrap();
    assert_eq!(left().await, "200ms");
    handle.reload(config(ms(100), &[DeadlineHeader::EnvoyExpectedRqTimeoutMs])).unwrap();
    assert_eq!(left().await, "70ms");
    assert_eq!((handle.limit(), handle.trust().len()), (ms(100), 1));

    let twice = [DeadlineHeader::GrpcTimeout, DeadlineHeader::GrpcTimeout];
    for (wrong, field) in [
        (config(ms(5), &twice), "trust"),
        (config(Duration::ZERO, &[]), "limit"),
        (DeadlineConfig::new("other"), "name"),
    ] {
        assert_eq!(handle.check(&wrong).unwrap_err().field, field);
        assert_eq!(handle.reload(wrong).unwrap_err().field, field);
    }
    assert_eq!(left().await, "70ms");
    assert_eq!(handle.check(&config(ms(5), &[])), Ok(()));
    assert_eq!(handle.limit(), ms(100));

    advance(ms(999)).await;
    assert_pending!(running.poll());
    advance(ms(1)).await;
    assert_eq!(assert_ready_ok!(running.poll()).status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_on_is_reloaded_for_later_calls() {
    let config = |margin, send: &[DeadlineHeader]| {
        let mut config = PropagateDeadlineConfig::new("ml");
        (config.margin, config.send) = (margin, send.to_vec());
        config
    };
    let layer = PropagateDeadlineLayer::new(name!("ml"));
    let handle = layer.handle();
    let service = layer.layer(service_fn(|request: Request<String>| async move {
        let sent = request.headers().get(ENVOY).map(|value| value.to_str().unwrap().to_owned());
        Ok::<_, Infallible>(Response::new(sent.unwrap_or_default()))
    }));
    let sent = || {
        let mut scope = Scope::narrowed(Deadline::after(ms(100), SetBy::Us));
        let mut call = task::spawn(scope.enter(|| service.clone().oneshot(Request::default())));
        assert_ready_ok!(scope.enter(|| call.poll())).into_body()
    };
    assert_eq!(sent(), "");
    handle.reload(config(ms(10), &[DeadlineHeader::EnvoyExpectedRqTimeoutMs])).unwrap();
    assert_eq!(sent(), "90");
    handle.reload(config(ms(25), &[DeadlineHeader::EnvoyExpectedRqTimeoutMs])).unwrap();
    assert_eq!((sent().as_str(), handle.margin(), handle.send().len()), ("75", ms(25), 1));

    let too_large = config(Duration::from_secs(11), &[]);
    for (wrong, field) in [(too_large, "margin"), (PropagateDeadlineConfig::new("other"), "name")] {
        assert_eq!(handle.check(&wrong).unwrap_err().field, field);
        assert_eq!(handle.reload(wrong).unwrap_err().field, field);
    }
    assert_eq!(sent(), "75");
    assert_eq!(handle.check(&config(ms(5), &[])), Ok(()));
    assert_eq!(handle.margin(), ms(25));
}

#[test]
fn a_wrong_limit_changes_nothing() {
    let handle = TimeoutLayer::new(name!("ml")).handle();
    for (wrong, field) in [
        (limit(Duration::ZERO), "limit"),
        (limit(Duration::from_secs(3601)), "limit"),
        (TimeoutConfig::new("other"), "name"),
    ] {
        assert_eq!(handle.check(&wrong).unwrap_err().field, field);
        assert_eq!(handle.reload(wrong).unwrap_err().field, field);
        assert_eq!(handle.limit(), Duration::from_secs(1));
    }
    assert_eq!(handle.check(&limit(ms(5))), Ok(()));
    assert_eq!(handle.limit(), Duration::from_secs(1), "a check changes nothing");
    let odd = Duration::new(3599, 999_999_999);
    handle.reload(limit(odd)).unwrap();
    assert_eq!(handle.limit(), odd);
}

#[cfg(feature = "serde")]
mod files {
    use backstop_test::assert_config_file;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn time() -> impl Strategy<Value = Duration> {
        any::<u64>().prop_map(Duration::from_nanos)
    }

    fn headers() -> impl Strategy<Value = Vec<DeadlineHeader>> {
        let name = prop_oneof![Just("grpc-timeout".to_owned()), Just(ENVOY.to_owned()), "[a-z]{1,9}(-[a-z0-9]{1,9})?"];
        vec(name.prop_map(|name| name.parse().unwrap()), 0..4)
    }

    #[test]
    fn a_timeout_is_read_from_a_file() {
        let samples = (time(), any::<bool>()).prop_map(|values| {
            let mut config = TimeoutConfig::new("ml");
            (config.limit, config.after_upload) = values;
            config
        });
        let defaults = TimeoutConfig::new("ml");
        assert_config_file("name = 'ml'", &defaults, &["limit", "after_upload"], samples, TimeoutLayer::from_config);
    }

    #[test]
    fn a_deadline_is_read_from_a_file() {
        let samples = (time(), headers()).prop_map(|values| {
            let mut config = DeadlineConfig::new("ml");
            (config.limit, config.trust) = values;
            config
        });
        let defaults = DeadlineConfig::new("ml");
        assert_config_file("name = 'ml'", &defaults, &["limit", "trust"], samples, DeadlineLayer::from_config);

        let config: DeadlineConfig = toml::from_str("trust = ['grpc-timeout', 'Connect-Timeout-Ms']").unwrap();
        let connect = DeadlineHeader::Milliseconds(http::HeaderName::from_static("connect-timeout-ms"));
        assert_eq!(config.trust, [DeadlineHeader::GrpcTimeout, connect]);
        let error = toml::from_str::<DeadlineConfig>("trust = ['a b']").unwrap_err();
        assert_eq!(error.message(), "\"a b\": invalid HTTP header name");
    }

    #[test]
    fn propagation_is_read_from_a_file() {
        let samples = (time(), headers()).prop_map(|values| {
            let mut config = PropagateDeadlineConfig::new("ml");
            (config.margin, config.send) = values;
            config
        });
        let defaults = PropagateDeadlineConfig::new("ml");
        assert_config_file("name = 'ml'", &defaults, &["margin", "send"], samples, PropagateDeadlineLayer::from_config);
    }
}
