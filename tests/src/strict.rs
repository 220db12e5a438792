//! A service that checks that it was ready before it is called.

use axum::{
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use backstop_test::Scripted;

/// Panics if a service is called that wasn't ready itself.
pub type Strict<E> = Scripted<Request, Response, E>;

/// A service that answers with these statuses, and then with 200.
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
