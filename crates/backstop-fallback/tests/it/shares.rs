//! How chains of any length share their time, whatever their providers do.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    common::{BoxError, Req, get, status, text},
    script::{Act, Ends, Script},
};
use axum::{body::Body, response::Response};
use backstop_core::{Deadline, HttpClassify, Limit, Name, Scope, SetBy, name, scope};
use backstop_fallback::AllProvidersFailed;
use backstop_fallback::{FallbackChain, FallbackChainBuilder, FallbackLayer, Provider};
use backstop_kit::KeepReplaced;
use proptest::prelude::*;
use tokio::time::{Instant, Sleep, sleep};
use tower::{Layer, Service, ServiceExt, buffer::Buffer, service_fn};

/// The timer's grain: what is due between two of its ticks comes at the later one.
const TICK: Duration = Duration::from_millis(1);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Clone, Copy, Debug)]
enum Does {
    Answers(u64),
    Fails(u64),
    /// With an answer whose body is so slow, or never ends. Of a primary behind a layer alone, which keeps it meanwhile.
    FailsSlowly(u64, Option<u64>),
    Hangs,
}

impl Does {
    /// What it comes to where nobody keeps answers.
    const fn unkept(self) -> Self {
        if let Self::FailsSlowly(after, _) = self { Self::Fails(after) } else { self }
    }
}

#[derive(Clone, Copy, Debug)]
struct Plays {
    /// Of the primary behind a layer alone.
    ready_after: u64,
    does: Does,
    own_timeout: Option<u64>,
}

fn plays() -> impl Strategy<Value = Plays> {
    let does = prop_oneof![
        1 => (0_u64..600).prop_map(Does::Answers),
        3 => (0_u64..600).prop_map(Does::Fails),
        3 => (0_u64..600, prop::option::of(0_u64..3000)).prop_map(|(after, body)| Does::FailsSlowly(after, body)),
        2 => Just(Does::Hangs),
    ];
    (prop_oneof![3 => Just(0), 1 => 0_u64..300], does, prop::option::of(1_u64..1000))
        .prop_map(|(ready_after, does, own_timeout)| Plays { ready_after, does, own_timeout })
}

/// What was seen of one provider: when it started, until when it was told that it may go on, when it ended.
#[derive(Clone, Debug)]
struct Seen {
    started: Instant,
    deadline: Instant,
    ended: Instant,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>);

/// Ends what is seen of a provider when it is dropped.
struct Playing(Log, usize);

impl Log {
    fn start(&self) -> Playing {
        let now = Instant::now();
        let deadline = scope::deadline().unwrap().instant();
        let mut seen = self.0.lock().unwrap();
        seen.push(Seen { started: now, deadline, ended: now });
        Playing(self.clone(), seen.len() - 1)
    }

    /// Plays one provider.
    async fn play(self, index: usize, does: Does) -> Result<Response, BoxError> {
        let _playing = self.start();
        act(index, does).await
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.0.0.lock().unwrap()[self.1].ended = Instant::now();
    }
}

async fn act(index: usize, does: Does) -> Result<Response, BoxError> {
    let (Does::Answers(after) | Does::Fails(after) | Does::FailsSlowly(after, _)) = does else { pending().await };
    // A sleep of nothing takes a moment, too.
    if after > 0 {
        sleep(ms(after)).await;
    }
    match does {
        Does::Answers(_) => {
            let mut answer = status(200);
            answer.extensions_mut().insert(name(index));
            Ok(answer)
        }
        Does::FailsSlowly(_, body) => {
            let mut answer = status(503);
            let acts = [Act::Data("down"), body.map_or(Act::Hang, Act::Wait), Act::Data("!")];
            *answer.body_mut() = Body::new(Script::new(&acts, &Ends::default()));
            Ok(answer)
        }
        _ => Err("failed".into()),
    }
}

fn name(index: usize) -> Name {
    Name::new(format!("p{index}")).unwrap()
}

