//! What an operator sees.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
};

use backstop_core::{Degradation, Freshness, Reason, name, scope};
use backstop_degradation_header::DegradationHeaderLayer;
use http::Response;
use tower::{Layer, ServiceExt, service_fn};
use tracing_subscriber::filter::LevelFilter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_label_that_does_not_parse_is_an_event_without_its_value_and_nothing_else_is() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::DEBUG)
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());

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

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let expected = [
        "DEBUG backstop::degradation_header: removed a label that doesn't parse header=x-fallback-source",
        "DEBUG backstop::degradation_header: took a freshness that isn't known for `degraded` header=x-data-freshness",
    ];
    assert_eq!(log.lines().map(str::trim).collect::<Vec<_>>(), expected);
}
