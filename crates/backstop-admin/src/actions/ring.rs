//! The last actions of operators.
#![expect(clippy::disallowed_types, reason = "operators read the time of day")]

use std::{collections::VecDeque, time::SystemTime};

use backstop_core::{Inspect, Name, OperationRequest, Reach, Value};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{json::Members, routes::timestamp};

/// How many actions are kept.
const KEPT: usize = 1_000;

/// The last actions, numbered from 1.
#[derive(Default)]
pub(super) struct Ring {
    last: u64,
    actions: VecDeque<Action>,
}

#[derive(Clone)]
pub(crate) struct Action {
    seq: u64,
    at: SystemTime,
    kind: &'static str,
    name: Name,
    operation: String,
    arguments: Vec<(String, Value)>,
    who: String,
    reason: String,
    until: Option<SystemTime>,
    result: ActionResult,
}

/// What has become of an action.
#[derive(Clone, Debug)]
pub(super) enum ActionResult {
    /// It runs, or its caller has gone before it ended.
    Unknown,
    Done(Reach),
    /// It has changed nothing.
    Refused(String),
    /// It may have changed something.
    Failed(String),
}

impl Ring {
    pub(super) fn push(&mut self, target: &dyn Inspect, request: &OperationRequest) -> u64 {
        self.last += 1;
        let at = SystemTime::now();
        if self.actions.len() == KEPT {
            self.actions.pop_front();
        }
        self.actions.push_back(Action {
            seq: self.last,
            at,
            kind: target.kind(),
            name: target.name().clone(),
            operation: request.name().to_owned(),
            arguments: request.arguments().map(|(name, value)| (name.to_owned(), value.clone())).collect(),
            who: request.who().to_owned(),
            reason: request.reason().to_owned(),
            until: request.time().and_then(|time| at.checked_add(time)),
            result: ActionResult::Unknown,
        });
        self.last
    }

    pub(super) fn finish(&mut self, seq: u64, result: ActionResult) {
        if let Some(action) = self.actions.iter_mut().rev().find(|action| action.seq == seq) {
            action.result = result;
        }
    }

    pub(super) fn get(&self, seq: u64) -> Option<Action> {
        self.actions.iter().rev().find(|action| action.seq == seq).cloned()
    }

    /// All of them, the newest first.
    pub(super) fn all(&self) -> Vec<Action> {
        self.actions.iter().rev().cloned().collect()
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (result, scope, error) = match &self.result {
            ActionResult::Unknown => ("unknown", None, None),
            ActionResult::Done(reach) => ("done", Some(reach.as_str()), None),
            ActionResult::Refused(error) => ("refused", None, Some(error)),
            ActionResult::Failed(error) => ("failed", None, Some(error)),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("seq", &self.seq)?;
        map.serialize_entry("at", &timestamp(self.at))?;
        map.serialize_entry("kind", self.kind)?;
        map.serialize_entry("name", self.name.as_str())?;
        map.serialize_entry("operation", &self.operation)?;
        map.serialize_entry("arguments", &Members(&self.arguments))?;
        map.serialize_entry("who", &self.who)?;
        map.serialize_entry("reason", &self.reason)?;
        map.serialize_entry("until", &self.until.map(timestamp))?;
        map.serialize_entry("result", result)?;
        map.serialize_entry("scope", &scope)?;
        map.serialize_entry("error", &error)?;
        map.end()
    }
}
