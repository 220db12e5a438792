//! Health reports.
//!
//! With an open circuit, the app still answers. All instances share the dependency, so an orchestrator that took them for not
//! ready would turn degraded into down. So both reports are 200 while the process serves. People and dashboards read the
//! status in the body.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use backstop::CircuitStatus;
use serde::Serialize;

use crate::recommender::Recommender;

#[derive(Serialize)]
pub(crate) struct Health {
    status: Status,
    components: BTreeMap<String, Component>,
}

#[derive(Serialize)]
struct Component {
    status: Status,
    circuit: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Healthy,
    Degraded,
}

/// `GET /health`: the status of the app and of each dependency.
pub(crate) async fn health(State(recommender): State<Recommender>) -> Json<Health> {
    let components: BTreeMap<_, _> = recommender
        .circuits()
        .iter()
        .map(|circuit| {
            let circuit_status = circuit.status();
            let status = if circuit_status == CircuitStatus::Closed { Status::Healthy } else { Status::Degraded };
            (circuit.name().to_string(), Component { status, circuit: circuit_status.as_str() })
        })
        .collect();
    let degraded = components.values().any(|component| component.status == Status::Degraded);
    Json(Health { status: if degraded { Status::Degraded } else { Status::Healthy }, components })
}

/// `GET /livez`: the process serves. It checks no dependency, since a restart repairs none.
pub(crate) async fn livez() -> &'static str {
    "ok"
}
