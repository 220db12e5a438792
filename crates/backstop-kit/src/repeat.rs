//! Whether a request may be sent again: see [`repeating`](crate::repeating).

use std::{fmt, sync::Arc};

use backstop_core::Outcome;

use crate::{CopyRequest, Keep, RequestFacts};

/// Says whether one request may be repeated, as a request extension. See [`repeating`](crate::repeating).
///
/// ```
/// use backstop_kit::{Repeat, RequestFacts};
///
/// let mut search = http::Request::post("/search").body(())?;
/// search.extensions_mut().insert(Repeat::Safe);
/// assert!(RequestFacts::of(&search).is_idempotent());
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repeat {
    /// Never sent again once it may have been processed, whatever else allows that. A retry doesn't repeat it at all.
    Never,
    /// Treated as idempotent, whatever its method.
    Safe,
}

/// Decides whether a request may be sent again after a failed attempt: to the same service by a retry, or to another
/// provider by a fallback. See [`repeating`](crate::repeating).
///
/// ```
/// use backstop_core::Outcome;
/// use backstop_kit::{RepeatRule, RequestFacts};
///
/// let order = RequestFacts::none().with_idempotency_key();
/// assert!(!RepeatRule::new().allows(order, &Outcome::failure()));
/// assert!(RepeatRule::new().trust_idempotency_key().allows(order, &Outcome::failure()));
/// ```
///
/// With the feature `serde` it can be read from a file, as `{ trust_idempotency_key = true }`. A closure isn't written.
#[derive(Clone, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(default, deny_unknown_fields))]
#[must_use]
pub struct RepeatRule {
    #[cfg_attr(feature = "serde", serde(rename = "trust_idempotency_key"))]
    trusts_idempotency_key: bool,
    #[cfg_attr(feature = "serde", serde(skip))]
    when: Option<Arc<When>>,
}

type When = dyn Fn(RequestFacts, &Outcome) -> bool + Send + Sync;

impl RepeatRule {
    /// The default rule: idempotent requests, and those that were certainly not processed.
    pub const fn new() -> Self {
        Self { trusts_idempotency_key: false, when: None }
    }

    /// Also allows requests with an `Idempotency-Key`, whatever their method.
    pub fn trust_idempotency_key(mut self) -> Self {
        self.trusts_idempotency_key = true;
        self
    }

    /// Replaces the rule by `rule`.
    pub fn repeat_when(mut self, rule: impl Fn(RequestFacts, &Outcome) -> bool + Send + Sync + 'static) -> Self {
        self.when = Some(Arc::new(rule));
        self
    }

    /// This rule, with the closure of `built` unless it has one of its own. For a reload from a file, which holds no closure.
    pub fn with_closure_of(mut self, built: &Self) -> Self {
        self.when = self.when.or_else(|| built.when.clone());
        self
    }

    /// Whether the request may be sent again after an attempt with this outcome.
    #[must_use]
    pub fn allows(&self, request: RequestFacts, outcome: &Outcome) -> bool {
        if request.is_upgrade() {
            return false;
        }
        if request.is_never_repeated() {
            return outcome.unprocessed;
        }
        match &self.when {
            Some(rule) => rule(request, outcome),
            None => {
                let by_key = self.trusts_idempotency_key && request.has_idempotency_key();
                outcome.unprocessed || request.is_idempotent() || by_key
            }
        }
    }
}

/// Closures are equal if they are clones of one closure.
impl PartialEq for RepeatRule {
    fn eq(&self, other: &Self) -> bool {
        let same_when = match (&self.when, &other.when) {
            (Some(when), Some(other)) => Arc::ptr_eq(when, other),
            (None, None) => true,
            _ => false,
        };
        same_when && self.trusts_idempotency_key == other.trusts_idempotency_key
    }
}

impl Eq for RepeatRule {}

impl fmt::Debug for RepeatRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatRule")
            .field("trusts_idempotency_key", &self.trusts_idempotency_key)
            .field("has_closure", &self.when.is_some())
            .finish()
    }
}

/// A predicate that marks requests with a [`Repeat`], like the request extension.
///
/// As a [`CopyRequest`] it copies requests like `K`, and marks their facts.
#[derive(Clone, Copy)]
pub struct RepeatIf<K, F> {
    copy: K,
    predicate: F,
    mark: Repeat,
}

impl<K, F> RepeatIf<K, F> {
    /// [`Repeat::Safe`] if `predicate` is true.
    pub const fn safe_if(copy: K, predicate: F) -> Self {
        Self { copy, predicate, mark: Repeat::Safe }
    }

    /// [`Repeat::Never`] unless `predicate` is true.
    pub const fn only_if(copy: K, predicate: F) -> Self {
        Self { copy, predicate, mark: Repeat::Never }
    }

    /// Adds the mark to `facts`. The predicate is called only if it can make a difference.
    pub fn mark<Req>(&self, facts: RequestFacts, request: &Req) -> RequestFacts
    where
        F: Fn(&Req) -> bool,
    {
        match self.mark {
            _ if facts.is_never_repeated() => facts,
            Repeat::Safe if !facts.is_idempotent() && (self.predicate)(request) => facts.idempotent(),
            Repeat::Never if !(self.predicate)(request) => facts.never_repeated(),
            Repeat::Safe | Repeat::Never => facts,
        }
    }
}

impl<T, K: AsMut<T>, F> AsMut<T> for RepeatIf<K, F> {
    fn as_mut(&mut self) -> &mut T {
        self.copy.as_mut()
    }
}

#[diagnostic::do_not_recommend]
impl<Req, K, F> CopyRequest<Req> for RepeatIf<K, F>
where
    K: CopyRequest<Req>,
    F: Fn(&Req) -> bool,
{
    type Kept = K::Kept;

    fn facts(&self, request: &Req) -> RequestFacts {
        self.mark(self.copy.facts(request), request)
    }

    #[inline]
    fn keep(&self, request: &mut Req, facts: &mut RequestFacts, keep: Keep) -> Option<K::Kept> {
        self.copy.keep(request, facts, keep)
    }
}

impl<K: fmt::Debug, F> fmt::Debug for RepeatIf<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatIf").field("copy", &self.copy).field("mark", &self.mark).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
