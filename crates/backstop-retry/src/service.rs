//! The service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_core::{
    Classify, CopyRequest, HttpClassify, HttpCopy, Keep, KeepAnswer, KeepReplaced, Limit, Scope, SetBy,
};
use tower_service::Service;

use crate::{
    RetryBudget, RetryFuture,
    layer::Policy,
    spare::{Again, Spare},
};

/// The service that [`RetryLayer`](crate::RetryLayer) makes.
pub struct Retry<S, C = HttpClassify, K = HttpCopy, A = KeepReplaced> {
    inner: S,
    policy: Arc<Policy<C, K, A>>,
}

impl<S, C, K, A> Retry<S, C, K, A> {
    pub(crate) const fn new(inner: S, policy: Arc<Policy<C, K, A>>) -> Self {
        Self { inner, policy }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, C, K, A, Req> Service<Req> for Retry<S, C, K, A>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    C: Classify<S::Response>,
    K: CopyRequest<Req>,
    A: KeepAnswer<S::Response>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RetryFuture<S, Req, C, K, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let Policy { settings, copy, budget, .. } = &*self.policy;
        if settings.max_attempts == 1 {
            return RetryFuture::passing(self.inner.call(request));
        }
        let glance = copy.glance(&request);
        let is_of_outer_tier = |header| copy.tells_of_attempts(&request, header);
        if glance.is_never_repeated()
            || glance.is_upgrade()
            || settings.attempt_header.as_ref().is_some_and(is_of_outer_tier)
        {
            return RetryFuture::passing(self.inner.call(request));
        }
        let mut facts = glance;
        let again = if budget.as_ref().is_some_and(RetryBudget::is_empty) {
            facts = copy.facts(&request);
            None
        } else {
            let kept = copy.keep_and_note(&mut request, Keep::Whole, &mut facts);
            // The service that was ready is called now; later attempts make the clone ready.
            Some(Again { service: self.inner.clone(), kept })
        };
        if facts.is_upgrade() {
            return RetryFuture::passing(self.inner.call(request));
        }
        budget.as_ref().inspect(|budget| budget.deposit());
        let mut scope = Scope::limited(Limit::new(settings.total, SetBy::Us));
        let future = scope.enter(|| self.inner.call(request));
        RetryFuture::first(future, scope, Spare { policy: Arc::clone(&self.policy), facts, again })
    }
}

impl<S: Clone, C, K, A> Clone for Retry<S, C, K, A> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.policy))
    }
}

impl<S: fmt::Debug, C, K, A> fmt::Debug for Retry<S, C, K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Retry");
        f.field("inner", &self.inner);
        self.policy.debug(f)
    }
}
