//! Ending a body with a rejection, as an error of the body's own type.

use backstop_core::Rejection;
use bytes::Bytes;
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};

use crate::WrapBody;

/// A body that a layer can end early, for example when a time limit covers the whole response.
///
/// Implemented for `axum::body::Body` (feature `axum`), for `tonic::body::Body` (feature `tonic`), and for the boxed bodies
/// of `http-body-util` whose error implements `From<Rejection>`, as `BoxError` does.
#[diagnostic::on_unimplemented(
    message = "a layer can't break off a `{Self}`",
    label = "no way to make an error of this body",
    note = "for `axum::body::Body` enable Backstop's feature `axum`, for `tonic::body::Body` the feature `tonic` on a server \
            and `tonic-transport` around a `Channel`",
    note = "for other bodies, map the body below the layer, for example with `tower_http::map_response_body` to \
            `axum::body::Body` or to `UnsyncBoxBody<Bytes, BoxError>`"
)]
pub trait AbortBody: WrapBody {
    /// The error that ends the body. [`Rejection::in_error`] finds the rejection in it.
    #[must_use]
    fn abort(rejection: Rejection) -> Self::Error;
}

#[cfg(feature = "axum")]
#[diagnostic::do_not_recommend]
impl AbortBody for axum_core::body::Body {
    fn abort(rejection: Rejection) -> axum_core::Error {
        axum_core::Error::new(rejection)
    }
}

/// The status has the rejection's gRPC code.
#[cfg(feature = "tonic")]
#[diagnostic::do_not_recommend]
impl AbortBody for tonic::body::Body {
    fn abort(rejection: Rejection) -> tonic::Status {
        let code = tonic::Code::from_i32(rejection.code().number().into());
        let mut status = tonic::Status::new(code, rejection.to_string());
        status.set_source(std::sync::Arc::new(rejection));
        status
    }
}

#[diagnostic::do_not_recommend]
impl<E: From<Rejection> + 'static> AbortBody for UnsyncBoxBody<Bytes, E> {
    fn abort(rejection: Rejection) -> E {
        rejection.into()
    }
}

#[diagnostic::do_not_recommend]
impl<E: From<Rejection> + 'static> AbortBody for BoxBody<Bytes, E> {
    fn abort(rejection: Rejection) -> E {
        rejection.into()
    }
}

#[cfg(test)]
mod tests {
    use backstop_core::{ErrorRef, SetBy, name};

    use super::*;
    use crate::{Elapsed, Progress};

    fn too_late() -> Rejection {
        Elapsed::new(SetBy::Us, Progress::Called).rejection(name!("ml_service"))
    }

    fn found_again<B: AbortBody>()
    where
        B::Error: 'static,
    {
        let error = B::abort(too_late());
        let rejection = Rejection::in_error(ErrorRef::new(&error));
        assert_eq!(rejection.map(ToString::to_string), Some(too_late().to_string()));
    }

    type BoxError = Box<dyn std::error::Error + Send + Sync>;

    #[test]
    fn the_rejection_is_found_again_in_the_error() {
        found_again::<UnsyncBoxBody<Bytes, BoxError>>();
        found_again::<BoxBody<Bytes, BoxError>>();
        found_again::<UnsyncBoxBody<Bytes, Rejection>>();
    }

    #[cfg(feature = "axum")]
    #[test]
    fn the_rejection_is_found_again_in_axums_error() {
        found_again::<axum_core::body::Body>();
    }

    #[cfg(feature = "tonic")]
    #[test]
    fn the_rejection_is_found_again_in_tonics_status() {
        found_again::<tonic::body::Body>();
        assert_eq!(tonic::body::Body::abort(too_late()).code(), tonic::Code::DeadlineExceeded);
    }
}
