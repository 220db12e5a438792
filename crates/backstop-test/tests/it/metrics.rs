//! Captured metrics.

use backstop_test::Metrics;

fn some_metrics() {
    metrics::counter!("calls_total", "name" => "ml", "result" => "ok").increment(2);
    metrics::counter!("calls_total", "result" => "failed", "name" => "ml").increment(1);
    metrics::gauge!("in_use", "name" => "ml").set(3.0);
    metrics::gauge!("in_use", "name" => "ml").decrement(0.5);
    metrics::gauge!("in_use", "name" => "db").increment(7.0);
    metrics::histogram!("seconds", "name" => "ml").record(0.25);
    metrics::histogram!("seconds", "name" => "ml").record(1.0);
}

#[test]
fn a_metric_is_found_by_its_name_and_some_of_its_labels() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    some_metrics();
    assert_eq!(metrics.counter("calls_total", &[("name", "ml"), ("result", "ok")]), 2);
    assert_eq!(metrics.counter("calls_total", &[("name", "ml")]), 3);
    assert_eq!(metrics.counter("calls_total", &[]), 3);
    assert_eq!(metrics.counter("calls_total", &[("name", "db")]), 0);
    assert_eq!(metrics.counter("in_use", &[]), 0, "no counter");
    assert_eq!(metrics.gauge("in_use", &[("name", "ml")]), Some(2.5));
    assert_eq!(metrics.gauge("in_use", &[("name", "other")]), None);
    assert_eq!(metrics.histogram("seconds", &[]), [0.25, 1.0]);
    assert!(metrics.histogram("minutes", &[]).is_empty());
}

#[test]
fn all_series_are_shown_sorted_and_their_history_in_order() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    some_metrics();
    let lines = [
        "calls_total{name=ml,result=failed} 1",
        "calls_total{name=ml,result=ok} 2",
        "in_use{name=db} 7",
        "in_use{name=ml} 2.5",
        "seconds{name=ml} [0.25, 1.0]",
    ];
    assert_eq!(metrics.lines(), lines);
    assert_eq!(metrics.to_string(), lines.map(|line| format!("{line}\n")).concat());
    let history = [
        "calls_total{name=ml,result=ok} 2",
        "calls_total{name=ml,result=failed} 1",
        "in_use{name=ml} 3",
        "in_use{name=ml} 2.5",
        "in_use{name=db} 7",
        "seconds{name=ml} 0.25",
        "seconds{name=ml} 1",
    ];
    assert_eq!(metrics.history(), history);
}

#[test]
fn an_absolute_counter_never_goes_back() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    [3, 5, 4].into_iter().for_each(|to| metrics::counter!("bytes_total").absolute(to));
    assert_eq!(metrics.lines(), ["bytes_total{} 5"]);
}

#[test]
#[should_panic(expected = "several gauges in_use match []:")]
fn a_gauge_that_is_not_told_from_another_is_refused() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    some_metrics();
    _ = metrics.gauge("in_use", &[]);
}

#[test]
#[should_panic(expected = "x{} is a metric of two kinds")]
fn a_metric_of_two_kinds_fails_the_test() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    metrics::counter!("x").increment(1);
    metrics::gauge!("x").set(1.0);
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "what a user's code may do")]
async fn it_records_across_awaits_and_in_what_is_spawned_on_this_thread_until_the_guard_is_dropped() {
    let metrics = Metrics::new();
    let guard = metrics.listen();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    tokio::spawn(async { metrics::counter!("spawned").increment(1) }).await.unwrap();
    std::thread::spawn(some_metrics).join().unwrap();
    drop(guard);
    some_metrics();
    assert_eq!(metrics.lines(), ["spawned{} 1"]);
    metrics::with_local_recorder(&metrics.clone(), || metrics::counter!("spawned").increment(1));
    assert_eq!(metrics.lines(), ["spawned{} 2"]);
}

#[test]
fn what_is_described_is_kept_by_its_name() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    metrics::describe_counter!("orders_total", metrics::Unit::Count, "Orders of all shops");
    metrics::describe_gauge!("in_use", "Tables in use");
    let descriptions = metrics.descriptions();
    assert_eq!(descriptions["orders_total"], "counter in count: Orders of all shops");
    assert_eq!(descriptions["in_use"], "gauge: Tables in use");
    assert_eq!(descriptions.len(), 2);
}
