//! What an operator sees.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::convert::Infallible;

use backstop_core::{Degradation, Freshness, Reason, name, scope};
use backstop_degradation_header::DegradationHeaderLayer;
use backstop_test::Logs;
use http::Response;
use tower::{Layer, ServiceExt, service_fn};
use tracing::Level;

#[tokio::test]
async fn a_label_that_does_not_parse_is_an_event_without_its_value_and_nothing_else_is() {
    let logs = Logs::up_to(Level::DEBUG);
    let _guard = logs.listen();

    let layer = DegradationHeaderLayer::new();
    for (header, value) in
        [("x-fallback-source", "good"), ("x-fallback-source", "my secret"), ("x-data-freshness", "partly")]
    {
        let degraded = service_fn(|()| async {
            let source = name!("cached");
            scope::report(Degradation::new(name!("items"), source, 1, Reason::CIRCUIT_OPEN, Freshness::Degraded));
            Ok::<_, Infallible>(Response::builder().header(header, value).body("body".to_owned()).unwrap())
        });
        layer.layer(degraded).oneshot(()).await.unwrap();
    }

    let expected = [
        "DEBUG backstop::degradation_header: removed a label that doesn't parse header=x-fallback-source",
        "DEBUG backstop::degradation_header: took a freshness that isn't known for `degraded` header=x-data-freshness",
    ];
    assert_eq!(logs.events().lines(), expected);
}
