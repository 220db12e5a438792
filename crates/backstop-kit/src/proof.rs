//! Proof that a request was certainly not processed, passed from the layer that knows it to the layers further out.
//!
//! Whoever repeats a request that isn't idempotent, or gives it to another provider, must know that the failed call did
//! nothing. A response or an error can't prove that: a handler may charge a card, then call a client whose circuit is open,
//! and return that client's answer. So proof doesn't travel with results. It belongs to one call:
//!
//! **A result is certainly unprocessed for a layer only if something of ours, entered synchronously inside this very
//! `Service::call` and the only thing of ours entered there, says so in the same poll in which the result comes out, and was
//! polled each time from the first poll on.**
//!
//! All else is possibly processed. A [`Rejection`](backstop_core::Rejection) found on a response or in an error informs, and
//! proves nothing.
//!
//! # Which stacks are believed
//!
//! | between the layer that asks and the one that refuses | believed | because |
//! |---|---|---|
//! | layers of ours | yes | each passes the word on |
//! | [`client`](crate::client) around a client | yes, for a connection refused, `REFUSED_STREAM`, and what was cancelled before it was sent | it sees the client's own error |
//! | the same client without `client(…)` | no | an error alone doesn't tell whose it is |
//! | synchronous middleware (`map_request`, `map_response`, `map_err`, a concurrency limit) | yes | it calls inward in its own `call` |
//! | boxed services (`BoxCloneService`, `backstop::opaque`) | yes | the same |
//! | retries, fallbacks and their `Provider::service` | if every call that they made was unprocessed | each call has a frame of its own |
//! | `Buffer` | no | another task makes the call |
//! | a handler, axum's `from_fn`, an async block | no | it makes its calls when it is polled |
//! | a service of two steps | no | the same, or two things of ours were entered, or one was waited for before the other |
//! | a spawned task | no | its result comes out in another poll |
//! | separate `Router::layer` calls | no | the router makes each layer's call when it is polled; one `ServiceBuilder` is believed |
//!
//! So a client stack is believed, and whatever makes calls of its own is not, however its result looks. The user's word
//! is believed everywhere: a classifier that says [`unprocessed`](backstop_core::Outcome::unprocessed), for the layer it was given
//! to.
//!
//! Two things nobody can see: work that isn't a service of ours, done by a middleware between two of our layers in its own
//! `call`; and whatever it does beside the call that it made there, while that is polled. Such a middleware must make its
//! inner call inside an `async` block, as handlers do.
//!
//! # In a layer of your own
//!
//! | the layer | in `Service::call` | in the future |
//! |---|---|---|
//! | calls inward once, at once | [`pass_through`] or [`PassThrough`] around the inner call | nothing |
//! | refuses | [`Entered::now`] | [`Entered::prove`] in the poll in which the refusal comes out; [`Entered::polled`] before, where that isn't the first one |
//! | calls inward once, later | [`Entered::now`]; [`ServiceCall`](crate::ServiceCall) and [`EagerCall`](crate::EagerCall) do it all | [`Entered::polled`] in each poll before, then [`Entered::call`] around the inner call |
//! | calls inward more than once, or wants to know | [`Frame::open`], then [`Frame::call`] around each inner call | [`Frame::listen`] before each poll of it, [`Frame::waits`] after it where it is pending, [`Frame::ended`] after the last, and [`Frame::pass_on`] when its own result comes out |
//! | runs what isn't to be believed | [`unheard`] around it | nothing |
//! | runs what processes nothing | the same | [`processing_nothing`] around each poll |
//!
//! A layer that does none of this is never believed, and hides nothing.
//!
//! ```
//! use std::task::{Context, Poll};
//! use backstop_kit::proof;
//! use tower_service::Service;
//!
//! /// A layer's service that only looks at requests.
//! struct Counted<S> {
//!     inner: S,
//!     requests: u64,
//! }
//!
//! impl<S: Service<Req>, Req> Service<Req> for Counted<S> {
//!     type Response = S::Response;
//!     type Error = S::Error;
//!     type Future = S::Future;
//!
//!     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
//!         self.inner.poll_ready(cx)
//!     }
//!
//!     fn call(&mut self, request: Req) -> S::Future {
//!         self.requests += 1;
//!         proof::pass_through(|| self.inner.call(request))
//!     }
//! }
//! # let _ = Counted { inner: (), requests: 0 };
//! ```
//!
//! # States
//!
//! A thread-local holds the frame that is open, how many things of ours were entered in it, the frame that was last
//! proved about, and the frame whose call is polled for the first time. Frames have numbers that no other frame of the
//! process has.
//!
//! | on | open frame | entered | proof |
//! |---|---|---|---|
//! | a frame's call begins | that frame | 0 | none |
//! | a layer is entered | | one more | none, and no call is in its first poll |
//! | a layer that passes through has called inward, and nothing was entered there | | one more | |
//! | a frame's call ends, or panics | the one before | what it was | |
//! | a layer proves | | | the frame that it was entered in |
//! | a frame listens | | | none |
//!
//! It also counts what is entered while no frame is open. That a poll raises that count says that something else is done
//! beside the call.
//!
//! A call is proved unprocessed if exactly one thing was entered in its frame and the proof is about that frame. What
//! isn't polled in the first poll of its frame's call can't prove anything any more: something else was waited for.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

