//! What the services of a layer share.

use std::{fmt::DebugStruct, sync::Arc, time::Duration};

use backstop_core::Name;

use super::live_limit::LiveLimit;
use crate::settings::Settings;

/// What the services of a layer share.
#[derive(Clone)]
pub(crate) struct TimeoutState<P> {
    pub(crate) name: Name,
    pub(crate) protocol: P,
    pub(crate) limit: Arc<LiveLimit>,
}

impl<P> TimeoutState<P> {
    /// The settings of one call.
    #[inline]
    pub(crate) fn with_limit(&self, limit: Duration) -> Settings<P>
    where
        P: Clone,
    {
        Settings { name: self.name.clone(), limit, strategy: self.protocol.clone() }
    }

    /// Without the protocol, which may have a closure.
    pub(crate) fn show<'f, 'a, 'b>(&self, f: &'f mut DebugStruct<'a, 'b>) -> &'f mut DebugStruct<'a, 'b> {
        f.field("name", &self.name).field("limit", &self.limit)
    }
}
