//! What a transport's error proves about its request.

use std::io;

use crate::{ErrorRef, Pushback, grpc::GrpcCode};

/// Whether the request was certainly never processed.
///
/// That is so if the connection was refused or couldn't be made, if the request was cancelled before it was sent, with HTTP/2's
/// `REFUSED_STREAM`, and for streams after the last one of a GOAWAY (RFC 9113 §8.7, §6.8).
pub(crate) fn is_unprocessed(error: ErrorRef<'_>) -> bool {
    error.causes().any(|cause| {
        // A connected socket doesn't report these two, so they come from connecting.
        cause.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::AddrNotAvailable)
        }) || is_unsent(cause)
    })
}

#[cfg(feature = "hyper-util")]
fn is_unsent(cause: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = cause.downcast_ref::<hyper_util::client::legacy::Error>() {
        return error.is_connect();
    }
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        return error.is_canceled();
    }
    #[cfg(feature = "tonic-transport")]
    if cause.is::<tonic::ConnectError>() {
        return true;
    }
    cause.downcast_ref::<h2::Error>().is_some_and(|error| {
        let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        // Only the streams after the last one that the server's GOAWAY names fail with it, whatever its code.
        is_refused || error.is_go_away() && error.is_remote()
    })
}

/// Whether the request's own body failed while it was sent, so that the client gave up.
///
/// On HTTP/2, hyper resets the stream itself then. While the answer is awaited, it does so for no other reason.
#[cfg(feature = "hyper-util")]
pub(crate) fn is_request_body(error: ErrorRef<'_>) -> bool {
    error.causes().any(|cause| {
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            // `is_user` is also true if the runtime was shut down. Only the text tells the two apart.
            return error.is_user() && error.to_string() == "error from user's Body stream";
        }
        let h2 = cause.downcast_ref::<h2::Error>();
        h2.is_some_and(|error| error.is_reset() && !error.is_remote() && !error.is_library())
    })
}

#[cfg(not(feature = "hyper-util"))]
pub(crate) fn is_request_body(_error: ErrorRef<'_>) -> bool {
    false
}

#[cfg(not(feature = "hyper-util"))]
fn is_unsent(_cause: &(dyn std::error::Error + 'static)) -> bool {
    false
}

/// The gRPC status that came as an error, and the server's pushback.
#[cfg(feature = "tonic")]
pub(crate) fn status(error: ErrorRef<'_>) -> Option<(GrpcCode, Option<Pushback>)> {
    let status = error.find::<tonic::Status>()?;
    let pushback = crate::grpc::pushback(status.metadata().as_ref());
    Some((GrpcCode::from_number(status.code().into()), pushback))
}

#[cfg(not(feature = "tonic"))]
pub(crate) fn status(_error: ErrorRef<'_>) -> Option<(GrpcCode, Option<Pushback>)> {
    None
}
