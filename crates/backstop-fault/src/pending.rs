//! A call that is hit, until it fails.

use std::sync::Arc;

use backstop_core::Rejection;

use crate::{Fault, FaultRun, injected_panic, injector::Injector, make_fault::sealed::Failure};

/// The fault of a call that is hit.
#[derive(Clone, Debug)]
#[expect(unnameable_types, reason = "of a sealed trait")]
pub struct PendingFault {
    injector: Arc<Injector>,
    run: Arc<FaultRun>,
}

impl PendingFault {
    pub(crate) const fn new(injector: Arc<Injector>, run: Arc<FaultRun>) -> Self {
        Self { injector, run }
    }

    pub(crate) fn fault(&self) -> &Fault {
        &self.run.fault
    }

    /// What the call fails with now, which is counted. `None` if its run has ended since it was hit.
    pub(crate) fn apply(&self) -> Option<Rejection> {
        self.injector.apply(&self.run).then(|| self.injector.rejection())
    }

    /// How the call fails without being made. `None` if it is made.
    ///
    /// # Panics
    /// If that is the fault.
    pub(crate) fn failure(&self) -> Option<(Failure<'_>, Rejection)> {
        let failure = match self.fault() {
            Fault::Error => Failure::Error,
            Fault::Status(fault) => Failure::Status(fault),
            Fault::Reset => Failure::Reset,
            Fault::Panic => {
                self.apply()?;
                injected_panic(self.injector.name())
            }
            Fault::Delay(_) | Fault::Hang | Fault::TruncatedBody { .. } => return None,
        };
        Some((failure, self.apply()?))
    }
}
