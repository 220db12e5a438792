//! Events and metrics. They contain nothing of a request.

use std::time::Duration;

use backstop_core::{Level, Name, Value};
use backstop_kit::telemetry::{Label, Metric, Series, millis};

use crate::{ComponentState, Readiness, SERVICE, engine::Change, operator::Operator, shared::Shared};

const TARGET: &str = "backstop::health";

const LEVEL: Metric = Metric::gauge(
    "health_level",
    "What is known of a component, or the level of the service: 0 healthy, 1 degraded, 2 critical, -1 unknown",
);
const READY: Metric = Metric::gauge("health_ready", "Whether this instance should get requests: 1 or 0");
const TRANSITIONS: Metric =
    Metric::counter("health_transitions_total", "Changes of a level after damping: of a component, or of the service");

/// Gives the installed recorder the description and the unit of each metric of this crate.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    [LEVEL, READY, TRANSITIONS].iter().for_each(Metric::describe);
}

#[derive(Debug)]
pub(crate) struct Metrics {
    service: Series,
    ready: Series,
    components: Box<[Series]>,
}

impl Metrics {
    pub(crate) fn new(components: impl Iterator<Item = Name>) -> Self {
        Self {
            service: level(SERVICE.into()),
            ready: Series::new(&READY, []),
            components: components.map(|name| level((&name).into())).collect(),
        }
    }

    pub(crate) fn show(&self, level: Level, readiness: Readiness, components: impl Iterator<Item = ComponentState>) {
        self.service.set(number(level.into()));
        self.ready.set(f64::from(u8::from(readiness.is_ready())));
        for (series, state) in self.components.iter().zip(components) {
            series.set(number(state));
        }
    }
}

fn level(component: Label<'_>) -> Series {
    Series::new(&LEVEL, [("component", component)])
}

fn number(state: ComponentState) -> f64 {
    match state {
        ComponentState::Unknown => -1.0,
        ComponentState::Healthy => 0.0,
        ComponentState::Degraded => 1.0,
        ComponentState::Critical => 2.0,
    }
}

pub(crate) fn changed(shared: &Shared, metrics: &Metrics, change: &Change) {
    let name = |component: usize| &shared.components[component].name;
    match change {
        Change::Level { from, to, worst } => {
            let component = worst.as_ref().map(|(name, _)| name.as_str());
            let message = worst.as_ref().and_then(|(_, message)| message.as_deref());
            if to > from {
                tracing::warn!(target: TARGET, %from, %to, component, message, "the service's level got worse");
            } else {
                tracing::info!(target: TARGET, %from, %to, component, message, "the service's level got better");
            }
            metrics.service.set(number((*to).into()));
            Series::new(&TRANSITIONS, [("component", SERVICE.into()), ("to", to.as_str().into())]).increment();
            report(shared, SERVICE, from.as_str(), to.as_str(), message);
        }
        Change::ComponentLevel { component, from, to, message } => {
            let (component, message) = (name(*component), message.as_deref());
            if to > from {
                tracing::warn!(target: TARGET, %component, %from, %to, message, "a component's level got worse");
            } else {
                tracing::info!(target: TARGET, %component, %from, %to, message, "a component's level got better");
            }
            Series::new(&TRANSITIONS, [("component", component.into()), ("to", to.as_str().into())]).increment();
            report(shared, component.as_str(), from.as_str(), to.as_str(), message);
        }
        Change::State { component, from, to, message } => {
            metrics.components[*component].set(number(*to));
            let (component, message) = (name(*component), message.as_deref());
            tracing::debug!(target: TARGET, %component, %from, %to, message, "a component's state changed");
        }
        Change::Readiness { from, to } => {
            tracing::info!(target: TARGET, %from, %to, "readiness changed");
            metrics.ready.set(f64::from(u8::from(to.is_ready())));
            report(shared, "readiness", from.as_str(), to.as_str(), None);
        }
        Change::PinExpired { level } => {
            tracing::info!(target: TARGET, %level, "the pinned level has expired");
            push(shared, vec![("operation", "pin-expired".into()), ("level", (*level).into())]);
        }
    }
}

fn report(shared: &Shared, component: &str, from: &'static str, to: &'static str, message: Option<&str>) {
    let mut fields = vec![("component", component.to_owned().into()), ("from", from.into()), ("to", to.into())];
    fields.extend(message.map(|message| ("message", message.to_owned().into())));
    push(shared, fields);
}

fn push(shared: &Shared, fields: Vec<(&'static str, Value)>) {
    if let Some(log) = shared.log.get() {
        log.push(crate::inspect::SERVICE_NAME, crate::inspect::KIND, fields);
    }
}

/// Records what an operator did. `until` is the time that is left.
fn push_operation(
    shared: &Shared,
    operation: &'static str,
    Operator { who, reason }: &Operator,
    more: impl IntoIterator<Item = (&'static str, Value)>,
) {
    let mut fields =
        vec![("operation", operation.into()), ("who", who.to_string().into()), ("reason", reason.to_string().into())];
    fields.extend(more);
    push(shared, fields);
}

pub(crate) fn pinned(shared: &Shared, operator: &Operator, level: Level, time: Duration) {
    push_operation(shared, "pin", operator, [("level", level.into()), ("until", time.into())]);
    let Operator { who, reason } = operator;
    tracing::info!(target: TARGET, %who, %reason, %level, until_ms = millis(time), "the level is pinned");
}

pub(crate) fn unpinned(shared: &Shared, operator: &Operator, level: Level) {
    push_operation(shared, "unpin", operator, [("level", level.into())]);
    let Operator { who, reason } = operator;
    tracing::info!(target: TARGET, %who, %reason, %level, "the level isn't pinned any more");
}

pub(crate) fn operator_reported(shared: &Shared, operator: &Operator, component: usize, level: Level, time: Duration) {
    let component = &shared.components[component].name;
    let fields = [("component", component.into()), ("level", level.into()), ("until", time.into())];
    push_operation(shared, "report-by-hand", operator, fields);
    let Operator { who, reason } = operator;
    tracing::info!(
        target: TARGET, %who, %reason, %component, %level, until_ms = millis(time), "an operator reports a component"
    );
}

pub(crate) fn drain_begun(serve: Duration, finish: Duration) {
    tracing::info!(target: TARGET, serve_ms = millis(serve), finish_ms = millis(finish), "the service drains");
}

pub(crate) fn drain_hurried() {
    tracing::warn!(target: TARGET, "the drain ends at once");
}

pub(crate) fn store_failed(operation: &'static str, error: &str, begins_outage: bool) {
    if begins_outage {
        tracing::warn!(target: TARGET, operation, error, "the store of the shared view fails");
    } else {
        tracing::debug!(target: TARGET, operation, error, "the store of the shared view failed");
    }
}

pub(crate) fn store_works() {
    tracing::info!(target: TARGET, "the store of the shared view works again");
}
