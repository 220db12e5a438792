//! A request that goes to a forced provider before the primary.

use std::task::{Context, Poll, ready};

use backstop_kit::{CopyRequest, Judge, KeepAnswer, Protocol, Reject};
use tower_service::Service;

use crate::{
    forced::Forced,
    request_state::{RequestState, copied},
};

/// A request that waits for the primary while a forced provider has a copy of it.
pub(crate) struct ForcedFirst<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Copy: CopyRequest<Req>,
{
    provider: usize,
    /// `None` until it has started.
    forced: Option<Forced<Req, S::Response>>,
    pub(crate) primary: S,
    pub(crate) request: Req,
    pub(crate) request_state: RequestState<S, Req, P>,
}

impl<S, Req, P> ForcedFirst<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Copy: CopyRequest<Req>,
{
    pub(crate) const fn new(provider: usize, primary: S, request: Req, request_state: RequestState<S, Req, P>) -> Self {
        Self { provider, forced: None, primary, request, request_state }
    }

    /// The forced provider's answer, if it has one.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<S::Response>>
    where
        P: Protocol,
        P::Judge: Judge<S::Response>,
        P::Keep: KeepAnswer<S::Response>,
    {
        let Self { provider, forced, request_state, .. } = self;
        let started = request_state.start_clock();
        let layer = &request_state.layer;
        let forced = match forced {
            Some(started) => started,
            None => {
                let chain = layer.chain.shared();
                let settings = chain.settings(&request_state.settings);
                let kept = &mut request_state.kept;
                let copied = |copy| copied(kept, copy);
                // The frame isn't ended: after this, the primary's call proves nothing.
                match Forced::start(chain, settings, *provider, 1, started, &mut request_state.frame, copied) {
                    Some(started) => forced.insert(started),
                    None => return Poll::Ready(None),
                }
            }
        };
        let found = ready!(forced.poll(cx, layer.protocol.judge(), request_state.facts));
        Poll::Ready(found.map(|found| layer.labelled(found)))
    }
}
