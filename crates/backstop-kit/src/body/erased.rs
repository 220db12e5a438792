//! The type-erased bodies that this crate knows.
//!
//! Layers accept requests with a body of any type. They can wrap it only if its type is one of these.

use std::{any::Any, convert::Infallible, error::Error, io};

use bytes::Bytes;
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};

use super::{ClientBody, WrapBody};

type BoxError = Box<dyn Error + Send + Sync>;

/// An operation on a body of a known type.
pub(super) trait Visit {
    type Output;

    fn visit<B: WrapBody<Error: Send>>(self, body: &mut B) -> Self::Output;
}

/// Calls `visitor` with a body of a known type. `None` for a body of any other type.
#[inline]
pub(super) fn visit<B: 'static, V: Visit>(body: &mut B, visitor: V) -> Option<V::Output> {
    let body: &mut dyn Any = body;
    macro_rules! known {
        ($($known:ty),+) => {
            $(if let Some(body) = body.downcast_mut::<$known>() {
                return Some(visitor.visit(body));
            })+
        };
    }
    #[cfg(feature = "axum")]
    known!(axum_core::body::Body, UnsyncBoxBody<Bytes, axum_core::Error>);
    #[cfg(feature = "tonic")]
    known!(tonic::body::Body, UnsyncBoxBody<Bytes, tonic::Status>);
    #[cfg(feature = "hyper-util")]
    known!(UnsyncBoxBody<Bytes, hyper::Error>, BoxBody<Bytes, hyper::Error>);
    known!(
        ClientBody,
        UnsyncBoxBody<Bytes, BoxError>,
        BoxBody<Bytes, BoxError>,
        UnsyncBoxBody<Bytes, io::Error>,
        BoxBody<Bytes, io::Error>,
        UnsyncBoxBody<Bytes, Infallible>,
        BoxBody<Bytes, Infallible>
    );
    None
}
