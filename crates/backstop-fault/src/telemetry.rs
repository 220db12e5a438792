//! Events, and what operators see. They contain nothing of a request.

use std::time::Duration;

use backstop_core::{EventLog, Name, Value};
use backstop_kit::telemetry::millis;
use tokio::time::Instant;

use crate::{
    Ended, EndedRunStatus, FaultKind, FaultRun, FaultStatus, RunId, RunStatus,
    engine::{Active, EndedRun, Engine},
};

pub(crate) const KIND: &str = "fault";

fn record(log: Option<&EventLog>, name: &Name, fields: Vec<(&'static str, Value)>) {
    if let Some(log) = log {
        log.push(name.clone(), KIND, fields);
    }
}

/// What is logged of a run that is started.
pub(crate) struct Started {
    kind: FaultKind,
    what: String,
    share: f64,
    until: Duration,
    seed: u64,
    who: String,
    reason: String,
}

impl Started {
    pub(crate) fn of(run: &FaultRun, seed: u64) -> Self {
        Self {
            kind: run.fault.kind(),
            what: run.to_string(),
            share: run.share,
            until: run.until,
            seed,
            who: run.who.clone(),
            reason: run.reason.clone(),
        }
    }

    pub(crate) fn log(self, name: &Name, id: RunId, log: Option<&EventLog>) {
        let Self { kind, what, share, until, seed, who, reason } = self;
        tracing::warn!(
            target: "backstop::fault",
            %name, run = %id, %kind, what, share, until_ms = millis(until), seed, who, reason,
            "calls fail on purpose from now on"
        );
        let fields = vec![
            ("operation", "start-run".into()),
            ("run", id.number().into()),
            ("fault", kind.as_str().into()),
            ("what", what.into()),
            ("share", share.into()),
            ("seed", seed.into()),
            ("who", who.into()),
            ("reason", reason.into()),
            ("until", until.into()),
        ];
        record(log, name, fields);
    }
}

pub(crate) fn stopped(name: &Name, id: RunId, who: &str, reason: &str, log: Option<&EventLog>) {
    tracing::info!(target: "backstop::fault", %name, run = %id, who, reason, "an operator stopped a run");
    let fields = vec![
        ("operation", "stop-run".into()),
        ("run", id.number().into()),
        ("who", who.to_owned().into()),
        ("reason", reason.to_owned().into()),
    ];
    record(log, name, fields);
}

/// A run that ends because the service got worse is a warning.
pub(crate) fn ended(name: &Name, run: &EndedRun, log: Option<&EventLog>) {
    let EndedRun { id, why, calls, hits, duration, .. } = run;
    let duration_ms = millis(*duration);
    if matches!(why, Ended::Level(_) | Ended::Condition(_) | Ended::Panicked) {
        tracing::warn!(
            target: "backstop::fault",
            %name, run = %id, %why, calls, hits, duration_ms,
            "a run was aborted; no call fails on purpose any more"
        );
    } else {
        tracing::info!(
            target: "backstop::fault",
            %name, run = %id, %why, calls, hits, duration_ms,
            "a run has ended; no call fails on purpose any more"
        );
    }
    let fields = vec![
        ("run", id.number().into()),
        ("ended", why.to_string().into()),
        ("calls", (*calls).into()),
        ("hits", (*hits).into()),
        ("duration", (*duration).into()),
    ];
    record(log, name, fields);
}

pub(crate) fn injected(name: &Name, kind: FaultKind) {
    tracing::debug!(target: "backstop::fault", %name, %kind, "a fault was injected");
}

pub(crate) fn status(engine: &Engine, armed: bool, now: Instant) -> FaultStatus {
    let run = |active: &Active| RunStatus {
        id: active.id,
        kind: active.run.fault.kind(),
        what: active.run.to_string(),
        share: active.run.share,
        seed: active.seed,
        who: active.run.who.clone(),
        reason: active.run.reason.clone(),
        remaining: active.ends - now,
        heartbeat_within: active.heartbeat_due - now,
        calls: active.calls,
        hits: active.hits,
    };
    let last = |ended: &EndedRun| EndedRunStatus {
        id: ended.id,
        kind: ended.run.fault.kind(),
        why: ended.why.clone(),
        calls: ended.calls,
        hits: ended.hits,
        duration: ended.duration,
    };
    FaultStatus {
        armed,
        run: engine.run.as_ref().map(run),
        last: engine.last.as_ref().map(last),
        held: engine.held(),
        injected: FaultKind::ALL.iter().copied().zip(engine.hits).collect(),
        not_held: engine.not_held,
    }
}
