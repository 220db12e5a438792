//! What operators see of a chain, and do to it, through `Inspect` alone.

use std::{future::ready, time::Duration};

use backstop_core::{EventLog, Inspect, OperationRequest, Reach, Value, name};
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use backstop_test::Logs;
use http::Request;

use crate::common::behind;

type Chain = FallbackChain<u32, &'static str>;
type Failure = Result<&'static str, std::io::Error>;

fn fails() -> Provider<u32, &'static str> {
    Provider::from_fn(name!("live"), |_| async { Failure::Err(std::io::ErrorKind::TimedOut.into()) })
}

fn list() -> Provider<u32, &'static str> {
    Provider::value(name!("list"), || ready("9.50"))
}

fn setting(of: &dyn Inspect, name: &str) -> Value {
    field(&of.settings(), name).unwrap_or(Value::None)
}

fn field(fields: &[(&'static str, Value)], name: &str) -> Option<Value> {
    fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.clone())
}

#[test]
fn a_chain_protects_what_it_asks_first() {
    let chain: Chain = FallbackChain::builder("prices").provider(fails()).provider(list()).build().unwrap();
    assert_eq!(Inspect::dependency(&chain.handle()), "live");

    let layer: FallbackLayer<Request<_>, _> = FallbackLayer::new(name!("ml_service"), behind());
    assert_eq!(Inspect::dependency(&layer.handle()), "ml_service");
    let providers = Value::List(vec!["ml_service".to_owned().into(), "static".to_owned().into()]);
    assert_eq!(setting(&layer.handle(), "providers"), providers);
}

#[test]
fn a_chain_shows_whether_its_last_provider_may_fail() {
    let ends_with = |last: Provider<u32, &'static str>| {
        let chain: Chain = FallbackChain::builder("prices").provider(fails()).provider(last).build().unwrap();
        setting(&chain.handle(), "last_may_fail")
    };
    assert_eq!(ends_with(list()), Value::Bool(false));
    assert_eq!(ends_with(Provider::value(name!("list"), || ready(Failure::Ok("9.50")))), Value::Bool(true));
    assert_eq!(ends_with(Provider::from_fn(name!("list"), |_| ready("9.50"))), Value::Bool(true));
    assert_eq!(ends_with(list().only_when(|_| true)), Value::Bool(true));
    assert_eq!(ends_with(list().concurrency(8)), Value::Bool(true));
    assert_eq!(ends_with(list().only_if(|| Ok(())).even_if_last()), Value::Bool(true));

    let safe = FallbackChain::builder("prices").provider(fails()).fail_safe("9.50").build().unwrap();
    assert_eq!(setting(&safe.handle(), "last_may_fail"), Value::Bool(false));
    // A response says by its status whether it is an answer.
    assert_eq!(setting(&behind().handle(), "last_may_fail"), Value::Bool(false));
}

#[tokio::test]
async fn operators_are_in_both_logs_with_who_and_why() {
    let chain: Chain = FallbackChain::builder("prices").provider(fails()).provider(list()).build().unwrap();
    let (handle, log, logs) = (chain.handle(), EventLog::new(8), Logs::new());
    let of: &dyn Inspect = &handle;
    of.report_to(&log);
    let _guard = logs.listen();

    let force =
        |share: f64| OperationRequest::new("force", "ada", "a drill").with("provider", "list").with("share", share);
    let request = force(0.5).lasting(Duration::from_secs(60));
    assert_eq!(of.operate(&request).await, Ok(Reach::Instance));
    assert_eq!(of.operate(&OperationRequest::new("stop-forcing", "bob", "it is over")).await, Ok(Reach::Instance));

    let events = log.after(0);
    let shown = |i: usize| ["operation", "who", "reason", "until", "forced"].map(|name| field(&events[i].fields, name));
    let text = |text: &str| Some(Value::from(text.to_owned()));
    let until = Some(Value::Duration(Duration::from_secs(60)));
    assert_eq!(shown(0), [text("force"), text("ada"), text("a drill"), until, text("list")]);
    assert_eq!(shown(1), [text("stop-forcing"), text("bob"), text("it is over"), None, Some(Value::None)]);
    let lines = logs.take().with_target("backstop::fallback");
    let told: Vec<_> = lines.iter().map(|line| (line.field("who"), line.field("reason"))).collect();
    assert_eq!(told, [(Some("ada"), Some("a drill")), (Some("bob"), Some("it is over"))]);

    for (request, field) in [
        (force(2.0), "share"),
        (OperationRequest::new("force", "ada", "a drill").with("provider", "lits").with("share", 0.5), "provider"),
        (OperationRequest::new("force", "", "a drill").with("provider", "list").with("share", 0.5), "who"),
        (OperationRequest::new("stop-forcing", "ada", " "), "reason"),
        (OperationRequest::new("explode", "ada", "a drill"), "operation"),
    ] {
        let error = of.operate(&request).await.unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
    }
    assert_eq!((log.after(2).len(), handle.forcing()), (0, None), "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn episodes_of_degraded_answers_are_in_the_event_log() {
    let works = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let live = {
        let works = std::sync::Arc::clone(&works);
        Provider::from_fn(name!("live"), move |_| {
            let works = works.load(std::sync::atomic::Ordering::Relaxed);
            async move { if works { Ok("9.99") } else { Failure::Err(std::io::ErrorKind::TimedOut.into()) } }
        })
    };
    let chain: Chain = FallbackChain::builder("prices").provider(live).provider(list()).build().unwrap();
    let log = EventLog::new(8);
    Inspect::report_to(&chain.handle(), &log);
    for _ in 0..3 {
        assert_eq!(chain.execute(7).await.unwrap().value, "9.50");
    }
    works.store(true, std::sync::atomic::Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(chain.execute(7).await.unwrap().value, "9.99");

    let events = log.after(0);
    assert_eq!((events.len(), events[0].kind, events[0].by.as_str()), (2, "fallback", "prices"));
    let began = [("degraded", true.into()), ("provider", "list".to_owned().into()), ("reason", "error".into())];
    assert_eq!(events[0].fields, began);
    assert_eq!(field(&events[1].fields, "degraded"), Some(Value::Bool(false)));
    assert_eq!(field(&events[1].fields, "degraded_answers"), Some(Value::Integer(3)));
}