/// The chain of these, the first of which is number `from`.
fn chain(from: usize, plays: &[Plays], total: u64, log: &Log) -> FallbackChain<(), Response> {
    let chain: FallbackChainBuilder<(), Response> = FallbackChain::builder("chain").total(ms(total));
    let chain = plays.iter().enumerate().fold(chain, |chain, (index, plays)| {
        let (log, does) = (log.clone(), plays.does);
        let provider = Provider::value(name(from + index), move || log.clone().play(from + index, does));
        chain.provider(match plays.own_timeout {
            Some(timeout) => provider.timeout(ms(timeout.min(total))),
            None => provider,
        })
    });
    chain.build().unwrap()
}

/// A primary that isn't ready at once.
#[derive(Clone)]
struct Primary {
    plays: Plays,
    log: Log,
    was_looked_at: bool,
    playing: Option<Arc<Playing>>,
    waits: Option<Arc<Mutex<Pin<Box<Sleep>>>>>,
}

impl Service<()> for Primary {
    type Response = Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.plays.ready_after == 0 {
            return Poll::Ready(Ok(()));
        }
        // The layer looks once before the call, from which on its time runs.
        if !std::mem::replace(&mut self.was_looked_at, true) {
            return Poll::Pending;
        }
        self.playing.get_or_insert_with(|| Arc::new(self.log.start()));
        let waits = self.waits.get_or_insert_with(|| Arc::new(Mutex::new(Box::pin(sleep(ms(self.plays.ready_after))))));
        waits.lock().unwrap().as_mut().poll(cx).map(Ok)
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let playing = self.playing.take().unwrap_or_else(|| Arc::new(self.log.start()));
        let does = self.plays.does;
        Box::pin(async move {
            let _playing = playing;
            act(0, does).await
        })
    }
}

/// Who answered, or who failed.
type Told = Result<Name, Vec<Name>>;

fn told_by(failed: &AllProvidersFailed) -> Told {
    Err(failed.failures().iter().map(|it| it.provider.clone()).collect())
}

/// The same providers as a chain in a handler.
async fn in_a_handler(plays: &[Plays], total: u64, log: &Log) -> Told {
    chain(0, plays, total, log).execute(()).await.map(|found| found.source).or_else(|failed| told_by(&failed))
}

/// The same providers behind a layer, whose primary is the first.
async fn behind_a_layer(plays: &[Plays], total: u64, log: &Log) -> Told {
    // As long as may be, so that nothing but the time ends it.
    let keep = KeepReplaced::default().max_wait(ms(total)).unwrap();
    let layer = FallbackLayer::builder("p0", chain(1, &plays[1..], total, log))
        .plain()
        .classify(HttpClassify::new())
        .keep_replaced(keep);
    let layer = match plays[0].own_timeout {
        Some(timeout) => layer.primary_timeout(ms(timeout.min(total))),
        None => layer,
    };
    let primary = Primary { plays: plays[0], log: log.clone(), was_looked_at: false, playing: None, waits: None };
    let result = layer.build().unwrap().layer(primary).oneshot(()).await;
    // The primary's own answer or error is the last resort.
    let everyone = Err((0..plays.len()).map(name).collect());
    match result {
        Ok(answer) => answer.extensions().get().cloned().map_or(everyone, Ok),
        Err(error) => match error.downcast_ref().and_then(AllProvidersFailed::in_rejection) {
            Some(failed) => told_by(&failed),
            None => everyone,
        },
    }
}

