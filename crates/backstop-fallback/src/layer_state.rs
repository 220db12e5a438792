//! What all services of a layer share.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::{Limit, Name, Scope, SetBy};
use backstop_kit::{Judge, Protocol};
use tokio::time::Instant;
use tower_service::Service;

use crate::{FallbackChain, found::Found, request_state::OuterLimit, share};

/// What all services of a layer share.
pub(crate) struct LayerState<Req, Res, P> {
    pub(crate) primary: Name,
    pub(crate) primary_timeout: Option<Duration>,
    pub(crate) chain: FallbackChain<Req, Res>,
    pub(crate) protocol: P,
}

/// The state of a layer around a service `S`.
pub(crate) type LayerStateOf<S, Req, P> = Arc<LayerState<Req, <S as Service<Req>>::Response, P>>;

impl<Req, Res, P> LayerState<Req, Res, P> {
    pub(crate) fn debug(&self, f: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("primary", &self.primary).field("chain", &self.chain).finish_non_exhaustive()
    }

    /// A scope with the primary's share of the time, before any was used.
    #[inline]
    pub(crate) fn scope(&self, outer: OuterLimit, started: &mut Option<Instant>) -> Scope {
        let Some(outer) = outer.0 else {
            return self.remaining_scope(started);
        };
        let limit = Limit::new(self.chain.shared().total, SetBy::Us).narrowed_by(outer);
        Scope::limited(share::first_limit(limit, self.providers(), self.primary_timeout))
    }

    /// A scope with the primary's share of what is left of the time, which begins if it hasn't.
    pub(crate) fn remaining_scope(&self, started: &mut Option<Instant>) -> Scope {
        let limit = self.chain.shared().limit(*started.get_or_insert_with(Instant::now));
        Scope::narrowed(share::next_deadline(Instant::now(), limit, self.providers(), self.primary_timeout))
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
