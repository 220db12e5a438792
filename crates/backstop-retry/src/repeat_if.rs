//! Requests that the user says may be repeated.

use std::fmt;

use backstop_kit::{CopyAs, CopyRequest, Held, Keep, NotCopied, RequestFacts};
use http::HeaderName;

/// Copies requests as `K` does, and takes those for idempotent of which a predicate says so.
///
/// Made by [`RetryBuilder::repeat_if`](crate::RetryBuilder::repeat_if).
#[derive(Clone, Copy)]
pub struct RepeatIf<K, P> {
    copy: K,
    predicate: P,
}

impl<K, P> RepeatIf<K, P> {
    pub(crate) const fn new(copy: K, predicate: P) -> Self {
        Self { copy, predicate }
    }

    /// Asks the predicate, but only where it makes a difference: most requests are idempotent by their method.
    fn ask<Req>(&self, facts: RequestFacts, request: &Req) -> RequestFacts
    where
        P: Fn(&Req) -> bool,
    {
        if !facts.is_idempotent() && !facts.is_never_repeated() && (self.predicate)(request) {
            facts.idempotent()
        } else {
            facts
        }
    }

    pub(crate) fn map<K2>(self, f: impl FnOnce(K) -> K2) -> RepeatIf<K2, P> {
        RepeatIf { copy: f(self.copy), predicate: self.predicate }
    }
}

#[diagnostic::do_not_recommend]
impl<Req, K, P> CopyRequest<Req> for RepeatIf<K, P>
where
    K: CopyRequest<Req>,
    P: Fn(&Req) -> bool,
{
    type Kept = K::Kept;

    fn facts(&self, request: &Req) -> RequestFacts {
        self.ask(self.copy.facts(request), request)
    }

    fn glance(&self, request: &Req) -> RequestFacts {
        self.ask(self.copy.glance(request), request)
    }

    fn keep(&self, request: &mut Req, keep: Keep) -> K::Kept {
        self.copy.keep(request, keep)
    }

    fn keep_and_note(&self, request: &mut Req, keep: Keep, facts: &mut RequestFacts) -> K::Kept {
        let says_so = facts.is_idempotent();
        let kept = self.copy.keep_and_note(request, keep, facts);
        if says_so {
            *facts = facts.idempotent();
        }
        kept
    }

    fn copy(&self, kept: &mut K::Kept, copy: CopyAs) -> Result<Req, NotCopied> {
        self.copy.copy(kept, copy)
    }

    fn held(&self, kept: &K::Kept) -> Held {
        self.copy.held(kept)
    }

    fn tell_attempts(&self, request: &mut Req, before: u32, header: Option<&HeaderName>) {
        self.copy.tell_attempts(request, before, header);
    }

    fn tells_of_attempts(&self, request: &Req, header: &HeaderName) -> bool {
        self.copy.tells_of_attempts(request, header)
    }
}

impl<K: fmt::Debug, P> fmt::Debug for RepeatIf<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatIf").field("copy", &self.copy).finish_non_exhaustive()
    }
}
