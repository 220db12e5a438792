//! A service that can tell whether it was called as a service must be.

use axum::{
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use backstop_test::Scripted;

/// Panics when a service is called that wasn't made ready itself.
pub type Strict<E> = Scripted<Request, Response, E>;

/// A service that soon answers so, and 200 after that.
pub fn strict<E: 'static>(answers: impl Into<Vec<StatusCode>>) -> Strict<E> {
    let answers = answers.into();
    Strict::new(move |call, _| {
        let status = answers.get(call - 1).copied().unwrap_or(StatusCode::OK);
        async move {
            // So that callers meet.
            tokio::task::yield_now().await;
            Ok(status.into_response())
        }
    })
}
