//! What the services of a layer share.

use std::sync::Arc;

use backstop_kit::Reloadable;

use crate::settings::{PublicNames, Settings};

/// What the services of a layer share.
#[derive(Clone, Debug)]
pub(crate) struct LayerState {
    /// Shared with the handles.
    pub(crate) settings: Arc<Reloadable<Settings>>,
    /// A closure, which a reload leaves alone.
    pub(crate) public_names: PublicNames,
}
