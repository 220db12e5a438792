//! Proof that a request was certainly not processed, passed from the layer that knows it to the layers further out.
//!
//! A layer that repeats a request that isn't idempotent, or sends it to another provider, must know that the failed call did
//! nothing. A response or an error can't prove that: a handler may charge a card, then call a client whose circuit is open,
//! and return that client's answer. So proof doesn't travel with results. It belongs to one call:
//!
//! **A layer believes that the request was certainly not processed only if a service of ours proves it in the same poll in
//! which the result comes out. That service must be the only one of ours that was entered, synchronously, inside the
//! layer's inner `Service::call`, and it must have been polled from the first poll on.**
//!
//! Everything else may have been processed. A [`Rejection`](backstop_core::Rejection) in a response or in an error proves
//! nothing.
//!
//! # Which stacks are believed
//!
//! | between the layer that asks and the one that refuses | believed | because |
//! |---|---|---|
//! | Backstop's layers | yes | each passes proof on |
//! | [`client`](crate::client) around a client | yes, for a refused connection, `REFUSED_STREAM`, a GOAWAY that excludes the stream, and a request that was cancelled before it was sent | it sees the client's own error |
//! | the same client without `client(…)` | no | an error alone doesn't say which call failed |
//! | synchronous middleware (`map_request`, `map_response`, `map_err`, a concurrency limit) | yes | it calls inward in its own `call` |
//! | boxed services (`BoxCloneService`, `backstop::opaque`) | yes | they do so, too |
//! | retries, fallbacks and their `Provider::service` | if every call that they made was unprocessed | each call has its own frame |
//! | `Buffer` | no | another task makes the call |
//! | a handler, axum's `from_fn`, an async block | no | it makes its calls when it is polled |
//! | a service of two steps | no | so does it, or two of our services were entered, or one was awaited before the other |
//! | a spawned task | no | its result comes out in another poll |
//! | separate `Router::layer` calls | no | the router makes each layer's call when it is polled; one `ServiceBuilder` is believed |
//!
//! So a client stack is believed, and code that makes its own calls is not, whatever its result looks like. The user is
//! always believed: if a classifier says [`unprocessed`](backstop_core::Outcome::unprocessed), its layer takes that as proof.
//!
//! Two things can't be detected in a middleware between two of our layers: work of its own in `call` that isn't a service of
//! ours, and work that it does while it polls the inner call. Such a middleware must make its inner call inside an `async`
//! block, as handlers do.
//!
//! # In your own layer
//!
//! | the layer | in `Service::call` | in the future |
//! |---|---|---|
//! | calls inward once, at once | [`pass_through`] or [`PassThrough`] around the inner call | nothing |
//! | refuses | [`Entered::now`] | [`Entered::prove`] in the poll that returns the refusal; if that isn't the first poll, [`Entered::polled`] in each poll |
//! | calls inward once, later | [`Entered::now`] | [`Entered::polled`] in each poll until then, and [`Entered::call`] around the inner call. [`ServiceCall`](crate::ServiceCall) and [`EagerCall`](crate::EagerCall) do all of this |
//! | calls inward more than once, or needs to know | [`Frame::open`], then [`Frame::call`] around each inner call | [`Frame::listen`] before each poll of that call, [`Frame::waits`] after it if it is pending, [`Frame::ended`] after the last, and [`Frame::pass_on`] when the layer's own result comes out |
//! | calls something that must not be believed | [`ignore_proof`] around it | nothing |
//! | calls something that processes nothing | [`ignore_proof`] around it | [`processing_nothing`] around each poll |
//!
//! A layer that does none of this is never believed itself, and doesn't stop the proof of layers inside.
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
//! A thread-local holds the open frame, how many services of ours were entered in it, the frame of the last proof, and the
//! frame whose call is in its first poll. A frame has a number that is unique in the process.
//!
//! | on | open frame | entered | proof |
//! |---|---|---|---|
//! | a frame's call begins | that frame | 0 | none |
//! | a layer is entered | | one more | none; no call is in its first poll any more |
//! | a layer that passes through has called inward, and nothing was entered there | | one more | |
//! | a frame's call returns, or panics | the one before | as before | |
//! | a layer proves | | | the frame in which it was entered |
//! | a frame listens | | | none |
//!
//! It also counts services that are entered while no frame is open. If a poll increases that count, something else was
//! called beside the frame's call.
//!
//! A call is proved unprocessed if exactly one service was entered in its frame, and the proof is about that frame. A service
//! that isn't polled in the first poll of its frame's call can't prove anything: something else was awaited before it.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

