//! A payment is charged, else queued, and never charged twice, whatever the acquirer does, and though the acquirer itself wouldn't
//! notice a second charge.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    future::pending,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    response::{IntoResponse, Response},
};
use backstop::{
    BulkheadLayer, CircuitBreakerLayer, DegradationHeaderLayer, FallbackChain, FallbackLayer, Name, Provider,
    RetryLayer, TimeoutLayer, client,
    deferred::{Deferred, Job, JobKind, MemoryJobStore},
    name,
};
use backstop_test::assert_property;
use http::{Request, StatusCode};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::{
    task::{JoinSet, LocalSet},
    time::sleep,
};
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

/// What the acquirer does with a call.
#[derive(Clone, Copy, Debug)]
enum Does {
    Charges,
    /// The connection is refused.
    Refuses,
    /// It takes the connection, and doesn't answer.
    Hangs,
    ChargesAndHangs,
    ChargesAndLosesTheConnection,
    ChargesAndSays500,
    Says503,
}

use Does::*;

/// Who was charged, and what is done with the next calls. In the end, it works.
#[derive(Clone)]
struct Acquirer {
    charges: Arc<Mutex<Vec<String>>>,
    next: Arc<Mutex<std::vec::IntoIter<Does>>>,
}

impl Acquirer {
    fn doing(calls: Vec<Does>) -> Self {
        Self { charges: Arc::default(), next: Arc::new(Mutex::new(calls.into_iter())) }
    }

    fn charges(&self, order: &str) -> usize {
        self.charges.lock().unwrap().iter().filter(|charged| *charged == order).count()
    }

    async fn charge(self, order: String) -> Result<Response, BoxError> {
        let does = self.next.lock().unwrap().next().unwrap_or(Charges);
        if matches!(does, Charges | ChargesAndHangs | ChargesAndLosesTheConnection | ChargesAndSays500) {
            self.charges.lock().unwrap().push(order);
        }
        // So that calls at once meet in the bulkhead.
        if !matches!(does, Refuses) {
            sleep(Duration::from_millis(20)).await;
        }
        match does {
            Charges => Ok("charged".into_response()),
            Refuses => Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
            Hangs | ChargesAndHangs => pending().await,
            ChargesAndLosesTheConnection => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            ChargesAndSays500 => Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
            Says503 => Ok(StatusCode::SERVICE_UNAVAILABLE.into_response()),
        }
    }
}

#[derive(Clone, Deserialize, Serialize)]
struct ChargeLater {
    order: String,
}

impl JobKind for ChargeLater {
    const KIND: Name = name!("charge");
}

#[derive(Clone, Deserialize, Serialize)]
struct FindOut {
    order: String,
}

impl JobKind for FindOut {
    const KIND: Name = name!("find_out");
}

async fn order(request: Request<Body>) -> Result<String, BoxError> {
    Ok(String::from_utf8(to_bytes(request.into_body(), 100).await?.into())?)
}

/// Sends so many orders, this many at once, and returns how often each of them was charged in the end, beside its answer.
async fn charges(calls: Vec<Does>, orders: usize, at_once: usize) -> Vec<(Option<StatusCode>, String, usize)> {
    LocalSet::new().run_until(run(calls, orders, at_once)).await
}

