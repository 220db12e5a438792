//! What an operator sees.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop_timeout::TimeoutLayer;
use http::{Request, Response};
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

#[tokio::test(start_paused = true)]
async fn each_rejection_is_one_event_without_anything_of_the_request() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::DEBUG)
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());

    let limit = Duration::from_millis(100);
    let layer = TimeoutLayer::builder("upstream").limit(limit).build().unwrap();
    let quick = layer.layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) }));
    quick.oneshot(Request::new(())).await.unwrap();
    let hung = layer.layer(service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, Infallible>>()));
    hung.oneshot(Request::get("/users/7").body(()).unwrap()).await.unwrap();

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let expected =
        r#"DEBUG backstop::timeout: a call took too long name=upstream limit=100ms set_by="us" progress="called""#;
    assert_eq!(log.trim(), expected);
}
