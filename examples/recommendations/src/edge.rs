//! The layers around all requests of the app.

use backstop::{ConfigError, DeadlineHeader, DeadlineLayer, DegradationHeaderLayer, Inventory};

/// The layers at the edge, built here so that an [inventory](crate::Running::inventory) has their handles.
#[derive(Debug, Clone)]
pub struct Edge {
    pub(crate) headers: DegradationHeaderLayer,
    pub(crate) deadline: DeadlineLayer,
}

impl Edge {
    /// `trusted_deadline` is the only header from which the app takes a caller's deadline. Set it only behind a proxy that sets this
    /// header: other callers could send a deadline of a millisecond with each request, so that circuits' probes prove nothing.
    ///
    /// # Errors
    /// [`ConfigError`] if a layer's configuration is invalid, which the current one isn't.
    pub fn new(trusted_deadline: Option<DeadlineHeader>) -> Result<Self, ConfigError> {
        let mut deadline = DeadlineLayer::builder("app");
        if let Some(header) = trusted_deadline {
            deadline = deadline.trust(header);
        }
        Ok(Self { headers: DegradationHeaderLayer::new(), deadline: deadline.build()? })
    }

    pub(crate) fn register(&self, inventory: Inventory) -> Inventory {
        inventory.register(self.headers.handle()).register(self.deadline.handle())
    }
}
