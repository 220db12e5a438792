//! The settings of a layer, which its handle reloads while requests run.

use std::{
    fmt::{self, DebugStruct},
    sync::Arc,
    time::Duration,
};

use backstop_core::Name;
use backstop_kit::Reloadable;

use crate::{header::DeadlineHeader, settings::Settings};

/// What a reload replaces.
#[derive(Clone, Debug)]
pub(crate) struct DeadlineSettings {
    pub(crate) limit: Duration,
    /// The headers in which callers' time limits are trusted, besides gRPC's own.
    pub(crate) trust: Vec<DeadlineHeader>,
}

/// What the services of a layer share. `R` is how they reject.
#[derive(Clone)]
pub(crate) struct DeadlineState<R> {
    pub(crate) name: Name,
    pub(crate) reject: R,
    pub(crate) current: Arc<Reloadable<DeadlineSettings>>,
}

impl<R> DeadlineState<R> {
    /// The settings of one request.
    #[inline]
    pub(crate) fn with_limit(&self, limit: Duration) -> Settings<R>
    where
        R: Clone,
    {
        Settings { name: self.name.clone(), limit, strategy: self.reject.clone() }
    }

    /// Without the strategy, which may be a closure.
    pub(crate) fn debug(&self, f: &mut DebugStruct<'_, '_>) -> fmt::Result {
        let DeadlineSettings { limit, trust } = &*self.current.load();
        f.field("name", &self.name).field("limit", limit).field("trust", trust).finish_non_exhaustive()
    }
}
