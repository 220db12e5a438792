//! What several tests use.

use std::{cell::RefCell, future::pending, rc::Rc, time::Duration};

use backstop_core::{
    Scope,
    scope::{self, EndedBy},
};
use backstop_partial::{Aggregate, Degradation, name};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

pub(crate) fn dashboard() -> Aggregate {
    Aggregate::new(name!("dashboard"))
}

/// Polls `future` in a scope with a reader, and returns what was reported beside its output.
pub(crate) async fn reported<F: Future>(future: F) -> (F::Output, Vec<Degradation>) {
    let mut scope = Scope::new();
    let mut future = std::pin::pin!(future);
    let output = std::future::poll_fn(|cx| scope.enter_as_reader(|| future.as_mut().poll(cx))).await;
    (output, scope.take_reports())
}

/// The paths of labels.
pub(crate) fn paths(labels: &[Degradation]) -> Vec<String> {
    labels.iter().map(|label| label.path().to_string()).collect()
}

/// What became of a call.
#[derive(Clone, Default)]
pub(crate) struct Fate(Rc<RefCell<Vec<Option<EndedBy>>>>);

impl Fate {
    /// Never resolves. When it is dropped, `self` knows why.
    pub(crate) async fn hang<T>(&self) -> Result<T, &'static str> {
        let _dropped = Dropped(self.clone());
        pending().await
    }

    /// Why each call was dropped.
    pub(crate) fn ends(&self) -> Vec<Option<EndedBy>> {
        self.0.borrow().clone()
    }
}

struct Dropped(Fate);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.0.borrow_mut().push(scope::ended_by());
    }
}

/// Resolves to `value` after `time`.
pub(crate) async fn after<T>(time: Duration, value: T) -> T {
    tokio::time::sleep(time).await;
    value
}
