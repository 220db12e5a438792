//! One job per principal and key, whatever happens: duplicates at once, other payloads, calls that are dropped at any `await`, workers
//! that fail or stop, and keys whose time is over.
//!
//! The model says of each key what is known of its job: that there is none, which one it is, or which payloads it may have, because
//! the calls that would know were dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{IntoFuture, pending, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use backstop_deferred::{
    DeferError, Deferred, Job, JobId, JobState, MemoryJobStore, NotAccepted, Receipt, StoreError,
    store::{Created, JobStore, List, Place, StoredRecord, Totals},
};
use bytes::Bytes;
use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::{
    task::yield_now,
    time::{advance, pause, resume, sleep, timeout},
};
use tower::{BoxError, service_fn};

use crate::common::{Email, email, secs};

type Scope = (u8, u8);

#[derive(Clone, Debug)]
struct Call {
    scope: Scope,
    payload: u8,
    /// How often it yields before it begins.
    delay: u8,
    /// After how many polls it is dropped.
    dropped_after: Option<u8>,
}

#[derive(Clone, Debug)]
enum Step {
    AtOnce(Vec<Call>),
    /// A worker runs all jobs. Do they succeed?
    Work(bool),
    /// A worker stops while it runs a job.
    Crash,
    /// The time of all keys of jobs that are done passes.
    Expire,
}

#[derive(Clone, Debug, PartialEq)]
enum Known {
    Nothing,
    /// Perhaps a job with one of these payloads.
    Maybe(Vec<u8>),
    Job(u8, JobId),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let call = (0..2_u8, 0..2_u8, 0..2_u8, 0..4_u8, prop::option::of(0..8_u8)).prop_map(
        |(principal, key, payload, delay, dropped_after)| Call {
            scope: (principal, key),
            payload,
            delay,
            dropped_after,
        },
    );
    let step = prop_oneof![
        6 => prop::collection::vec(call, 1..5).prop_map(Step::AtOnce),
        2 => any::<bool>().prop_map(Step::Work),
        1 => Just(Step::Crash),
        1 => Just(Step::Expire),
    ];
    prop::collection::vec(step, 1..12)
}

/// Yields before and after each call, so that a caller can be dropped there.
struct Yielding<S>(Arc<S>);

async fn yielding<T>(call: impl Future<Output = T>) -> T {
    yield_now().await;
    let result = call.await;
    yield_now().await;
    result
}

impl<S: JobStore> JobStore for Yielding<S> {
    async fn create(
        &self,
        id: JobId,
        key: Option<[u8; 32]>,
        bytes: Bytes,
        place: Place,
        max_pending: u64,
    ) -> Result<Created, StoreError> {
        yielding(self.0.create(id, key, bytes, place, max_pending)).await
    }

    async fn get(&self, id: JobId) -> Result<Option<StoredRecord>, StoreError> {
        yielding(self.0.get(id)).await
    }

    async fn replace(&self, id: JobId, version: u64, bytes: Bytes, place: Place) -> Result<Option<u64>, StoreError> {
        yielding(self.0.replace(id, version, bytes, place)).await
    }

    async fn remove(&self, id: JobId, version: u64) -> Result<bool, StoreError> {
        yielding(self.0.remove(id, version)).await
    }

    async fn due(
        &self,
        list: List,
        due: std::ops::RangeInclusive<u64>,
        limit: usize,
    ) -> Result<Vec<JobId>, StoreError> {
        yielding(self.0.due(list, due, limit)).await
    }

    async fn totals(&self, list: List) -> Result<Totals, StoreError> {
        yielding(self.0.totals(list)).await
    }
}

struct Model<S> {
    store: Arc<S>,
    emails: Deferred<Email>,
    known: BTreeMap<Scope, Known>,
    /// Which jobs have run, and for whom.
    ran: Arc<Mutex<Vec<Ran>>>,
}

/// A job that has begun to run, its principal and key, and its payload.
type Ran = (Scope, u8, JobId);

fn to(scope: Scope, payload: u8) -> Email {
    email(&format!("{} {} {payload}", scope.0, scope.1))
}

