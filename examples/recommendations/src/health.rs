//! What the app depends on, and what an outage of it means.
//!
//! With an open circuit, the app still answers. All instances share the dependency, so an orchestrator that took them for not
//! ready would turn degraded into down. So `/readyz` follows this instance alone, and only people look at `/health`.

use std::time::Duration;

use backstop::{Component, ConfigError, Health};

use crate::circuits::Circuits;

/// How long running requests may take once the listener is closed. The deadline of a request is longer, but an answer comes
/// within the chain's 800 ms.
const GRACE: Duration = Duration::from_secs(5);

/// How long what is left may take after that, such as writing the log.
const END: Duration = Duration::from_secs(3);

/// The health of what these circuits protect, and of `others`. `drain` is how long the app serves after it was asked to stop.
///
/// # Errors
/// [`ConfigError`] if `drain` is longer than an hour.
pub(crate) fn health(
    circuits: &Circuits,
    others: impl IntoIterator<Item = Component>,
    drain: Duration,
) -> Result<Health, ConfigError> {
    let components = circuits.iter().map(|circuit| {
        let name = circuit.name().clone();
        let component = if name == "ml_service" {
            // Without it, every answer is worse. Never critical, because other sources answer.
            Component::essential(name)
        } else {
            // A fallback. Nobody misses it while the ML service works.
            Component::optional(name)
        };
        component.circuit(circuit.clone())
    });
    Health::builder()
        .components(components.chain(others))
        .serve_while_draining(drain)
        .finish_within(GRACE)
        .exit_within(drain.saturating_add(GRACE + END))
        .build()
}
