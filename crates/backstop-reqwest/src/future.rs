//! The response future.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_kit::{ClientBody, polled_again};
use http::Response;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{Error, error::Proof, redirects};

type Execution = <reqwest::Client as Service<reqwest::Request>>::Future;

pin_project! {
    /// The response future of [`ReqwestClient`](crate::ReqwestClient).
    ///
    /// # Cancellation
    /// Dropping it ends the request: on HTTP/1.1 by closing the connection, on HTTP/2 by resetting the stream.
    ///
    /// # Panics
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct ReqwestFuture {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProject]
    enum State {
        Called { #[pin] execution: Execution, proof: Proof },
        Failed { error: Option<reqwest::Error> },
    }
}

impl ReqwestFuture {
    pub(crate) const fn called(execution: Execution, proof: Proof) -> Self {
        Self { state: State::Called { execution, proof } }
    }

    /// The request is none that reqwest can send.
    pub(crate) const fn failed(error: reqwest::Error) -> Self {
        Self { state: State::Failed { error: Some(error) } }
    }
}

impl Future for ReqwestFuture {
    type Output = Result<Response<ClientBody>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProject::Called { execution, proof } => {
                let (polled, was_redirected) = redirects::watch(|| execution.poll(cx));
                if was_redirected {
                    *proof = Proof::Never;
                }
                Poll::Ready(match ready!(polled) {
                    Ok(response) => Ok(Response::<reqwest::Body>::from(response).map(ClientBody::new)),
                    Err(error) => Err(Error::new(error, *proof)),
                })
            }
            StateProject::Failed { error } => match error.take() {
                Some(error) => Poll::Ready(Err(Error::unsendable(error))),
                None => polled_again("ReqwestFuture"),
            },
        }
    }
}

impl fmt::Debug for ReqwestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture").finish_non_exhaustive()
    }
}
