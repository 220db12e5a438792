//! A call that is held: delayed, or hung.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    engine::{ASK_EVERY, HeldPlace},
    injector::Injector,
};

/// Holds a call until its time has passed, or its run ends.
///
/// # Cancellation
/// Dropping it frees its place.
#[derive(Debug)]
pub(crate) struct Hold {
    injector: Arc<Injector>,
    place: HeldPlace,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Hold {
    pub(crate) const fn new(injector: Arc<Injector>, place: HeldPlace) -> Self {
        Self { injector, place, timer: None }
    }
}

impl Future for Hold {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let Some(run_ends) = this.injector.poll_held(this.place.index, cx.waker()) else { return Poll::Ready(()) };
            let now = Instant::now();
            if this.place.until.is_some_and(|until| now >= until) {
                return Poll::Ready(());
            }
            // Its end wakes it at once, but nothing else may find that the level is worse.
            let next = this.place.until.map_or(run_ends, |until| until.min(run_ends)).min(now + ASK_EVERY);
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
            timer.as_mut().reset(next);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.injector.release(self.place.index);
    }
}
