//! NATS JetStream as the store of Backstop's deferred jobs, for a fleet.
//!
//! # Why
//!
//! A file belongs to one process. With JetStream, any instance accepts jobs, any worker of the fleet runs them, and a worker that
//! stops loses nothing: after 30 s, another one has its job.
//!
//! # When not to use it
//!
//! - With a single instance: `RedbJobStore` of `backstop-deferred` needs no server.
//! - With a server that doesn't store on a disk that outlives it.
//! - For jobs that are longer than the server's [`max_payload`](#what-a-deployment-must-set).
//!
//! # Example
//!
//! ```no_run
//! use backstop_deferred::{Deferred, Job, JobKind, Name, name};
//! use backstop_nats::{NatsJobStore, async_nats::ConnectOptions};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, Serialize)]
//! struct Email {
//!     to: String,
//! }
//!
//! impl JobKind for Email {
//!     const KIND: Name = name!("email");
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Connects in the background, also if the server isn't up yet.
//! let client = ConnectOptions::new().retry_on_initial_connect().connect("nats://127.0.0.1").await?;
//! let store = NatsJobStore::builder(client, "emails").replicas(3).build()?;
//! let emails = Deferred::<Email>::builder("emails", store).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! The [`Client`](async_nats::Client) has the server's address, how to log in, and TLS, for which your own dependency on
//! `async-nats` needs its feature `ring` or `aws-lc-rs`. `async-nats` drives the connection in a task of its own, and makes it
//! anew for as long as it takes.
//!
//! # What is guaranteed
//!
//! The [guarantees of `backstop-deferred`](backstop_deferred#what-is-guaranteed), and:
//!
//! | | |
//! |---|---|
//! | the same key at the same moment on two instances | one job |
//! | `max_pending` | the server refuses one more. A creation that was given up in the middle counts for up to a minute while workers ask for jobs. A bound that was lowered holds exactly once half of it is empty |
//! | a job whose worker stops | is delivered to another one 30 s after its claim was renewed last |
//! | a worker that was paused while another took its job | acknowledges nothing |
//! | a job that waits for its next attempt | is delivered to any worker when it is due |
//! | a worker that is paused, or has enough to do | takes nothing: it asks for jobs, none is pushed |
//!
//! # What survives
//!
//! | | one replica | `replicas(3)` |
//! |---|---|---|
//! | any of your processes is killed, or paused | all jobs | all jobs |
//! | the server is killed, or paused | all jobs; meanwhile no job is accepted or run | all jobs; one server may be gone |
//! | the server's machine loses power | **what was confirmed in the last 2 min may be lost**: the server writes at once, and waits for the disk every 2 min (`sync_interval` in newer servers) | all jobs, unless another machine is paused, cut off or without power meanwhile; `sync_interval: always` excludes that, and takes a disk's time for each message |
//! | the server's disk is lost | **all jobs, keys and dead letters are lost** | all jobs; one disk may be lost |
//!
//! The tests kill and pause processes and servers, and empty the disk of one. They don't cut the power.
//!
//! A lost queue is created anew by the next call, which is logged. A job that was lost isn't known, and its key is free again. If
//! only the stream of wake-ups is lost, each call fails and says so: jobs without a wake-up would never run. Restore it, or delete
//! both.
//!
//! For a moment after a leader was cut off from the others, it may answer with an old record. A write that relies on it fails.
//!
//! # What a deployment must set
//!
//! - **A server that stores on a disk**: `jetstream { store_dir: … }`. `replicas(3)` needs a cluster of three servers.
//! - **`max_payload`**: more than the [`max_payload`](backstop_deferred::DeferredBuilder::max_payload) of the queue, by 1 KiB. The
//!   server's own default of 1 MiB is enough for that one's, 256 KiB. A longer job isn't accepted, as an unknown outcome.
//! - **Room**: a record is stored once, a dead one twice. With a limit of the account or of `max_bytes`, jobs aren't accepted beyond
//!   it, as an unknown outcome; set `max_pending` below it.
//! - Nothing else: the store creates its streams. Where it may not, create them as in the [table](#streams). It refuses to work with
//!   streams whose settings would lose jobs, and names the setting.
//! - NATS 2.9 or later. The tests run against 2.9.10, one server and a cluster of three.
//!
//! For a user of its own, of the queue `emails`:
//!
//! ```text
//! permissions: {
//!   publish: [
//!     "backstop.emails.>", "$JS.ACK.backstop_emails_wakeups.>",
//!     "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.backstop_emails_wakeups",
//!     "$JS.API.STREAM.MSG.GET.*", "$JS.API.STREAM.MSG.DELETE.*", "$JS.API.DIRECT.GET.backstop_emails_jobs.>",
//!     "$JS.API.CONSUMER.INFO.backstop_emails_wakeups.workers",
//!     "$JS.API.CONSUMER.DURABLE.CREATE.backstop_emails_wakeups.workers",
//!     "$JS.API.CONSUMER.MSG.NEXT.backstop_emails_wakeups.workers",
//!   ]
//!   subscribe: ["_INBOX.>"]
//! }
//! ```
//!
//! Each `*` may be the four streams instead. A server doesn't answer what isn't permitted: such a call takes too long, and the log
//! of `async-nats` has the subject.
//!
//! # Streams
//!
//! All store on file, refuse new messages when they are full (`discard: new`), and have no `max_age`. `{queue}` is the name of the
//! queue.
//!
//! | stream | subjects | retention | holds |
//! |---|---|---|---|
//! | `backstop_{queue}_jobs` | `backstop.{queue}.job.*` | limits, 1 per subject, `allow_direct` | the record of each job, by its id. It is the truth |
//! | | `backstop.{queue}.key.*` | | for each idempotency key, by its hash: the id of its job |
//! | `backstop_{queue}_wakeups` | `backstop.{queue}.wakeup` | work queue, `max_msgs` = `max_pending` | ids of jobs that are queued or running |
//! | `backstop_{queue}_done` | `backstop.{queue}.done.*` | limits, 1 per subject | copies of the records that are done |
//! | `backstop_{queue}_dead` | `backstop.{queue}.dead.*` | limits, 1 per subject | copies of the dead letters |
//!
//! The consumer `workers` of the wake-ups is durable, and has `ack_policy: explicit`, `ack_wait: 30s`, `max_deliver: -1` and
//! `max_ack_pending: -1`. A record is written only if its subject still has the sequence number that was read.
//!
//! | bytes of a record | |
//! |---|---|
//! | 1 | the version of the format, 1 |
//! | 1 | the list: 0 queued, 1 running, 2 done, 3 dead, 4 none: a creation that took too long |
//! | 8 | when it is due, in ms since the Unix epoch, little-endian |
//! | 1, 32 | whether there is a key, and its hash |
//! | the rest | the record of `backstop-deferred` |
//!
//! A wake-up is the version, 1, the 16 bytes of the id, and the hash of the key, if there is one. Payloads are in the records until the jobs are
//! done, and in the files of the server until it reuses their space: protect these as you protect the payloads.
//!
//! # If the server fails
//!
//! Without a connection, each call fails at once: [`defer`](backstop_deferred::Deferred::defer) has an unknown outcome, and workers
//! try again each second. A call that isn't answered fails after `store_timeout`. When the server is back, workers resume by
//! themselves.
//!
//! # Cost
//!
//! Accepting a job takes two messages, and two more with a key. Running it takes five: a read of its record, the claim, the
//! completion, the copy by which it is removed in the end, and an acknowledgement. A worker without work asks once a second.
//!
//! On a server with one replica and a busy machine, jobs that do nothing, 64 at once, took 3.2 times as long as in a loop that writes
//! and confirms the same claim and completion by itself; 4.5 times as long as in 64 loops that pull one message and confirm it; and 17
//! times as long as in a loop that pulls 64 messages and acknowledges them, which remembers nothing. Measure it on yours:
//! `cargo run --release -p backstop-nats --example throughput`.
//!
//! A worker takes up to four times as many wake-ups as it runs jobs. Those that it hasn't begun when it stops are delivered to others at
//! once; if it is killed, after 30 s. A job of a kind or version that it doesn't know is delivered again after 30 s, to any worker, and
//! its record isn't written.
//!
//! Listing dead letters reads all of them, 64 at once. Jobs that are done are removed in the order in which they ended: if
//! [`keep_done`](backstop_deferred::DeferredBuilder::keep_done) was made shorter, those behind others that are kept for longer are
//! looked for once a minute, and all but a 32nd of the list are found.
//!
//! [`totals`](backstop_deferred::store::JobStore::totals) of running jobs counts those of the process that is asked, and the queue's the
//! others.
//!
//! # Telemetry
//!
//! Target `backstop::nats`: a line when a stream is created. More than once for a queue, it means that the server has lost it.
//! `backstop-deferred` logs that the store fails, and that it works again.
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`name`](NatsJobStore::builder) | | a letter, then letters, digits, `_` or `-`, at most 64 |
//! | [`replicas`](NatsJobStoreBuilder::replicas) | 1 | 1 to 5 |
//! | [`domain`](NatsJobStoreBuilder::domain) | none | a letter, then letters, digits, `_` or `-`, at most 64 |
//!
//! With the feature `serde`, [`NatsJobStoreConfig`] can be read from a file.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod ended;
mod jetstream;
mod queue;
mod record;
mod settle;
mod store;
mod streams;
mod telemetry;
mod wakeups;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[doc(no_inline)]
pub use async_nats;
pub use backstop_core::ConfigError;

pub use config::{NatsJobStoreBuilder, NatsJobStoreConfig};
pub use store::NatsJobStore;
