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
        let rules = self.slot().read().rules;
        vec![
            ("tier", rules.tier.as_str().into()),
            ("needs", rules.needs.iter().collect()),
            ("off_unless_known", rules.off_unless_known.into()),
            ("errors", rules.errors.map_or("ignore".into(), |rules| Value::Map(rules.shown()))),
        ]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        let reading = self.slot().read();
        let flag = reading.flags.deciding();
        vec![
            ("state", reading.state.into()),
            ("cause", reading.cause.as_str().into()),
            ("since", reading.since.elapsed().into()),
            ("flag_who", flag.map(|flag| flag.who().to_owned()).into()),
            ("flag_reason", flag.map(|flag| flag.reason().to_owned()).into()),
            ("flag_remaining", flag.and_then(Flag::remaining).into()),
            ("flag_reach", flag.map(|flag| flag.reach().as_str()).into()),
        ]
    }

    fn report_to(&self, log: &EventLog) {
        self.slot().report_to(log);
    }
}
