//! How much of the traffic may fall on a provider.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::common::*;
use axum::response::Response;
use backstop_core::{Reason, name};
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use backstop_kit::client;
use tokio::{task::JoinSet, time::sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

const SLOW: Duration = Duration::from_millis(50);

/// How many are in a provider, and how many there were at most.
#[derive(Clone, Default)]
pub(crate) struct Gauge(Arc<[AtomicUsize; 2]>);

pub(crate) struct Inside(Gauge);

impl Gauge {
    pub(crate) fn enter(&self) -> Inside {
        let now = self.0[0].fetch_add(1, Ordering::SeqCst) + 1;
        self.0[1].fetch_max(now, Ordering::SeqCst);
        Inside(self.clone())
    }

    pub(crate) fn most(&self) -> usize {
        self.0[1].load(Ordering::SeqCst)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0[0].fetch_sub(1, Ordering::SeqCst);
    }
}

/// A provider sized for two, and one for any number.
fn chain(gauge: &Gauge) -> FallbackChain<Req, Response> {
    let gauge = gauge.clone();
    let slow = Provider::value(name!("slow"), move || {
        let inside = gauge.enter();
        async move {
            let _inside = inside;
            sleep(SLOW).await;
            Response::new("slow".into())
        }
    });
    FallbackChain::builder("chain")
        .total(TOTAL)
        .provider(slow.concurrency(2))
        .provider(says(name!("static")))
        .build()
        .unwrap()
}

type Down = Result<Response, BoxError>;

fn down() -> impl Service<Req, Response = Response, Error = BoxError, Future: Send> + Clone + Send + 'static {
    service_fn(|_: Req| async { Down::Err("down".into()) })
}

#[tokio::test(start_paused = true)]
async fn a_storm_on_a_provider_sized_for_two_goes_on_to_the_next_one() {
    let gauge = Gauge::default();
    let layer = FallbackLayer::new(name!("primary"), chain(&gauge));
    for _round in 0..3 {
        let mut storm = JoinSet::new();
        for _ in 0..100 {
            // A layer may be applied, and its services cloned, many times: the bound is one.
            let call = layer.clone().layer(down()).oneshot(get());
            storm.spawn(async { text(call.await.unwrap()).await });
        }
        let answers = storm.join_all().await;
        assert_eq!(answers.iter().filter(|answer| *answer == "slow").count(), 2);
        assert_eq!(answers.iter().filter(|answer| *answer == "static").count(), 98);
        assert_eq!(gauge.most(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_makes_room() {
    let gauge = Gauge::default();
    let service = FallbackLayer::new(name!("primary"), chain(&gauge)).layer(down());
    for _ in 0..10 {
        let mut calls = [(); 2].map(|()| tokio_test::task::spawn(service.clone().oneshot(get())));
        calls.iter_mut().for_each(|call| tokio_test::assert_pending!(call.poll()));
        assert_eq!(text(service.clone().oneshot(get()).await.unwrap()).await, "static");
    }
    assert_eq!(text(service.oneshot(get()).await.unwrap()).await, "slow");
}

#[tokio::test(start_paused = true)]
async fn an_answer_makes_room_though_its_future_is_still_there() {
    let gauge = Gauge::default();
    let service = FallbackLayer::new(name!("primary"), chain(&gauge)).layer(down());
    let mut done = Vec::new();
    for _ in 0..4 {
        // Not by `oneshot`, which drops the future itself.
        let mut call = Box::pin(service.clone().call(get()));
        assert_eq!(text(call.as_mut().await.unwrap()).await, "slow");
        done.push(call);
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_or_hangs_makes_room() {
    let chain = FallbackChain::<(), u32>::builder("chain")
        .provider(Provider::value(name!("fails"), || async { Err::<u32, _>("broken") }).concurrency(1))
        .provider(Provider::value(name!("hangs"), pending::<u32>).concurrency(1))
        .build()
        .unwrap();
    for _ in 0..3 {
        let failed = chain.clone().execute(()).await.unwrap_err();
        assert_eq!(failed.failures().iter().map(|it| it.reason).collect::<Vec<_>>(), [Reason::ERROR, Reason::TIMEOUT]);
    }
}

#[tokio::test]
async fn a_full_provider_has_processed_nothing() {
    let chain = FallbackChain::<Req, Response>::builder("chain")
        .provider(Provider::from_fn(name!("full"), |_| pending::<Response>()).concurrency(1))
        .provider(Provider::from_fn(name!("other"), |_| async { Response::new("other".into()) }))
        .build()
        .unwrap();
    let refused = client(service_fn(|_: Req| async {
        Down::Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into())
    }));
    let service = FallbackLayer::new(name!("primary"), chain).layer(refused);
    let mut first = tokio_test::task::spawn(service.clone().oneshot(post("pay")));
    tokio_test::assert_pending!(first.poll());
    assert_eq!(text(service.oneshot(post("pay")).await.unwrap()).await, "other");
}

#[test]
fn a_provider_for_nobody_is_refused() {
    let nobody = FallbackChain::builder("chain").provider(says(name!("static")).concurrency(0)).build();
    assert_eq!(nobody.unwrap_err().to_string(), "providers.static.concurrency is 0, allowed is: 1 or more");
}
