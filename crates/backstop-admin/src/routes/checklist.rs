//! The audit as it is shown.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Audit, CheckStatus, DependencyAudit};

#[derive(Serialize)]
pub(super) struct Checklist<'a> {
    complete: bool,
    warnings: &'a [String],
    dependencies: Vec<Audited<'a>>,
}

#[derive(Serialize)]
struct Audited<'a> {
    name: &'a str,
    checks: BTreeMap<&'static str, Found<'a>>,
}

#[derive(Serialize)]
struct Found<'a> {
    status: &'static str,
    by: &'a [String],
    why: Option<&'a str>,
    fix: Option<&'a str>,
}

impl<'a> From<&'a Audit> for Checklist<'a> {
    fn from(audit: &'a Audit) -> Self {
        Self {
            complete: audit.is_complete(),
            warnings: &audit.warnings,
            dependencies: audit.dependencies.iter().map(Audited::from).collect(),
        }
    }
}

impl<'a> From<&'a DependencyAudit> for Audited<'a> {
    fn from(audited: &'a DependencyAudit) -> Self {
        let checks = audited.checks.iter().map(|(check, status)| (check.as_str(), Found::from(status)));
        Self { name: audited.name.as_str(), checks: checks.collect() }
    }
}

impl<'a> From<&'a CheckStatus> for Found<'a> {
    fn from(found: &'a CheckStatus) -> Self {
        let (by, why, fix) = match found {
            CheckStatus::Present { by } => (&by[..], None, None),
            CheckStatus::Missing { why, fix } => (&[][..], Some(&**why), Some(&**fix)),
            CheckStatus::NotApplicable { reason } => (&[][..], Some(&**reason), None),
        };
        Self { status: found.as_str(), by, why, fix }
    }
}
