//! What all services of a layer share.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::Name;
use backstop_kit::{Judge, Protocol};
use tower_service::Service;

use crate::{FallbackChain, found::Found};

/// What all services of a layer share.
pub(crate) struct Policy<Req, Res, P> {
    pub(crate) primary: Name,
    pub(crate) primary_timeout: Option<Duration>,
    pub(crate) chain: FallbackChain<Req, Res>,
    pub(crate) protocol: P,
}

/// The policy of a layer around a service `S`.
pub(crate) type PolicyOf<S, Req, P> = Arc<Policy<Req, <S as Service<Req>>::Response, P>>;

impl<Req, Res, P> Policy<Req, Res, P> {
    pub(crate) fn debug(&self, f: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("primary", &self.primary).field("chain", &self.chain).finish_non_exhaustive()
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
