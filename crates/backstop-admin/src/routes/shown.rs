//! Components as they are shown.
#![expect(clippy::disallowed_types, reason = "operators read the time of day")]

use std::time::SystemTime;

use backstop_core::{Inspect, Lasts, Operation};
use serde::{Serialize, Serializer};

use crate::json::Members;

/// The paths that have several kinds, or another word than the kind.
const COLLECTIONS: [(&str, &[&str]); 6] = [
    ("circuits", &["circuit-breaker", "keyed-circuit-breaker"]),
    ("fallbacks", &["fallback"]),
    ("features", &["feature"]),
    ("health", &["health"]),
    ("jobs", &["deferred"]),
    ("faults", &["fault"]),
];

/// The first segment of a component's path. For kinds that this crate doesn't know, the kind.
pub(super) fn collection(kind: &'static str) -> &'static str {
    COLLECTIONS.into_iter().find(|(_, kinds)| kinds.contains(&kind)).map_or(kind, |(collection, _)| collection)
}

/// Whether a path exists although no component has it.
pub(super) fn is_collection(name: &str) -> bool {
    COLLECTIONS.into_iter().any(|(collection, _)| collection == name)
}

/// RFC 3339, in milliseconds.
pub(crate) fn timestamp(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at.max(SystemTime::UNIX_EPOCH)).to_string()
}

#[derive(Serialize)]
pub(super) struct Component<'a> {
    name: &'a str,
    kind: &'static str,
    dependency: &'a str,
    path: String,
    #[serde(serialize_with = "as_object")]
    settings: Vec<(&'static str, backstop_core::Value)>,
    #[serde(serialize_with = "as_object")]
    state: Vec<(&'static str, backstop_core::Value)>,
    operations: Vec<ShownOperation>,
}

#[derive(Serialize)]
struct ShownOperation {
    name: &'static str,
    lasts: &'static str,
    ended_by: Option<&'static str>,
    #[serde(serialize_with = "as_map")]
    arguments: &'static [(&'static str, &'static str)],
}

impl<'a> From<&'a dyn Inspect> for Component<'a> {
    fn from(component: &'a dyn Inspect) -> Self {
        Self {
            name: component.name().as_str(),
            kind: component.kind(),
            dependency: component.dependency().as_str(),
            path: format!("/{}/{}", collection(component.kind()), component.name()),
            settings: component.settings(),
            state: component.state(),
            operations: component.operations().iter().map(ShownOperation::from).collect(),
        }
    }
}

impl From<&Operation> for ShownOperation {
    fn from(operation: &Operation) -> Self {
        let (lasts, ended_by) = match operation.lasts {
            Lasts::Limited => ("limited", None),
            Lasts::Until(end) => ("until", Some(end)),
            // Once, and what a later version adds.
            _ => ("once", None),
        };
        Self { name: operation.name, lasts, ended_by, arguments: operation.arguments }
    }
}

fn as_object<S: Serializer>(
    members: &[(&'static str, backstop_core::Value)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    Members(members).serialize(serializer)
}

fn as_map<S: Serializer>(members: &[(&'static str, &'static str)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(members.iter().copied())
}
