//! A body that does what it is told, and helpers to read bodies.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Erased = UnsyncBoxBody<Bytes, BoxError>;

pub(crate) enum Act<E = BoxError> {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Pending once, and woken at once.
    Later,
    /// Pending for good; the waker is put where the test finds it.
    Hang(Arc<Mutex<Option<Waker>>>),
    Fail(E),
    /// Does this, then goes on with the next act.
    Call(Box<dyn FnOnce(&mut Context<'_>) + Send>),
    Panic,
}

pub(crate) fn data(bytes: &'static [u8]) -> Act {
    Act::Data(Bytes::from_static(bytes))
}

/// Plays its acts and then ends.
pub(crate) struct Script<E = BoxError> {
    acts: VecDeque<Act<E>>,
    /// Whether it declares its length, as a body with a `Content-Length` does.
    length: Length,
    dropped: Option<Arc<AtomicUsize>>,
}

pub(crate) enum Length {
    Declared,
    Unknown,
}

impl<E> Script<E> {
    pub(crate) fn new(acts: impl IntoIterator<Item = Act<E>>) -> Self {
        Self { acts: acts.into_iter().collect(), length: Length::Unknown, dropped: None }
    }

    pub(crate) fn with_length(mut self, length: Length) -> Self {
        self.length = length;
        self
    }

    /// Counts its drop.
    pub(crate) fn counted(mut self, drops: &Arc<AtomicUsize>) -> Self {
        self.dropped = Some(Arc::clone(drops));
        self
    }
}

impl<E> Drop for Script<E> {
    fn drop(&mut self) {
        if let Some(drops) = &self.dropped {
            drops.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl<E: Unpin> Body for Script<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        loop {
            return match self.acts.pop_front() {
                None => Poll::Ready(None),
                Some(Act::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Act::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Some(Act::Later) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Some(Act::Hang(slot)) => {
                    *slot.lock().unwrap() = Some(cx.waker().clone());
                    self.acts.push_front(Act::Hang(slot));
                    Poll::Pending
                }
                Some(Act::Fail(error)) => Poll::Ready(Some(Err(error))),
                Some(Act::Call(call)) => {
                    call(cx);
                    continue;
                }
                Some(Act::Panic) => panic!("the body panics, as it was told"),
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        // A body of unknown length doesn't know its end before it has come.
        matches!(self.length, Length::Declared) && self.acts.iter().all(|act| matches!(act, Act::Hang(_)))
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Length::Unknown => SizeHint::new(),
            Length::Declared => SizeHint::with_exact(
                self.acts.iter().map(|act| if let Act::Data(data) = act { data.len() as u64 } else { 0 }).sum(),
            ),
        }
    }
}

pub(crate) fn trailers(value: &'static str) -> HeaderMap {
    let name = HeaderName::from_static("x-checksum");
    HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
}

/// What a body gave: its bytes, and its trailers.
pub(crate) type Read = (Vec<u8>, Vec<HeaderMap>);

/// Reads up to `frames` frames.
pub(crate) async fn read_some<B>(body: &mut B, frames: usize) -> Result<Read, B::Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    use http_body_util::BodyExt;

    let mut read = Read::default();
    for _ in 0..frames {
        let Some(frame) = body.frame().await else {
            break;
        };
        match frame?.into_data() {
            Ok(data) => read.0.extend_from_slice(&data),
            Err(frame) => read.1.push(frame.into_trailers().unwrap()),
        }
    }
    Ok(read)
}

pub(crate) async fn read_all<B>(mut body: B) -> Result<Read, B::Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    read_some(&mut body, usize::MAX).await
}

pub(crate) fn poll_once<B>(body: &mut B) -> Poll<Option<Result<Frame<Bytes>, B::Error>>>
where
    B: Body<Data = Bytes> + Unpin,
{
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// A chunk that counts when its memory is released.
pub(crate) fn counted_chunk(size: usize, released: &Arc<AtomicUsize>) -> Bytes {
    struct Owner(Vec<u8>, Arc<AtomicUsize>);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Owner {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    Bytes::from_owner(Owner(vec![b'x'; size], Arc::clone(released)))
}
