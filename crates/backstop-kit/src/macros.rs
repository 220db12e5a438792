//! The macro for a service's accessors.

/// Defines `get_ref`, `get_mut` and `into_inner` of a service with the field `inner: S`.
///
/// ```
/// /// A service of your own.
/// pub struct Logged<S> {
///     inner: S,
/// }
///
/// impl<S> Logged<S> {
///     backstop_kit::define_inner_service_accessors!();
/// }
/// ```
#[macro_export]
macro_rules! define_inner_service_accessors {
    () => {
        /// Borrows the inner service.
        pub const fn get_ref(&self) -> &S {
            &self.inner
        }

        /// Borrows the inner service mutably.
        pub const fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// Returns the inner service.
        pub fn into_inner(self) -> S {
            self.inner
        }
    };
}
