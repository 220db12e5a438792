//! What an operator's inventory shows of a feature.

use backstop_core::{
    ConfigError, EventLog, Inspect, Name, Operation, OperationError, OperationFuture, OperationRequest, Reach, Value,
};
use backstop_kit::{check_request, log_text};

use crate::{FeatureGate, FeatureState, FeaturesHandle, Flag, FlagChange, SetError, telemetry};

const STATE: &str = "enabled, degraded or disabled";
const OPERATIONS: &[Operation] = &[
    Operation::limited("set").arguments(&[("state", STATE)]),
    Operation::once("remove"),
    Operation::limited("set-here").arguments(&[("state", STATE)]),
    Operation::once("remove-here"),
];

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

    fn operations(&self) -> &'static [Operation] {
        OPERATIONS
    }

    fn operate<'a>(&'a self, request: &'a OperationRequest) -> OperationFuture<'a> {
        Box::pin(run(self, request))
    }

    fn report_to(&self, log: &EventLog) {
        self.slot().report_to(log);
    }
}

async fn run(gate: &FeatureGate, request: &OperationRequest) -> Result<Reach, OperationError> {
    check_request(request, OPERATIONS)?;
    let (operators, feature) = (FeaturesHandle::new(gate.registry()), gate.name());
    let (who, reason) = (request.who(), request.reason());
    match request.name() {
        "set" => return Ok(operators.set(feature, change(request)?).await?),
        "remove" => return Ok(operators.remove(feature, who, reason).await?),
        "set-here" => operators.set_here(feature, change(request)?)?,
        _ => _ = operators.remove_here(feature, who, reason)?,
    }
    Ok(Reach::Instance)
}

fn change(request: &OperationRequest) -> Result<FlagChange, ConfigError> {
    let word = request.text("state", STATE)?;
    let state = FeatureState::ALL.into_iter().find(|state| state.as_str() == word);
    let state = state.ok_or_else(|| ConfigError::new("state", log_text(word), STATE))?;
    let change = FlagChange::to(state, request.who(), request.reason());
    Ok(match request.time() {
        Some(time) => change.until(time),
        None => change,
    })
}

impl From<SetError> for OperationError {
    fn from(error: SetError) -> Self {
        match error {
            SetError::Invalid(error) => Self::Invalid(error),
            SetError::Store(error) => Self::Unavailable(error.to_string()),
        }
    }
}