thread_local! {
    static CURRENT: Current = const { Current::new() };
}

/// Nothing in here needs to be dropped, so that looking at it is one instruction.
struct Current {
    frame: Cell<u64>,
    entered: Cell<u32>,
    proof: Cell<u64>,
    /// The frame whose call is polled for the first time.
    first: Cell<u64>,
    /// How many things of ours were entered while no frame was open: by polls, beside the calls that frames know of.
    beside: Cell<u32>,
    next: Cell<u64>,
}

/// The number of no frame.
const NONE: u64 = 0;

impl Current {
    const fn new() -> Self {
        Self {
            frame: Cell::new(NONE),
            entered: Cell::new(0),
            proof: Cell::new(NONE),
            first: Cell::new(NONE),
            beside: Cell::new(0),
            next: Cell::new(NONE),
        }
    }

    fn enter(&self) {
        self.entered.set(self.entered.get().saturating_add(1));
        // Whatever is entered from here on may process what an earlier proof was about, or a later one.
        self.proof.set(NONE);
        self.first.set(NONE);
        if self.frame.get() == NONE {
            self.beside.set(self.beside.get().wrapping_add(1));
        }
    }

    /// A number that no other frame has: futures move between threads.
    fn next_frame(&self) -> u64 {
        let next = self.next.get();
        if next as u32 == 0 {
            return self.begin_block();
        }
        self.next.set(next + 1);
        next
    }

    /// Takes 2³² numbers for this thread.
    #[cold]
    fn begin_block(&self) -> u64 {
        static BLOCKS: AtomicU64 = AtomicU64::new(0);
        let first = (BLOCKS.fetch_add(1, Relaxed) << 32) + 1;
        self.next.set(first + 1);
        first
    }

    /// Opens `frame`, in which nothing has been entered yet. What is open now is open again once the returned value is dropped.
    fn open(&self, frame: u64) -> Opened {
        self.proof.set(NONE);
        Opened { outer: self.frame.replace(frame), entered: self.entered.replace(0) }
    }
}

/// Closes a frame when it is dropped, also by a panic.
///
/// The call in between is made outside of any access to the thread-local: what passes through one is moved, and moving a
/// future costs more than all of this.
#[derive(Debug)]
struct Opened {
    outer: u64,
    entered: u32,
}

impl Opened {
    #[inline]
    fn frame(frame: u64) -> Self {
        CURRENT.with(|current| current.open(frame))
    }

    /// How many things of ours have been entered in the frame.
    #[inline]
    fn has_entered(&self) -> u32 {
        CURRENT.with(|current| current.entered.get())
    }
}

