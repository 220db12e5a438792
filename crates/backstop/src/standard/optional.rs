//! A layer that may be left out, as a setting: the type is the same with and without it.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// The layer `L`, or nothing.
#[derive(Clone, Copy, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct Optional<L>(pub(super) Option<L>);

impl<L> Optional<L> {
    /// The layer, unless it is left out.
    pub const fn get_ref(&self) -> Option<&L> {
        self.0.as_ref()
    }
}

impl<S, L: Layer<S>> Layer<S> for Optional<L> {
    type Service = OptionalService<S, L>;

    fn layer(&self, inner: S) -> Self::Service {
        match &self.0 {
            Some(layer) => OptionalService::On(layer.layer(inner)),
            None => OptionalService::Off(inner),
        }
    }
}

/// The service that [`Optional`] makes.
pub enum OptionalService<S, L: Layer<S>> {
    /// With the layer.
    On(L::Service),
    /// Without it.
    Off(S),
}

impl<S, L, Req> Service<Req> for OptionalService<S, L>
where
    L: Layer<S>,
    L::Service: Service<Req, Response = S::Response, Error = S::Error>,
    S: Service<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = OptionalFuture<<L::Service as Service<Req>>::Future, S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self {
            Self::On(service) => service.poll_ready(cx),
            Self::Off(service) => service.poll_ready(cx),
        }
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        match self {
            Self::On(service) => OptionalFuture::On { future: call(service, request) },
            Self::Off(service) => OptionalFuture::Off { future: service.call(request) },
        }
    }
}

/// Out of line, so that the layer makes its future where it stays. Inlined, the future is moved there, which costs a standard
/// stack a twentieth of its instructions.
#[inline(never)]
fn call<S: Service<Req>, Req>(service: &mut S, request: Req) -> S::Future {
    service.call(request)
}

impl<S: Clone, L: Layer<S, Service: Clone>> Clone for OptionalService<S, L> {
    fn clone(&self) -> Self {
        match self {
            Self::On(service) => Self::On(service.clone()),
            Self::Off(service) => Self::Off(service.clone()),
        }
    }
}

impl<S: fmt::Debug, L: Layer<S, Service: fmt::Debug>> fmt::Debug for OptionalService<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On(service) => service.fmt(f),
            Self::Off(service) => service.fmt(f),
        }
    }
}

pin_project! {
    /// The response future of [`OptionalService`].
    #[project = OptionalProject]
    #[must_use = "futures do nothing unless polled"]
    #[expect(missing_docs, reason = "the service's variants say it")]
    pub enum OptionalFuture<A, B> {
        On { #[pin] future: A },
        Off { #[pin] future: B },
    }
}

impl<A, B> Future for OptionalFuture<A, B>
where
    A: Future,
    B: Future<Output = A::Output>,
{
    type Output = A::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A::Output> {
        match self.project() {
            OptionalProject::On { future } => future.poll(cx),
            OptionalProject::Off { future } => future.poll(cx),
        }
    }
}

impl<A, B> fmt::Debug for OptionalFuture<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OptionalFuture").finish_non_exhaustive()
    }
}
