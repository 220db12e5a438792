//! What all services of a layer share.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use backstop_core::{Limit, Name, Scope, SetBy, scope::CurrentLimit};
use backstop_kit::{Judge, Protocol, telemetry::Series};
use tokio::time::Instant;
use tower_service::Service;

use crate::{
    FallbackChain,
    chain::settings::{LayerSettings, Settings},
    drill::Offered,
    found::Found,
    share,
};

/// What all services of a layer share.
pub(crate) struct LayerState<Req, Res, P> {
    pub(crate) primary: Name,
    pub(crate) primary_latency: Series,
    pub(crate) settings: Arc<LayerSettings>,
    pub(crate) chain: FallbackChain<Req, Res>,
    pub(crate) protocol: P,
    pub(crate) drill: OnceLock<Offered<Req>>,
}

/// The state of a layer around a service `S`.
pub(crate) type LayerStateOf<S, Req, P> = Arc<LayerState<Req, <S as Service<Req>>::Response, P>>;

impl<Req, Res, P> LayerState<Req, Res, P> {
    pub(crate) fn debug(&self, f: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("primary", &self.primary).field("chain", &self.chain).finish_non_exhaustive()
    }

    /// A scope with the primary's share of the time, inside a scope with the limit `outer`.
    #[inline]
    pub(crate) fn scope(&self, settings: &Settings, outer: CurrentLimit, started: &mut Option<Instant>) -> Scope {
        let share = match outer {
            CurrentLimit::Begun => return self.remaining_scope(settings, started),
            CurrentLimit::NotBegun(outer) => {
                share::first_limit(Limit::new(settings.total, SetBy::Us).narrowed_by(Some(outer)), self.providers())
            }
            // Worked out in advance: a division takes longer than all else here.
            CurrentLimit::Endless => settings.primary_share,
        };
        Scope::limited(share::narrowed(share, settings.primary_timeout(self.settings.primary_timeout)))
    }

    /// A scope with the primary's share of the time left. Begins the request's time if it hasn't begun.
    pub(crate) fn remaining_scope(&self, settings: &Settings, started: &mut Option<Instant>) -> Scope {
        let limit = settings.limit(*started.get_or_insert_with(Instant::now));
        let timeout = settings.primary_timeout(self.settings.primary_timeout);
        Scope::narrowed(share::next_deadline(Instant::now(), limit, self.providers(), timeout))
    }

    /// The number of providers, the primary included.
    fn providers(&self) -> u32 {
        self.chain.shared().providers.len() as u32 + 1
    }

    /// The answer, labelled if it isn't the primary's.
    pub(crate) fn labelled(&self, mut found: Found<Res>) -> Res
    where
        P: Protocol,
        P::Judge: Judge<Res>,
    {
        if let Some(degradation) = &found.degradation {
            self.protocol.judge().label(&mut found.result.value, degradation);
        }
        found.result.value
    }
}