fn read(email: &Email) -> Option<(Scope, u8)> {
    let numbers: Vec<u8> = email.to.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(((numbers[0], numbers[1]), numbers[2]))
}

fn note(ran: &Mutex<Vec<Ran>>, job: &Job<Email>) {
    if let Some((scope, payload)) = read(job.payload()) {
        ran.lock().unwrap().push((scope, payload, job.id()));
    }
}

impl<S: JobStore> Model<S> {
    fn new(store: S) -> Self {
        let store = Arc::new(store);
        let emails = Deferred::builder("emails", Yielding(Arc::clone(&store)))
            .keep_done(secs(60))
            .max_attempts(1)
            .max_concurrent(1)
            .build()
            .unwrap();
        Self { store, emails, known: BTreeMap::new(), ran: Arc::default() }
    }

    fn known(&self, scope: Scope) -> Known {
        self.known.get(&scope).cloned().unwrap_or(Known::Nothing)
    }

    /// `None` if the call was dropped.
    async fn call(&self, call: &Call) -> Option<Result<Receipt, DeferError>> {
        let (principal, key) = (call.scope.0.to_string(), call.scope.1.to_string());
        let defer = self.emails.defer(&to(call.scope, call.payload)).key(&principal, &key);
        for _ in 0..call.delay {
            yield_now().await;
        }
        let mut defer: Option<Pin<Box<_>>> = Some(defer.into_future());
        let mut left = call.dropped_after;
        poll_fn(move |cx| {
            if let Some(0) = left {
                defer = None;
            }
            left = left.map(|left| left.saturating_sub(1));
            match &mut defer {
                Some(defer) => defer.as_mut().poll(cx).map(Some),
                None => Poll::Ready(None),
            }
        })
        .await
    }

    async fn at_once(&mut self, calls: &[Call]) -> Result<(), TestCaseError> {
        let results = join_all(calls.iter().map(|call| self.call(call))).await;
        let scopes: BTreeSet<_> = calls.iter().map(|call| call.scope).collect();
        for scope in scopes {
            let of_scope = calls.iter().zip(&results).filter(|(call, _)| call.scope == scope);
            let mut maybe = match self.known(scope) {
                Known::Maybe(payloads) => payloads,
                _ => Vec::new(),
            };
            let (mut created, mut found, mut refused) = (Vec::new(), Vec::new(), Vec::new());
            for (Call { payload, .. }, result) in of_scope {
                match result {
                    Some(Ok(receipt)) if receipt.is_new => created.push((*payload, receipt.id)),
                    Some(Ok(receipt)) => found.push((*payload, receipt.id)),
                    Some(Err(DeferError::NotAccepted(NotAccepted::KeyReused))) => refused.push(*payload),
                    Some(Err(error)) => return Err(TestCaseError::fail(error.to_string())),
                    None => maybe.push(*payload),
                }
            }
            prop_assert!(created.len() <= 1, "{:?} has {:?}", scope, created);
            let before = self.known(scope);
            if let Known::Job(payload, id) = before {
                prop_assert!(created.is_empty());
                found.push((payload, id));
            } else if before == Known::Nothing && maybe.is_empty() {
                prop_assert_eq!(created.len(), 1);
            }
            let all: Vec<_> = created.into_iter().chain(found).collect();
            prop_assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{:?} has {:?}", scope, all);
            let now = match all.first() {
                Some((payload, id)) => {
                    prop_assert!(!refused.contains(payload), "{:?} was refused the payload it has", scope);
                    Known::Job(*payload, *id)
                }
                None => {
                    maybe.retain(|payload| !refused.contains(payload));
                    prop_assert!(refused.is_empty() || !maybe.is_empty(), "{:?} was refused for nothing", scope);
                    Known::Maybe(maybe)
                }
            };
            self.known.insert(scope, now);
        }
        Ok(())
    }

