//! A body that is recorded while it is read, and the readers that take turns at it.
//!
//! | on | source | recorded pieces |
//! |---|---|---|
//! | the newest reader is polled, pieces are left | untouched | it gets the next one |
//! | the newest reader is polled, none is left | polled, outside the lock | what comes is added |
//! | what comes doesn't fit the cap | goes on | released; no more copies |
//! | a copy is made | stays where it is | read again from the first; the earlier reader gets an error |
//! | the handle is dropped | goes on | those read are released, the others leave as they are read |
//! | the source fails or panics | dropped | no more copies |
//!
//! One reader is the newest, told by its epoch, and only that one reads. No foreign code runs under the lock: neither the
//! source, nor a waker, nor the release of a chunk (whose owner may be anyone's).

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use bytes::Bytes;
use http_body::{Body, SizeHint};

use super::{Held, NotReplayable, Piece, Pieces, ReplayError, WrapBody, upload::Progress};

mod reader;
pub(super) use reader::Reader;

/// What the handle needs of a recording, whatever its error conversion is.
pub(super) trait Recording<B> {
    fn copy(self: Arc<Self>) -> Result<B, NotReplayable>;
    fn held(&self) -> Held;
    /// Ends the recording: no copy will be asked for any more.
    fn close(&self);
}

pub(super) struct Shared<B: Body, F> {
    state: Mutex<State<B>>,
    cap: usize,
    error: F,
    /// Of the source, for whoever judges the call.
    progress: Arc<Progress>,
}

struct State<B: Body> {
    source: Source<B>,
    /// What the source said of itself when it was last at rest.
    source_hint: SizeHint,
    source_ended: bool,
    pieces: Pieces,
    /// The newest reader's place in `pieces`. It is at their end whenever the source is read.
    next: usize,
    epoch: u64,
    mode: Mode,
    /// The newest reader was dropped.
    abandoned: bool,
    /// The newest reader, waiting: for the source, or for an older reader to bring it back.
    waiting: Option<Waker>,
}

enum Source<B: Body> {
    AtRest(B),
    /// A reader polls it at this moment.
    Taken,
    Ended,
    /// With the error, as long as the newest reader has not seen it.
    Failed(Option<B::Error>),
    Lost,
}

enum Mode {
    /// A copy may be asked for.
    Recording,
    /// None can be made any more, for this reason: pieces leave as they are read.
    Stopped(NotReplayable),
    /// None will be asked for: the same.
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
    /// Of a body that isn't at its end.
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
        // Nothing under the lock can leave the state half changed.
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

    /// Takes up what the newest reader just read. Returns what is no longer needed, to be dropped outside the lock.
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

    /// Takes up what an older reader had begun to read when a newer one took over, for the newer one to read.
    fn hand_over(&mut self, piece: Piece, cap: usize) {
        if matches!(self.mode, Mode::Recording) && !self.pieces.has_room_for(&piece, cap) {
            self.mode = Mode::Stopped(NotReplayable::TooLarge);
        }
        self.pieces.push(piece);
        self.pieces.seal();
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
        state.pieces.seal();
        state.next = 0;
        let epoch = state.epoch;
        let superseded = state.waiting.take();
        drop(state);
        self.progress.restart();
        // Its task may wait for the source, which from now on wakes another one: it would never learn that it is out.
        if let Some(waker) = superseded {
            waker.wake();
        }
        Ok(B::wrap(Reader::new(self, epoch)))
    }

    fn held(&self) -> Held {
        let state = self.lock();
        match (&state.mode, &state.source) {
            (Mode::Stopped(reason), _) => Held::Nothing(*reason),
            (_, Source::Failed(_) | Source::Lost) => Held::Nothing(NotReplayable::SourceFailed),
            _ if state.source_ended => Held::Whole,
            _ if state.abandoned => Held::Abandoned,
            _ => Held::Partly,
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
