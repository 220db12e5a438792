//! The call of a drill, which nobody sees.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::{Scope, scope};
use backstop_kit::{ErrorText, polled_again};

use crate::{miss::ProviderMiss, panics::Panics, prove::Asked};

type Inner = Pin<Box<dyn Future<Output = Asked> + Send>>;

/// The call of a provider that is drilled. It runs, and is dropped, as a shadow in a scope of its own, whoever does that.
pub(crate) struct DrillCall {
    /// `None` once it was dropped.
    inner: Option<Inner>,
    scope: Scope,
}

impl DrillCall {
    pub(crate) fn new(inner: impl Future<Output = Asked> + Send + 'static) -> Self {
        Self { inner: Some(Box::pin(inner)), scope: Scope::new() }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Asked> {
        let Self { inner: Some(inner), scope } = self else { polled_again("DrillCall") };
        let poll = || Panics::Catch.run(|| inner.as_mut().poll(cx));
        // What it reports is for nobody, which is no reason for a warning.
        match scope::shadow(|| scope.enter_as_reader(poll)) {
            Ok(polled) => polled,
            Err(panicked) => Poll::Ready(Err(ProviderMiss::panicked(panicked, &ErrorText::default()))),
        }
    }
}

impl Drop for DrillCall {
    fn drop(&mut self) {
        let Self { inner, scope } = self;
        // A live request may drop it, which a panic must not end.
        _ = Panics::Catch.run(|| scope::shadow(|| scope.enter_as_reader(|| *inner = None)));
    }
}
