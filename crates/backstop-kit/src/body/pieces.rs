//! The frames that have been read of a body, in order.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

/// Chunks below this size, in bytes, are copied together. A small `Bytes` is often a slice of a large read buffer, and
/// keeps that alive: many tiny chunks could hold many times the memory that they are counted as.
const COPIED_BELOW: usize = 1024;

/// A frame that can be cloned.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    // Boxed, because a header map is as large as three chunks, and there is at most one.
    Trailers(Box<HeaderMap>),
}

impl Piece {
    /// `Err` gives back a frame of a kind that this version of `http-body` doesn't know yet.
    pub(crate) fn from_frame(frame: Frame<Bytes>) -> Result<Self, Frame<Bytes>> {
        match frame.into_data() {
            Ok(data) => Ok(Self::Data(data)),
            Err(frame) => frame.into_trailers().map(|trailers| Self::Trailers(Box::new(trailers))),
        }
    }

    pub(crate) fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(*trailers),
        }
    }

    /// The bytes of data in it, as size hints count them.
    pub(crate) fn data_len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }

    /// The bytes that it counts against a cap. Trailers count, too.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(trailers) => {
                // One for the frame itself, so that an endless row of empty trailers reaches the cap.
                trailers.iter().fold(1, |sum, (name, value)| sum + name.as_str().len() + value.len())
            }
        }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Data(Bytes::new()))
    }
}

/// A list of pieces. Small chunks are merged.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    complete: Vec<Piece>,
    /// Small chunks, not yet one of the pieces.
    tail: BytesMut,
    cost: usize,
}

impl Pieces {
    pub(crate) fn push(&mut self, piece: Piece) {
        self.cost = self.cost.saturating_add(piece.cost());
        match piece {
            // An endless row of empty chunks must not grow the list.
            Piece::Data(data) if data.is_empty() => {}
            Piece::Data(data) if data.len() < COPIED_BELOW => self.tail.extend_from_slice(&data),
            piece => {
                self.flush_tail();
                self.complete.push(piece);
            }
        }
    }

    /// Makes a piece of the small chunks.
    pub(crate) fn flush_tail(&mut self) {
        if !self.tail.is_empty() {
            self.complete.push(Piece::Data(std::mem::take(&mut self.tail).freeze()));
        }
    }

    /// The number of pieces, without small chunks that aren't one of them yet.
    pub(crate) fn len(&self) -> usize {
        self.complete.len()
    }

    /// Whether all pieces and this one cost at most `cap` bytes.
    pub(crate) fn has_room_for(&self, piece: &Piece, cap: usize) -> bool {
        self.cost.saturating_add(piece.cost()) <= cap
    }

    /// The trailers, if they have arrived.
    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        self.complete.iter().rev().find_map(|piece| match piece {
            Piece::Trailers(trailers) => Some(&**trailers),
            Piece::Data(_) => None,
        })
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Piece> {
        self.complete.get(index)
    }

    /// Takes the piece out. Its cost still counts.
    pub(crate) fn take(&mut self, index: usize) -> Option<Piece> {
        self.complete.get_mut(index).map(Piece::take)
    }

    /// The bytes of data from the piece at `index` on.
    pub(crate) fn data_len_from(&self, index: usize) -> u64 {
        let pieces = self.complete.get(index..).unwrap_or_default();
        pieces.iter().map(|piece| piece.data_len() as u64).sum()
    }

    /// Removes and returns the pieces before `index`. The caller drops them outside its lock.
    pub(crate) fn split_off_read(&mut self, index: usize) -> Vec<Piece> {
        let rest = self.complete.split_off(index.min(self.complete.len()));
        std::mem::replace(&mut self.complete, rest)
    }

    pub(crate) fn into_vec(mut self) -> Vec<Piece> {
        self.flush_tail();
        self.complete
    }
}
