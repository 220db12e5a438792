//! The layers of a service.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use backstop_core::{EventLog, Inspect, Name};

use crate::{
    Audit, Check,
    audit::{Exemption, Proof},
};

/// How many events the log of a new inventory holds.
const EVENTS: usize = 1_000;

/// Lists the layers of a service, and whatever else implements [`Inspect`]: see the [crate's documentation](crate).
///
/// Clones share the components, the log and the proofs.
#[derive(Clone)]
#[must_use = "registering returns the inventory"]
pub struct Inventory {
    log: EventLog,
    components: Vec<Registered>,
    pub(crate) declared: Vec<Name>,
    pub(crate) exemptions: Vec<Exemption>,
    proofs: Arc<Mutex<BTreeMap<Name, Proof>>>,
}

#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) component: Arc<dyn Inspect>,
    /// What it protects, if that was said when it was registered.
    pub(crate) dependencies: Option<Vec<Name>>,
}

impl Inventory {
    /// An empty inventory, with a log of 1,000 events.
    pub fn new() -> Self {
        Self::with_log(EventLog::new(EVENTS))
    }

    /// An empty inventory whose components record their changes of state in `log`.
    pub fn with_log(log: EventLog) -> Self {
        Self { log, components: Vec::new(), declared: Vec::new(), exemptions: Vec::new(), proofs: Arc::default() }
    }

    /// Adds a component: the handle of a layer, or anything else that implements [`Inspect`]. From now on it
    /// [reports to](Inspect::report_to) the inventory's log.
    ///
    /// It counts for the [dependency](Inspect::dependency) that it names: a layer for its own name, a fallback chain for what it asks
    /// first. A chain also counts for each of its other providers but the last, if other components protect a dependency of that name.
    ///
    /// A second component of the same kind and name is added, too, with a warning in the log and in the [audit](Self::audit):
    /// operators can't tell the two apart, and [`find`](Self::find) returns the first.
    pub fn register(self, component: impl Inspect + 'static) -> Self {
        self.add(Arc::new(component), None)
    }

    /// Adds several components, such as all parts of a standard stack.
    pub fn register_all(self, components: impl IntoIterator<Item = Arc<dyn Inspect>>) -> Self {
        components.into_iter().fold(self, |inventory, component| inventory.add(component, None))
    }

    /// Adds a component that counts for these dependencies, and for no others.
    ///
    /// For a component whose name isn't the dependency's: a fallback around a route whose handler calls two services, a store of one
    /// service's answers, a queue that accepts work while a service is down.
    pub fn register_for(self, dependencies: impl IntoIterator<Item = Name>, component: impl Inspect + 'static) -> Self {
        self.add(Arc::new(component), Some(dependencies.into_iter().collect()))
    }

    /// Declares a dependency, whether or not anything protects it. A dependency that is neither declared nor named by a component is
    /// unknown to the [audit](Self::audit).
    pub fn depends_on(mut self, dependency: Name) -> Self {
        self.declared.push(dependency);
        self
    }

    /// Says that a dependency needs no such protection, and why. The reason is in the [audit](Self::audit).
    pub fn exempt(mut self, dependency: Name, check: Check, reason: impl Into<String>) -> Self {
        self.exemptions.push(Exemption { dependency: Some(dependency), check, reason: reason.into() });
        self
    }

    /// As [`exempt`](Self::exempt), for all dependencies.
    pub fn exempt_all(mut self, check: Check, reason: impl Into<String>) -> Self {
        self.exemptions.push(Exemption { dependency: None, check, reason: reason.into() });
        self
    }

    fn add(mut self, component: Arc<dyn Inspect>, dependencies: Option<Vec<Name>>) -> Self {
        let (kind, name) = (component.kind(), component.name());
        if self.find(kind, name.as_str()).is_some() {
            tracing::warn!(target: "backstop::admin", kind, %name, "two components have the same kind and name");
        }
        component.report_to(&self.log);
        self.components.push(Registered { component, dependencies });
        self
    }

    /// Records that the service was seen to work without a dependency: by a test that broke it, or on a game day. `by` says how.
    ///
    /// For protection that proves nothing itself. Fallback chains record by themselves when a provider answered.
    pub fn record_proof(&self, dependency: &Name, by: impl Into<String>) {
        self.proofs().insert(dependency.clone(), Proof::now(by.into()));
    }

    pub(crate) fn proof(&self, dependency: &Name) -> Option<Proof> {
        self.proofs().get(dependency).cloned()
    }

    fn proofs(&self) -> MutexGuard<'_, BTreeMap<Name, Proof>> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log in which the components record their changes of state.
    #[must_use]
    pub const fn log(&self) -> &EventLog {
        &self.log
    }

    /// All components, in the order of their registration.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &dyn Inspect> {
        self.components.iter().map(|registered| &*registered.component)
    }

    pub(crate) fn registered(&self) -> &[Registered] {
        &self.components
    }

    /// The component of this kind and name.
    #[must_use]
    pub fn find(&self, kind: &str, name: &str) -> Option<&dyn Inspect> {
        self.iter().find(|component| component.kind() == kind && component.name().as_str() == name)
    }

    /// The components by the dependency that each protects, in the order of the names. A component may protect several.
    #[must_use]
    pub fn by_dependency(&self) -> BTreeMap<&Name, Vec<&dyn Inspect>> {
        let mut grouped = BTreeMap::<_, Vec<_>>::new();
        for Registered { component, dependencies } in &self.components {
            let own = std::slice::from_ref(component.dependency());
            for dependency in dependencies.as_deref().unwrap_or(own) {
                grouped.entry(dependency).or_default().push(&**component);
            }
        }
        grouped
    }

    /// What protects each dependency, and what is missing, as of now.
    #[must_use]
    pub fn audit(&self) -> Audit {
        Audit::of(self)
    }
}

impl Default for Inventory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let components = self.iter().map(|component| format!("{} {}", component.kind(), component.name()));
        f.debug_list().entries(components).finish()
    }
}