thread_local! {
    static CURRENT: Current = const { Current::new() };
}

/// Has no destructor, so that an access to the thread-local is one instruction.
struct Current {
    frame: Cell<u64>,
    entered: Cell<u32>,
    proof: Cell<u64>,
    /// The frame whose call is in its first poll.
    first: Cell<u64>,
    /// How many services of ours were entered while no frame was open.
    beside: Cell<u32>,
    next: Cell<u64>,
}

/// No frame has this number.
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
        self.entered.set(self.entered.get().wrapping_add(1));
        // This service may process the request that a proof is about.
        self.proof.set(NONE);
        self.first.set(NONE);
        if self.frame.get() == NONE {
            self.beside.set(self.beside.get().wrapping_add(1));
        }
    }

    /// A number that is unique among all threads, because futures move between them.
    #[inline]
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

    /// Opens `frame`, until the returned guard is dropped.
    fn open(&self, frame: u64) -> Opened {
        self.proof.set(NONE);
        Opened { outer: self.frame.replace(frame), entered: self.entered.replace(0) }
    }
}

/// Closes a frame when it is dropped, also by a panic.
///
/// A guard, because a call inside `CURRENT.with` would move its future out of the closure, which costs more than all of this.
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

    /// How many services of ours have been entered in the frame.
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

/// Runs `call`, the only inward call of a layer that passes its result on.
///
/// The inner service's proof reaches the caller, unless the caller enters another service of ours beside it.
#[inline]
pub fn pass_through<R>(call: impl FnOnce() -> R) -> R {
    let _pass = PassThrough::begin();
    call()
}

/// As [`pass_through`], as a guard: moving a request into a closure would copy it.
#[derive(Debug)]
#[must_use = "the inner service is called before this is dropped"]
pub struct PassThrough {
    entered_before: u32,
}

impl PassThrough {
    /// Call this right before the inner call.
    #[inline]
    pub fn begin() -> Self {
        CURRENT.with(|current| {
            current.proof.set(NONE);
            Self { entered_before: current.entered.get() }
        })
    }
}

// Also if the call panics: it may have done something, and the panic may be caught.
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

/// Runs `f`. Services that are entered inside can't prove anything to the layers further out.
#[inline]
pub fn ignore_proof<R>(f: impl FnOnce() -> R) -> R {
    let _ignore = IgnoreProof::begin();
    f()
}

/// As [`ignore_proof`], as a guard: moving a request into a closure would copy it.
#[derive(Debug)]
#[must_use = "the inner service is called before this is dropped"]
pub struct IgnoreProof {
    _opened: Opened,
}

impl IgnoreProof {
    /// Call this right before the inner call.
    #[inline]
    pub fn begin() -> Self {
        Self { _opened: Opened::frame(NONE) }
    }
}

/// As [`ignore_proof`], to poll something that certainly processes nothing: a call that is made beside it is still believed.
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
    ignore_proof(f)
}

/// Withdraws what was proved in this poll.
#[inline]
pub fn withdraw() {
    CURRENT.with(|current| current.proof.set(NONE));
}

/// Remembers in which frame this layer was entered.
#[derive(Debug)]
pub struct Entered {
    /// [`NONE`] once it can't prove anything.
    frame: u64,
    is_polled: bool,
}

impl Entered {
    /// Call this in [`Service::call`](tower_service::Service::call), once.
    #[inline]
    #[must_use]
    pub fn now() -> Self {
        CURRENT.with(|current| {
            current.enter();
            Self { frame: current.frame.get(), is_polled: false }
        })
    }

    /// Call this at the beginning of each poll of this layer's future. Not needed if the future always ends in its first
    /// poll.
    ///
    /// If the first poll comes late, the caller has awaited something else before, which may have processed the request.
    #[inline]
    pub fn polled(&mut self) {
        if !self.is_polled {
            self.is_polled = true;
            if CURRENT.with(|current| current.first.get()) != self.frame {
                self.frame = NONE;
            }
        }
    }

