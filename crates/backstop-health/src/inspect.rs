//! What an operator's inventory shows of health.

use backstop_core::{EventLog, Inspect, Name, Value, name};

use crate::{Health, SERVICE};

pub(crate) const KIND: &str = "health";
pub(crate) const SERVICE_NAME: Name = name!(SERVICE);

impl Inspect for Health {
    fn name(&self) -> &Name {
        const NAME: &Name = &SERVICE_NAME;
        NAME
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        let config = self.config();
        vec![
            ("degrade_after", config.degrade_after.into()),
            ("critical_after", config.critical_after.into()),
            ("recover_after", config.recover_after.into()),
            ("max_recover_after", config.max_recover_after.into()),
            ("calm_after", config.calm_after.into()),
            ("start_within", config.start_within.into()),
            ("serve_while_draining", config.serve_while_draining.into()),
            ("finish_within", config.finish_within.into()),
            ("exit_within", config.exit_within.into()),
        ]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        let view = self.view();
        let component = |component: &crate::ComponentView| {
            Value::Map(vec![
                ("name", component.name().into()),
                ("state", component.state().as_str().into()),
                ("level", component.level().into()),
                ("for", component.time_in_state().into()),
                ("essential", component.is_essential().into()),
                ("local", component.is_local().into()),
                ("message", component.message().map(str::to_owned).into()),
            ])
        };
        let pin = view.pin().map(|pin| {
            Value::Map(vec![
                ("level", pin.level().into()),
                ("left", pin.remaining().into()),
                ("who", pin.who().to_owned().into()),
                ("reason", pin.reason().to_owned().into()),
            ])
        });
        vec![
            ("status", view.status().into()),
            ("level", view.level().into()),
            ("readiness", view.readiness().as_str().into()),
            ("pinned", pin.into()),
            ("components", view.components().map(component).collect()),
        ]
    }

    fn report_to(&self, log: &EventLog) {
        _ = self.shared.log.set(log.clone());
    }
}