async fn run(calls: Vec<Does>, orders: usize, at_once: usize) -> Vec<(Option<StatusCode>, String, usize)> {
    let acquirer = Acquirer::doing(calls);
    let charging = Deferred::<ChargeLater>::builder("charges", MemoryJobStore::new()).build().unwrap();
    let checking = Deferred::<FindOut>::builder("checks", MemoryJobStore::new()).build().unwrap();
    let instead = FallbackChain::builder("payments")
        .provider(charging.http().without_keys().build().unwrap().provider(name!("charge_later"), async |request| {
            Ok::<_, BoxError>(ChargeLater { order: order(request).await? })
        }))
        .provider(checking.http().without_keys().for_reconciliation().build().unwrap().provider(
            name!("find_out"),
            async |request| Ok::<_, BoxError>(FindOut { order: order(request).await? }),
        ))
        // Another acquirer, which doesn't know what the first one did.
        .provider(Provider::service(name!("second_acquirer"), {
            let acquirer = acquirer.clone();
            service_fn(move |request| {
                let acquirer = acquirer.clone();
                async move { acquirer.charge(order(request).await?).await }
            })
        }))
        .build()
        .unwrap();
    let first = acquirer.clone();
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("acquirer"), instead))
        .layer(RetryLayer::new(name!("acquirer")))
        .layer(CircuitBreakerLayer::builder("acquirer").consecutive_failures(3).build().unwrap())
        .layer(BulkheadLayer::builder("acquirer").max_concurrent(2).max_waiting(1).build().unwrap())
        .layer(TimeoutLayer::new(name!("acquirer")))
        .service(client(service_fn(move |request| {
            let acquirer = first.clone();
            async move { acquirer.charge(order(request).await?).await }
        })));

    let answers = Arc::new(Mutex::new(Vec::new()));
    let next = Arc::new(AtomicU32::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..at_once {
        let (stack, answers, next) = (stack.clone(), Arc::clone(&answers), Arc::clone(&next));
        callers.spawn_local(async move {
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number as usize >= orders {
                    return;
                }
                let name = format!("order-{number}");
                let request = Request::post("/orders").body(Body::from(name.clone())).unwrap();
                let answer = stack.clone().oneshot(request).await;
                let status = answer.as_ref().ok().map(Response::status);
                if let Ok(response) = &answer {
                    let is_labelled = response.headers().contains_key("x-fallback-source");
                    assert_eq!(is_labelled, status == Some(StatusCode::ACCEPTED), "{response:?}");
                }
                answers.lock().unwrap().push((status, name));
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }

    let (charges, looks) = (acquirer.clone(), acquirer.clone());
    let charge = service_fn(move |job: Job<ChargeLater>| {
        let acquirer = charges.clone();
        async move {
            // The acquirer works again, so a job isn't charged twice by being repeated. If it didn't, it would have to know keys.
            acquirer.next.lock().unwrap().by_ref().for_each(drop);
            acquirer.charge(job.into_payload().order).await.map(drop)
        }
    });
    let find_out = service_fn(move |job: Job<FindOut>| {
        // It only looks.
        assert!(looks.charges(&job.payload().order) <= 1);
        async { Ok::<_, BoxError>(()) }
    });
    let mut workers = JoinSet::new();
    workers.spawn(charging.worker(charge).run(sleep(Duration::from_secs(30))));
    workers.spawn(checking.worker(find_out).run(sleep(Duration::from_secs(30))));
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    let answers = std::mem::take(&mut *answers.lock().unwrap());
    answers
        .into_iter()
        .map(|(status, order)| {
            let times = acquirer.charges(&order);
            (status, order, times)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn each_fault_queues_what_is_right_after_it() {
    for (does, status, times) in [
        (Charges, StatusCode::OK, 1),
        // Certainly not charged, so a job charges it, or the retry does.
        (Refuses, StatusCode::OK, 1),
        // Perhaps charged, so a job finds out.
        (Hangs, StatusCode::ACCEPTED, 0),
        (ChargesAndHangs, StatusCode::ACCEPTED, 1),
        (ChargesAndLosesTheConnection, StatusCode::ACCEPTED, 1),
        (ChargesAndSays500, StatusCode::ACCEPTED, 1),
        (Says503, StatusCode::ACCEPTED, 0),
    ] {
        let [(answer, _, charged)] = charges(vec![does], 1, 1).await.try_into().unwrap();
        assert_eq!((answer, charged), (Some(status), times), "{does:?}");
    }
    let [(answer, _, charged)] = charges(vec![Refuses; 3], 1, 1).await.try_into().unwrap();
    assert_eq!((answer, charged), (Some(StatusCode::ACCEPTED), 1), "refused as often as it is tried");
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_and_a_full_bulkhead_queue_charges() {
    // Three perhaps charged, then the circuit is open.
    let after = charges(vec![ChargesAndSays500; 3], 5, 1).await;
    let times: Vec<_> = after.iter().map(|(_, _, times)| *times).collect();
    assert_eq!(times, [1, 1, 1, 1, 1]);
    assert!(after.iter().all(|(status, ..)| *status == Some(StatusCode::ACCEPTED)));
    let at_once = charges(Vec::new(), 6, 6).await;
    let queued = at_once.iter().filter(|(status, ..)| *status == Some(StatusCode::ACCEPTED)).count();
    assert_eq!(queued, 3, "two run and one waits");
    assert!(at_once.iter().all(|(_, _, times)| *times == 1));
}

#[test]
fn no_payment_is_charged_twice() {
    let does = prop::sample::select(vec![
        Charges,
        Refuses,
        Hangs,
        ChargesAndHangs,
        ChargesAndLosesTheConnection,
        ChargesAndSays500,
        Says503,
    ]);
    assert_property(4, &(prop::collection::vec(does, 0..30), 1..20_usize, 1..6_usize), |(calls, orders, at_once)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        for (status, order, times) in runtime.block_on(charges(calls, orders, at_once)) {
            assert!(times <= 1, "{order}, answered {status:?}, was charged {times} times");
            assert!(times == 1 || status != Some(StatusCode::OK), "{order} was answered as charged");
        }
    });
}
