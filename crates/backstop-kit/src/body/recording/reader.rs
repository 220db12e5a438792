//! One reader of a recording.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{Mode, Shared, Source, Step};
use crate::body::{NotReplayable, Piece, ReplayError};

/// A copy of a recorded body: the recorded pieces, then the rest of the source.
pub(crate) struct Reader<B: Body, F> {
    /// `None` once this reader has returned an error, so that it keeps nothing alive.
    shared: Option<Arc<Shared<B, F>>>,
    epoch: u64,
}

impl<B: Body, F> Reader<B, F> {
    pub(in crate::body) fn first(shared: Arc<Shared<B, F>>) -> Self {
        Self::new(shared, 0)
    }

    pub(super) fn new(shared: Arc<Shared<B, F>>, epoch: u64) -> Self {
        Self { shared: Some(shared), epoch }
    }
}

impl<B: Body, F> Drop for Reader<B, F> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.abandoned |= state.epoch == self.epoch;
            if state.epoch == self.epoch {
                shared.progress.stop_waiting();
            }
        }
    }
}

type Polled<B> = Poll<Option<Result<Frame<Bytes>, <B as Body>::Error>>>;

impl<B, F> Body for Reader<B, F>
where
    B: Body<Data = Bytes, Error: 'static> + Unpin,
    F: Fn(ReplayError) -> B::Error,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<B> {
        let this = self.get_mut();
        let Some(shared) = &this.shared else {
            return Poll::Ready(None);
        };
        let polled = shared.poll(this.epoch, cx);
        if let Poll::Ready(Some(Err(_))) = polled {
            this.shared = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        // Always `false` after an error, so that a failed body never looks complete.
        self.shared.as_ref().is_some_and(|shared| {
            shared.progress.answer();
            let state = shared.lock();
            state.epoch == self.epoch && state.source_ended && state.next >= state.pieces.len()
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some(shared) = &self.shared else {
            return SizeHint::new();
        };
        let state = shared.lock();
        if state.epoch != self.epoch {
            return SizeHint::new();
        }
        let buffered = state.pieces.data_len_from(state.next);
        let source = &state.source_hint;
        let mut hint = SizeHint::new();
        hint.set_lower(source.lower().saturating_add(buffered));
        if let Some(upper) = source.upper().and_then(|upper| upper.checked_add(buffered)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B, F> Shared<B, F>
where
    B: Body<Data = Bytes, Error: 'static> + Unpin,
    F: Fn(ReplayError) -> B::Error,
{
    fn poll(&self, epoch: u64, cx: &mut Context<'_>) -> Polled<B> {
        let mut step = self.step(epoch, None);
        if let Step::Wait = step {
            // An older reader is polling the source on another thread. The waker is cloned only now, outside the lock.
            step = self.step(epoch, Some(cx.waker().clone()));
        }
        match step {
            Step::Give(piece) => Poll::Ready(Some(Ok(piece.into_frame()))),
            Step::Read(source) => {
                let mut lease = Lease { shared: self, source: Some(source) };
                let polled = lease.poll(cx);
                let waker = polled.is_pending().then(|| cx.waker().clone());
                lease.give_back(epoch, polled, waker)
            }
            Step::Wait => Poll::Pending,
            Step::Ended => Poll::Ready(None),
            Step::Failed(error) => Poll::Ready(Some(Err(error))),
            Step::Refused(error) => Poll::Ready(Some(Err((self.error)(error)))),
        }
    }
}

/// The source while a reader polls it. If the source panics, this is dropped before it is given back, and marks it lost.
struct Lease<'a, B: Body<Data = Bytes>, F> {
    shared: &'a Shared<B, F>,
    source: Option<B>,
}

impl<B, F> Lease<'_, B, F>
where
    B: Body<Data = Bytes, Error: 'static> + Unpin,
    F: Fn(ReplayError) -> B::Error,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Polled<B> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(source).poll_frame(cx);
        self.shared.progress.polled(&polled);
        polled
    }

    fn give_back(mut self, epoch: u64, polled: Polled<B>, waker: Option<Waker>) -> Polled<B> {
        let Some(source) = &self.source else {
            return polled;
        };
        let (hint, ended) = match &polled {
            Poll::Ready(None) => (SizeHint::with_exact(0), true),
            Poll::Ready(Some(Err(_))) => (SizeHint::new(), false),
            Poll::Pending | Poll::Ready(Some(Ok(_))) => (source.size_hint(), source.is_end_stream()),
        };
        let Some(source) = self.source.take() else {
            return polled;
        };

        let mut state = self.shared.lock();
        let newest = state.epoch == epoch;
        state.source_hint = hint;
        state.source_ended = ended;
        // Dropped after the lock is released.
        let mut spent = (None, None, None);
        let polled = match polled {
            Poll::Pending => {
                state.source = Source::AtRest(source);
                if newest {
                    spent.0 = mem::replace(&mut state.waiting, waker);
                }
                Poll::Pending
            }
            Poll::Ready(None) => {
                state.source = Source::Ended;
                spent.1 = Some(source);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                spent.1 = Some(source);
                if newest {
                    state.source = Source::Failed(None);
                    Poll::Ready(Some(Err(error)))
                } else {
                    state.source = Source::Failed(Some(error));
                    Poll::Pending
                }
            }
            Poll::Ready(Some(Ok(frame))) => match Piece::from_frame(frame) {
                Ok(piece) => {
                    state.source = Source::AtRest(source);
                    if newest {
                        spent.2 = Some(state.record(&piece, self.shared.cap));
                        Poll::Ready(Some(Ok(piece.into_frame())))
                    } else {
                        state.hand_over(piece, self.shared.cap);
                        Poll::Pending
                    }
                }
                Err(frame) => {
                    state.mode = Mode::Stopped(NotReplayable::UnknownFrame);
                    if newest {
                        state.source = Source::AtRest(source);
                        Poll::Ready(Some(Ok(frame)))
                    } else {
                        // It can't be kept for the newer reader, whose body must not look complete without it.
                        state.source = Source::Lost;
                        state.source_ended = false;
                        spent.1 = Some(source);
                        Poll::Pending
                    }
                }
            },
        };
        let newer = if newest { None } else { state.waiting.take() };
        drop(state);
        drop(spent);
        if newest {
            return polled;
        }
        if let Some(waker) = newer {
            waker.wake();
        }
        Poll::Ready(Some(Err((self.shared.error)(ReplayError::Superseded))))
    }
}

impl<B: Body<Data = Bytes>, F> Drop for Lease<'_, B, F> {
    fn drop(&mut self) {
        if self.source.is_none() {
            return;
        }
        let mut state = self.shared.lock();
        state.source = Source::Lost;
        state.source_hint = SizeHint::new();
        state.source_ended = false;
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}
