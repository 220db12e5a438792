//! An answer, and its publication.

use backstop_core::{Degradation, Reason, scope};

use crate::{FallbackResult, control::Control, telemetry};

/// An answer.
pub(crate) struct Found<T> {
    pub(crate) result: FallbackResult<T>,
    /// What was reported, if it isn't the first provider's.
    pub(crate) degradation: Option<Degradation>,
}

/// Why another provider than the first one answered.
pub(crate) struct Substitution {
    pub(crate) position: usize,
    pub(crate) reason: Reason,
}

impl<T> Found<T> {
    /// Reports this answer to the scope, the log and the metrics.
    pub(crate) fn publish(chain: &Control, result: FallbackResult<T>, instead: Option<Substitution>) -> Self {
        telemetry::answered(chain, &result.source, || result.latency);
        if instead.is_none() {
            telemetry::fresh(chain);
        }
        let degradation = instead.map(|Substitution { position, reason }| {
            let degradation =
                Degradation::new(chain.name().clone(), result.source.clone(), position, reason, result.freshness);
            scope::report(degradation.clone());
            telemetry::activated(chain, &degradation, &result);
            degradation
        });
        Self { result, degradation }
    }
}
