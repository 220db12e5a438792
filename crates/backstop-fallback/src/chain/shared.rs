//! What a chain, its layers and its requests share.

use std::sync::{Arc, OnceLock};

use backstop_core::{Classify, Name, Outcome};
use backstop_kit::{
    ErrorText, Keep, KeptRequest, PlainJudge, RepeatIf, RepeatRule, ReplayState, RequestFacts, Snapshot,
};

use super::settings::Settings;
use crate::{Provider, commit::WaitForBody, control::Control, drill::Offered, panics::Panics};

/// The providers in order of preference, and how they are asked.
pub(crate) struct Chain<Req, T> {
    pub(crate) name: Name,
    pub(crate) providers: Vec<Provider<Req, T>>,
    /// What the providers need of a request.
    pub(crate) needs: Keep,
    pub(crate) judge: HandlerJudge<T>,
    pub(crate) repeat: RepeatRule,
    pub(crate) marks: Vec<Mark<Req>>,
    pub(crate) control: Arc<Control>,
    /// Waits for answers' bodies. `None` if the head of an answer is enough.
    pub(crate) wait_for_body: Option<WaitForBody<T>>,
    pub(crate) error_text: ErrorText,
    pub(crate) panics: Panics,
    /// The drill of a handler's chain.
    pub(crate) drill: OnceLock<Offered<Req>>,
}

/// What judges the answers in a handler.
pub(crate) type HandlerJudge<T> = PlainJudge<Box<dyn Classify<T> + Send + Sync>>;

/// A predicate of `repeat_if` or `repeat_only_if`.
pub(crate) type Mark<Req> = RepeatIf<(), Box<dyn Fn(&Req) -> bool + Send + Sync>>;

impl<Req, T> Chain<Req, T> {
    /// The settings of a request that runs.
    #[inline]
    pub(crate) fn settings<'a>(&'a self, snapshot: &'a Snapshot<Settings>) -> &'a Settings {
        self.control.settings.at(snapshot)
    }

    /// `facts`, with what the chain's predicates say of `request`.
    #[inline]
    pub(crate) fn marked(&self, facts: RequestFacts, request: &Req) -> RequestFacts {
        if self.marks.is_empty() { facts } else { self.ask_predicates(facts, request) }
    }

    #[cold]
    fn ask_predicates(&self, facts: RequestFacts, request: &Req) -> RequestFacts {
        self.marks.iter().fold(facts, |facts, mark| mark.mark(facts, request))
    }

    /// The provider to force a request to, if one was drawn and it is possible.
    #[inline]
    pub(crate) fn draw<K: KeptRequest<Req>>(&self, facts: RequestFacts, kept: Option<&K>) -> Option<usize> {
        let provider = self.control.draw()?;
        // Otherwise the copy might take the body away from the primary.
        let is_held = || kept.is_some_and(|kept| kept.replay_state() == ReplayState::Whole);
        let can_be_copied = self.providers[provider].needs() < Keep::Whole || is_held();
        (self.may_force(facts) && can_be_copied).then_some(provider)
    }

    /// Whether a provider may be asked before the primary: then the request is sent again, whatever that provider does.
    pub(crate) fn may_force(&self, facts: RequestFacts) -> bool {
        self.repeat.allows(facts, &Outcome::failure())
    }
}