/// What must hold of any chain that began at `begun` and has until `limit`.
fn check(plays: &[Plays], begun: Instant, limit: Instant, log: &Log, told: Told) -> Result<(), TestCaseError> {
    let now = Instant::now();
    prop_assert!(now <= limit + TICK, "the sum passes the total by {:?}", now - limit);

    let seen = log.0.lock().unwrap().clone();
    let all = plays.len();
    let mut free = begun;
    for (index, (seen, plays)) in seen.iter().zip(plays).enumerate() {
        prop_assert_eq!(seen.started, free, "nobody waits for nothing");
        free = seen.ended;
        let has = seen.deadline.saturating_duration_since(seen.started);
        let left = limit.saturating_duration_since(seen.started);
        let share = left / u32::try_from(all - index).unwrap();
        let expected = plays.own_timeout.map_or(share, |own| share.min(ms(own)));
        prop_assert_eq!(has, expected, "provider {} has its share of {:?}", index, left);
        prop_assert!(seen.ended <= seen.started + has + TICK, "provider {} goes on after its share", index);
    }

    let answered = told.is_ok();
    match told {
        Ok(source) => prop_assert_eq!(source, name(seen.len() - 1), "the last one that was asked"),
        Err(failed) => {
            prop_assert_eq!(failed, (0..plays.len()).map(name).collect::<Vec<_>>());
            prop_assert_eq!(seen.len(), plays.len(), "everyone was asked, the last one too");
        }
    }
    for (index, (seen, plays)) in seen.iter().zip(plays).take(seen.len() - usize::from(answered)).enumerate() {
        if let Does::Answers(after) = plays.does {
            let needs = ms(plays.ready_after + after);
            prop_assert!(!needs.is_zero(), "provider {} would have answered at its first poll", index);
            prop_assert!(seen.started + needs + TICK >= seen.deadline, "provider {} had the time to answer", index);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn nobody_has_more_than_a_share_the_last_always_has_one_and_the_sum_never_passes_the_total(
        plays in prop::collection::vec(plays(), 2..=8),
        total in 1_u64..2000,
        callers in prop::option::of(1_u64..2000),
        layered in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let log = Log::default();
            let plays: Vec<_> = plays
                .into_iter()
                .enumerate()
                // Only a primary behind a layer is made ready, and only its answer is kept.
                .map(|(index, plays)| match (layered, index) {
                    (true, 0) => plays,
                    _ => Plays { ready_after: 0, does: plays.does.unkept(), ..plays },
                })
                .collect();
            let begun = Instant::now();
            let limit = begun + ms(callers.map_or(total, |callers| callers.min(total)));
            let mut scope = callers.map_or_else(Scope::new, |callers| {
                Scope::narrowed(Deadline::after(ms(callers), SetBy::Caller))
            });
            let mut call = std::pin::pin!(async {
                if layered {
                    behind_a_layer(&plays, total, &log).await
                } else {
                    in_a_handler(&plays, total, &log).await
                }
            });
            let told = std::future::poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await;
            check(&plays, begun, limit, &log, told)
        })?;
    }
}

/// What a chain answers whose caller waits for 800 ms, where its calls are made in another task, and after how long.
async fn behind_a_buffer(asks_at_once: bool) -> (String, Duration) {
    let primary = service_fn(move |_: Req| {
        if asks_at_once {
            // As one that sends the time left on: time begins in the call.
            _ = scope::deadline();
        }
        pending::<Result<Response, BoxError>>()
    });
    let slow = Provider::value(name!("slow"), || async {
        sleep(ms(300)).await;
        Response::new(Body::from("slow"))
    });
    let chain = FallbackChain::builder("chain").total(Duration::from_secs(5)).provider(slow).build().unwrap();
    let buffered = Buffer::new(FallbackLayer::new(name!("primary"), chain).layer(primary), 8);
    let mut scope = Scope::limited(Limit::new(ms(800), SetBy::Caller));
    let begun = Instant::now();
    let mut call = std::pin::pin!(buffered.oneshot(get()));
    let response = std::future::poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await.unwrap();
    (text(response).await, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn behind_a_buffer_the_last_provider_has_its_share_of_the_callers_time() {
    for asks_at_once in [false, true] {
        let (answer, after) = behind_a_buffer(asks_at_once).await;
        assert_eq!(answer, "slow", "{asks_at_once}");
        assert_eq!(after, ms(400 + 300), "the primary had half, {asks_at_once}");
    }
}
