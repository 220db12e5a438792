//! Metrics of the layer, with the feature `metrics`.

use std::array;

use backstop_core::Name;
use backstop_kit::telemetry::{Metric, Series};

use crate::FaultKind;

const INJECTED: Metric = Metric::counter("faults_injected_total", "Calls that were made to fail on purpose");

/// Gives the installed recorder the description and the unit of each metric of this crate.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    INJECTED.describe();
}

/// The series of a layer, by kind.
#[derive(Debug)]
pub(crate) struct Metrics([Series; FaultKind::COUNT]);

impl Metrics {
    pub(crate) fn new(name: &Name) -> Self {
        let series = |kind: FaultKind| Series::new(&INJECTED, [("name", name.into()), ("kind", kind.as_str().into())]);
        Self(array::from_fn(|index| series(FaultKind::ALL[index])))
    }

    pub(crate) fn injected(&self, kind: FaultKind) {
        self.0[kind as usize].increment();
    }
}
