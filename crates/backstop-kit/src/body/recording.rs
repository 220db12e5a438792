//! A body that is recorded while it is read, and its readers. Each copy is a new reader.
//!
//! | on | source | recorded pieces |
//! |---|---|---|
//! | the newest reader is polled, unread pieces are left | not polled | the reader gets the next one |
//! | the newest reader is polled, none is left | polled, outside the lock | the new frame is added |
//! | a frame exceeds the cap | goes on | released; no more copies |
//! | a copy is made | stays where it is | read again from the first; the earlier reader gets an error |
//! | the handle is dropped | goes on | read ones are released, the others as they are read |
//! | the source fails or panics | dropped | no more copies |
//!
//! Only the newest reader, known by its epoch, reads. No foreign code runs under the lock: it isn't held while the source is
//! polled, a waker is woken or dropped, or a chunk is released.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use bytes::Bytes;
use http_body::{Body, SizeHint};

use super::{NotReplayable, Piece, Pieces, ReplayError, ReplayState, WrapBody, upload::Progress};

mod reader;
pub(super) use reader::Reader;

/// A recording as its handle sees it, without the type of its error conversion.
pub(super) trait Recording<B> {
    fn copy(self: Arc<Self>) -> Result<B, NotReplayable>;
    fn replay_state(&self) -> ReplayState;
    /// Ends the recording. No more copies will be made.
    fn close(&self);
}

pub(super) struct Shared<B: Body, F> {
    state: Mutex<State<B>>,
    cap: usize,
    error: F,
    /// Of the source, to judge the call by.
    progress: Arc<Progress>,
}

struct State<B: Body> {
    source: Source<B>,
    /// The source's size hint when it was last at rest.
    source_hint: SizeHint,
    source_ended: bool,
    pieces: Pieces,
    /// The newest reader's place in `pieces`. It is at their end whenever the source is read.
    next: usize,
    epoch: u64,
    mode: Mode,
    /// The newest reader was dropped.
    abandoned: bool,
    /// The newest reader's, while it waits for the source, or for an older reader to return the source.
    waiting: Option<Waker>,
}

enum Source<B: Body> {
    AtRest(B),
    /// A reader is polling it.
    Taken,
    Ended,
    /// With the error, until the newest reader has seen it.
    Failed(Option<B::Error>),
    Lost,
}

enum Mode {
    /// A copy can be made.
    Recording,
    /// No more copies can be made, for this reason. Pieces are released as they are read.
    Stopped(NotReplayable),
    /// The handle was dropped. Pieces are released as they are read.
    Closed,
}

/// What the newest reader is to do.
enum Step<B: Body> {
    Give(Piece),
    Read(B),
    Wait,
    Ended,
    Failed(B::Error),
    Refused(ReplayError),
}

impl<B, F> Shared<B, F>
where
    B: Body<Data = Bytes>,
{
    /// A recording of a body that isn't at its end.
    pub(super) fn new(source: B, source_hint: SizeHint, cap: usize, error: F) -> Self {
        let state = State {
            source: Source::AtRest(source),
            source_hint,
            source_ended: false,
            pieces: Pieces::default(),
            next: 0,
            epoch: 0,
            mode: Mode::Recording,
            abandoned: false,
            waiting: None,
        };
        Self { state: Mutex::new(state), cap, error, progress: Arc::new(Progress::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // No code under the lock can panic between two changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `waker`, if given, is woken when `Step::Wait` is over.
    fn step(&self, epoch: u64, waker: Option<Waker>) -> Step<B> {
        let mut state = self.lock();
        if state.epoch != epoch {
            return Step::Refused(ReplayError::Superseded);
        }
        if let Some(piece) = state.next_piece() {
            return Step::Give(piece);
        }
        match mem::replace(&mut state.source, Source::Taken) {
            Source::AtRest(source) => Step::Read(source),
            Source::Taken => {
                let earlier = mem::replace(&mut state.waiting, waker);
                drop(state);
                drop(earlier);
                Step::Wait
            }
            Source::Ended => {
                state.source = Source::Ended;
                Step::Ended
            }
            Source::Failed(error) => {
                state.source = Source::Failed(None);
                error.map_or(Step::Ended, Step::Failed)
            }
            Source::Lost => {
                state.source = Source::Lost;
                Step::Refused(ReplayError::SourceLost)
            }
        }
    }
}

impl<B: Body<Data = Bytes>> State<B> {
    fn next_piece(&mut self) -> Option<Piece> {
        let piece = match self.mode {
            Mode::Recording => self.pieces.get(self.next).cloned(),
            Mode::Stopped(_) | Mode::Closed => self.pieces.take(self.next),
        }?;
        self.next += 1;
        Some(piece)
    }

    /// Records what the newest reader has just read. Returns released pieces, to be dropped outside the lock.
    fn record(&mut self, piece: &Piece, cap: usize) -> Pieces {
        if !matches!(self.mode, Mode::Recording) {
            return Pieces::default();
        }
        if self.pieces.has_room_for(piece, cap) {
            self.pieces.push(piece.clone());
            self.next = self.pieces.len();
            return Pieces::default();
        }
        self.mode = Mode::Stopped(NotReplayable::TooLarge);
        self.next = 0;
        mem::take(&mut self.pieces)
    }

    /// Records for the newest reader what an older one was reading when it was superseded.
    fn hand_over(&mut self, piece: Piece, cap: usize) {
        if matches!(self.mode, Mode::Recording) && !self.pieces.has_room_for(&piece, cap) {
            self.mode = Mode::Stopped(NotReplayable::TooLarge);
        }
        self.pieces.push(piece);
        self.pieces.flush_tail();
    }
}

impl<B, F> Recording<B> for Shared<B, F>
where
    B: WrapBody,
    B::Error: Send,
    F: Fn(ReplayError) -> B::Error + Send + Sync + 'static,
{
    fn copy(self: Arc<Self>) -> Result<B, NotReplayable> {
        let mut state = self.lock();
        match (&state.mode, &state.source) {
            (Mode::Stopped(reason), _) => return Err(*reason),
            (_, Source::Failed(_) | Source::Lost) => return Err(NotReplayable::SourceFailed),
            _ => {}
        }
        state.epoch += 1;
        state.abandoned = false;
        state.pieces.flush_tail();
        state.next = 0;
        let epoch = state.epoch;
        let superseded = state.waiting.take();
        drop(state);
        self.progress.restart();
        // The source now wakes the new reader, so the old one has to be woken here, to get its error.
        if let Some(waker) = superseded {
            waker.wake();
        }
        Ok(B::wrap(Reader::new(self, epoch)))
    }

    fn replay_state(&self) -> ReplayState {
        let state = self.lock();
        match (&state.mode, &state.source) {
            (Mode::Stopped(reason), _) => ReplayState::Nothing(*reason),
            (_, Source::Failed(_) | Source::Lost) => ReplayState::Nothing(NotReplayable::SourceFailed),
            _ if state.source_ended => ReplayState::Whole,
            _ if state.abandoned => ReplayState::Abandoned,
            _ => ReplayState::Partly,
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.mode = Mode::Closed;
        let next = mem::take(&mut state.next);
        let read = state.pieces.split_off_read(next);
        drop(state);
        drop(read);
    }
}
