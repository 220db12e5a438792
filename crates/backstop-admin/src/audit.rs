//! What protects each dependency, and what is missing.

mod checks;
mod components;
mod proof;

use std::{collections::BTreeSet, fmt};

use backstop_core::Name;

use crate::Inventory;
pub(crate) use proof::Proof;

/// What a dependency should have: see the [table](crate#the-checks).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Check {
    /// A call that takes too long ends.
    Timeout,
    /// While it is down, it isn't called.
    CircuitBreaker,
    /// While it is slow, it doesn't take all connections, memory and threads.
    Bulkhead,
    /// While it is down, something else answers.
    Fallback,
    /// The last of what else answers can't fail.
    FallbackEnd,
    /// Stored answers are served up to a known age.
    StalenessBound,
    /// What happens is counted.
    Metrics,
    /// Callers are told that an answer is degraded.
    Labels,
    /// The service was seen to work without it.
    Proof,
}

impl Check {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Timeout,
        Self::CircuitBreaker,
        Self::Bulkhead,
        Self::Fallback,
        Self::FallbackEnd,
        Self::StalenessBound,
        Self::Metrics,
        Self::Labels,
        Self::Proof,
    ];

    /// As it is shown: `timeout`, `circuit-breaker`, `bulkhead`, `fallback`, `fallback-end`, `staleness-bound`, `metrics`, `labels`,
    /// `proof`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::CircuitBreaker => "circuit-breaker",
            Self::Bulkhead => "bulkhead",
            Self::Fallback => "fallback",
            Self::FallbackEnd => "fallback-end",
            Self::StalenessBound => "staleness-bound",
            Self::Metrics => "metrics",
            Self::Labels => "labels",
            Self::Proof => "proof",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a [`Check`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckStatus {
    /// It is there.
    #[non_exhaustive]
    Present {
        /// What it is: `timeout ml_service`.
        by: Vec<String>,
    },
    /// It isn't.
    #[non_exhaustive]
    Missing {
        /// What was looked for, and what was found.
        why: String,
        /// What would close the gap, mostly a line of code.
        fix: String,
    },
    /// It isn't needed.
    #[non_exhaustive]
    NotApplicable {
        /// Why.
        reason: String,
    },
}

impl CheckStatus {
    /// As it is shown: `present`, `missing`, `not-applicable`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Present { .. } => "present",
            Self::Missing { .. } => "missing",
            Self::NotApplicable { .. } => "not-applicable",
        }
    }
}

/// Why a check isn't needed.
#[derive(Clone, Debug)]
pub(crate) struct Exemption {
    /// `None` for all dependencies.
    pub(crate) dependency: Option<Name>,
    pub(crate) check: Check,
    pub(crate) reason: String,
}

/// What protects one dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DependencyAudit {
    /// The dependency.
    pub name: Name,
    /// What each check found, in the order of [`Check::ALL`].
    pub checks: Vec<(Check, CheckStatus)>,
}

/// Something that a dependency lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap<'a> {
    /// The dependency.
    pub dependency: &'a Name,
    /// The check.
    pub check: Check,
    /// What was looked for, and what was found.
    pub why: &'a str,
    /// What would close the gap, mostly a line of code.
    pub fix: &'a str,
}

/// What protects each dependency of a service, and what is missing: see [`Inventory::audit`].
///
/// Its text lists the gaps, for a failed test.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit {
    /// The dependencies, in the order of their names.
    pub dependencies: Vec<DependencyAudit>,
    /// What isn't a gap, and is probably a mistake.
    pub warnings: Vec<String>,
}

impl Audit {
    pub(crate) fn of(inventory: &Inventory) -> Self {
        let facts = components::Facts::of(inventory);
        let dependencies: Vec<_> = facts
            .dependencies()
            .map(|name| {
                let check = |check| (check, exempted(inventory, name, check, checks::run(check, name, &facts)));
                DependencyAudit { name: name.clone(), checks: Check::ALL.iter().copied().map(check).collect() }
            })
            .collect();
        let warnings = warnings(inventory, &dependencies);
        Self { dependencies, warnings }
    }

    /// What is missing.
    pub fn gaps(&self) -> impl Iterator<Item = Gap<'_>> {
        self.dependencies.iter().flat_map(|dependency| {
            dependency.checks.iter().filter_map(|(check, status)| match status {
                CheckStatus::Missing { why, fix } => {
                    Some(Gap { dependency: &dependency.name, check: *check, why, fix })
                }
                _ => None,
            })
        })
    }

    /// Whether nothing is missing. Without a dependency, all is.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.dependencies.is_empty() && self.gaps().next().is_none()
    }

    /// What a check found.
    #[must_use]
    pub fn status(&self, dependency: &str, check: Check) -> Option<&CheckStatus> {
        let dependency = self.dependencies.iter().find(|audited| audited.name == *dependency)?;
        dependency.checks.iter().find(|(of, _)| *of == check).map(|(_, status)| status)
    }
}

/// An exemption closes a gap. It says nothing where there is none.
fn exempted(inventory: &Inventory, dependency: &Name, check: Check, status: CheckStatus) -> CheckStatus {
    let applies = |it: &&Exemption| it.check == check && it.dependency.as_ref().is_none_or(|name| name == dependency);
    match (status, inventory.exemptions.iter().find(applies)) {
        (CheckStatus::Missing { .. }, Some(exemption)) => {
            CheckStatus::NotApplicable { reason: exemption.reason.clone() }
        }
        (status, _) => status,
    }
}

fn warnings(inventory: &Inventory, dependencies: &[DependencyAudit]) -> Vec<String> {
    let (mut seen, mut warnings) = (BTreeSet::new(), Vec::new());
    for component in inventory.iter() {
        let (kind, name) = (component.kind(), component.name());
        if !seen.insert((kind, name)) {
            warnings.push(format!("two components are a {kind} of the name {name}: operators can't tell them apart"));
        }
    }
    for Exemption { dependency, check, .. } in &inventory.exemptions {
        let Some(name) = dependency else { continue };
        if dependencies.iter().all(|audited| audited.name != *name) {
            warnings.push(format!("{name} is exempt from the check {check}, and isn't a dependency"));
        }
    }
    warnings
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dependencies.is_empty() {
            return f.write_str("no dependency is known: register the handles of the layers that protect them");
        }
        let gaps = self.gaps().count();
        write!(f, "{} dependencies, {gaps} gaps", self.dependencies.len())?;
        let mut last = None;
        for Gap { dependency, check, why, fix } in self.gaps() {
            if last.replace(dependency) != Some(dependency) {
                write!(f, "\n\n{dependency}")?;
            }
            write!(f, "\n  {check}: {why}\n    {fix}")?;
        }
        for warning in &self.warnings {
            write!(f, "\n\nwarning: {warning}")?;
        }
        Ok(())
    }
}
