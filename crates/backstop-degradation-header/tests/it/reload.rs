//! Settings that change while requests run.

use backstop_core::{Freshness, name};
use backstop_degradation_header::{DegradationHeaderConfig, DegradationHeaderLayer, Details, Report};
use http::{Request, Response};
use tokio::sync::oneshot;
use tokio_test::{assert_pending, task};
use tower::{Layer, ServiceExt, service_fn};

use crate::{answer, field, freshness, from, response, some, source};

fn config(change: impl FnOnce(&mut DegradationHeaderConfig)) -> DegradationHeaderConfig {
    let mut config = DegradationHeaderConfig::default();
    change(&mut config);
    config
}

#[tokio::test]
async fn services_made_before_a_reload_have_the_new_settings_and_keep_the_public_names() {
    let layer = DegradationHeaderLayer::new();
    let handle = layer.handle();
    let layer = layer.public_names(|_| Some(name!("cached")));
    let reports = [from(name!("redis-eu-1"), Freshness::Degraded)];
    let service = layer.clone();
    assert_eq!(source(answer(&service, &reports, response(&[])).await.headers()), some("cached"));

    handle.reload(config(|c| c.details = Details::Parameters)).unwrap();
    let parameters = some("cached;index=1;reason=circuit-open");
    assert_eq!(source(answer(&service, &reports, response(&[])).await.headers()), parameters);

    handle.reload(config(|c| c.source_header = "x-from".into())).unwrap();
    let headers = answer(&service, &reports, response(&[])).await.into_parts().0.headers;
    assert_eq!((source(&headers), field(&headers, "x-from")), (None, some("cached")));
}

#[tokio::test]
async fn a_running_request_is_labelled_by_the_settings_of_its_end() {
    let layer = DegradationHeaderLayer::new();
    let (send, answer) = oneshot::channel::<Response<()>>();
    let answer = std::sync::Mutex::new(Some(answer));
    let handler = service_fn(move |_: Request<()>| answer.lock().unwrap().take().unwrap());
    let mut running = task::spawn(layer.layer(handler).oneshot(Request::new(())));
    assert_pending!(running.poll());
    layer.handle().reload(config(|c| c.report = Report::Always)).unwrap();
    send.send(Response::new(())).unwrap();
    assert_eq!(freshness(running.await.unwrap().headers()), some("fresh"));
}

type Change = fn(&mut DegradationHeaderConfig);

#[test]
fn a_wrong_reload_is_refused_and_changes_nothing() {
    let handle = DegradationHeaderLayer::new().handle();
    let kept = config(|c| (c.proxy_status, c.report) = (Some("gateway".into()), Report::Always));
    handle.reload(kept.clone()).unwrap();
    let wrong: [(&str, Change); 3] = [
        ("source_header", |c| c.source_header = "age".into()),
        ("freshness_header", |c| c.freshness_header = "x-fallback-source".into()),
        ("proxy_status", |c| c.proxy_status = Some("the gateway".into())),
    ];
    for (field, change) in wrong {
        assert_eq!(handle.check(&config(change)).unwrap_err().field, field);
        assert_eq!(handle.reload(config(change)).unwrap_err().field, field);
        assert_eq!(handle.config(), kept);
    }
}
