//! What a chain, its layers and its requests share.

use std::{sync::Arc, time::Duration};

use backstop_core::{Classify, Deadline, Name, SetBy, scope};
use backstop_kit::{ErrorText, Keep, PlainJudge, RequestFacts};
use tokio::time::Instant;

use crate::{Provider, commit::Committer, control::Control};

/// The providers in order of preference, and how they are asked.
pub(crate) struct Chain<Req, T> {
    pub(crate) name: Name,
    pub(crate) total: Duration,
    pub(crate) providers: Vec<Provider<Req, T>>,
    /// What of a request must be kept for the providers.
    pub(crate) needs: Option<Keep>,
    pub(crate) judge: HandlerJudge<T>,
    pub(crate) repeatable: Repeatable<Req>,
    pub(crate) control: Arc<Control>,
    /// Waits for answers' bodies; `None` where answers count as soon as their heads have come.
    pub(crate) committer: Option<Committer<T>>,
    pub(crate) error_text: ErrorText,
}

/// What judges the answers in a handler.
pub(crate) type HandlerJudge<T> = PlainJudge<Box<dyn Classify<T> + Send + Sync>>;

/// Which requests may be repeated; `None` where a chain leaves that to what is known of them anyway.
pub(crate) type Repeatable<Req> = Option<Box<dyn Fn(&Req) -> bool + Send + Sync>>;

impl<Req, T> Chain<Req, T> {
    /// When the time is up of a request that came at `started`: after the total, or at the scope's deadline.
    pub(crate) fn limit(&self, started: Instant) -> Deadline {
        Deadline::at(started + self.total, SetBy::Us).narrowed_by(scope::deadline())
    }

    /// What is known of `request`: these facts, and what the chain was told of such requests.
    #[inline]
    pub(crate) fn narrowed(&self, facts: RequestFacts, request: &Req) -> RequestFacts {
        let is_repeatable = self.repeatable.as_ref().is_none_or(|holds| holds(request));
        if is_repeatable { facts } else { facts.never_repeated() }
    }
}
