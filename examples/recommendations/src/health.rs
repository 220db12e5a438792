//! What the app says of itself.
//!
//! An open circuit is the app at work: it still answers. An orchestrator that took it for not ready, and its sisters with
//! it, since they share the dependency, would turn degraded into down. So both reports are 200 as long as the process
//! serves; that it is degraded is for people and dashboards.

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

/// Whether it does what it is for, and what of it doesn't.
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

/// That the process serves at all. It asks nobody: a restart mends no dependency.
pub(crate) async fn livez() -> &'static str {
    "ok"
}
