//! The layer at work: 200 requests to an upstream of which every tenth answer takes 300 ms.
#![expect(clippy::print_stdout, reason = "a demonstration")]

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use backstop_kit::{Http, RetryBudget};
use bytes::Bytes;
use custom_layer::{HedgeEvent, HedgeLayer};
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tower_layer::Layer;
use tower_service::Service;

const NEVER: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("200 requests, one after the other; every tenth call of the upstream takes 300 ms, the others 2 ms");
    measure("not hedged", NEVER).await;
    measure("hedged after 10 ms", Duration::from_millis(10)).await;
}

async fn measure(name: &str, delay: Duration) {
    let (calls, hedges) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&hedges);
    let count = move |event| _ = counted.fetch_add(u32::from(event == HedgeEvent::Sent), Relaxed);
    let layer = HedgeLayer::new(delay, RetryBudget::default(), <Http>::default(), count);
    let mut service = layer.layer(Upstream { calls: Arc::clone(&calls) });
    let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
    for _ in 0..200 {
        let sent = Instant::now();
        let Ok(_) = service.call(Request::new(Full::default())).await;
        slowest = slowest.max(sent.elapsed());
    }
    let (calls, hedges) = (calls.load(Relaxed), hedges.load(Relaxed));
    println!(
        "{name}: {:?} in all, the slowest took {slowest:?}; {calls} calls, {hedges} of them hedges",
        begun.elapsed()
    );
}

#[derive(Clone)]
struct Upstream {
    calls: Arc<AtomicU32>,
}

impl Service<Request<Full<Bytes>>> for Upstream {
    type Response = Response<&'static str>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        let is_slow = self.calls.fetch_add(1, Relaxed) % 10 == 9;
        Box::pin(async move {
            sleep(Duration::from_millis(if is_slow { 300 } else { 2 })).await;
            Ok(Response::new("here"))
        })
    }
}
