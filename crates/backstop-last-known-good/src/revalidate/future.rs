//! The response future.
//!
//! | state | event | next state |
//! |---|---|---|
//! | finding | a stored answer may be served | done; if it is stale, a refresh goes to the executor |
//! | finding | no stored answer may be served | calling |
//! | calling | the service responds | done |

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

use super::{config::StaleWhileRevalidateConfig, layer_state::LayerState};
use crate::{
    Store,
    handle::{ServableAnswer, Window},
    running::TaskPermit,
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
        Finding {
            finding: Find<S, ReqBody, ResBody>,
            // Taken when the call starts.
            entered: Option<Entered>,
        },
        Calling { #[pin] call: ServiceCall<S, Request<ReqBody>> },
    }
}

/// Returns the stored answer; without one, returns the service and the request.
type Find<S, ReqBody, ResBody> = Pin<Box<dyn Future<Output = Result<Response<ResBody>, (S, Request<ReqBody>)>> + Send>>;

impl<S, ReqBody, ResBody> StaleWhileRevalidateFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Future: Send, Error: Send> + Send + 'static,
    ReqBody: Send + 'static,
    ResBody: WrapBody,
{
    pub(super) fn calling(inner: S, request: Request<ReqBody>) -> Self {
        Self { state: State::Calling { call: ServiceCall::when_ready(inner, request) } }
    }

    pub(super) fn finding<St: Store>(inner: S, request: Request<ReqBody>, shared: Arc<LayerState<St>>) -> Self {
        let finding = Box::pin(find(inner, request, shared));
        Self { state: State::Finding { finding, entered: Some(Entered::now()) } }
    }
}

async fn find<S, St, ReqBody, ResBody>(
    inner: S,
    request: Request<ReqBody>,
    shared: Arc<LayerState<St>>,
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
    let Some(ServableAnswer { key, mut response, age, window }) = found else {
        return Err((inner, request));
    };
    if window == Window::Stale {
        let name = shared.known.name();
        telemetry::served(name, age);
        let record = Degradation::new(name.clone(), name.clone(), 1, Reason::REVALIDATING, Freshness::stale(age));
        scope::report(record.clone());
        response.extensions_mut().insert(record);
        let StaleWhileRevalidateConfig { refresh_timeout, max_refreshes } = *shared.settings.load();
        if let Ok(permit) = shared.refreshes.try_start(key, max_refreshes) {
            (shared.execute)(Box::pin(refresh(ServiceCall::when_ready(inner, request), refresh_timeout, permit)));
        }
    }
    Ok(response)
}

/// Calls the service and reads the response, so that the layer inside stores it.
async fn refresh<S, ReqBody, ResBody>(call: ServiceCall<S, Request<ReqBody>>, limit: Duration, permit: TaskPermit)
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
    // No caller gets this response. The layer inside reads its reports.
    let (mut scope, mut refreshing) = (Scope::new(), pin!(refreshing));
    let refreshing = poll_fn(|cx| scope.enter_as_reader(|| refreshing.as_mut().poll(cx)));
    // The layer inside logs the result.
    _ = tokio::time::timeout(limit, refreshing).await;
    drop(permit);
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
                StateProject::Finding { finding, entered } => {
                    entered.as_mut().map(Entered::polled);
                    match ready!(finding.as_mut().poll(cx)) {
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
            State::Finding { .. } => "finding",
            State::Calling { .. } => "calling",
        };
        f.debug_struct("StaleWhileRevalidateFuture").field("state", &state).finish_non_exhaustive()
    }
}
