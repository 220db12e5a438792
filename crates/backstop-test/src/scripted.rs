//! Services that answer by a script.

use std::{
    convert::Infallible,
    fmt,
    future::{pending, ready},
    mem,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::time::Instant;
use tower_service::Service;

use crate::{Step, lock::lock, step::respond};

/// A tower service that answers by a script, counts its calls, and records its requests.
///
/// Clones share the script and what was recorded: keep one to look at, and give the other to the stack.
///
/// ```
/// use std::time::Duration;
///
/// use backstop_test::{Scripted, Step};
/// use tower::{Service, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let prices = Scripted::steps([
///     Step::error("the connection was reset"),
///     Step::answer(9).after(Duration::from_secs(2)),
///     Step::hang(),
/// ])
/// .recording(|item: &&str| item.to_string());
///
/// let mut service = prices.clone();
/// assert!(service.ready().await.unwrap().call("tea").await.is_err());
/// assert_eq!(service.ready().await.unwrap().call("rice").await, Ok(9));
/// assert_eq!(prices.requests(), ["tea", "rice"]);
/// # }
/// ```
///
/// It is also a provider of a fallback chain, and, by [`function`](Self::function), an async function:
///
/// ```
/// use backstop::{FallbackChain, Provider, name};
/// use backstop_test::Scripted;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (live, replica) = (Scripted::hanging(), Scripted::failing("no such table"));
/// let prices = FallbackChain::builder("prices")
///     .provider(Provider::service(name!("live"), live.clone()))
///     .provider(Provider::service(name!("replica"), replica.clone()))
///     .provider(Provider::service(name!("list"), Scripted::answering("9.50")))
///     .build()?;
///
/// assert_eq!(prices.execute("espresso").await?.source, "list");
/// assert_eq!([live.dropped(), replica.calls()], [1, 1]);
/// # Ok(())
/// # }
/// ```
///
/// | it | made by |
/// |---|---|
/// | succeeds | [`answering`](Self::answering), [`statuses`](Self::statuses) |
/// | fails | [`failing`](Self::failing), [`statuses`](Self::statuses) |
/// | hangs | [`hanging`](Self::hanging) |
/// | drips: its head comes at once, and its body in pieces | [`answering`](Self::answering) a response with a [`Drip`](crate::Drip) |
/// | follows a script | [`steps`](Self::steps), [`new`](Self::new) |
///
/// # Panics
///
/// It panics when it is called without having been ready, as services may by the contract of tower. A clone must be made
/// ready itself, and readiness is for one call.
pub struct Scripted<Req, Res, E = Infallible, R = ()> {
    script: Script<Req, Res, E>,
    readiness: ReadinessFn<E>,
    is_ready: bool,
    record: Arc<dyn Fn(&Req) -> R + Send + Sync>,
    seen: Arc<Mutex<Seen<R>>>,
}

type Script<Req, Res, E> = Arc<dyn Fn(usize, Req) -> ScriptedFuture<Res, E> + Send + Sync>;
type ReadinessFn<E> = Arc<dyn Fn(&mut Context<'_>) -> Poll<Result<(), E>> + Send + Sync>;

/// The future of a [`Scripted`] service.
pub type ScriptedFuture<Res, E> = Pin<Box<dyn Future<Output = Result<Res, E>> + Send>>;

struct Seen<R> {
    readiness_polls: usize,
    /// When each call was made, and what was recorded of it.
    calls: Vec<(Instant, R)>,
    dropped: usize,
}

impl<Req, Res, E> Scripted<Req, Res, E> {
    /// Answers as an async closure says, which gets the number of the call, from 1, and the request.
    pub fn new<F>(script: impl Fn(usize, Req) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Res, E>> + Send + 'static,
    {
        Self {
            script: Arc::new(move |call, request| Box::pin(script(call, request))),
            readiness: Arc::new(|_| Poll::Ready(Ok(()))),
            is_ready: false,
            record: Arc::new(|_| ()),
            seen: Arc::new(Mutex::new(Seen::new())),
        }
    }

    /// Takes these steps, one for each call.
    ///
    /// The compiler must learn the type of the error from a [`Step::error`]. Where there is none, give it with the type of the
    /// script: `let upstream: Scripted<_, _> = Scripted::steps([…])`, whose error is `Infallible`.
    ///
    /// # Panics
    ///
    /// The service panics when it is called once more than there are steps.
    #[must_use]
    pub fn steps(steps: impl IntoIterator<Item = Step<Res, E>>) -> Self
    where
        Res: Send + 'static,
        E: Send + 'static,
    {
        let steps: Mutex<Vec<_>> = Mutex::new(steps.into_iter().map(Some).collect());
        Self::new(move |call, _| {
            let mut steps = lock(&steps);
            let count = steps.len();
            let step = steps.get_mut(call - 1).and_then(Option::take);
            drop(steps);
            step.unwrap_or_else(|| panic!("call {call} of a script of {count} steps")).run()
        })
    }
}

impl<Req, Res> Scripted<Req, Res> {
    /// Answers each call with a clone of this.
    #[must_use]
    pub fn answering(response: Res) -> Self
    where
        Res: Clone + Send + Sync + 'static,
    {
        Self::new(move |_, _| ready(Ok(response.clone())))
    }

    /// Never answers.
    #[must_use]
    pub fn hanging() -> Self
    where
        Res: Send + 'static,
    {
        Self::new(|_, _| pending())
    }
}

impl<Req, Res, E> Scripted<Req, Res, E> {
    /// Fails each call with a clone of this error.
    #[must_use]
    pub fn failing(error: E) -> Self
    where
        Res: Send + 'static,
        E: Clone + Send + Sync + 'static,
    {
        Self::new(move |_, _| ready(Err(error.clone())))
    }
}

impl<B: Default> Scripted<Request<B>, Response<B>> {
    /// Answers with these statuses in turn and with the last one from then on, with empty bodies.
    ///
    /// # Panics
    ///
    /// If there are none, or one isn't between 100 and 999.
    #[must_use]
    #[track_caller]
    pub fn statuses(statuses: impl IntoIterator<Item = u16>) -> Self
    where
        B: Send + 'static,
    {
        let statuses: Vec<_> = statuses.into_iter().collect();
        assert!(!statuses.is_empty(), "a script has at least one status");
        statuses.iter().for_each(|status| drop(respond::<B>(*status)));
        Self::new(move |call, _| {
            let response = respond(statuses[(call - 1).min(statuses.len() - 1)]);
            async { Ok(response) }
        })
    }
}

impl<Req, Res, E, R> Scripted<Req, Res, E, R> {
    /// Records this of each request, for [`requests`](Self::requests). It starts with nothing recorded.
    pub fn recording<N>(self, record: impl Fn(&Req) -> N + Send + Sync + 'static) -> Scripted<Req, Res, E, N> {
        Scripted {
            script: self.script,
            readiness: self.readiness,
            is_ready: self.is_ready,
            record: Arc::new(record),
            seen: Arc::new(Mutex::new(Seen::new())),
        }
    }

    /// Is ready as a closure says, which gets the context of the one who asks: pending, or failing. Otherwise it is always
    /// ready.
    ///
    /// ```
    /// use std::task::Poll;
    ///
    /// use backstop_test::Scripted;
    /// use http::{Request, Response};
    ///
    /// let never_ready: Scripted<Request<String>, Response<String>> = Scripted::statuses([200]).readiness(|_| Poll::Pending);
    /// ```
    #[must_use]
    pub fn readiness(
        self,
        readiness: impl Fn(&mut Context<'_>) -> Poll<Result<(), E>> + Send + Sync + 'static,
    ) -> Self {
        Self { readiness: Arc::new(readiness), ..self }
    }

    /// It as an async function, which needs no readiness: `Provider::from_fn(name!("replica"), replica.function())`.
    pub fn function(&self) -> impl Fn(Req) -> ScriptedFuture<Res, E> + Clone + Send + Sync + use<Req, Res, E, R>
    where
        Req: 'static,
        Res: 'static,
        E: 'static,
        R: Send + 'static,
    {
        let service = self.clone();
        move |request| service.begin(request)
    }

    /// How often it was called.
    #[must_use]
    pub fn calls(&self) -> usize {
        lock(&self.seen).calls.len()
    }

    /// How many calls were dropped before they ended.
    #[must_use]
    pub fn dropped(&self) -> usize {
        lock(&self.seen).dropped
    }

    /// How often it was asked whether it is ready.
    #[must_use]
    pub fn readiness_polls(&self) -> usize {
        lock(&self.seen).readiness_polls
    }

    /// When each call was made.
    #[must_use]
    pub fn call_times(&self) -> Vec<Instant> {
        lock(&self.seen).calls.iter().map(|(at, _)| *at).collect()
    }

    /// The times from each call to the next.
    #[must_use]
    pub fn gaps(&self) -> Vec<Duration> {
        self.call_times().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// What was recorded of each request.
    #[must_use]
    pub fn requests(&self) -> Vec<R>
    where
        R: Clone,
    {
        lock(&self.seen).calls.iter().map(|(_, request)| request.clone()).collect()
    }

    fn begin(&self, request: Req) -> ScriptedFuture<Res, E>
    where
        Res: 'static,
        E: 'static,
        R: Send + 'static,
    {
        let recorded = (self.record)(&request);
        let call = {
            let mut seen = lock(&self.seen);
            seen.calls.push((Instant::now(), recorded));
            seen.calls.len()
        };
        let unfinished = Unfinished { seen: Some(Arc::clone(&self.seen)) };
        let answer = (self.script)(call, request);
        Box::pin(async move {
            let result = answer.await;
            unfinished.finish();
            result
        })
    }
}

/// Counts a call as dropped, unless it has ended.
struct Unfinished<R> {
    seen: Option<Arc<Mutex<Seen<R>>>>,
}

impl<R> Unfinished<R> {
    fn finish(mut self) {
        self.seen = None;
    }
}

impl<R> Drop for Unfinished<R> {
    fn drop(&mut self) {
        if let Some(seen) = &self.seen {
            lock(seen).dropped += 1;
        }
    }
}

impl<R> Seen<R> {
    const fn new() -> Self {
        Self { readiness_polls: 0, calls: Vec::new(), dropped: 0 }
    }
}

impl<Req, Res, E, R> Service<Req> for Scripted<Req, Res, E, R>
where
    Res: 'static,
    E: 'static,
    R: Send + 'static,
{
    type Response = Res;
    type Error = E;
    type Future = ScriptedFuture<Res, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        lock(&self.seen).readiness_polls += 1;
        let ready = (self.readiness)(cx);
        self.is_ready = matches!(ready, Poll::Ready(Ok(())));
        ready
    }

    #[track_caller]
    fn call(&mut self, request: Req) -> Self::Future {
        assert!(mem::take(&mut self.is_ready), "called without having been ready");
        self.begin(request)
    }
}

/// A clone has to be made ready itself.
impl<Req, Res, E, R> Clone for Scripted<Req, Res, E, R> {
    fn clone(&self) -> Self {
        Self {
            script: Arc::clone(&self.script),
            readiness: Arc::clone(&self.readiness),
            is_ready: false,
            record: Arc::clone(&self.record),
            seen: Arc::clone(&self.seen),
        }
    }
}

impl<Req, Res, E, R> fmt::Debug for Scripted<Req, Res, E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("calls", &self.calls()).finish_non_exhaustive()
    }
}
