//! The service.

use std::{
    error::Error as StdError,
    task::{Context, Poll},
};

use backstop_kit::{ClientBody, SyncBody};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use reqwest::{ClientBuilder, redirect};
use tower_service::Service;

use crate::{Error, ReqwestFuture, error::Proof, redirects};

/// A [`reqwest::Client`] as a tower service of [`http::Request`]. See the [crate docs](crate).
///
/// A clone is cheap, and shares the connections.
#[derive(Clone, Debug)]
pub struct ReqwestClient {
    client: reqwest::Client,
    proof: Proof,
}

impl ReqwestClient {
    /// Builds the client without reqwest's own retries. It follows up to 10 redirects, as reqwest does by default.
    ///
    /// Replaces the builder's `retry` and `redirect`. For other redirects there is
    /// [`build_with_redirects`](Self::build_with_redirects).
    ///
    /// # Errors
    /// As [`ClientBuilder::build`].
    pub fn build(builder: ClientBuilder) -> reqwest::Result<Self> {
        Self::build_with_redirects(builder, redirect::Policy::default())
    }

    /// The same with this redirect policy: `redirect::Policy::none()` returns redirects as answers.
    ///
    /// # Errors
    /// As [`ClientBuilder::build`].
    pub fn build_with_redirects(builder: ClientBuilder, policy: redirect::Policy) -> reqwest::Result<Self> {
        let builder = builder.retry(reqwest::retry::never()).redirect(redirects::watched(policy));
        Ok(Self::with(builder.build()?, Proof::UntilRedirected))
    }

    fn with(client: reqwest::Client, proof: Proof) -> Self {
        // So that layers find the causes of our errors.
        backstop_core::see_through::<Error>();
        Self { client, proof }
    }

    /// The client.
    #[must_use]
    pub const fn get_ref(&self) -> &reqwest::Client {
        &self.client
    }

    /// The client.
    #[must_use]
    pub fn into_inner(self) -> reqwest::Client {
        self.client
    }
}

/// A client that was built elsewhere. It may retry and follow redirects, so its errors prove nothing: a `POST` that failed
/// isn't sent again, even after a refused connection.
impl From<reqwest::Client> for ReqwestClient {
    fn from(client: reqwest::Client) -> Self {
        Self::with(client, Proof::Never)
    }
}

impl<B> Service<Request<B>> for ReqwestClient
where
    B: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Send + 'static,
{
    type Response = Response<ClientBody>;
    type Error = Error;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ReqwestFuture {
        // reqwest's time limit for one request is an extension, which is kept.
        match request.map(sent).try_into() {
            Ok(request) => ReqwestFuture::called(self.client.call(request), self.proof),
            Err(error) => ReqwestFuture::failed(error),
        }
    }
}

/// reqwest's body. A known end stays known, so that no body is announced.
fn sent<B>(body: B) -> reqwest::Body
where
    B: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Send + 'static,
{
    if body.is_end_stream() { reqwest::Body::default() } else { reqwest::Body::wrap(SyncBody::new(body)) }
}