impl Drop for Opened {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| {
            current.frame.set(self.outer);
            current.entered.set(self.entered);
        });
    }
}

/// Runs `call`, the one inward call of a layer that passes its result on.
///
/// What the inner service proves is proved to the caller. That one may not enter anything else of ours beside it.
#[inline]
pub fn pass_through<R>(call: impl FnOnce() -> R) -> R {
    let _pass = PassThrough::begin();
    call()
}

/// As [`pass_through`], from here until this is dropped: a request that is moved into a closure is copied.
#[derive(Debug)]
#[must_use = "the inner service is called before this is dropped"]
pub struct PassThrough {
    entered_before: u32,
}

impl PassThrough {
    /// To be done right before the inner call.
    #[inline]
    pub fn begin() -> Self {
        CURRENT.with(|current| {
            current.proof.set(NONE);
            Self { entered_before: current.entered.get() }
        })
    }
}

// Also where the call panics: it may have done something, and somebody may catch that.
impl Drop for PassThrough {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| {
            if current.entered.get() == self.entered_before {
                current.enter();
            }
        });
    }
}

/// Runs `f` so that nothing that is entered in there can prove anything to the layers further out.
#[inline]
pub fn unheard<R>(f: impl FnOnce() -> R) -> R {
    let _opened = Opened::frame(NONE);
    f()
}

/// The same, for a poll of what certainly processes nothing: a call that is made beside it is believed all the same.
#[inline]
pub fn processing_nothing<R>(f: impl FnOnce() -> R) -> R {
    struct Restore {
        beside: u32,
        first: u64,
    }

    impl Drop for Restore {
        #[inline]
        fn drop(&mut self) {
            CURRENT.with(|current| {
                current.beside.set(self.beside);
                current.first.set(self.first);
            });
        }
    }

    let _restore = CURRENT.with(|current| Restore { beside: current.beside.get(), first: current.first.get() });
    unheard(f)
}

/// Withdraws what was proved in this poll.
#[inline]
pub fn withdraw() {
    CURRENT.with(|current| current.proof.set(NONE));
}

/// That this layer was entered, and by whose call.
#[derive(Debug)]
pub struct Entered {
    /// None once it is known that it can prove nothing.
    frame: u64,
    is_polled: bool,
}

impl Entered {
    /// To be asked for in [`Service::call`](tower_service::Service::call), once.
    #[inline]
    #[must_use]
    pub fn now() -> Self {
        CURRENT.with(|current| {
            current.enter();
            Self { frame: current.frame.get(), is_polled: false }
        })
    }

    /// This layer's future is polled: to be said at the beginning of each poll of one that isn't over in its first.
    ///
    /// Who made this call, and waited for something else first, has asked a second service, of which nothing is known.
    #[inline]
    pub fn polled(&mut self) {
        if !self.is_polled {
            self.is_polled = true;
            if CURRENT.with(|current| current.first.get()) != self.frame {
                self.frame = NONE;
            }
        }
    }

    /// Says that the request was certainly not processed. Counts for a result that comes out in this very poll.
    #[inline]
    pub fn prove(&self) {
        CURRENT.with(|current| {
            if self.is_polled || current.first.get() == self.frame {
                current.proof.set(self.frame);
            }
        });
    }

    /// Runs `call`, the one inward call of this layer, which it makes now, in its future.
    ///
    /// Says whether what the inner service proves may be passed on. Where it may not, because `call` entered more than
    /// one thing of ours, [`withdraw`] after each poll.
    #[inline]
    pub fn call<R>(&self, call: impl FnOnce() -> R) -> (R, IsBelieved) {
        let opened = Opened::frame(self.frame);
        let result = call();
        let is_believed = if opened.has_entered() > 1 { IsBelieved::No } else { IsBelieved::Yes };
        drop(opened);
        // What was entered in there is polled for the first time in this very poll.
        CURRENT.with(|current| current.first.set(self.frame));
        (result, is_believed)
    }
}

