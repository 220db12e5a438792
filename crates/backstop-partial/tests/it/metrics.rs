//! What a dashboard shows.
#![cfg(feature = "metrics")]

use std::future::pending;

use backstop_partial::{Name, describe_metrics, name, part};
use backstop_test::Metrics;

use crate::common::dashboard;

#[tokio::test]
async fn each_part_is_counted_by_what_became_of_it() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let aggregate = dashboard();
    for profile in [Ok(1), Err("down")] {
        let parts = (
            part(name!("profile"), async { profile }).required(),
            part(name!("orders"), async { Err::<u32, _>("down") }).optional(),
        );
        _ = aggregate.gather(parts).await;
    }
    let parts = (
        part(name!("profile"), async { Err::<u32, _>(http::StatusCode::NOT_FOUND) }).required(),
        part(name!("orders"), pending::<Result<u32, &str>>()).optional(),
    );
    _ = aggregate.gather(parts).await;
    assert_eq!(
        metrics.lines(),
        [
            "parts_total{aggregate=dashboard,part=orders,result=replaced} 1",
            "parts_total{aggregate=dashboard,part=orders,result=unfinished} 2",
            "parts_total{aggregate=dashboard,part=profile,result=answered} 2",
            "parts_total{aggregate=dashboard,part=profile,result=failed} 1",
        ]
    );
}

#[tokio::test]
async fn names_without_end_are_no_labels_without_end() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let aggregate = dashboard();
    for i in 0..1_000 {
        let name: Name = format!("item_{i}").parse().unwrap();
        aggregate.gather((part(name, async { Ok::<_, &str>(1) }).required(),)).await.unwrap();
    }
    assert_eq!(metrics.lines().len(), 65);
    assert_eq!(metrics.counter("parts_total", &[("part", "others")]), 936);
}

#[test]
fn the_metric_is_described() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    describe_metrics();
    assert_eq!(metrics.descriptions().keys().collect::<Vec<_>>(), ["parts_total"]);
}
