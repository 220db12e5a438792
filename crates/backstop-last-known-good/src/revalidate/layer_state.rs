//! What the services of a layer share.

use std::{fmt, sync::Arc};

use backstop_kit::Reloadable;

use super::config::StaleWhileRevalidateConfig;
use crate::{
    BackgroundTask, LastKnownGoodHandle,
    running::{Execute, RunningTasks},
};

/// A refresh, to be run on your executor.
pub type Refresh = BackgroundTask;

pub(super) struct LayerState<St> {
    pub(super) known: LastKnownGoodHandle<St>,
    pub(super) execute: Execute,
    pub(super) settings: Arc<Reloadable<StaleWhileRevalidateConfig>>,
    pub(super) refreshes: RunningTasks,
}

impl<St> LayerState<St> {
    pub(super) fn debug(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("known", &self.known).field("settings", &self.settings).finish_non_exhaustive()
    }
}
