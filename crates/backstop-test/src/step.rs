//! One step of a script.

use std::{future::pending, time::Duration};

use http::{Response, StatusCode};

/// What one call of a [`Scripted`](crate::Scripted) service does.
#[derive(Debug)]
pub struct Step<Res, E> {
    after: Duration,
    /// `None` hangs.
    result: Option<Result<Res, E>>,
}

impl<Res, E> Step<Res, E> {
    /// Answers.
    pub const fn answer(response: Res) -> Self {
        Self { after: Duration::ZERO, result: Some(Ok(response)) }
    }

    /// Fails.
    pub const fn error(error: E) -> Self {
        Self { after: Duration::ZERO, result: Some(Err(error)) }
    }

    /// Never ends.
    #[must_use]
    pub const fn hang() -> Self {
        Self { after: Duration::ZERO, result: None }
    }

    /// Waits that long before it answers or fails, in `tokio::time`.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self { after: wait, ..self }
    }

    pub(crate) async fn run(self) -> Result<Res, E> {
        if self.after > Duration::ZERO {
            tokio::time::sleep(self.after).await;
        }
        match self.result {
            Some(result) => result,
            None => pending().await,
        }
    }
}

impl<B: Default, E> Step<Response<B>, E> {
    /// Answers with this status and an empty body.
    ///
    /// # Panics
    ///
    /// If `status` isn't between 100 and 999.
    #[must_use]
    #[track_caller]
    pub fn status(status: u16) -> Self {
        Self::answer(respond(status))
    }
}

/// A response of this status with an empty body.
#[track_caller]
pub(crate) fn respond<B: Default>(status: u16) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status is between 100 and 999");
    response
}
