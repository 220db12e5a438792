//! Panics of providers, caught where the chain was told to.

use std::{
    any::Any,
    error, fmt,
    panic::{self, AssertUnwindSafe},
};

/// Whether a chain [catches panics](crate::FallbackChainBuilder::catch_panics).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Panics {
    Propagate,
    Catch,
}

/// A provider, or the primary, panicked.
#[derive(Debug)]
pub(crate) struct Panicked(Option<String>);

impl Panics {
    /// Runs `f`, code of a provider.
    ///
    /// Whatever `f` was working on is dropped afterwards and never used again, so nobody sees it half done.
    #[inline]
    pub(crate) fn run<R>(self, f: impl FnOnce() -> R) -> Result<R, Panicked> {
        match self {
            Self::Propagate => Ok(f()),
            Self::Catch => panic::catch_unwind(AssertUnwindSafe(f)).map_err(|payload| Panicked::new(&*payload)),
        }
    }
}

impl Panicked {
    fn new(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Self(text.or_else(|| payload.downcast_ref::<String>().cloned()))
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(text) => write!(f, "panicked: {text}"),
            None => f.write_str("panicked"),
        }
    }
}

impl error::Error for Panicked {}
