//! The status of jobs.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, rejection::PathRejection},
    response::Response,
    routing::get,
};
use backstop_core::{Outcome, Reason, Rejection, grpc::GrpcCode};
use backstop_kit::problem_response;
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
    request::Parts,
};

use super::{HttpQueue, Why, accept::json_body};
use crate::{JobId, JobKind, JobState, StoreError};

const NO_SUCH_JOB: Why = Why("there is no such job, or it isn't known any more");
const STORE_AWAY: Why = Why("the status of jobs can't be read at the moment");
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl<T: JobKind> HttpQueue<T> {
    /// The route `GET /jobs/{id}`, under the [path](super::HttpQueueBuilder::path) that is set: **merge** it, and don't nest it.
    ///
    /// | | status | body |
    /// |---|---|---|
    /// | the job waits, also between two attempts | 200 | `{"status": "queued", "job_id": "…"}` |
    /// | a worker runs it | 200 | … `running` |
    /// | it is done | 200 | … `done` |
    /// | it is a dead letter | 200 | … `failed` |
    /// | it is unknown, not known any more, or not [visible](super::HttpQueueBuilder::visible_to) | 404 | a problem document, always the same |
    /// | the store fails | 503 with `Retry-After` | a problem document |
    ///
    /// All have `Cache-Control: no-store`. `HEAD` is answered as well, and any other method is a 405.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let http = self.clone();
        let status = move |id: Result<Path<String>, PathRejection>, request: Request| async move {
            // No job has an id that isn't UTF-8.
            let id = id.ok().and_then(|Path(id)| id.parse().ok());
            http.status(id, &request.into_parts().0).await
        };
        Router::new().route(&format!("{}/{{id}}", self.settings.path), get(status))
    }

    async fn status(&self, id: Option<JobId>, head: &Parts) -> Response {
        match self.visible_state(id, head).await {
            Ok(Some((id, state))) => shown(id, state),
            Ok(None) => problem_response(
                Rejection::new(self.name().clone(), Reason::new("job-not-found"), Outcome::callers_fault())
                    .with_status(StatusCode::NOT_FOUND, GrpcCode::INVALID_ARGUMENT)
                    .with_static_detail(&NO_SUCH_JOB),
            ),
            Err(_) => problem_response(
                Rejection::new(self.name().clone(), Reason::new("store-failed"), Outcome::failure().transient())
                    .with_retry_after(Some(RETRY_AFTER))
                    .with_static_detail(&STORE_AWAY),
            ),
        }
    }

    async fn visible_state(&self, id: Option<JobId>, head: &Parts) -> Result<Option<(JobId, JobState)>, StoreError> {
        let Some(id) = id else { return Ok(None) };
        let Some((state, owner)) = self.deferred.state_and_owner(id).await? else { return Ok(None) };
        let is_visible = match &self.settings.visible_to {
            None => true,
            Some(principal) => {
                let asks = principal(head).map(|principal| self.deferred.queue.owner_hash(&principal));
                asks.is_some() && asks == owner
            }
        };
        Ok(is_visible.then_some((id, state)))
    }
}

fn shown(id: JobId, state: JobState) -> Response {
    let body: Body = json_body(&serde_json::json!({ "status": state.as_str(), "job_id": id.to_string() }));
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
