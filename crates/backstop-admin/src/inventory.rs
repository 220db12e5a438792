//! The layers of a service.

use std::{collections::BTreeMap, fmt, sync::Arc};

use backstop_core::{EventLog, Inspect, Name};

/// How many events the log of a new inventory holds.
const EVENTS: usize = 1_000;

/// Lists the layers of a service, and whatever else implements [`Inspect`]: see the [crate's documentation](crate).
///
/// Clones share the components and the log.
#[derive(Clone)]
#[must_use = "registering returns the inventory"]
pub struct Inventory {
    log: EventLog,
    components: Vec<Arc<dyn Inspect>>,
}

impl Inventory {
    /// An empty inventory, with a log of 1,000 events.
    pub fn new() -> Self {
        Self::with_log(EventLog::new(EVENTS))
    }

    /// An empty inventory whose components record their changes of state in `log`.
    pub const fn with_log(log: EventLog) -> Self {
        Self { log, components: Vec::new() }
    }

    /// Adds a component: the handle of a layer, or anything else that implements [`Inspect`]. From now on it
    /// [reports to](Inspect::report_to) the inventory's log.
    ///
    /// A second component of the same kind and name is added, too, with a warning in the log: operators can't tell the two apart,
    /// and [`find`](Self::find) returns the first.
    pub fn register(self, component: impl Inspect + 'static) -> Self {
        self.add(Arc::new(component))
    }

    /// Adds several components, such as all parts of a standard stack.
    pub fn register_all(self, components: impl IntoIterator<Item = Arc<dyn Inspect>>) -> Self {
        components.into_iter().fold(self, Self::add)
    }

    fn add(mut self, component: Arc<dyn Inspect>) -> Self {
        let (kind, name) = (component.kind(), component.name());
        if self.find(kind, name.as_str()).is_some() {
            tracing::warn!(target: "backstop::admin", kind, %name, "two components have the same kind and name");
        }
        component.report_to(&self.log);
        self.components.push(component);
        self
    }

    /// The log in which the components record their changes of state.
    #[must_use]
    pub const fn log(&self) -> &EventLog {
        &self.log
    }

    /// All components, in the order of their registration.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &dyn Inspect> {
        self.components.iter().map(|component| &**component)
    }

    /// The component of this kind and name.
    #[must_use]
    pub fn find(&self, kind: &str, name: &str) -> Option<&dyn Inspect> {
        self.iter().find(|component| component.kind() == kind && component.name().as_str() == name)
    }

    /// The components by the [dependency](Inspect::dependency) that each protects, in the order of the names.
    #[must_use]
    pub fn by_dependency(&self) -> BTreeMap<&Name, Vec<&dyn Inspect>> {
        let mut grouped = BTreeMap::<_, Vec<_>>::new();
        for component in self.iter() {
            grouped.entry(component.dependency()).or_default().push(component);
        }
        grouped
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
