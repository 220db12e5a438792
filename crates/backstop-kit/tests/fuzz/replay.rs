//! A body, its copies and their readers, in any order.

use std::{
    collections::VecDeque,
    error::Error,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use backstop_kit::{NotReplayable, Replay, ReplayError, ReplayState, ReplayableBody};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

type BoxError = Box<dyn Error + Send + Sync>;
type Erased = UnsyncBoxBody<Bytes, BoxError>;

/// The input: a cap, what a body does, and what is done with it and its copies.
///
/// | byte | |
/// |---|---|
/// | the first two | the cap, in bytes |
/// | the third | how many of the following say what the body does; with the highest bit set, it declares no length |
/// | of the body | by its lowest two bits: a chunk (its length the other bits, or a hundred times that), a pause, trailers, a failure |
/// | of the readers | by its lowest two bits: the newest reader is polled, an earlier one is, a copy is made, something is dropped |
pub(crate) fn holds_for(input: &[u8]) {
    let [low, high, length, rest @ ..] = input else { return };
    let (acts, steps) = rest.split_at(usize::from(*length & 0x7f).min(rest.len()));
    let cap = usize::from(u16::from_le_bytes([*low, *high]));
    let source = Source::of(acts, *length < 0x80);
    let whole = Whole::of(&source, cap);
    let (first, replay) = Erased::new(source).split(cap);
    let mut bench = Bench { whole, cap, handle: Some(replay), newest: Reader::new(Some(first)), earlier: Vec::new() };
    bench.check_hints();
    for step in steps {
        match step & 3 {
            0 => bench.newest.poll(&bench.whole),
            1 => bench.poll_earlier(usize::from(step >> 2)),
            2 => bench.copy(),
            _ if step & 4 == 0 => bench.newest.body = None,
            _ => bench.handle = None,
        }
        bench.check_hints();
    }
}

/// One thing that the source does when it is polled.
#[derive(Clone, Debug)]
enum Act {
    Data(Bytes),
    Pause,
    Trailers(HeaderMap),
    Fail,
}

struct Source {
    acts: VecDeque<Act>,
    declares: bool,
}

impl Source {
    fn of(acts: &[u8], declares: bool) -> Self {
        let mut next = 0_u8;
        let mut numbered = || {
            next = next.wrapping_add(1);
            next
        };
        let acts = acts.iter().map(|act| match act & 3 {
            0 => {
                let length = usize::from(act >> 3) * if act & 4 == 0 { 1 } else { 100 };
                Act::Data((0..length).map(|_| numbered()).collect())
            }
            1 => Act::Pause,
            2 => Act::Trailers(HeaderMap::from_iter([(header::ETAG, HeaderValue::from(u16::from(numbered())))])),
            _ => Act::Fail,
        });
        Self { acts: acts.collect(), declares }
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.acts.pop_front() {
            Some(Act::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Act::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Act::Pause) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Act::Fail) => {
                self.acts.clear();
                Poll::Ready(Some(Err("the source fails, as it was told".into())))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.declares && self.acts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let sizes = self.acts.iter().map(|act| if let Act::Data(data) = act { data.len() as u64 } else { 0 });
        if self.declares { SizeHint::with_exact(sizes.sum()) } else { SizeHint::new() }
    }
}

/// What a reader has read.
#[derive(Debug, Default, PartialEq)]
struct Read {
    data: Vec<u8>,
    trailers: Vec<HeaderMap>,
}

impl Read {
    /// What it counts as against the cap.
    fn cost(&self) -> usize {
        let fields = self.trailers.iter().flatten().map(|(name, value)| name.as_str().len() + value.len());
        self.data.len() + self.trailers.len() + fields.sum::<usize>()
    }
}

/// What there is to read.
struct Whole {
    read: Read,
    fails: bool,
    fits: bool,
}

impl Whole {
    fn of(source: &Source, cap: usize) -> Self {
        let mut whole = Self { read: Read::default(), fails: false, fits: true };
        for act in &source.acts {
            match act {
                Act::Data(data) => whole.read.data.extend_from_slice(data),
                Act::Trailers(trailers) => whole.read.trailers.push(trailers.clone()),
                Act::Pause => {}
                Act::Fail => {
                    whole.fails = true;
                    break;
                }
            }
        }
        whole.fits = whole.read.cost() <= cap && source.size_hint().lower() <= cap as u64;
        whole
    }
}

#[derive(Default)]
struct Reader {
    body: Option<Erased>,
    read: Read,
    ended: bool,
    failed: bool,
}

impl Reader {
    fn new(body: Option<Erased>) -> Self {
        Self { body, ..Self::default() }
    }

    /// One frame more, of the newest reader.
    fn poll(&mut self, whole: &Whole) {
        let Some(body) = &mut self.body else { return };
        let said_end = body.is_end_stream();
        match poll(body) {
            Poll::Pending => assert!(!said_end && !self.ended),
            Poll::Ready(None) => {
                self.ended = true;
                assert!(self.failed || (!whole.fails && self.read == whole.read), "an end is the whole body's end");
            }
            Poll::Ready(Some(Ok(frame))) => {
                assert!(!said_end && !self.ended && !self.failed);
                match frame.into_data() {
                    Ok(data) => self.read.data.extend_from_slice(&data),
                    Err(frame) => self.read.trailers.extend(frame.into_trailers()),
                }
                assert!(whole.read.data.starts_with(&self.read.data), "byte for byte");
                assert!(whole.read.trailers.starts_with(&self.read.trailers));
            }
            Poll::Ready(Some(Err(error))) => {
                assert!(whole.fails && !self.failed, "{error}");
                assert!(!error.is::<ReplayError>(), "it is the source's own");
                self.failed = true;
            }
        }
    }
}

/// A body with all its readers.
struct Bench {
    whole: Whole,
    cap: usize,
    handle: Option<Replay<Erased>>,
    newest: Reader,
    earlier: Vec<Reader>,
}

impl Bench {
    fn copy(&mut self) {
        let Some(handle) = &mut self.handle else { return };
        let state = handle.state();
        match handle.copy() {
            Ok(copy) => {
                assert!(!matches!(state, ReplayState::Nothing(_)));
                assert!(self.newest.read.cost() <= self.cap, "no more is kept");
                self.earlier.push(std::mem::replace(&mut self.newest, Reader::new(Some(copy))));
            }
            Err(reason) => {
                assert_eq!(state, ReplayState::Nothing(reason));
                match reason {
                    NotReplayable::TooLarge => assert!(!self.whole.fits),
                    NotReplayable::SourceFailed => assert!(self.whole.fails),
                    other => panic!("{other}"),
                }
            }
        }
    }

    /// A reader that a copy has taken over from: it gets to know, and gets nothing else.
    fn poll_earlier(&mut self, which: usize) {
        let count = self.earlier.len().max(1);
        let Some(reader) = self.earlier.get_mut(which % count) else { return };
        let Some(body) = &mut reader.body else { return };
        let said_end = body.is_end_stream();
        match poll(body) {
            Poll::Ready(Some(Err(error))) => {
                assert!(error.is::<ReplayError>() && !reader.failed && !said_end);
                reader.failed = true;
            }
            // A body that was at its end is nobody's reader.
            Poll::Ready(None) => assert!(reader.failed || reader.ended || self.whole.read == Read::default()),
            polled => panic!("{polled:?}"),
        }
    }

    fn check_hints(&self) {
        let Reader { body: Some(body), read, failed: false, .. } = &self.newest else { return };
        let left = (self.whole.read.data.len() - read.data.len()) as u64;
        let hint = body.size_hint();
        if !self.whole.fails {
            assert!(hint.lower() <= left && hint.upper().is_none_or(|upper| left <= upper), "{hint:?} of {left}");
        }
        if let Some(ReplayState::Whole) = self.handle.as_ref().map(Replay::state) {
            assert!(self.whole.fits && !self.whole.fails);
        }
    }
}

fn poll(body: &mut Erased) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}