/// Whether what an inner service proves may be passed on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsBelieved {
    /// It may.
    Yes,
    /// It may not.
    No,
}

/// The calls that a layer makes inward, and whether one of them may have been processed.
#[derive(Debug)]
pub struct Frame {
    entered: Entered,
    /// The number of the call that runs; none if nothing can be proved of it.
    call: u64,
    /// What was entered beside it when it was last about to be polled.
    beside: u32,
    is_new: bool,
    is_running: bool,
    may_be_processed: bool,
}

impl Frame {
    /// To be opened in [`Service::call`](tower_service::Service::call), once: this layer was entered.
    #[inline]
    #[must_use]
    pub fn open() -> Self {
        Self { entered: Entered::now(), ..Self::detached() }
    }

    /// A frame of something that isn't a service, and proves nothing to anybody.
    #[must_use]
    pub const fn detached() -> Self {
        let entered = Entered { frame: NONE, is_polled: true };
        Self { entered, call: NONE, beside: 0, is_new: true, is_running: false, may_be_processed: false }
    }

    /// Runs `call`, which calls the inner service. A call that still runs is given up, and may have been processed.
    #[inline]
    pub fn call<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let _calling = self.calling();
        call()
    }

    /// As [`call`](Self::call), from here until the guard is dropped: a request that is moved into a closure is copied.
    #[inline]
    pub fn calling(&mut self) -> Calling<'_> {
        self.begin();
        let (number, opened) = CURRENT.with(|current| {
            let number = current.next_frame();
            (number, current.open(number))
        });
        self.call = number;
        Calling { call: &mut self.call, opened }
    }

    /// Runs `call`, of which nothing is believed, instead of [`call`](Self::call).
    pub fn call_unheard<R>(&mut self, call: impl FnOnce() -> R) -> R {
        self.begin();
        unheard(call)
    }

    #[inline]
    fn begin(&mut self) {
        self.may_be_processed |= self.is_running;
        self.is_running = true;
        self.is_new = true;
        self.call = NONE;
    }

    /// To be done before each poll of the call: what was proved before doesn't count.
    #[inline]
    pub fn listen(&mut self) {
        self.entered.polled();
        let first = if self.is_new { self.call } else { NONE };
        self.is_new = false;
        CURRENT.with(|current| {
            current.proof.set(NONE);
            current.first.set(first);
            self.beside = current.beside.get();
        });
    }

    /// The call is pending after this very poll. If something else of ours was entered meanwhile, nothing that the call says
    /// later is believed: it may have been made beside another one.
    pub fn waits(&mut self) {
        if CURRENT.with(|current| current.beside.get()) != self.beside {
            self.call = NONE;
        }
    }

    /// The call has ended in this very poll: whether it was certainly not processed. `false` where none runs.
    #[inline]
    pub fn ended(&mut self) -> bool {
        let (proof, beside) = CURRENT.with(|current| (current.proof.get(), current.beside.get()));
        let is_unprocessed = self.call != NONE && proof == self.call && beside == self.beside;
        self.may_be_processed |= self.is_running && !is_unprocessed;
        self.is_running = false;
        self.call = NONE;
        is_unprocessed
    }

    /// To be done when this layer's own result comes out: if none of its calls was processed, that is proved to the layer
    /// further out.
    #[inline]
    pub fn pass_on(&self) {
        if !self.may_be_processed && !self.is_running {
            self.entered.prove();
        }
    }
}

/// A frame's call that is being made, see [`Frame::calling`].
#[derive(Debug)]
#[must_use = "the inner service is called before this is dropped"]
pub struct Calling<'a> {
    call: &'a mut u64,
    opened: Opened,
}

/// Gives up the number if not exactly one thing was entered.
impl Drop for Calling<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.opened.has_entered() != 1 {
            *self.call = NONE;
        }
    }
}

#[cfg(test)]
mod tests;
