//! Why a call of a function gave no value.

use std::{error::Error, fmt};

use backstop_core::Rejection;

/// Why a protected call of a function gave no value: a layer rejected it, or the function failed.
///
/// ```
/// use backstop_kit::CallError;
///
/// fn is_missing(error: &CallError<std::io::Error>) -> bool {
///     matches!(error, CallError::Failed(error) if error.kind() == std::io::ErrorKind::NotFound)
/// }
/// # assert!(is_missing(&CallError::Failed(std::io::ErrorKind::NotFound.into())));
/// ```
///
/// Its text includes that of its [`source`](Error::source), which is the rejection or the function's error. Guards and
/// layers further out find a [`Rejection`] in it, also where it is in another error, boxed, or a source: it counts as it says.
///
/// # As a response
///
/// With the feature `axum` it can be returned from a handler. No response carries the text of an error.
///
/// | error | status | headers |
/// |---|---|---|
/// | `Rejected` | [the rejection's](Rejection::status): 503; 504 if the time was up | `cache-control: no-store`; `retry-after` where a wait is known |
/// | `Failed`, with a rejection further in | the same | the same |
/// | any other `Failed` | 500 | `cache-control: no-store` |
///
/// Errors that are the caller's fault, such as "not found", need an answer of your own: match them first.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallError<E> {
    /// A layer made this answer itself: the circuit is open, the bulkhead is full, or the time was up.
    Rejected(Rejection),
    /// The function's own error, of the last attempt.
    Failed(E),
}

impl<E> CallError<E> {
    /// The rejection, if a layer rejected the call.
    #[must_use]
    pub const fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Failed(_) => None,
        }
    }

    /// The function's error, if it failed.
    #[must_use]
    pub const fn error(&self) -> Option<&E> {
        match self {
            Self::Rejected(_) => None,
            Self::Failed(error) => Some(error),
        }
    }

    /// The same with another error type.
    pub fn map<E2>(self, f: impl FnOnce(E) -> E2) -> CallError<E2> {
        match self {
            Self::Rejected(rejection) => CallError::Rejected(rejection),
            Self::Failed(error) => CallError::Failed(f(error)),
        }
    }
}

impl<E> From<Rejection> for CallError<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => write!(f, "the call was rejected: {rejection}"),
            Self::Failed(error) => write!(f, "the call failed: {error}"),
        }
    }
}

impl<E: Error + 'static> Error for CallError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(match self {
            Self::Rejected(rejection) => rejection,
            Self::Failed(error) => error,
        })
    }
}

#[cfg(feature = "axum")]
impl<E: 'static> axum_core::response::IntoResponse for CallError<E> {
    fn into_response(self) -> axum_core::response::Response {
        use backstop_core::{ErrorRef, grpc::WireProtocol};
        use http::{HeaderValue, StatusCode, header::CACHE_CONTROL};

        let rejection = match &self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Failed(error) => {
                let found = Rejection::in_error(ErrorRef::new(&self));
                found.or_else(|| Rejection::in_error(ErrorRef::new(error)))
            }
        };
        if let Some(rejection) = rejection {
            return crate::http_response(WireProtocol::Http, rejection.clone());
        }
        let mut response = axum_core::response::Response::default();
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

#[cfg(test)]
mod tests;