    /// Runs a worker until nothing is due. Then it is known which jobs exist.
    async fn work(&mut self, succeeds: bool) -> Result<(), TestCaseError> {
        // Whatever a call has begun that was dropped, the store has done before this.
        self.emails.defer(&email("last")).await.unwrap();
        let ran = Arc::clone(&self.ran);
        let run = service_fn(move |job: Job<Email>| {
            note(&ran, &job);
            async move { if succeeds { Ok(()) } else { Err(BoxError::from("down")) } }
        });
        let all_ended = async {
            while self.left().await > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        self.emails.worker(run).run(all_ended).await;
        for ((principal, key), known) in &mut self.known {
            let ran = self.ran.lock().unwrap();
            let mut jobs: Vec<_> = ran
                .iter()
                .filter(|(scope, ..)| scope == &(*principal, *key))
                .map(|(_, payload, id)| (*payload, *id))
                .collect();
            jobs.sort_unstable();
            jobs.dedup();
            match known {
                Known::Job(payload, id) => prop_assert!(jobs.iter().all(|job| *job == (*payload, *id)), "{:?}", jobs),
                Known::Maybe(payloads) => {
                    prop_assert!(jobs.len() <= 1, "{:?}", jobs);
                    *known = match jobs.first() {
                        Some((payload, id)) => {
                            prop_assert!(payloads.contains(payload));
                            Known::Job(*payload, *id)
                        }
                        None => Known::Nothing,
                    };
                }
                Known::Nothing => prop_assert!(jobs.is_empty(), "{:?}", jobs),
            }
        }
        Ok(())
    }

    /// How many jobs aren't done yet.
    async fn left(&self) -> u64 {
        let mut left = 0;
        for list in [List::Queued, List::Running] {
            left += self.store.totals(list).await.unwrap().records;
        }
        left
    }

    async fn crash(&mut self) {
        let begun = Arc::new(tokio::sync::Notify::new());
        let begins = Arc::clone(&begun);
        let ran = Arc::clone(&self.ran);
        // After three crashes it is a dead letter, which nobody runs any more.
        let hang = service_fn(move |job: Job<Email>| {
            note(&ran, &job);
            begins.notify_one();
            pending::<Result<(), BoxError>>()
        });
        let worker = self.emails.worker(hang).run(pending());
        // There may be no job.
        _ = timeout(Duration::from_millis(10), async {
            tokio::select! {
                () = worker => {}
                () = begun.notified() => {}
            }
        })
        .await;
        // Its claim runs out.
        self.jump(secs(31)).await;
    }

    /// Lets time pass at once, and forgets the jobs that are known no longer.
    async fn jump(&mut self, time: Duration) {
        pause();
        advance(time).await;
        resume();
        for known in self.known.values_mut() {
            if let Known::Job(_, id) = known
                && self.emails.state(*id).await.unwrap().is_none()
            {
                let id = *id;
                self.ran.lock().unwrap().retain(|(.., ran)| *ran != id);
                *known = Known::Nothing;
            }
        }
    }

    async fn check(mut self, steps: Vec<Step>) -> Result<(), TestCaseError> {
        for step in steps {
            match step {
                Step::AtOnce(calls) => self.at_once(&calls).await?,
                Step::Work(succeeds) => self.work(succeeds).await?,
                Step::Crash => self.crash().await,
                Step::Expire => self.jump(secs(61)).await,
            }
        }
        self.work(true).await?;
        for known in self.known.values() {
            if let Known::Job(_, id) = known {
                let state = self.emails.state(*id).await.unwrap();
                prop_assert!(matches!(state, Some(JobState::Done | JobState::Failed(_))), "{:?}", state);
            }
        }
        Ok(())
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_key_has_one_job_in_memory(steps in steps()) {
        runtime().block_on(Model::new(MemoryJobStore::new()).check(steps))?;
    }
}

#[cfg(feature = "redb")]
#[test]
fn a_key_has_one_job_in_a_file() {
    let dir = std::env::temp_dir().join(format!("backstop-idempotency-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("jobs.redb");
    // Each case syncs the file some dozens of times.
    backstop_test::assert_property(16, &steps(), |steps| {
        runtime().block_on(async {
            let store = backstop_deferred::RedbJobStore::open(&file).await.unwrap();
            Model::new(store).check(steps).await.unwrap();
        });
        std::fs::remove_file(&file).unwrap();
    });
    std::fs::remove_dir_all(dir).unwrap();
}
