//! Redis as the shared store of Backstop: feature flags, error counts, views of health, and last known good answers.
//!
//! # Why
//!
//! An instance on its own knows only what it has seen. With a shared store, an operator's flag reaches all instances within
//! about 2 s, instances add up their errors, each shows what the others know, and answers that one has stored serve all. None of
//! them needs the store in order to work: whatever happens to it, no request fails or waits.
//!
//! # When not to use it
//!
//! - With a single instance, unless flags must outlive a restart.
//! - With Redis Cluster or Sentinel's own protocol: it takes a [`redis::Client`], so one address. Behind it, a primary may be
//!   replaced.
//! - As a lock or a queue.
//!
//! # Example
//!
#![cfg_attr(feature = "features", doc = "```no_run")]
#![cfg_attr(not(feature = "features"), doc = "```ignore")]
//! use backstop_features::{Feature, Features, feature};
//! use backstop_redis::RedisStore;
//!
//! static REVIEWS: Feature = feature!("reviews");
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::builder(redis::Client::open("redis://127.0.0.1/")?).prefix("shop:").build()?;
//! tokio::spawn(store.run());
//!
//! let features = Features::builder()
//!     .declare(REVIEWS.standard())
//!     .flags(store.clone())
//!     .counts(store)
//!     .build()?;
//! tokio::spawn(features.run());
//! # Ok(())
//! # }
//! ```
//!
//! # Answers
//!
//! As the shared store of `backstop-last-known-good`, Redis keeps answers beyond the end of a process. Nobody waits when one is
//! stored, and serving one takes one round trip:
//!
#![cfg_attr(feature = "last-known-good", doc = "```no_run")]
#![cfg_attr(not(feature = "last-known-good"), doc = "```ignore")]
//! use backstop_last_known_good::LastKnownGoodLayer;
//! use backstop_redis::RedisStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::new(redis::Client::open("redis://127.0.0.1/")?);
//! tokio::spawn(store.run());
//! let known = LastKnownGoodLayer::builder("catalogue").shared_store(store, |task| drop(tokio::spawn(task))).build()?;
//! # let _ = known;
//! # Ok(())
//! # }
//! ```
//!
//! Ages are by the wall clocks of the instances, so let them agree. While a deployment changes the format of what is stored,
//! instances of both versions miss what the other one has stored.
//!
//! # The connection
//!
//! Building a store connects nothing. [`RedisStore::run`], which you spawn, connects in the background, and drives the connection
//! itself. Only over TLS does the crate `redis` spawn a task for it. A call without a connection fails at once; one that takes too
//! long has failed.
//!
//! | what happens | then |
//! |---|---|
//! | the connection breaks | another one is made |
//! | a call takes longer than [`timeout`](RedisStoreBuilder::timeout), or callers with shorter limits get no answer for as long | the call has failed, and another connection is made: late answers would pile up |
//! | the server answers `READONLY`, `LOADING` or `MASTERDOWN` | the same: behind the same address there may be another server by now |
//! | the server is a replica | it isn't used, and another connection is made: what a demoted server has gets old. `ROLE` is asked on each connection, and every [30 s](RedisStoreBuilder::check_interval) |
//! | the server answers `OOM`, `WRONGTYPE` or any other error | the call has failed, and the connection stays |
//! | a connection can't be made | it is tried again after 100 ms, and twice as long each time, up to 2 s, jittered |
//!
//! # Keys
//!
//! All begin with the [prefix](RedisStoreBuilder::prefix).
//!
//! | key | type | holds | ends | garbage |
//! |---|---|---|---|---|
//! | `feature:{name}` | string | an operator's flag: `enabled`, `degraded` or `disabled`, then `who:` and `reason:`, one to a line; or `removed` | with the flag; `removed` after 7 days | changes nothing, and is an error of the store; setting the flag overwrites it |
//! | `features:version` | string | something else after each change of a flag | never | the same |
//! | `feature:{name}:errors` | hash | the window of a feature's errors, and since when and until when the fleet is degraded | with the window; after a degradation two hours later | another type is left alone, and is an error of the store; a field that is no number counts as 0, and is overwritten; a degradation that began in the future is over |
//! | `health:instances` | hash | a view of health for each instance, each with its own end | 20 s after the last view | another type is left alone, and is an error of the store; a field that is no view is removed |
//! | `answer:{hash}` | string | a last known good answer, up to [`max_answer`](RedisStoreBuilder::max_answer); or what leads to answers, some 100 bytes. `{hash}` is the SHA-256 of its key, as 32 raw bytes: it shows neither a URI nor a principal | with the answer, at the latest after `max_stale`; what leads to answers after 32 times that | a miss; storing the answer overwrites it |
//!
//! To set a flag by hand: `SET feature:reviews disabled EX 3600`, then `SET features:version $RANDOM`, or wait 30 s. Don't delete a
//! flag: set it to `removed`. Instances hold a flag that just disappears.
//!
//! Flags, counts and views hold names, numbers and what operators have written, nothing of a request, and no secret. Answers are
//! your users' answers: protect them as such.
//!
//! # What a deployment must set
//!
//! - **For flags and counts: `maxmemory-policy noeviction`, or a database of their own.** A flag that is evicted is held by
//!   the instances that know it, and unknown to those that start later. A cache of answers wants eviction, so give it another server.
//! - **For answers: `maxmemory` and `maxmemory-policy allkeys-lru`** (or `volatile-lru`: each answer has an end), on a server of
//!   their own. What is evicted is a miss. Persistence isn't needed: after a restart without data, instances serve what they have
//!   in memory, and store it again with the next answer of the service.
//! - **Persistence**, where flags must outlive a restart: `appendonly yes`. After a restart without data, see the same.
//! - **Failover loses what wasn't replicated**: Redis replicates asynchronously. A flag that was set in the last moment may be gone;
//!   the instance that set it holds it, and shows that the store has lost it. Set it again. An answer may be gone, or an older one
//!   may be there. So may one that was removed in the last moment: the instance that removed it doesn't know, and its memory is
//!   asked first, but another instance may serve it up to `max_stale`.
//! - For a user of its own, the keys of the table above and these commands: `ACL SETUSER shop on >… ~shop:* +@connection +role
//!   +evalsha +script|load +time +type +set +getrange +pttl +pexpire +del +hset +hget +hmget +hrandfield +hdel`.
//! - Redis 6.2 or later, or a server that does the same. The tests run against 7.0.
//!
//! # When the store is gone
//!
//! | | then |
//! |---|---|
//! | flags | the last ones hold; instances that start have features as declared |
//! | setting a flag | fails, and changes nothing on this instance |
//! | counts | each instance judges its own errors |
//! | views of health | each instance shows its own |
//! | answers | a miss |
//!
//! # Cost
//!
//! Each instance reads one key a second, all flags every 30 s in one call, and reports counts once a second in one pipeline, with
//! one script call for each feature that had calls. The script writes only while a window is open. A view is written and all, at
//! most 1,000, are read every 5 s.
//!
//! # Telemetry
//!
//! Target `backstop::redis`: a warning when the server is a replica, and a line when it is a primary again; a warning if it doesn't
//! say. What uses the store logs that it fails, and that it works again.
//!
//! # Knobs
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`prefix`](RedisStoreBuilder::prefix) | nothing | up to 64 bytes of printable ASCII |
//! | [`timeout`](RedisStoreBuilder::timeout) | 500 ms | 10 ms to 10 s |
//! | [`connect_timeout`](RedisStoreBuilder::connect_timeout) | 2 s | 10 ms to 60 s |
//! | [`check_interval`](RedisStoreBuilder::check_interval) | 30 s | 1 s to 1 h |
//! | [`max_answer`](RedisStoreBuilder::max_answer) | 1 MiB | 1 KiB to 512 MiB |
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | implements |
//! |---|---|
//! | `features` | `FlagStore` and `CountStore` of `backstop-features` |
//! | `health` | `ViewStore` of `backstop-health` |
//! | `last-known-good` | `Store` of `backstop-last-known-good` |
//!
//! With `serde`, [`RedisStoreConfig`] can be read from a file.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Without a trait to implement there is nothing to call.
#![cfg_attr(not(any(feature = "features", feature = "health", feature = "last-known-good")), allow(dead_code))]

mod config;
mod connection;
#[cfg(feature = "features")]
mod flags;
#[cfg(feature = "last-known-good")]
mod last_known_good;
mod store;
mod telemetry;
#[cfg(feature = "health")]
mod views;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backstop_core::ConfigError;
#[doc(no_inline)]
pub use redis;

pub use config::{RedisStoreBuilder, RedisStoreConfig};
pub use store::RedisStore;
