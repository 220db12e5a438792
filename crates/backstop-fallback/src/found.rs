//! An answer, and who is told of it.

use backstop_core::{Degradation, Name, Reason, scope};

use crate::{FallbackResult, telemetry};

/// An answer.
pub(crate) struct Found<T> {
    pub(crate) result: FallbackResult<T>,
    /// What was reported, where it isn't the first provider's.
    pub(crate) degradation: Option<Degradation>,
}

/// That another provider answered than the first one.
pub(crate) struct Instead {
    pub(crate) position: usize,
    pub(crate) reason: Reason,
}

impl<T> Found<T> {
    /// Tells everybody of this answer.
    pub(crate) fn tell(chain: &Name, result: FallbackResult<T>, instead: Option<Instead>) -> Self {
        telemetry::answered(chain, &result.source, || result.latency);
        let degradation = instead.map(|Instead { position, reason }| {
            let degradation =
                Degradation::new(chain.clone(), result.source.clone(), position, reason, result.freshness);
            scope::report(degradation.clone());
            telemetry::activated(&degradation, result.latency);
            degradation
        });
        Self { result, degradation }
    }
}
