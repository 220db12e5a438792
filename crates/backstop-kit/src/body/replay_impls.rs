//! Which bodies can be sent again.

use bytes::Bytes;
use http_body::Body;
use http_body_util::{
    Empty, Full,
    combinators::{BoxBody, UnsyncBoxBody},
};

use super::{NotReplayable, Replay, ReplayError, ReplayableBody, split_by_recording};

#[cfg(feature = "axum")]
#[diagnostic::do_not_recommend]
impl ReplayableBody for axum_core::body::Body {
    fn split(self, cap: usize) -> (Self, Replay<Self>) {
        split_by_recording(self, cap, axum_core::Error::new)
    }
}

#[cfg(feature = "tonic")]
#[diagnostic::do_not_recommend]
impl ReplayableBody for tonic::body::Body {
    fn split(self, cap: usize) -> (Self, Replay<Self>) {
        split_by_recording(self, cap, |error: ReplayError| {
            let mut status = tonic::Status::cancelled(error.to_string());
            status.set_source(std::sync::Arc::new(error));
            status
        })
    }
}

#[diagnostic::do_not_recommend]
impl<E: From<ReplayError> + Send + 'static> ReplayableBody for UnsyncBoxBody<Bytes, E> {
    fn split(self, cap: usize) -> (Self, Replay<Self>) {
        split_by_recording(self, cap, E::from)
    }
}

#[diagnostic::do_not_recommend]
impl<E: From<ReplayError> + Send + 'static> ReplayableBody for BoxBody<Bytes, E> {
    fn split(self, cap: usize) -> (Self, Replay<Self>) {
        split_by_recording(self, cap, E::from)
    }
}

/// Copies share the bytes. The cap holds here, too, so that it limits what a waiting request keeps, whatever its body's type.
#[diagnostic::do_not_recommend]
impl ReplayableBody for Full<Bytes> {
    fn split(self, cap: usize) -> (Self, Replay<Self>) {
        if self.size_hint().lower() > cap as u64 {
            return (self, Replay::refused(NotReplayable::TooLarge));
        }
        match self.into_inner() {
            Some(bytes) => (Self::new(bytes.clone()), Replay::from_bytes(bytes, Self::new)),
            None => (Self::default(), Replay::ended()),
        }
    }
}

#[diagnostic::do_not_recommend]
impl ReplayableBody for Empty<Bytes> {
    fn split(self, _: usize) -> (Self, Replay<Self>) {
        (self, Replay::ended())
    }
}
