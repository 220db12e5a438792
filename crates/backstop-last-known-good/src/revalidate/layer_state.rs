//! What the services of a layer share.

use std::{fmt, pin::Pin, sync::Arc};

use backstop_kit::Reloadable;

use super::{config::StaleWhileRevalidateConfig, refreshes::RunningRefreshes};
use crate::LastKnownGoodHandle;

/// A refresh, to be run on your executor.
pub type Refresh = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct LayerState<St> {
    pub(super) known: LastKnownGoodHandle<St>,
    pub(super) execute: Execute,
    pub(super) settings: Arc<Reloadable<StaleWhileRevalidateConfig>>,
    pub(super) refreshes: RunningRefreshes,
}

pub(super) type Execute = Arc<dyn Fn(Refresh) + Send + Sync>;

impl<St> LayerState<St> {
    pub(super) fn debug(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("known", &self.known).field("settings", &self.settings).finish_non_exhaustive()
    }
}
