//! The response future.
//!
//! | state | on | to |
//! |---|---|---|
//! | looking | an answer is stored that may be served | answered; where it is stale, a refresh is handed to the executor |
//! | looking | none is | calling |
//! | calling | the service's answer | answered |

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use backstop_core::{Degradation, Freshness, Reason, Scope, scope};
use backstop_kit::{ServiceCall, WrapBody, polled_again, proof::Entered};
use http::{Request, Response};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{Shared, flights::Flight};
use crate::{
    Store,
    handle::{Servable, Window},
    telemetry,
};

pin_project! {
    /// The response future of [`StaleWhileRevalidate`](crate::StaleWhileRevalidate).
    #[must_use = "futures do nothing unless polled"]
    pub struct StaleWhileRevalidateFuture<S, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<S, ReqBody, ResBody>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<S, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        Looking {
            looking: Looking<S, ReqBody, ResBody>,
            // Taken for the call.
            entered: Option<Entered>,
        },
        Calling { #[pin] call: ServiceCall<S, Request<ReqBody>> },
    }
}

/// Gives the stored answer, or the service and the request back, if there is none.
type Looking<S, ReqBody, ResBody> =
    Pin<Box<dyn Future<Output = Result<Response<ResBody>, (S, Request<ReqBody>)>> + Send>>;

impl<S, ReqBody, ResBody> StaleWhileRevalidateFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Future: Send, Error: Send> + Send + 'static,
    ReqBody: Send + 'static,
    ResBody: WrapBody,
{
    pub(super) fn calling(inner: S, request: Request<ReqBody>) -> Self {
        Self { state: State::Calling { call: ServiceCall::when_ready(inner, request) } }
    }

    pub(super) fn looking<St: Store>(inner: S, request: Request<ReqBody>, shared: Arc<Shared<St>>) -> Self {
        let looking = Box::pin(look(inner, request, shared));
        Self { state: State::Looking { looking, entered: Some(Entered::now()) } }
    }
}

async fn look<S, St, ReqBody, ResBody>(
    inner: S,
    request: Request<ReqBody>,
    shared: Arc<Shared<St>>,
) -> Result<Response<ResBody>, (S, Request<ReqBody>)>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Future: Send, Error: Send> + Send + 'static,
    St: Store,
    ReqBody: Send + 'static,
    ResBody: WrapBody,
{
    let (head, body) = request.into_parts();
    let found = shared.known.servable::<ResBody>(&head).await;
    let request = Request::from_parts(head, body);
    let Some(Servable { key, mut response, age, window }) = found else {
        return Err((inner, request));
    };
    if window == Window::Stale {
        let name = shared.known.name();
        telemetry::served(name, age);
        let record = Degradation::new(name.clone(), name.clone(), 1, Reason::REVALIDATING, Freshness::stale(age));
        scope::report(record.clone());
        response.extensions_mut().insert(record);
        if let Some(flight) = shared.flights.take_off(key) {
            (shared.execute)(Box::pin(refresh(
                ServiceCall::when_ready(inner, request),
                shared.refresh_timeout,
                flight,
            )));
        }
    }
    Ok(response)
}

/// Has the layer inside store a newer answer.
async fn refresh<S, ReqBody, ResBody>(call: ServiceCall<S, Request<ReqBody>>, limit: Duration, flight: Flight)
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: WrapBody,
{
    let refreshing = async {
        if let Ok(response) = call.await {
            let mut body = response.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        }
    };
    // Nobody gets this answer. The layer inside, which stores it, reads what is reported of it.
    let (mut scope, mut refreshing) = (Scope::new(), pin!(refreshing));
    let refreshing = poll_fn(|cx| scope.enter_as_reader(|| refreshing.as_mut().poll(cx)));
    // What became of it, the layer inside tells.
    _ = tokio::time::timeout(limit, refreshing).await;
    drop(flight);
}

impl<S, ReqBody, ResBody> Future for StaleWhileRevalidateFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let (entered, (inner, request)) = match self.as_mut().project().state.project() {
                StateProject::Calling { call } => return call.poll(cx),
                StateProject::Looking { looking, entered } => {
                    entered.as_mut().map(Entered::polled);
                    match ready!(looking.as_mut().poll(cx)) {
                        Ok(response) => return Poll::Ready(Ok(response)),
                        Err(call) => {
                            let Some(entered) = entered.take() else { polled_again("StaleWhileRevalidateFuture") };
                            (entered, call)
                        }
                    }
                }
            };
            let call = ServiceCall::when_ready_for(entered, inner, request);
            self.as_mut().project().state.set(State::Calling { call });
        }
    }
}

impl<S, ReqBody, ResBody> fmt::Debug for StaleWhileRevalidateFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Looking { .. } => "looking",
            State::Calling { .. } => "calling",
        };
        f.debug_struct("StaleWhileRevalidateFuture").field("state", &state).finish_non_exhaustive()
    }
}
