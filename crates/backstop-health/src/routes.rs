//! The routes `/health`, `/livez` and `/readyz`.

mod report;

use std::{convert::Infallible, fmt, sync::Arc};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use backstop_core::Level;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};

use self::report::{Details, Status};
use crate::{ComponentView, Health, HealthView, Readiness};

/// The level of the service, on `/health`: `healthy`, `degraded` or `critical`.
pub const X_SERVICE_LEVEL: HeaderName = HeaderName::from_static("x-service-level");
/// Marks a host as degraded for Envoy: it gets requests only if there are too few others.
const X_ENVOY_DEGRADED: HeaderName = HeaderName::from_static("x-envoy-degraded");

/// The routes of a [`Health`], to be merged into a router: see [`Health::routes`].
#[derive(Clone)]
#[must_use]
pub struct HealthRoutes {
    health: Health,
    details: Option<Arc<Details>>,
    sends_envoy_degraded: bool,
}

impl Health {
    /// The routes `/health`, `/livez` and `/readyz`.
    ///
    /// | route | status | for |
    /// |---|---|---|
    /// | `/health` | 200; 503 while the level is critical | people and dashboards. Never for a balancer or an orchestrator |
    /// | `/readyz` | 200; 503 unless the instance is [ready](Health::readiness) | balancers, Kubernetes' readiness probe |
    /// | `/livez` | 200 | Kubernetes' liveness probe |
    ///
    /// The answers are JSON, with `Cache-Control: no-store`. `/health` also has the header `X-Service-Level`. It shows
    /// `{"status": "degraded"}` and nothing else, unless it [shows details](HealthRoutes::with_details).
    ///
    /// Merge them after all layers: a request that asks for health should not wait for a permit, and isn't one that counts.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use backstop_health::{Component, Health};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let health = Health::builder().component(Component::optional("search")).build()?;
    /// let app: Router = Router::new()
    ///     .route("/", get(|| async { "hello" }))
    ///     // .layer(…)
    ///     .merge(health.routes());
    ///
    /// # use {axum::{body::Body, http::Request}, tower::ServiceExt};
    /// let response = app.oneshot(Request::get("/health").body(Body::empty())?).await?;
    /// assert_eq!(response.headers()["x-service-level"], "healthy");
    /// assert_eq!(axum::body::to_bytes(response.into_body(), 1_000).await?, r#"{"status":"healthy"}"#);
    /// # Ok(())
    /// # }
    /// ```
    pub fn routes(&self) -> HealthRoutes {
        HealthRoutes { health: self.clone(), details: None, sends_envoy_degraded: false }
    }
}

impl HealthRoutes {
    /// Shows everything on `/health`: the level, the components, who has pinned the level and why, and what other instances
    /// know.
    ///
    /// For a listener that the public can't reach: names and messages say a lot about a service.
    pub fn with_details(mut self) -> Self {
        self.details = Some(Arc::default());
        self
    }

    /// Sends `x-envoy-degraded` with `/readyz` while a component that is [local](crate::Component::local) is degraded.
    ///
    /// Envoy then prefers other instances. Never for shared dependencies, which are degraded for all instances alike.
    pub const fn envoy_degraded(mut self) -> Self {
        self.sends_envoy_degraded = true;
        self
    }

    fn health(&self) -> Response {
        let view = self.health.view();
        let status = if view.level() == Level::Critical { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        let body = match &self.details {
            Some(details) => details.to_json(&view, &self.health.shared.others.load()),
            None => Status::new(view.status().as_str()).to_json(),
        };
        let mut response = json(status, body);
        response.headers_mut().insert(X_SERVICE_LEVEL, HeaderValue::from_static(view.level().as_str()));
        response
    }

    fn readyz(&self) -> Response {
        let view = self.health.view();
        let readiness = view.readiness();
        let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut response = json(status, Status::new(readiness.as_str()).to_json());
        if self.sends_envoy_degraded && readiness == Readiness::Ready && is_degraded_itself(&view) {
            response.headers_mut().insert(X_ENVOY_DEGRADED, HeaderValue::from_static("true"));
        }
        response
    }
}

fn is_degraded_itself(view: &HealthView) -> bool {
    view.components().filter(|component| component.is_local()).map(ComponentView::level).max() > Some(Level::Healthy)
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

impl<S: Clone + Send + Sync + 'static> From<HealthRoutes> for Router<S> {
    fn from(routes: HealthRoutes) -> Self {
        let answer = |answer: fn(&HealthRoutes) -> Response| -> MethodRouter<S, Infallible> {
            let routes = routes.clone();
            get(move |_: Request| std::future::ready(answer(&routes)))
        };
        Self::new()
            .route("/health", answer(HealthRoutes::health))
            .route("/readyz", answer(HealthRoutes::readyz))
            .route("/livez", answer(|_| json(StatusCode::OK, Status::new("alive").to_json())))
    }
}

impl fmt::Debug for HealthRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthRoutes")
            .field("shows_details", &self.details.is_some())
            .field("sends_envoy_degraded", &self.sends_envoy_degraded)
            .finish_non_exhaustive()
    }
}
