//! What a request is offered to: the drill of a layer, or of a chain in a handler.

use std::sync::Arc;

use backstop_core::{ConfigError, scope};
use backstop_kit::{CopyAs, Judge, Keep, KeptRequest, NotCopied, Protocol, ReplayState, RequestFacts};

use super::{Drill, DrillCall, Drills, run::run};
use crate::{
    FallbackChain, FallbackLayer, chain::shared::Chain, control::Control, panics::Panics, prove, proven::ProvenBy,
};

type Start<Req> = dyn Fn(usize, Option<Req>, RequestFacts) -> Option<DrillCall> + Send + Sync;

/// A drill, and how it asks the providers.
pub(crate) struct Offered<Req> {
    drill: Drill<Req>,
    /// The providers that are drilled, and what they need of a request.
    providers: Vec<(usize, Keep)>,
    /// Erased, since it knows how the answers are judged. `None` if the chain is gone.
    start: Box<Start<Req>>,
}

impl<Req> Offered<Req> {
    /// Drills the providers of `chain` from `first` on.
    fn new<T>(
        drill: Drill<Req>,
        chain: &Chain<Req, T>,
        first: usize,
        start: impl Fn(usize, Option<Req>, RequestFacts) -> Option<DrillCall> + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        drill.check(&chain.control.providers)?;
        let providers = chain.providers.iter().enumerate().skip(first);
        let providers = providers.filter(|(_, provider)| !provider.is_even_if_processed());
        let providers: Vec<_> = providers.map(|(index, provider)| (index, provider.needs())).collect();
        if providers.is_empty() {
            return Err(ConfigError::new(
                "drill",
                "no provider",
                "one behind the primary that isn't `even_if_processed`",
            ));
        }
        Ok(Self { drill, providers, start: Box::new(start) })
    }

    /// Begins a drill with a copy of this request, if it is suitable and no other one has the turn. It never panics.
    #[cold]
    pub(crate) fn offer<K: KeptRequest<Req>>(
        &self,
        control: &Arc<Control>,
        request: &Req,
        facts: RequestFacts,
        kept: Option<&mut K>,
    ) {
        _ = Panics::Catch.run(|| self.try_offer(control, request, facts, kept));
    }

    fn try_offer<K: KeptRequest<Req>>(
        &self,
        control: &Arc<Control>,
        request: &Req,
        facts: RequestFacts,
        kept: Option<&mut K>,
    ) -> Option<()> {
        let is_suitable = !facts.is_never_repeated() && !scope::is_shadow() && (self.drill.is_safe)(request);
        let turn = is_suitable.then(|| Drills::take_turn(control, control.drill_every()?)).flatten()?;
        let (provider, needs) = *self.providers.get(control.drills.turns() % self.providers.len())?;
        let copy = match needs {
            Keep::Nothing => None,
            Keep::Head => Some(kept?.copy(CopyAs::HeadOnly).ok()?),
            // Otherwise the copy might take the body away from the primary.
            Keep::Whole => {
                let kept = kept.filter(|kept| K::replay_state(kept) == ReplayState::Whole)?;
                Some(kept.copy(CopyAs::ForAnotherSource).ok()?)
            }
        };
        let call = (self.start)(provider, copy, facts)?;
        _ = turn.begin();
        (self.drill.spawn)(Box::pin(run(turn, provider, call, self.drill.conditions.clone())));
        Some(())
    }
}

/// Asks a provider that isn't full. It counts for nothing there.
async fn ask<Req, T, J: Judge<T>>(
    chain: &Chain<Req, T>,
    sharing: usize,
    judge: &J,
    provider: usize,
    request: Option<Req>,
    facts: RequestFacts,
) -> prove::Asked {
    let admit = |limit| chain.providers[provider].admit_drill(limit);
    prove::ask(chain, sharing, judge, provider, facts, admit, |_| request.ok_or(NotCopied::HeadOnly)).await?;
    chain.control.proofs.prove(provider, ProvenBy::Drill);
    Ok(())
}

impl<Req: Send + 'static, T: 'static> FallbackChain<Req, T> {
    /// Drills the chain's providers in a handler, all but the first, while [`execute`](Self::execute) runs. See [`Drill`].
    ///
    /// Behind a layer, use [`FallbackLayer::with_drill`]: there, this drill isn't used.
    ///
    /// # Errors
    /// [`ConfigError`] if the chain has a drill already, has no provider to drill, or lacks one that the drill names.
    pub fn with_drill(self, drill: Drill<Req>) -> Result<Self, ConfigError> {
        let (shared, every) = (self.shared(), drill.every);
        let chain = Arc::downgrade(shared);
        let offered = Offered::new(drill, shared, 1, move |provider, request, facts| {
            let chain = chain.upgrade()?;
            Some(DrillCall::new(async move {
                ask(&chain, chain.providers.len(), &chain.judge, provider, request, facts).await
            }))
        })?;
        shared.control.drills.begin(every)?;
        _ = shared.drill.set(offered);
        Ok(self)
    }
}

impl<Req, Res, P> FallbackLayer<Req, Res, P>
where
    Req: Send + 'static,
    Res: 'static,
    P: Protocol<Judge: Judge<Res> + Sync> + Send + Sync + 'static,
{
    /// Drills the chain's providers while the wrapped service answers. See [`Drill`].
    ///
    /// # Errors
    /// [`ConfigError`] if the chain has a drill already, has no provider to drill, or lacks one that the drill names.
    pub fn with_drill(self, drill: Drill<Req>) -> Result<Self, ConfigError> {
        let (chain, every) = (self.state.chain.shared(), drill.every);
        let state = Arc::downgrade(&self.state);
        let offered = Offered::new(drill, chain, 0, move |provider, request, facts| {
            let state = state.upgrade()?;
            Some(DrillCall::new(async move {
                let chain = state.chain.shared();
                ask(chain, chain.providers.len() + 1, state.protocol.judge(), provider, request, facts).await
            }))
        })?;
        chain.control.drills.begin(every)?;
        _ = self.state.drill.set(offered);
        Ok(self)
    }
}
