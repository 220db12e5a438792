//! What an operator's inventory shows of a feature.

use backstop_core::{EventLog, Inspect, Name, Value};

use crate::{FeatureGate, Flag, telemetry};

impl Inspect for FeatureGate {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        telemetry::KIND
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        let declaration = self.slot().declaration();
        vec![
            ("tier", declaration.tier.as_str().into()),
            ("needs", declaration.needs.iter().collect()),
            ("off_unless_known", declaration.off_unless_known.into()),
            ("degrades_on_errors", declaration.on_errors.is_some().into()),
        ]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        let reading = self.slot().read();
        let flag = reading.flag.as_ref();
        vec![
            ("state", reading.state.into()),
            ("cause", reading.cause.as_str().into()),
            ("since", reading.since.elapsed().into()),
            ("flag_who", flag.map(|flag| flag.who().to_owned()).into()),
            ("flag_reason", flag.map(|flag| flag.reason().to_owned()).into()),
            ("flag_remaining", flag.and_then(Flag::remaining).into()),
        ]
    }

    fn report_to(&self, log: &EventLog) {
        self.slot().report_to(log);
    }
}
