//! What the components say, as the checks need it.

use std::collections::{BTreeMap, BTreeSet};

use backstop_core::{Inspect, Name, Value, scope};

use super::Proof;
use crate::{Inventory, inventory::Registered};

/// Kinds whose dependency is something that the service calls.
const AROUND_CALLS: [&str; 8] = [
    "timeout",
    "circuit-breaker",
    "keyed-circuit-breaker",
    "bulkhead",
    "retry",
    "propagate-deadline",
    "stale-while-revalidate",
    FALLBACK,
];
pub(super) const FALLBACK: &str = "fallback";
const HEADERS: &str = "degradation-header";

/// What an inventory has, by dependency.
pub(super) struct Facts<'a> {
    inventory: &'a Inventory,
    by_dependency: BTreeMap<&'a Name, Vec<&'a dyn Inspect>>,
    /// The chains whose answers a layer has labelled, and whether some were stale. `None` without such a layer.
    labelled: Option<Vec<(String, bool)>>,
    unread: Vec<Name>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(inventory: &'a Inventory) -> Self {
        let mut by_dependency = BTreeMap::<&Name, Vec<&dyn Inspect>>::new();
        for dependency in &inventory.declared {
            by_dependency.entry(dependency).or_default();
        }
        for Registered { component, dependencies } in inventory.registered() {
            let own = std::slice::from_ref(component.dependency());
            let is_around_calls = AROUND_CALLS.contains(&component.kind());
            for dependency in dependencies.as_deref().unwrap_or(if is_around_calls { own } else { &[] }) {
                by_dependency.entry(dependency).or_default().push(&**component);
            }
        }
        // These protect a dependency that is known from elsewhere, and make none known.
        for Registered { component, dependencies } in inventory.registered() {
            if dependencies.is_some() {
                continue;
            }
            let protected: BTreeSet<_> = match component.kind() {
                FALLBACK => replaced(&**component).into_iter().collect(),
                kind if AROUND_CALLS.contains(&kind) => continue,
                _ => [component.dependency().to_string()].into(),
            };
            for (dependency, components) in &mut by_dependency {
                let is_there = components.iter().any(|other| std::ptr::addr_eq(*other, &**component));
                if protected.contains(dependency.as_str()) && !is_there {
                    components.push(&**component);
                }
            }
        }
        let headers: Vec<_> = inventory.iter().filter(|component| component.kind() == HEADERS).collect();
        let labelled = headers.iter().flat_map(|headers| labelled(*headers)).collect();
        let labelled = (!headers.is_empty()).then_some(labelled);
        Self { inventory, by_dependency, labelled, unread: scope::unread_chains() }
    }

    pub(super) fn dependencies(&self) -> impl Iterator<Item = &'a Name> {
        self.by_dependency.keys().copied()
    }

    /// The components of one of these kinds that protect `dependency`.
    pub(super) fn of_kinds(&self, dependency: &Name, kinds: &[&str]) -> Vec<&'a dyn Inspect> {
        let all = self.by_dependency.get(dependency).into_iter().flatten().copied();
        all.filter(|component| kinds.contains(&component.kind())).collect()
    }

    /// The dependencies that this component protects.
    pub(super) fn protected_by(&self, component: &dyn Inspect) -> impl Iterator<Item = &'a Name> {
        let is_protected =
            move |components: &Vec<&dyn Inspect>| components.iter().any(|it| std::ptr::addr_eq(*it, component));
        self.by_dependency.iter().filter(move |(_, components)| is_protected(components)).map(|(name, _)| *name)
    }

    pub(super) const fn labelled(&self) -> Option<&Vec<(String, bool)>> {
        self.labelled.as_ref()
    }

    pub(super) fn is_unread(&self, chain: &Name) -> bool {
        self.unread.contains(chain)
    }

    pub(super) fn recorded_proof(&self, dependency: &Name) -> Option<Proof> {
        self.inventory.proof(dependency)
    }
}

/// The providers of a chain that something replaces. Nothing replaces the last one if it may fail.
pub(super) fn replaced(chain: &dyn Inspect) -> Vec<String> {
    let mut providers = providers(chain);
    if last_may_fail(chain) {
        providers.pop();
    }
    providers
}

pub(super) fn last_may_fail(chain: &dyn Inspect) -> bool {
    field(chain.settings(), "last_may_fail") != Some(Value::Bool(false))
}

pub(super) fn providers(chain: &dyn Inspect) -> Vec<String> {
    match field(chain.settings(), "providers") {
        Some(Value::List(names)) => names.into_iter().filter_map(text).collect(),
        _ => Vec::new(),
    }
}

fn labelled(headers: &dyn Inspect) -> Vec<(String, bool)> {
    let Some(Value::List(chains)) = field(headers.state(), "labelled") else { return Vec::new() };
    let chain = |chain| {
        let Value::Map(chain) = chain else { return None };
        let is_stale = field(chain.clone(), "stale") == Some(Value::Bool(true));
        Some((text(field(chain, "chain")?)?, is_stale))
    };
    chains.into_iter().filter_map(chain).collect()
}

pub(super) fn field(fields: Vec<(&'static str, Value)>, name: &str) -> Option<Value> {
    fields.into_iter().find_map(|(field, value)| (field == name).then_some(value))
}

pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.into_owned()),
        _ => None,
    }
}
