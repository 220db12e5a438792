//! Work accepted now and done later: durable jobs with idempotency keys, retries and dead letters.
//!
//! # Why
//!
//! When the mail service is down, an order needn't fail: its e-mail can be sent later. That is a promise, so it must survive a
//! crash, must not be kept twice without need, and must not be given if it isn't certain that it can be kept.
//!
//! # When not to use it
//!
//! - Where the caller needs the result now.
//! - For work that may not be repeated, unless the dependency takes an idempotency key: after a crash, a job may run again.
//! - To keep an order: jobs run in any order.
//!
//! See [`Deferred`] for an example.
//!
//! # What is guaranteed
//!
//! | | |
//! |---|---|
//! | `defer` returns a [`Receipt`] | the store has confirmed the job. It runs at least once, or becomes a dead letter |
//! | [`DeferError::NotAccepted`] | this call has created no job |
//! | [`DeferError::Unknown`] | a job may exist. Only the same call with the same key is safe |
//! | the same key of the same principal, the same payload | one job, and the first receipt |
//! | … another payload | [`NotAccepted::KeyReused`] |
//! | two workers | one of them claims a job. A worker that has lost its claim stops, and the other one decides what becomes of the job |
//! | an attempt | is counted durably before it begins |
//! | a worker is killed while it runs a job, or its service panics | that is a crash: the job is claimed again after 30 s, or as soon as a file is opened again. After three crashes it becomes a dead letter |
//! | the store is away for 30 s or more while a job runs | the job is stopped and runs again, and neither a crash nor an attempt is counted: [see below](#if-the-store-fails) |
//! | a job is done | a second completion is never recorded. Its payload is erased |
//!
//! The record in the store is the truth, and each change of it is a compare-and-set. A job that a worker can't read, because its
//! kind or version is unknown there, is left alone for 30 s, uncounted and unwritten: another worker may know it. A worker remembers
//! up to 10,000 of them; beyond, it puts each back for 30 s, which is a write.
//!
//! # Over HTTP
//!
//! [`Deferred::http`] makes a queue a provider of a fallback chain, which answers `202 Accepted`, and shows what became of a job.
//!
//! | | status |
//! |---|---|
//! | accepted, or the same request again under its key | 202 with `Location` |
//! | the queue is full | the next provider of the chain; without one, the failure of the primary, or 503 with `Retry-After` if there is no primary |
//! | the key belongs to another request | 422 |
//! | the job is too long | the next provider of the chain; without one, 413 |
//! | the key is malformed, or required and missing | 400 |
//! | nobody knows whether the job exists | 503, and **no other provider is asked**. With a key, a repeat is safe |
//! | `GET /jobs/{id}`: queued, running, done or failed | 200 |
//! | … unknown, expired, or somebody else's | 404 |
//! | … the store is away | 503 with `Retry-After` |
//!
//! # Work that may have been done
//!
//! After a payment whose answer was lost, another payment job may charge twice. Queue a job of another kind, which finds out what
//! became of the first attempt, by the idempotency key that the caller has sent and that the payment was made with. Its queue is
//! [for reconciliation](HttpQueueBuilder::for_reconciliation): a chain asks no other queue then, and asks it only then.
//!
//! # Stores
//!
//! | store | feature | a job survives |
//! |---|---|---|
//! | `RedbJobStore` | `redb` | a crash of the process and of the machine, but not of the disk. One process at a time has the file |
//! | [`MemoryJobStore`] | | nothing: it is for tests |
//! | `NatsJobStore` of `backstop-nats` | | a crash of any process, and with three replicas the loss of a server. For a fleet |
//! | your own [`JobStore`](store::JobStore) | `contract`: the tests that it must pass | what you say |
//!
//! `RedbJobStore` says what survives what, what the file needs, how it is backed up, and its format.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `http` | accepting jobs over HTTP |
//! | `fallback` | `http`, and [`HttpQueue::provider`] |
//! | `axum` | `http`, and [`HttpQueue::routes`] |
//! | `redb` | the store in a file |
//! | `contract` | the tests for stores |
//! | `metrics` | the [metrics](#metrics) |
//! | `serde` | [`DeferredConfig`] can be read from a file |
//!
//! # When jobs are retried
//!
//! 16 attempts with waits from 5 s to 15 min, which double, and are jittered between half and all of it. So an outage of an hour
//! leaves no dead letter. [`Permanent`] errors and payloads that don't parse become dead letters at once, and so does a job that is
//! older than 24 h.
//!
//! # How workers take jobs
//!
//! A worker runs one job at a time at first, one more after each 10 s of success, and half as many, at most once in 10 s, while 5 % or
//! more of the attempts fail: a dependency that recovers isn't flooded. [`Permanent`] errors don't count there. It pulls the ids of jobs ahead, and asks the store again when it has used them up, when this process
//! adds a job, and each second. With a [gate](Worker::gate), it takes no job while the circuit of what its jobs need is open, or [a closure](Worker::gate_fn) says so.
//!
//! A record that can't be read holds up no other: if it is corrupt, it goes to the dead letters as [`Failure::Malformed`]; if the
//! store can't read it, it is left alone for a second.
//!
//! # Dead letters
//!
//! Dead letters keep their payload, can be [listed](DeferredHandle::dead_letters), [replayed](DeferredHandle::replay) and
//! [discarded](DeferredHandle::discard), and are removed after 14 days. While there are 10,000, or 256 MiB of them, workers take no jobs.
//!
//! # What is bounded
//!
//! | | by | beyond |
//! |---|---|---|
//! | jobs that are queued or running | `max_pending` | no job is accepted: [`NotAccepted::Full`] |
//! | jobs that are done and kept | `max_done`, `keep_done` | the same. None is removed earlier, because its key would be free: a repeat would be done again |
//! | dead letters | `max_dead_letters`, `max_dead_letter_bytes`, `keep_dead_letters` | workers take no jobs, so that in the end the queue is full |
//!
//! A repeat under a known key is answered even if the queue is full.
//!
//! # What the store sees
//!
//! Payloads as JSON, unless they are [sealed](DeferredBuilder::sealed). Of keys and principals it has SHA-256 hashes, and of each
//! payload one as well, which outlives it: a hash is no secret where few payloads are possible. With sealed payloads, all hashes are
//! made under a secret. A payload is erased when its job is done. Dead letters keep theirs, to be replayed.
//!
//! # If the store fails
//!
//! Each call of it may take 2 s. `defer` returns [`DeferError::Unknown`]. Workers take no jobs; what becomes of a job whose attempt has
//! ended is written again each second until the store answers.
//!
//! A job whose claim can't be renewed for 30 s is stopped, because another worker may take it over. If nobody has when the store is
//! back, its worker returns it, uncounted. If another worker is faster, that one counts no crash if the store was away for it, too.
//! **What still counts as a crash** is a worker that is cut off alone for 30 s: to the others it looks as if it were killed.
//!
//! # Clocks
//!
//! Due times are compared with the clock of the process that reads them, so **the clocks of all processes of a queue must agree within
//! 20 s**: keep them in step, by NTP for example. A process whose clock is further ahead takes over claims that still hold, so that jobs
//! run twice and count crashes. If it is ahead by as much as jobs and keys are kept, it makes jobs dead letters as too old, and removes
//! done jobs, their keys and dead letters for good.
//!
//! A process reads the wall clock when the queue is built, and again each minute.
//!
//! If the clock was ahead, and is set back, jobs that would wait for longer than twice `max_wait`, and claims that would last for longer
//! than 10 min, are due at once, and done jobs and dead letters are kept for longer.
//!
//! # Cancellation
//!
//! See [`Defer`] and [`Worker::run`]. A job that loses its claim is dropped at its next `await`.
//!
//! A claim lasts 30 s, and is renewed each 10 s. A worker that couldn't renew it in time, because the store failed or the whole
//! process stood still, stops the job. Even if the job ends just then, nothing is recorded if another worker has claimed it: both
//! may have run it, and the other one decides.
//!
//! # Telemetry
//!
//! Target `backstop::deferred`, field `queue`. Nothing has anything of a payload but the text of errors, which is cut, and without
//! the secrets of URLs.
//!
//! | event | level | fields |
//! |---|---|---|
//! | a job goes to the dead letters | `WARN`, at most once a minute; otherwise `DEBUG` | `id`, `failure`, `error`, `unsaid`: how many since the last warning |
//! | a claim was lost | `WARN`, at most once a minute; otherwise `DEBUG` | `id`, `unsaid` |
//! | an attempt panicked | `WARN` | `id`, `attempt` |
//! | a worker was dropped while it ran | `WARN` | |
//! | the store fails; there are too many dead letters | `WARN`, when it begins | `error` |
//! | so many done jobs are kept that none is accepted | `WARN`, at most once a minute | `unsaid` |
//! | an operator replayed or discarded dead letters | `INFO` | `operation`, `who`, `reason`, `jobs`: how many |
//! | jobs are taken again | `INFO` | |
//! | an attempt succeeded or failed | `DEBUG` | `id`, `attempt`, `error` |
//! | an attempt was refused; its worker stops | `DEBUG` | `id`, `error` |
//! | a job is of an unknown kind or version; the store failed to claim or to remove one | `DEBUG` | `id`, `error` |
//!
//! ## Metrics
//!
//! With the feature `metrics`, through the `metrics` facade. Each has the label `queue`, and holds configured names and fixed words
//! only.
//!
//! | metric | further label | |
//! |---|---|---|
//! | `deferred_jobs_total` | `result`: `accepted`, `duplicate`, `full`, `key-reused`, `invalid`, `unknown` | counter, by each `defer` that is awaited to its end. All of them together are the denominator |
//! | `deferred_attempts_total` | `result`: `succeeded`, `failed`, `failed-for-good`, `refused`, `stopped`, `lost`, `panicked` | counter. All of them together are the denominator; `refused` and `stopped` don't count as attempts of their job |
//! | `deferred_claims_lost_total` | | counter: attempts whose claim ran out, or was taken over by another worker |
//! | `deferred_dead_letters_total` | `failure`: `permanent`, `attempts`, `crashes`, `expired`, `malformed` | counter |
//! | `deferred_completion_seconds` | | histogram: from accepting, or replaying, a job until it is done |
//! | `deferred_jobs` | `state`: `queued`, `running`, `dead`, `done` | gauge: how many are in the store. Set each second by each worker, from the same store. Where no worker runs any more, it keeps its last value |
//! | `deferred_oldest_seconds` | | gauge: for how long the job has been due that waits longest. 0 if none is due. Set with `deferred_jobs` |
//!
//! # Operators
//!
//! [`Deferred::handle`] shows a queue, [reloads](DeferredHandle::reload) its settings while workers run, pages through its dead letters,
//! replays and discards them, follows its [health](DeferredHandle#health), and implements `Inspect` with [operations](DeferredHandle#operations). It reports to an event log when workers take no jobs, and when they
//! take them again.
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`max_pending`](DeferredBuilder::max_pending) | 10,000 jobs | 1 to 100,000,000 |
//! | [`max_payload`](DeferredBuilder::max_payload) | 256 KiB | 1 byte to 1 MiB |
//! | [`store_timeout`](DeferredBuilder::store_timeout) | 2 s | 10 ms to 60 s |
//! | [`expires_after`](DeferredBuilder::expires_after) | 24 h | 1 min to 365 days |
//! | [`keep_done`](DeferredBuilder::keep_done) | 24 h | 1 min to 365 days |
//! | [`max_done`](DeferredBuilder::max_done) | 1,000,000 jobs | 1 to 1,000,000,000 |
//! | [`max_attempts`](DeferredBuilder::max_attempts) | 16 | 1 to 1,000 |
//! | [`first_wait`](DeferredBuilder::first_wait) | 5 s | 10 ms to 24 h |
//! | [`max_wait`](DeferredBuilder::max_wait) | 15 min | `first_wait` to 24 h |
//! | [`max_concurrent`](DeferredBuilder::max_concurrent) | 8 jobs | 1 to 1,000 |
//! | [`grace`](DeferredBuilder::grace) | 15 s | 0 to 1 h |
//! | [`max_dead_letters`](DeferredBuilder::max_dead_letters) | 10,000 jobs | 1 to 1,000,000 |
//! | [`max_dead_letter_bytes`](DeferredBuilder::max_dead_letter_bytes) | 256 MiB | 1 MiB to 1 TiB |
//! | [`keep_dead_letters`](DeferredBuilder::keep_dead_letters) | 14 days | 1 min to 365 days |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod attempt;
mod config;
mod counted;
mod dead_letters;
mod deferred;
mod erased_store;
mod error;
mod gate;
mod handle;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
mod http;
mod inspect;
mod job;
mod job_id;
mod memory_store;
mod metrics;
mod pace;
mod queue;
mod record;
#[cfg(feature = "redb")]
mod redb_store;
mod sealing;
pub mod store;
mod telemetry;
mod unknown_jobs;
mod upkeep;
mod warnings;
mod worker;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::{ConfigError, Name, name};
pub use backstop_kit::StoreError;

#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use crate::http::{Accept, HttpQueue, HttpQueueBuilder, IntoJob, MalformedKey, NotQueued, idempotency_key};
pub use config::{DeferredBuilder, DeferredConfig};
pub use dead_letters::DeadLetter;
pub use deferred::{Defer, Deferred, JobState};
pub use error::{DeferError, NotAccepted, Receipt, UnknownOutcome};
pub use gate::Admission;
pub use handle::DeferredHandle;
pub use job::{Job, JobKind, Permanent};
pub use job_id::{InvalidJobId, JobId};
pub use memory_store::MemoryJobStore;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use metrics::describe_metrics;
pub use record::Failure;
#[cfg(feature = "redb")]
#[cfg_attr(docsrs, doc(cfg(feature = "redb")))]
pub use redb_store::RedbJobStore;
pub use worker::Worker;
