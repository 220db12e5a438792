//! A tower layer that stops calling a dependency that fails, and finds out when it is well again.
//!
//! # Why
//!
//! Calling a dependency that is down doesn't help it, and every call costs: a request waits, a connection is held, a timeout
//! passes. A circuit breaker counts failures. When there are too many, it opens: calls are refused at once, without
//! touching the dependency. So a fallback can answer while the caller still waits, and the dependency can recover. After a
//! while single calls, the *probes*, find out whether it is well again.
//!
//! Use one layer for each dependency that can fail by itself, shared by all routes and clients that call it. Put it inside
//! retries, so that it sees every attempt, and around timeouts.
//!
//! # When not to use it
//!
//! - For a dependency without which nothing works, and which answers its own overload well (a 503 with `Retry-After`).
//! - Around your own service as a whole: it would turn the failure of one route into the failure of all.
//! - Around calls of many hosts, where one failing host would cut off the others: use a [`KeyedCircuitBreakerLayer`].
//! - On both sides of the same request.
//!
//! The last point means one layer, or its clones, around a server and around a client that the server calls. Each failure
//! would count twice, and an open circuit would never close: its only probe calls the client, which is refused because a
//! probe is running. Give each side a layer of its own. The layer logs one `WARN` when it finds this.
//!
//! # Example
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//!
//! use backstop_circuit_breaker::{CircuitBreakerLayer, CircuitState, Rejection};
//! use http::{Request, Response, StatusCode};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let breaker = CircuitBreakerLayer::builder("ml_service").consecutive_failures(2).build()?;
//! let circuit = breaker.handle();
//! let mut down = ServiceBuilder::new().layer(breaker).service(service_fn(|_: Request<()>| async {
//!     let mut response = Response::new(String::new());
//!     *response.status_mut() = StatusCode::BAD_GATEWAY;
//!     Ok::<_, Infallible>(response)
//! }));
//!
//! for _ in 0..2 {
//!     let response = down.ready().await?.call(Request::new(())).await?;
//!     assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
//! }
//! assert_eq!(circuit.state(), CircuitState::Open);
//!
//! let refused = down.ready().await?.call(Request::new(())).await?;
//! assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
//! assert!(refused.headers().contains_key("retry-after"));
//! assert_eq!(refused.extensions().get::<Rejection>().unwrap().by(), "ml_service");
//! # Ok(())
//! # }
//! ```
//!
//! # States
//!
//! | from | on | to |
//! |---|---|---|
//! | closed | a failure, and the trip policy says so | open |
//! | closed | a slow call, and too many of the last ones were | open |
//! | open | its wait has passed and a call comes | half-open: that call is a probe |
//! | half-open | enough successful probes | closed, counts cleared |
//! | half-open | a probe fails, or is slow where slow calls open the circuit | open, for the next and maybe longer wait |
//! | half-open | a probe is neutral, or is dropped and that isn't a failure | half-open, its permit is free again |
//! | half-open | a probe outlives its lease | half-open, its permit is free again; its result still counts |
//! | half-open, [`UntilBodyEnd`] | a probe's head is good, then its body is dropped or outlives the lease | as after a successful probe |
//! | any | [`isolate`](CircuitBreakerHandle::isolate) | isolated: calls are refused until `close` or `reset` |
//! | any but closed | [`close`](CircuitBreakerHandle::close) | closed, counts cleared |
//! | any | [`reset`](CircuitBreakerHandle::reset) | closed, counts cleared |
//! | closed | [`reload`](CircuitBreakerHandle::reload), with a window of another kind or size | closed, counts cleared |
//! | any | [`reload`](CircuitBreakerHandle::reload) of anything else | the same, counts kept |
//!
//! Every transition starts a *generation*. A result counts in the generation that admitted its call, or not at all: a
//! call that was made before the circuit opened neither closes nor reopens it later. No background task is needed. A
//! circuit whose wait has passed stays open until the next call. If there may be none, spawn a
//! [prober](CircuitBreakerHandle::prober), which makes the calls itself.
//!
//! # Settings
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`consecutive_failures`](CircuitBreakerBuilder::consecutive_failures) | 5 | 1 to 65,536 |
//! | [`failure_rate`](CircuitBreakerBuilder::failure_rate), instead of it | – | 0.000001 to 1 |
//! | [`slow_calls`](CircuitBreakerBuilder::slow_calls), beside either | – | 1 ms to 24 h; 0.000001 to 1 |
//! | [`window`](CircuitBreakerBuilder::window), of both rates | the last 100 calls | 1 to 65,536 calls, or 1 s to 24 h |
//! | [`min_calls`](CircuitBreakerBuilder::min_calls), of both rates | 20, or the window | 1 to the window, or to 65,536 |
//! | [`wait`](CircuitBreakerBuilder::wait) | 60 s | 1 ms to 24 h, fixed or growing |
//! | [`wait_jitter`](CircuitBreakerBuilder::wait_jitter) | 0; 0.1 of a growing wait | 0 to 1 |
//! | [`respect_retry_after`](CircuitBreakerBuilder::respect_retry_after) | – | 1 ms to 24 h |
//! | [`retry_after_jitter`](CircuitBreakerBuilder::retry_after_jitter), of refusals | 0.1 | 0 to 1 |
//! | [`success_threshold`](CircuitBreakerBuilder::success_threshold) | 2 | 1 to 65,536 |
//! | [`max_concurrent_probes`](CircuitBreakerBuilder::max_concurrent_probes) | 1 | 1 to 1000 |
//! | [`probe_lease`](CircuitBreakerBuilder::probe_lease) | 30 s | 1 ms to 24 h |
//! | [`observe`](CircuitBreakerBuilder::observe) | [`UntilHeaders`] | or [`UntilBodyEnd`] |
//! | [`on_drop`](CircuitBreakerBuilder::on_drop) | failure after 5 s | 1 ms to 24 h; ignore; failure |
//!
//! Everything except the seed and [`observe`](CircuitBreakerBuilder::observe) can be reloaded while calls run:
//! [`CircuitBreakerHandle::reload`].
//!
//! # Defaults and presets
//!
//! The defaults fit a dependency that is either up or down, whatever its traffic. [`Preset`]s fit others. They set these
//! knobs and leave the rest; knobs that are set [after](CircuitBreakerBuilder::preset) a preset are kept:
//!
//! | knob | default | [`LatencyCritical`](Preset::LatencyCritical) | [`Batch`](Preset::Batch) | [`HighVolume`](Preset::HighVolume) |
//! |---|---|---|---|---|
//! | opens on | 5 failures in a row | 50 % failures | 10 failures in a row | 10 % failures |
//! | … or on slow calls | – | 50 % of 500 ms or more | – | – |
//! | out of | – | the last 10 s, 20 calls or more | – | the last 30 s, 100 calls or more |
//! | wait | 60 s | 5 s, growing to 60 s | 30 s, growing to 10 min | 5 s, growing to 60 s |
//! | `Retry-After` respected | – | – | up to 10 min | – |
//! | successes to close | 2 | 3 | 1 | 10 |
//! | probes at once | 1 | 1 | 1 | 5 |
//! | probe's lease | 30 s | 5 s | 5 min | 30 s |
//! | a dropped call is a failure | after 5 s | after 1 s | after 60 s | after 5 s |
//!
//! Why:
//! - **Default.** 5 in a row is what Envoy's outlier detection asks for, and soon reached when everything fails. It needs no
//!   guess of the traffic, and doesn't fit much of it: see [below](#failures-in-a-row-by-chance). 60 s is what most breakers
//!   wait; the one call that each wait costs is what an outage costs then. Two successes, because the first may
//!   be luck. One probe at once, because a dependency that comes up is weak. A lease and a limit for dropped calls that
//!   are longer than the limit of [`backstop-timeout`](#where-timeouts-belong), 1 s.
//! - **[`LatencyCritical`](Preset::LatencyCritical).** Hystrix's numbers, of the services that people wait for: half of
//!   20 calls or more in 10 s, and 5 s of wait. To drown comes before to fail, so slow calls count, too: set their threshold
//!   to twice what a healthy call takes at worst. The wait grows, so that a long outage isn't probed every 5 s; a caller
//!   who left after a second was tired of waiting.
//! - **[`Batch`](Preset::Batch).** A job comes back later anyhow, so opening costs little, and so does waiting; what costs is to
//!   start a long call that fails. Calls are few: a share of them would say nothing, one success says a lot, and
//!   what the dependency asks for is worth more than a guess. A lease and a limit that don't cut off calls of minutes.
//! - **[`HighVolume`](Preset::HighVolume).** Polly's numbers: 10 % of 100 calls or more in 30 s, and 5 s of wait. 5 failures in a
//!   row never come while every other call is well, though half the traffic is lost. 10 successes, with 5 probes at once, as
//!   resilience4j asks 10 calls: with 10 % failures, two would say nothing.
//!
//! ## Failures in a row by chance
//!
//! Where a share *p* of the calls fails at random, *n* failures in a row come once in 1 / (*pⁿ* (1 − *p*)) calls. That is
//! rare in calls, and often in time where there are many calls. With the default of 5:
//!
//! | failing | once in so many calls | at 10 calls a second | at 1,000 | at 1,500 |
//! |---|---|---|---|---|
//! | 1 % | 10,101,010,101 | 32 years | 117 days | 78 days |
//! | 10 % | 111,111 | 3 h | 111 s | 74 s |
//! | 30 % | 588 | 59 s | 0.6 s | 0.4 s |
//! | 50 % | 64 | 6.4 s | 64 ms | 43 ms |
//!
//! Each time the circuit is open for its whole wait. With 30 % failing at 1,500 calls a second it is open all but 0.4 s of
//! each minute: nearly every caller is refused, though 7 of 10 calls would have been answered. So count failures in a row
//! where there are few calls or where all of them fail together. Where more than about 10 calls come in a second, use
//! [`failure_rate`](CircuitBreakerBuilder::failure_rate) over a window of time, or [`Preset::HighVolume`].
//!
//! # What counts
//!
//! The [classifier](backstop_core::Classify) judges a call by its response head or its error.
//! The default, [`HttpClassify`]:
//!
//! | result | counts as |
//! |---|---|
//! | 1xx to 3xx; 4xx other than those below; gRPC codes that blame the caller | success: the service is well |
//! | 408, 425, 429; gRPC `RESOURCE_EXHAUSTED` | neutral |
//! | 5xx; other gRPC codes that the headers tell; to a gRPC call, an answer that isn't gRPC's and [maps](https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md) to one of them | failure |
//! | an error, also one of `poll_ready` | failure |
//! | a refusal of a layer further in (an open circuit, a full bulkhead), whatever the classifier or a closure would say | neutral |
//! | a timeout of ours further in | failure |
//! | a timeout further in, by the caller's own and earlier deadline | neutral |
//! | any failure of a call whose request body failed: broken off, malformed, longer than a limit further out | neutral |
//! | an error, or a timeout that isn't ours, of a call that waited for its request body most of the time | neutral |
//!
//! The last two rows need a request body that the layer can [watch](backstop_kit::Upload::of_any). Without one it judges by the client's error, which says that a body failed where the client is
//! hyper's. A slow call's time doesn't include the time it waited for its request body. In a stream that goes both ways the
//! request body is waited for as long as the caller keeps it open.
//!
//! [`ResultClassify`] is for functions: every `Ok` is a success, and every error a failure, unless it says otherwise
//! (a refusal of ours, a gRPC code that blames the caller).
//!
//! By default the breaker doesn't see a body that breaks off later, or a gRPC status in the trailers. With
//! [`observe(UntilBodyEnd)`](CircuitBreakerBuilder::observe) a call whose head is a success goes on with its body, and keeps
//! its permit:
//!
//! | the body | counts as |
//! |---|---|
//! | comes to its end | success |
//! | ends in an error | what the classifier makes of that error: a failure, unless the error is the caller's own; then success, by the head |
//! | is gRPC's, and has a status in its trailers | what the classifier makes of that status |
//! | is gRPC's, and ends without a status | failure |
//! | is dropped, and that is a failure of a call that is [dropped](#cancellation); it was pending since it last got on | failure |
//! | is dropped otherwise | success: the head was good, and nobody will learn the rest |
//! | is still coming when the length of a probe's [lease](CircuitBreakerBuilder::probe_lease) has passed | success then; if it breaks off later, a failure as well |
//!
//! # Refusals
//!
//! A refusal is a 503 with `Cache-Control: no-store` and, while the circuit is open, `Retry-After` with the rest of the
//! wait, stretched by [jitter](CircuitBreakerBuilder::retry_after_jitter) of up to a tenth, rounded up and at least 1 s;
//! while it is half-open, 1 s. On gRPC it is a Trailers-Only answer with `grpc-status` 14, see [`HttpReject`].
//! The [`Rejection`] travels as a response extension. Services whose response body has no `Default` choose
//! [`reject_as_error`](CircuitBreakerBuilder::reject_as_error) or [`reject_with`](CircuitBreakerBuilder::reject_with).
//! Functions, and services that don't speak HTTP, choose [`plain`](CircuitBreakerBuilder::plain):
//!
//! ```
//! use backstop_circuit_breaker::CircuitBreakerLayer;
//! use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let breaker = CircuitBreakerLayer::builder("queue").plain().consecutive_failures(1).build()?;
//! let mut queue = breaker.layer(service_fn(|_: Vec<u8>| async { Err::<u64, BoxError>("broker is gone".into()) }));
//!
//! queue.ready().await?.call(b"order".to_vec()).await.unwrap_err();
//! let refused = queue.ready().await?.call(b"order".to_vec()).await.unwrap_err();
//! assert_eq!(refused.to_string(), "circuit queue is open");
//! # Ok(())
//! # }
//! ```
//!
//! A circuit that will refuse is always ready, without asking the inner service, and refuses in `call`, also where its
//! wait has passed since. Otherwise readiness is the inner service's. A call that is refused after the inner service
//! became ready, because others tripped the circuit or took the last probe's permit in between, leaves it ready: the
//! next call of the same service uses that, and dropping the service gives it back.
//!
//! # Cancellation
//!
//! Dropping a call, or the body that it is observed in, gives its permit back at once. How it is counted depends on who
//! dropped it:
//!
//! | a call is dropped, unfinished | counts as |
//! |---|---|
//! | by a time limit of ours further out: a retry's, a chain's, a deadline's ([`ended_by`](backstop_core::scope::ended_by) says `OurLimit`) | failure |
//! | by the caller's own deadline, where that is the earlier one (`ended_by` says `CallersLimit`) | neutral |
//! | because another call for the same request was answered first, as a hedge is (`ended_by` says `Replaced`) | neutral |
//! | after it panicked, whoever caught the panic | failure |
//! | after its request body failed, or it waited for that most of the time | neutral |
//! | by anybody else, as [`OnDrop`] says: by default when it had been pending for 5 s | failure |
//! | by anybody else, before that | neutral |
//!
//! A probe that is neither dropped nor ended holds its permit for the length of its lease at most. Where bodies are
//! observed and the head was good, the probe is a success then, which the next call finds. So a circuit whose
//! dependency is well closes again, whatever becomes of calls in the meantime: also where nobody reads bodies to their
//! end, and over streams that have none.
//!
//! # Callers who leave
//!
//! A probe whose caller leaves early has no result, and others were refused meanwhile. Two rules keep such callers from
//! delaying recovery:
//!
//! - A caller's [deadline](backstop_core::scope::deadline) that ended a probe is known to be too short. Callers with less
//!   than twice that time left become probes only when nobody else did for a wait and a quarter. A probe that succeeds
//!   shows that its time was long enough, and when the circuit closes all that is forgotten.
//! - Nothing tells beforehand of callers who hang up. When no probe has had a result for a whole wait, because each
//!   caller left, each that leaves makes room for one probe more at once than
//!   [configured](CircuitBreakerBuilder::max_concurrent_probes), up to 1000 more, until the circuit closes or opens. So a
//!   caller who stays becomes a probe.
//!
//! # Where timeouts belong
//!
//! Inside the breaker, around the client: `backstop-timeout` there ends a hung call with an answer that the breaker
//! counts as a failure. A breaker without a timeout inside learns of a hang only when somebody further out gives up.
//! Backstop's own layers say then that it was a time limit, and whose. Other timers, such as `tower`'s or a client that
//! hangs up, can't be told from a caller that lost interest, which is what [`OnDrop::FailureAfter`] is for: set it
//! below the limits of such timers further out, and above what a healthy call takes. The lease of a probe should be
//! longer than the timeout inside.
//!
//! # Cost
//!
//! While the circuit is closed, a call takes no lock, allocates nothing (two allocations watch a request body, none where a
//! retry or a fallback further out keeps it) and, if it is ready at once, reads no clock. A
//! success writes no shared memory but a reference count, unless it clears or replaces failures. A refusal reads the
//! clock, and takes no lock either. Transitions and probes take a lock that is never held while code of yours runs.
//!
//! A breaker takes about 400 bytes, and 150 more once it has opened; a [keyed](KeyedCircuitBreakerLayer) one about 85 beside
//! its key. A
//! window of *n* calls takes *n* / 4 bytes, or *n* / 2 with slow calls. One of time takes 128 for each thread that may run at once, up to 1024, so that
//! threads don't wait for one another there, or 128 for each key; and each call reads the clock once, however many calls are
//! in it; slow calls take a second one. With slow calls, a call that isn't ready at once reads the clock twice.
//!
//! # Telemetry
//!
//! Target `backstop::circuit_breaker`, with the field `name`. A transition has `from`, `to`, `reason` and `generation`. It is
//! `WARN` for a circuit that opens, with `error`, the [text](CircuitBreakerBuilder::error_text) of the error that opened it;
//! else `INFO`. A refusal is `DEBUG`, with `state` and `retry_after`. A layer that is found on both sides
//! of a request is one `WARN`.
//!
//! With the feature `metrics`, through the facade of that name, whenever its recorder is installed:
//!
//! | metric | labels | counts |
//! |---|---|---|
//! | `circuit_breaker_state` (gauge) | `name`, `state`: `closed`, `open`, `half-open`, `isolated` | 1 for the state that the circuit is in, 0 for the others; set with each transition, and when the layer is built, or applied first after a recorder was installed |
//! | `circuit_breaker_probe_due_timestamp_seconds` (gauge) | `name` | the Unix time at which an open circuit's wait ends, 0 where it isn't open. Once that time has passed, the circuit is open and may be tried |
//! | `circuit_breaker_failures_total` | `name`, `reason`: `response`, `error`, `not-ready`, `body`, `dropped`, `panic`, `slow`, `probe` | calls that speak against the service; `slow` are those that succeeded, `probe` those of a [prober](CircuitBreakerHandle::prober) |
//! | `circuit_breaker_transitions_total` | `name`, `to`: the state | transitions |
//! | `circuit_breaker_rejections_total` | `name` | refusals |
//! | `circuit_breaker_unguarded_total` | `name` | calls without a circuit, see [`KeyedCircuitBreakerLayer`] |
//!
//! [`CircuitBreakerHandle`] shows the state, the counts and the remaining wait; its [`status`](CircuitBreakerHandle::status)
//! says `probe-due` of an open circuit whose wait has passed, which the next call may try.
//! [`subscribe`](CircuitBreakerHandle::subscribe) tells of the latest state, [`events`](CircuitBreakerHandle::events) of
//! each [`Transition`] in order, with a number that shows a slow reader what it missed. All of these, log and listeners,
//! are told without any lock held, when the circuit already is in its new state.
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | [`UntilBodyEnd`] for `axum::body::Body` |
//! | `metrics` | the metrics above |
//! | `tonic` | [`UntilBodyEnd`] for `tonic::body::Body` |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod breaker;
mod call_guard;
mod circuit_group;
mod circuit_state;
mod config;
mod events;
mod failure;
mod future;
mod handle;
mod inspect;
mod keyed;
mod layer;
mod layer_state;
mod metrics;
mod observe;
mod probe_scope;
mod prober;
mod service;
mod state;
mod state_subscription;
mod status;
mod telemetry;
mod tracked_call;
mod transition;

pub use backstop_core::{ConfigError, HttpClassify, Name, Rejection, ResultClassify, name};
pub use backstop_kit::{HttpReject, UntilBodyEnd, UntilHeaders};
pub use circuit_state::CircuitState;
pub use config::{CircuitBreakerBuilder, CircuitBreakerConfig, OnDrop, Preset, SlowCalls, Wait, Window};
pub use events::Events;
pub use future::CircuitBreakerFuture;
pub use handle::{CircuitBreakerHandle, Counts};
pub use keyed::{KeyedCircuitBreaker, KeyedCircuitBreakerFuture, KeyedCircuitBreakerHandle, KeyedCircuitBreakerLayer};
pub use layer::CircuitBreakerLayer;
pub use observe::Observe;
pub use prober::Prober;
pub use service::CircuitBreaker;
pub use state_subscription::StateSubscription;
pub use status::CircuitStatus;
pub use transition::{Transition, TransitionReason};
