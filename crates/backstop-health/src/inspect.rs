//! What an operator's inventory shows of health.

use std::future;

use backstop_core::{
    ConfigError, EventLog, Inspect, Level, Name, Operation, OperationError, OperationFuture, OperationRequest, Reach,
    Value, name,
};
use backstop_kit::{check_request, log_text};

use crate::{Health, SERVICE};

pub(crate) const KIND: &str = "health";
const LEVEL: &str = "healthy, degraded or critical";
const OPERATIONS: &[Operation] = &[Operation::limited("pin").arguments(&[("level", LEVEL)]), Operation::once("unpin")];
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

    fn operations(&self) -> &'static [Operation] {
        OPERATIONS
    }

    fn operate<'a>(&'a self, request: &'a OperationRequest) -> OperationFuture<'a> {
        Box::pin(future::ready(run(self, request)))
    }

    fn report_to(&self, log: &EventLog) {
        _ = self.shared.log.set(log.clone());
    }
}

fn run(health: &Health, request: &OperationRequest) -> Result<Reach, OperationError> {
    check_request(request, OPERATIONS)?;
    match request.name() {
        "pin" => {
            let level = level(request.text("level", LEVEL)?)?;
            let time = request.time().ok_or_else(|| ConfigError::new("until", "none", "1 s to 24 h"))?;
            health.pin(level, time, request.who(), request.reason())?;
        }
        _ => _ = health.unpin(request.who(), request.reason())?,
    }
    Ok(Reach::Instance)
}

fn level(word: &str) -> Result<Level, ConfigError> {
    let level = [Level::Healthy, Level::Degraded, Level::Critical].into_iter().find(|level| level.as_str() == word);
    level.ok_or_else(|| ConfigError::new("level", log_text(word), LEVEL))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_operator_pins_the_level_and_removes_the_pin() {
        let health = Health::builder().build().unwrap();
        let (of, log): (&dyn Inspect, _) = (&health, EventLog::new(8));
        of.report_to(&log);
        let pin = || OperationRequest::new("pin", "ada", "a load test").with("level", "degraded");
        let hour = Duration::from_secs(3_600);
        assert_eq!(of.operate(&pin().lasting(hour)).await, Ok(Reach::Instance));
        assert_eq!(health.level(), Level::Degraded);
        let removed = OperationRequest::new("unpin", "bob", "it is over");
        assert_eq!(of.operate(&removed).await, Ok(Reach::Instance));
        assert_eq!(health.level(), Level::Healthy);
        let events = log.after(0).into_iter().map(|event| event.fields);
        let events: Vec<_> = events.filter(|fields| fields[0].0 == "operation").collect();
        let pinned = [
            ("operation", "pin".into()),
            ("who", "ada".into()),
            ("reason", "a load test".into()),
            ("level", "degraded".into()),
            ("until", Value::Duration(hour)),
        ];
        assert_eq!(events[0], pinned);
        assert_eq!(
            events[1][..3],
            [("operation", "unpin".into()), ("who", "bob".into()), ("reason", "it is over".into())]
        );

        for (request, field) in [
            (pin(), "until is none"),
            (pin().lasting(25 * hour), "until is 90000s"),
            (pin().with("component", "database").lasting(hour), "arguments is component"),
            (OperationRequest::new("pin", "ada", "a load test").with("level", "bad").lasting(hour), "level is bad"),
            (OperationRequest::new("pin", "ada", "a load test").lasting(hour), "level is missing"),
            (OperationRequest::new("unpin", "ada", ""), "reason"),
            (OperationRequest::new("explode", "ada", "a load test"), "operation is explode"),
        ] {
            let error = of.operate(&request).await.unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
        assert_eq!(health.level(), Level::Healthy, "nothing has changed");
    }
}
