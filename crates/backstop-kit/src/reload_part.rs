//! How the handle of a layer in a stack reloads it.

use std::{fmt, sync::Arc};

use backstop_core::ConfigError;

/// Reloads one part of a stack, with the checks that concern several parts. `C` is the part's configuration.
pub trait ReloadPart<C>: Send + Sync {
    /// Changes the part's settings, if they fit to those of the other parts.
    ///
    /// # Errors
    /// [`ConfigError`] if they don't, or if the part itself refuses them. Nothing changes then.
    fn reload(&self, config: C) -> Result<(), ConfigError>;

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    fn check(&self, config: &C) -> Result<(), ConfigError>;
}

/// The stack that a handle belongs to, if any. A handle reloads through it.
///
/// ```
/// use backstop_core::ConfigError;
/// use backstop_kit::StackOf;
///
/// struct Handle {
///     stack: StackOf<u32>,
/// }
///
/// impl Handle {
///     fn reload(&self, limit: u32) -> Result<(), ConfigError> {
///         self.stack.reload(limit, |limit| ConfigError::check_range("limit", limit, 1.., "1 or more").map(drop))
///     }
/// }
///
/// assert!(Handle { stack: StackOf::none() }.reload(0).is_err());
/// ```
pub struct StackOf<C>(Option<Arc<dyn ReloadPart<C>>>);

impl<C> StackOf<C> {
    /// The handle of a layer by itself.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// The handle of a part of `stack`.
    #[must_use]
    pub fn new(stack: Arc<dyn ReloadPart<C>>) -> Self {
        Self(Some(stack))
    }

    /// Reloads through the stack, or by `alone` if there is none.
    ///
    /// # Errors
    /// Those of [`ReloadPart::reload`], or of `alone`.
    pub fn reload(&self, config: C, alone: impl FnOnce(C) -> Result<(), ConfigError>) -> Result<(), ConfigError> {
        match &self.0 {
            Some(stack) => stack.reload(config),
            None => alone(config),
        }
    }

    /// Checks through the stack, or by `alone` if there is none.
    ///
    /// # Errors
    /// Those of [`ReloadPart::check`], or of `alone`.
    pub fn check(&self, config: &C, alone: impl FnOnce(&C) -> Result<(), ConfigError>) -> Result<(), ConfigError> {
        match &self.0 {
            Some(stack) => stack.check(config),
            None => alone(config),
        }
    }
}

impl<C> Clone for StackOf<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> fmt::Debug for StackOf<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a stack" } else { "none" })
    }
}

/// Defines `in_stack` of a handle with the field `stack`: [`StackOf`] its configuration.
#[macro_export]
macro_rules! define_in_stack {
    ($config:ty) => {
        /// This handle as that of a part of `stack`: it reloads through it. For stacks of your own; the standard stack does
        /// it by itself.
        #[must_use]
        pub fn in_stack(mut self, stack: std::sync::Arc<dyn $crate::ReloadPart<$config>>) -> Self {
            self.stack = $crate::StackOf::new(stack);
            self
        }
    };
}
