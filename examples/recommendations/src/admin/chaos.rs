//! `/chaos`: the faults of the simulated upstreams.

use axum::Json as JsonResponse;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;

use super::body::Json;
use crate::chaos::{Chaos, Place};
use crate::problem::Problem;
use crate::upstream::{Fault, Simulated, Upstream};

#[derive(Serialize)]
pub(super) struct List {
    upstreams: Vec<Entry>,
}

#[derive(Serialize)]
pub(super) struct Entry {
    name: &'static str,
    url: String,
    #[serde(flatten)]
    fault: Fault,
}

impl From<&Simulated> for Entry {
    fn from(upstream: &Simulated) -> Self {
        Self {
            name: upstream.upstream().name(),
            url: format!("http://{}", upstream.address()),
            fault: upstream.fault(),
        }
    }
}

pub(super) async fn list(State(chaos): State<Chaos>) -> JsonResponse<List> {
    JsonResponse(List { upstreams: chaos.all_simulated().map(Entry::from).collect() })
}

pub(super) async fn set(
    State(chaos): State<Chaos>,
    name: Result<Path<String>, PathRejection>,
    Json(body): Json,
) -> Result<JsonResponse<Entry>, Problem> {
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let upstream = find(&chaos, &name)?;
    let fault = Fault::from_json(&body)?;
    let (kind, rate) = (fault.kind.name(), fault.rate);
    upstream.set_fault(fault).await.map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("`{name}` can't listen again: {error}"))
    })?;
    tracing::info!(upstream = name, fault = kind, rate, "set an upstream's fault");
    Ok(JsonResponse(Entry::from(upstream)))
}

fn find<'a>(chaos: &'a Chaos, name: &str) -> Result<&'a Simulated, Problem> {
    match Upstream::named(name).and_then(|upstream| chaos.place(upstream)) {
        Some(Place::Simulated(simulated)) => Ok(simulated),
        Some(Place::Real(url)) => Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("`{name}` isn't simulated: it is configured as {url}, which can't be broken from here"),
        )),
        None => {
            let known = Upstream::ALL.map(Upstream::name).join(", ");
            Err(Problem::new(StatusCode::NOT_FOUND, format!("unknown upstream; known upstreams: {known}")))
        }
    }
}
