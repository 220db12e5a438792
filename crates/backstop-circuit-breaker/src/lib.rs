//! A tower layer that stops calling a failing dependency and detects when it has recovered.
//!
//! # Why
//!
//! Calls to a dependency that is down don't help it, and each one is expensive: a request waits, a connection stays
//! occupied, a timeout expires. A circuit breaker counts failures. When there are too many, it opens: it refuses calls
//! at once, without calling the dependency. A fallback can then answer while the caller still waits, and the dependency
//! can recover. After a wait, the breaker lets single calls through. These *probes* show whether the dependency has
//! recovered.
//!
//! Use one layer for each dependency that can fail on its own. Share it between all routes and clients that call the
//! dependency. Put it inside retries, so that it sees every attempt, and around timeouts.
//!
//! # When not to use it
//!
//! - For a dependency that you can't do without, and that handles its own overload well (a 503 with `Retry-After`).
//! - Around your own service as a whole: it would turn the failure of one route into the failure of all.
//! - Around calls to many hosts, where one failing host would cut off the others: use a [`KeyedCircuitBreakerLayer`].
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
//! | closed | a failure that reaches the trip policy's limit | open |
//! | closed | a slow call that brings slow calls to their limit | open |
//! | open | a call, after the wait has passed | half-open: that call is a probe |
//! | half-open | enough successful probes | closed, counts cleared; or [recovering](#recovering-by-a-ramp), where a ramp is configured |
//! | half-open | a probe fails, or is slow where slow calls open the circuit | open, for the next wait, which may be longer |
//! | half-open | a probe is neutral, or is dropped without counting as a failure | half-open, its permit is free again |
//! | half-open | a probe outlives its lease | half-open, its permit is free again; its result still counts |
//! | half-open, [`UntilBodyEnd`] | a probe's head is good, then its body is dropped or outlives the lease | as after a successful probe |
//! | recovering | the time of a step has passed and 10 of its calls have ended, or 60 s have passed; and a call comes that its share refuses | the next step, counts kept; after the last one closed, counts cleared |
//! | recovering | a failure or a slow call that opens a closed circuit, too | open, for the next wait, which may be longer |
//! | any | [`isolate`](CircuitBreakerHandle::isolate) | isolated: calls are refused until `close` or `reset` |
//! | any but closed | [`close`](CircuitBreakerHandle::close) | closed, counts cleared |
//! | any | [`reset`](CircuitBreakerHandle::reset) | closed, counts cleared |
//! | closed, recovering | [`reload`](CircuitBreakerHandle::reload), with a window of another kind or size | the same, counts cleared |
//! | any but isolated | [`observe_only`](CircuitBreakerHandle::observe_only), or [`enforce`](CircuitBreakerHandle::enforce) after it | closed, counts cleared |
//! | any | [`reload`](CircuitBreakerHandle::reload) of anything else | the same, counts kept |
//!
//! Every transition starts a *generation*. A result counts only in the generation that admitted its call. A call
//! admitted before the circuit opened can neither close nor reopen it later. The layer needs no background task: a
//! circuit whose wait has passed stays open until the next call. If there may be no traffic, spawn a
//! [prober](CircuitBreakerHandle::prober), which makes calls of its own.
//!
//! # Settings
//!
//! | knob | default | allowed |
//! |---|---|---|
//! | [`consecutive_failures`](CircuitBreakerBuilder::consecutive_failures) | 5; – where only a rate is set | 1 to 65,536 |
//! | [`failure_rate`](CircuitBreakerBuilder::failure_rate), instead of it or beside it | – | 0.000001 to 1 |
//! | [`slow_calls`](CircuitBreakerBuilder::slow_calls), beside any of them | – | 1 ms to 24 h; 0.000001 to 1 |
//! | [`window`](CircuitBreakerBuilder::window), of both rates | the last 100 calls | 1 to 65,536 calls, or 1 s to 24 h |
//! | [`min_calls`](CircuitBreakerBuilder::min_calls), of both rates | 20, or the window | 1 to the window, or to 65,536 |
//! | [`wait`](CircuitBreakerBuilder::wait) | 60 s | 1 ms to 24 h, fixed or growing |
//! | [`wait_jitter`](CircuitBreakerBuilder::wait_jitter) | 0; 0.1 of a growing wait | 0 to 1 |
//! | [`respect_retry_after`](CircuitBreakerBuilder::respect_retry_after) | – | 1 ms to 24 h |
//! | [`retry_after_jitter`](CircuitBreakerBuilder::retry_after_jitter), of refusals | 0.1 | 0 to 1 |
//! | [`success_threshold`](CircuitBreakerBuilder::success_threshold) | 2 | 1 to 65,536 |
//! | [`max_concurrent_probes`](CircuitBreakerBuilder::max_concurrent_probes) | 1 | 1 to 1000 |
//! | [`probe_lease`](CircuitBreakerBuilder::probe_lease) | 30 s | 1 ms to 24 h |
//! | [`recovery`](CircuitBreakerBuilder::recovery) | at once | or a ramp of 1 to 8 growing shares, 0.000001 to 0.999999, 1 ms to 60 s each, 5 s unless set |
//! | [`observe`](CircuitBreakerBuilder::observe) | [`UntilHeaders`] | or [`UntilBodyEnd`] |
//! | [`on_drop`](CircuitBreakerBuilder::on_drop) | failure after 5 s | 1 ms to 24 h; ignore; failure |
//! | [`observe_only`](CircuitBreakerBuilder::observe_only) | off | |
//!
//! Everything except the seed and [`observe`](CircuitBreakerBuilder::observe) can be reloaded while calls run:
//! [`CircuitBreakerHandle::reload`].
//!
//! # What opens the circuit
//!
//! Each policy that is set counts by itself, and any of them opens the circuit:
//!
//! | policy | opens on | sees | doesn't see |
//! |---|---|---|---|
//! | [`consecutive_failures`](CircuitBreakerBuilder::consecutive_failures) | *n* failures without a success between them | a complete outage, after *n* calls | half of the calls failing, every other one |
//! | [`failure_rate`](CircuitBreakerBuilder::failure_rate) | a share of the calls in the [`window`](CircuitBreakerBuilder::window), once there are [`min_calls`](CircuitBreakerBuilder::min_calls) | a partial outage | an outage before there are `min_calls` |
//! | both | either | both | – |
//! | [`slow_calls`](CircuitBreakerBuilder::slow_calls), beside any of them | a share of the calls in the window that took long | a dependency that gets slow before it fails | – |
//!
//! # Defaults and presets
//!
//! The defaults fit a dependency that is either up or down, under light traffic. [`Preset`]s fit other dependencies.
//! A preset sets the knobs below and leaves the rest. Knobs set [after](CircuitBreakerBuilder::preset) a preset
//! override it:
//!
//! | knob | default | [`General`](Preset::General) | [`LatencyCritical`](Preset::LatencyCritical) | [`Batch`](Preset::Batch) | [`HighVolume`](Preset::HighVolume) |
//! |---|---|---|---|---|---|
//! | opens on failures in a row | 5 | 10 | – | 10 | 20 |
//! | … or on a share of failures | – | 50 % | 50 % | – | 10 % |
//! | … or on slow calls | – | – | 50 % of 500 ms or more | – | – |
//! | share among | – | the last 100 calls, 20 or more | the last 10 s, 20 calls or more | – | the last 30 s, 100 calls or more |
//! | wait | 60 s | 60 s | 5 s, growing to 60 s | 30 s, growing to 10 min | 5 s, growing to 60 s |
//! | `Retry-After` respected | – | – | – | up to 10 min | – |
//! | successes to close | 2 | 2 | 3 | 1 | 10 |
//! | probes at once | 1 | 1 | 1 | 1 | 5 |
//! | probe's lease | 30 s | 30 s | 5 s | 5 min | 30 s |
//! | recovery | at once | at once | at once | at once | 1, 5, 25 and 50 % of the calls, 5 s each |
//! | a dropped call is a failure | after 5 s | after 5 s | after 1 s | after 60 s | after 5 s |
//!
//! Why:
//! - **Default.** 5 failures in a row is Envoy's default for outlier detection. It is reached quickly when every call
//!   fails, and needs no estimate of the traffic. It doesn't fit heavy traffic: see
//!   [below](#failures-in-a-row-by-chance). Most breakers wait 60 s; an outage then costs one failed call per wait. Two
//!   successes, because the first may be luck. One probe at once, because a dependency that restarts is weak. The lease
//!   and the limit for dropped calls are longer than the limit of [`backstop-timeout`](#where-timeouts-belong), 1 s.
//! - **[`General`](Preset::General).** For a service whose traffic isn't known beforehand, as around a client in
//!   `backstop::standard`. 10 failures in a row are as sure a sign of an outage as 5, at any rate of traffic: with 10 %
//!   failing they occur by chance once in 11 billion calls, at 1,000 calls a second every 129 days instead of every
//!   111 s. The share finds what a row never shows: half of the calls failing. The window is a number of calls, so that a
//!   healthy call reads no clock.
//! - **[`LatencyCritical`](Preset::LatencyCritical).** Hystrix's numbers, made for services that people wait for: half
//!   of 20 calls or more in 10 s, and 5 s of wait. An overloaded service gets slow before it fails, so slow calls
//!   count, too: set their threshold to twice the longest time of a healthy call. The wait grows, so that a long outage
//!   isn't probed every 5 s. A dropped call is a failure after 1 s, because that is when people give up waiting.
//! - **[`Batch`](Preset::Batch).** A job is repeated later anyway, so opening and waiting cost little. Starting a long
//!   call that fails costs a lot. There are few calls, so a share of them has no meaning, one success is strong
//!   evidence, and the dependency's own `Retry-After` is better than a guess. The lease and the limit for dropped calls
//!   allow calls of several minutes.
//! - **[`HighVolume`](Preset::HighVolume).** Polly's numbers: 10 % of 100 calls or more in 30 s, and 5 s of wait.
//!   Failures in a row never occur while every other call succeeds, although half the traffic is lost. Beside the share,
//!   20 in a row open the circuit before there are 100 calls. 10 successes,
//!   with 5 probes at once, as resilience4j uses 10 calls: with 10 % failures, two successes prove nothing. Then a ramp,
//!   because the first second of all this traffic is what brings a weak dependency down again.
//!
//! ## Failures in a row by chance
//!
//! If a share *p* of the calls fails at random, *n* failures in a row occur once in 1 / (*pⁿ* (1 − *p*)) calls. With
//! heavy traffic that is often. With the default of 5:
//!
//! | failing | once in … calls | at 10 calls a second | at 1,000 | at 1,500 |
//! |---|---|---|---|---|
//! | 1 % | 10,101,010,101 | 32 years | 117 days | 78 days |
//! | 10 % | 111,111 | 3 h | 111 s | 74 s |
//! | 30 % | 588 | 59 s | 0.6 s | 0.4 s |
//! | 50 % | 64 | 6.4 s | 64 ms | 43 ms |
//!
//! Each time, the circuit stays open for its whole wait. With 30 % failing at 1,500 calls a second, it is open for all
//! but 0.4 s of each minute: it refuses nearly every call, although 7 of 10 would succeed. Each further failure that is
//! asked for multiplies the number of calls by 1 / *p*: 10 in a row occur once in 11 billion calls with 10 % failing, in
//! 242,000 with 30 %, in 2,048 with 50 %. So count few failures in a row if there are few calls, or if all of them fail
//! together. Above about 10 calls a second, use more of them beside a
//! [`failure_rate`](CircuitBreakerBuilder::failure_rate), as [`Preset::General`] and [`Preset::HighVolume`] do.
//!
//! # What counts
//!
//! The [classifier](backstop_core::Classify) judges a call by its response head or its error.
//! The default, [`HttpClassify`]:
//!
//! | result | counts as |
//! |---|---|
//! | 1xx to 3xx; 4xx other than those below; gRPC codes that blame the caller | success: the service works |
//! | 408, 425, 429; gRPC `RESOURCE_EXHAUSTED` | neutral |
//! | 5xx; other gRPC codes in the headers; for a gRPC call, a response that isn't gRPC and [maps](https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md) to one of them | failure |
//! | an error, including one from `poll_ready` | failure |
//! | a refusal by a layer further in (an open circuit, a full bulkhead); the classifier isn't asked | neutral |
//! | a timeout by a Backstop layer further in | failure |
//! | a timeout further in, because the caller's own deadline was earlier | neutral |
//! | any failure of a call whose request body failed: aborted, malformed, longer than a limit further out | neutral |
//! | an error, or a timeout that isn't Backstop's, if the call spent most of its time waiting for its request body | neutral |
//!
//! The last two rows need a request body that the layer can [watch](backstop_kit::Upload::of_any). Otherwise it relies
//! on the client's error, and only hyper's client reports a failed body. A slow call's time doesn't include the time it
//! waited for its request body. In a bidirectional stream, the call waits for its request body as long as the caller
//! keeps it open.
//!
//! [`ResultClassify`] is for functions: every `Ok` is a success. Every error is a failure, except a Backstop refusal or
//! a gRPC code that blames the caller.
//!
//! By default the breaker doesn't see a body that fails later, or a gRPC status in the trailers. With
//! [`observe(UntilBodyEnd)`](CircuitBreakerBuilder::observe), a call whose head is a success lasts until its body ends,
//! and keeps its permit:
//!
//! | the body | counts as |
//! |---|---|
//! | ends normally | success |
//! | ends in an error | as the classifier judges the error: a failure, unless the caller caused it; then success, by the head |
//! | is gRPC, and has a status in its trailers | as the classifier judges the status |
//! | is gRPC, and ends without a status | failure |
//! | is dropped, and the rules for [dropped](#cancellation) calls make that a failure; the time pending counts from the last frame | failure |
//! | is dropped otherwise | success: the head was good, and the rest will never be known |
//! | is still incomplete after the length of a probe's [lease](CircuitBreakerBuilder::probe_lease) | success at that point; if it fails later, also a failure |
//!
//! # Recovering by a ramp
//!
//! A few probes show that a dependency answers, and not that it can answer everybody: caches are cold, connections are
//! gone, half of the instances are still starting. When a circuit closes at once, all calls come back in the same
//! moment, and may bring the dependency down again. With a [ramp](Recovery::ramp) the circuit is *recovering* after its
//! probes, and admits a growing share of the calls.
//!
//! - Of any *n* calls in a step, *n* × share are admitted, to one call, and evenly spread. The others are refused with the
//!   reason `recovering`, and a `Retry-After` until the share grows.
//! - Counts start anew at the ramp, and go on from step to step. What opens a closed circuit opens a recovering one, for
//!   the next and longer wait.
//! - A step ends when its time has passed and 10 of its calls have succeeded or failed, after 60 s in any case. A call
//!   that the share refuses finds that out, or a [prober](CircuitBreakerHandle::prober). Without either, the circuit stays
//!   as it is, and its [status](CircuitBreakerHandle::status) is `step-due`.
//!
//! | ramp | don't ramp |
//! |---|---|
//! | much traffic, of many callers, that comes back at once | a few calls a second: with 1 %, none of them is admitted in a minute |
//! | a fallback answers meanwhile | every refusal is an error for somebody |
//! | a dependency that scales, fills caches or connects when it starts | one that is either up or down |
//!
//! A simulation, `recovery_simulation.rs` of the tests: 1,000 callers a second, and an upstream whose capacity grows from
//! 5 % to 100 % within a minute, and which falls over for 5 s when it gets more than that. Both columns have the trip
//! policies and waits of [`Preset::HighVolume`]; the ramp has 1, 5, 10, 25, 40, 60 and 80 %, 10 s each:
//!
//! | within 3 min | at once | by a ramp |
//! |---|---|---|
//! | the upstream falls over again | 33 times | never |
//! | the circuit opens | 34 times | once |
//! | calls that the upstream answers | 0 % | 65 % |
//! | calls that a chain answers, with a fallback behind the circuit | 100 % | 100 % |
//! | the circuit closes for good | – | after 85 s |
//!
//! # Only observing
//!
//! With [`observe_only`](CircuitBreakerBuilder::observe_only) a circuit refuses nothing, so that settings can be tried on real
//! traffic:
//!
//! | what | while it observes |
//! |---|---|
//! | a call that it would refuse | is made, and doesn't count; `circuit_breaker_would_reject_total` counts it |
//! | a call that it would admit, as a probe for example | is made and counts, as ever |
//! | [`state`](CircuitBreakerHandle::state), [`subscribe`](CircuitBreakerHandle::subscribe), the gauge of the state, health | closed |
//! | [`observed_state`](CircuitBreakerHandle::observed_state), [`counts`](CircuitBreakerHandle::counts) | what it would be |
//! | transitions, in the log, [`events`](CircuitBreakerHandle::events) and metrics | reported with the mode `observing`, opening as `INFO` |
//! | [`isolate`](CircuitBreakerHandle::isolate) | refuses, because an operator says so |
//! | a [prober](CircuitBreakerHandle::prober) | makes no calls, because no real call is held back |
//!
//! The mode can be switched while calls run, by [`observe_only`](CircuitBreakerHandle::observe_only) and
//! [`enforce`](CircuitBreakerHandle::enforce) or by a [reload](CircuitBreakerHandle::reload); the last one holds. Each switch
//! starts closed, with nothing counted.
//!
//! # Refusals
//!
//! A refusal is a 503 with `Cache-Control: no-store` and, while the circuit is open, `Retry-After`: the remaining wait,
//! lengthened by [jitter](CircuitBreakerBuilder::retry_after_jitter) of up to a tenth, rounded up, at least 1 s. While
//! the circuit is half-open, it is 1 s; while it is recovering, the rest of the step, at least 1 s. On gRPC it is a Trailers-Only answer with `grpc-status` 14, see [`HttpReject`].
//! [`problem_details`](CircuitBreakerBuilder::problem_details) adds a body that says why. The [`Rejection`] travels as a
//! response extension. Services whose response body has no `Default` choose
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
//! If the circuit will refuse, `poll_ready` is ready without asking the inner service, and `call` refuses, even if the
//! wait has passed in between. Otherwise the service is ready when the inner service is. If other calls trip the
//! circuit or take the last probe's permit after the inner service became ready, the call is refused and the inner
//! service stays ready: the next call uses that readiness, and dropping the service releases it.
//!
//! # Cancellation
//!
//! Dropping a call, or its observed body, returns its permit at once. How it is counted depends on why it was dropped:
//!
//! | a call is dropped, unfinished | counts as |
//! |---|---|
//! | by a Backstop time limit further out: a retry's, a chain's, a deadline's ([`ended_by`](backstop_core::scope::ended_by) says `OurLimit`) | failure |
//! | by the caller's own, earlier deadline (`ended_by` says `CallersLimit`) | neutral |
//! | because another call for the same request was answered first, as a hedge is (`ended_by` says `Replaced`) | neutral |
//! | after it panicked, even if the panic was caught | failure |
//! | after its request body failed, or if it spent most of its time waiting for that body | neutral |
//! | for any other reason, according to [`OnDrop`]: by default after it was pending for 5 s | failure |
//! | for any other reason, before that | neutral |
//!
//! A probe that neither ends nor is dropped holds its permit until its lease expires. If bodies are observed and the
//! head was good, the probe then counts as a success, which the next call records. So the circuit of a healthy
//! dependency closes again whatever happens to its calls, even if bodies are never read to their end, and for endless
//! streams.
//!
//! # Callers who leave
//!
//! A probe whose caller leaves early has no result, although other calls were refused while it ran. Two rules keep such
//! callers from delaying recovery:
//!
//! - If a caller's [deadline](backstop_core::scope::deadline) ended a probe, that time was too short. Callers with less
//!   than twice that time left become probes only if no other caller became one for 1.25 waits. A successful probe
//!   shows that its time was long enough. When the circuit closes, it forgets these times.
//! - Callers who hang up can't be recognised in advance. If no probe has had a result for a whole wait because every
//!   caller left, each further one that leaves allows one more concurrent probe than
//!   [configured](CircuitBreakerBuilder::max_concurrent_probes), up to 1000 more, until the circuit closes or opens. So
//!   a caller who stays becomes a probe.
//!
//! # Where timeouts belong
//!
//! Put timeouts inside the breaker, around the client. There, `backstop-timeout` ends a hung call with a response that
//! the breaker counts as a failure. Without a timeout inside, the breaker notices a hang only when a layer or caller
//! further out gives up. Backstop's own layers then report that it was a time limit, and whose. Other timers, such as
//! `tower`'s, and clients that hang up look the same as a caller that lost interest. [`OnDrop::FailureAfter`] handles these: set it below the
//! limits of such timers further out, and above the time of a healthy call. A probe's lease should be longer than the
//! timeout inside.
//!
//! # Cost
//!
//! While the circuit is closed, a call takes no lock, allocates nothing (watching a request body takes two allocations,
//! or none if a retry or a fallback further out keeps the body) and, if it is ready at once, reads no clock. A success
//! writes no shared memory except a reference count, unless it clears or replaces failures. A refusal reads the clock,
//! and takes no lock either. Transitions and probes take a lock, which is never held while your code runs.
//!
//! A call that a ramp admits reads no clock and takes no lock either, but writes shared memory once when it is admitted.
//!
//! A breaker takes about 400 bytes, and 200 more once it has opened; a [keyed](KeyedCircuitBreakerLayer) one about 85
//! beside its key. A window of *n* calls takes *n* / 4 bytes, or *n* / 2 with slow calls. A window of time takes 128
//! bytes for each thread that may run at once, up to 1024, so that threads don't wait for one another; with keys it
//! takes 128 bytes for each key. Slow calls take a second such window. With a window of time, each call reads the clock
//! once, however many calls the window holds. With slow calls, a call that isn't ready at once reads the clock twice.
//!
//! # Telemetry
//!
//! Target `backstop::circuit_breaker`, with the field `name`. A transition has `from`, `to`, `reason` and `generation`.
//! Opening is logged at `WARN`, with `error`, the [text](CircuitBreakerBuilder::error_text) of the error that opened
//! the circuit. Other transitions are `INFO`, and so is an operation that an operator asks for through an inventory, with
//! `operation`, `who`, `reason` and `until_ms`. A refusal is `DEBUG`, with `state` and `retry_after_ms`. A layer on both
//! sides of a request logs one `WARN`.
//!
//! A circuit that opens again and again is a few lines. After the first opening, later ones are logged 1, 2, 4, … min
//! after the last line, at most 1 h, until the circuit was closed for 10 min. Probes and ramps are logged once in that time, and
//! closing if the last line says that the circuit is open. The other transitions are `DEBUG`, and the next line has their
//! number as `left_out`. So of *m* minutes there are at most 6 + 2 log₂ *m* lines in the first hour, and 2 in each hour
//! after it. The circuits of a [keyed layer](KeyedCircuitBreakerLayer) open with at most 10 lines, and 1 more a minute.
//! Metrics, listeners and the `EventLog` get every transition.
//!
//! With the feature `metrics`, through the crate `metrics`. The recorder may be installed at any time:
//!
//! | metric | labels | counts |
//! |---|---|---|
//! | `calls_total` | `name`, `outcome`: `success`, `failure`, `neutral` | calls that were admitted and have ended, also those of a prober. A call counts once: a stream that lasts long counts when it counts by its head |
//! | `call_duration_seconds` (histogram) | as `calls_total` | the time from when such a call was first pending until it was counted; 0 if it was ready at once. For the buckets see `DURATION_BUCKETS` of [`backstop_kit::telemetry`] |
//! | `circuit_breaker_state` (gauge) | `name`, `state`: `closed`, `open`, `half-open`, `isolated`, `recovering` | 1 for the circuit's state, 0 for the others; set at each transition, when the layer is built, and when it is first applied after a recorder was installed |
//! | `circuit_breaker_probe_due_timestamp_seconds` (gauge) | `name` | the Unix time at which an open circuit's wait ends, 0 where it isn't open. Once that time has passed, the circuit is open and may be tried |
//! | `circuit_breaker_failures_total` | `name`, `reason`: `response`, `error`, `not-ready`, `body`, `dropped`, `panic`, `slow`, `probe` | calls counted against the service; `slow` are slow successes, `probe` are calls of a [prober](CircuitBreakerHandle::prober) |
//! | `circuit_breaker_transitions_total` | `name`, `to`: the state | transitions |
//! | `circuit_breaker_rejections_total` | `name` | refusals |
//! | `circuit_breaker_would_reject_total` | `name` | calls that a circuit would have refused, had it not only [observed](#only-observing) |
//! | `circuit_breaker_unguarded_total` | `name` | calls without a circuit, see [`KeyedCircuitBreakerLayer`] |
//!
//! [`CircuitBreakerHandle`] shows the state, the counts and the remaining wait; its
//! [`status`](CircuitBreakerHandle::status) is `probe-due` for an open circuit whose wait has passed: the next call is
//! a probe. [`subscribe`](CircuitBreakerHandle::subscribe) reports the latest state,
//! [`events`](CircuitBreakerHandle::events) each [`Transition`] in order, with a number that shows a slow reader how
//! many it missed. The log and all listeners are notified without any lock held, after the circuit has changed its
//! state.
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | [`UntilBodyEnd`] for `axum::body::Body` |
//! | `metrics` | the metrics above |
//! | `serde` | a [`CircuitBreakerConfig`] can be read from a file, and written to one |
//! | `tonic` | [`UntilBodyEnd`] for `tonic::body::Body` |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod breaker;
mod call_guard;
mod circuit_group;
mod circuit_mode;
mod circuit_state;
mod config;
mod events;
mod failure;
mod function;
mod future;
mod handle;
mod inspect;
mod keyed;
mod layer;
mod layer_state;
mod log_damper;
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
pub use backstop_kit::{CallError, HttpReject, ProblemDetails, UntilBodyEnd, UntilHeaders};
pub use circuit_mode::CircuitMode;
pub use circuit_state::CircuitState;
pub use config::{CircuitBreakerBuilder, CircuitBreakerConfig, OnDrop, Preset, Recovery, SlowCalls, Wait, Window};
pub use events::Events;
pub use function::{CircuitBreakerCall, CircuitBreakerFunctions};
pub use future::CircuitBreakerFuture;
pub use handle::{CircuitBreakerHandle, Counts};
pub use keyed::{
    KeyedCircuitBreaker, KeyedCircuitBreakerFunctions, KeyedCircuitBreakerFuture, KeyedCircuitBreakerHandle,
    KeyedCircuitBreakerLayer,
};
pub use layer::CircuitBreakerLayer;
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use observe::Observe;
pub use prober::Prober;
pub use service::CircuitBreaker;
pub use state_subscription::StateSubscription;
pub use status::CircuitStatus;
pub use transition::{Transition, TransitionReason};