    /// Proves that the request was certainly not processed. Applies to a result that comes out in the same poll.
    #[inline]
    pub fn prove(&self) {
        CURRENT.with(|current| {
            if self.is_polled || current.first.get() == self.frame {
                current.proof.set(self.frame);
            }
        });
    }

    /// Runs `call`, the only inward call of this layer, from its future.
    ///
    /// Also returns whether the inner service's proof may be passed on. If not, because `call` entered more than one service
    /// of ours, call [`withdraw`] after each poll.
    #[inline]
    pub fn call<R>(&self, call: impl FnOnce() -> R) -> (R, IsBelieved) {
        let opened = Opened::frame(self.frame);
        let result = call();
        let is_believed = if opened.has_entered() > 1 { IsBelieved::No } else { IsBelieved::Yes };
        drop(opened);
        // What was entered there is polled for the first time in the current poll.
        CURRENT.with(|current| current.first.set(self.frame));
        (result, is_believed)
    }
}

/// Whether an inner service's proof may be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsBelieved {
    /// It may.
    Yes,
    /// It may not.
    No,
}

/// The inward calls of a layer, and whether one of them may have been processed.
#[derive(Debug)]
pub struct Frame {
    entered: Entered,
    /// The number of the running call. [`NONE`] if nothing can be proved about it.
    call: u64,
    /// The count of services entered outside frames, before the call was last polled.
    beside: u32,
    is_new: bool,
    is_running: bool,
    may_be_processed: bool,
}

impl Frame {
    /// Opens a frame. Call this in [`Service::call`](tower_service::Service::call), once.
    #[inline]
    #[must_use]
    pub fn open() -> Self {
        Self { entered: Entered::now(), ..Self::detached() }
    }

    /// A frame outside of any service, which proves nothing to others.
    #[must_use]
    pub const fn detached() -> Self {
        let entered = Entered { frame: NONE, is_polled: true };
        Self { entered, call: NONE, beside: 0, is_new: true, is_running: false, may_be_processed: false }
    }

    /// Runs `call`, which calls the inner service. An earlier call that is still running may have been processed.
    #[inline]
    pub fn call<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let _calling = self.calling();
        call()
    }

    /// As [`call`](Self::call), as a guard: moving a request into a closure would copy it.
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

    /// As [`call`](Self::call), but nothing can be proved about this call.
    pub fn call_ignoring_proof<R>(&mut self, call: impl FnOnce() -> R) -> R {
        self.begin();
        ignore_proof(call)
    }

    #[inline]
    fn begin(&mut self) {
        self.may_be_processed |= self.is_running;
        self.is_running = true;
        self.is_new = true;
        self.call = NONE;
    }

    /// Call this before each poll of the inner call. Discards earlier proof.
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

    /// Call this after a poll if the inner call is pending. If another service of ours was entered during the poll, later
    /// proof about the call isn't believed, because it may be about that service.
    pub fn waits(&mut self) {
        if CURRENT.with(|current| current.beside.get()) != self.beside {
            self.call = NONE;
        }
    }

    /// Call this if the inner call has ended in the current poll. Returns whether it was certainly not processed. `false` if no
    /// call is running.
    #[inline]
    pub fn ended(&mut self) -> bool {
        let (proof, beside) = CURRENT.with(|current| (current.proof.get(), current.beside.get()));
        let is_unprocessed = self.call != NONE && proof == self.call && beside == self.beside;
        self.may_be_processed |= self.is_running && !is_unprocessed;
        self.is_running = false;
        self.call = NONE;
        is_unprocessed
    }

    /// Call this when this layer's own result comes out. If all of its calls were certainly not processed, this proves it to
    /// the layers further out.
    #[inline]
    pub fn pass_on(&self) {
        if !self.may_be_processed && !self.is_running {
            self.entered.prove();
        }
    }
}

/// The guard of [`Frame::calling`].
#[derive(Debug)]
#[must_use = "the inner service is called before this is dropped"]
pub struct Calling<'a> {
    call: &'a mut u64,
    opened: Opened,
}

/// If not exactly one service was entered, nothing can be proved about the call.
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
