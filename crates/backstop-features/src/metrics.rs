//! Metrics, with the feature `metrics`.

use backstop_core::Name;
use backstop_kit::telemetry::{self, Metric, Series};

use crate::FeatureState;

const STATE: Metric = Metric::gauge("feature_state", "1 for the state of the feature, 0 for the other states");
const REJECTIONS: Metric = Metric::counter("feature_rejections_total", "Calls that a feature layer refused");

/// Gives the installed recorder the description and the unit of each metric of this crate.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    [STATE, REJECTIONS].iter().for_each(Metric::describe);
}

/// Sets the gauge of the state to 1 and those of the others to 0.
///
/// Two threads may do this at once, for two changes. Each reads the state again after it wrote, and writes again if the state
/// has changed, so that the last write shows the current state.
pub(crate) fn show_state(feature: &Name, now: impl Fn() -> FeatureState) {
    if !telemetry::ENABLED {
        return;
    }
    let gauge =
        |state: FeatureState| Series::new(&STATE, [("feature", feature.into()), ("state", state.as_str().into())]);
    loop {
        let state = now();
        // First the zeros, so that no two are ever at 1.
        FeatureState::ALL.into_iter().filter(|other| *other != state).for_each(|other| gauge(other).set(0.0));
        gauge(state).set(1.0);
        if now() == state {
            return;
        }
    }
}

pub(crate) fn refused(feature: &Name) {
    Series::new(&REJECTIONS, [("feature", feature.into())]).increment();
}
