//! Calls of functions through the circuit of a key.

use std::{fmt, hash::Hash, sync::Arc};

use backstop_kit::function::{
    AttemptLayers, ErrorView, Function, FunctionError, FunctionFuture, FunctionLayers, Innermost, Once,
};

use super::KeyedCircuitBreakerHandle;
use crate::{
    breaker::{Breaker, HasBreaker},
    function::CircuitBreakerCall,
    layer_state::CircuitRef,
};

impl<K: Eq + Hash> KeyedCircuitBreakerHandle<K> {
    /// Calls a function if the circuit of `key` admits it, and counts how that ends:
    /// [`CircuitBreakerHandle::call`](crate::CircuitBreakerHandle::call) for one key.
    ///
    /// The circuit is found at once, or made. If there is no room for it, the function is called without one, which is
    /// [counted](Self::unguarded).
    ///
    /// ```
    /// use std::io;
    /// use backstop_circuit_breaker::{CallError, CircuitBreakerLayer};
    ///
    /// async fn send(_tenant: u64) -> io::Result<()> {
    ///     Err(io::ErrorKind::ConnectionRefused.into())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), backstop_circuit_breaker::ConfigError> {
    /// let tenants = CircuitBreakerLayer::builder("tenants").consecutive_failures(1);
    /// let tenants = tenants.build_keyed(10_000, |tenant: &u64| *tenant)?.handle();
    /// assert!(matches!(tenants.call(7, || send(7)).await, Err(CallError::Failed(_))));
    /// assert!(matches!(tenants.call(7, || send(7)).await, Err(CallError::Rejected(_))));
    /// assert!(matches!(tenants.call(8, || send(8)).await, Err(CallError::Failed(_))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancellation
    /// Dropping the future drops the call and returns its permit. See [how a dropped call is counted](crate#cancellation).
    pub fn call<F, Fut, T, E, Kind>(
        &self,
        key: K,
        function: F,
    ) -> FunctionFuture<KeyedCircuitBreakerFunctions<Innermost>, Once<F>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: FunctionError<Kind>,
    {
        FunctionFuture::new(self.around(key, Innermost), Once::new(function), ErrorView::of::<E, Kind>())
    }

    /// Puts the circuit of `key` around other layers that functions are called through. As for [`call`](Self::call), it is
    /// found at once, or made.
    pub fn around<L>(&self, key: K, inner: L) -> KeyedCircuitBreakerFunctions<L> {
        KeyedCircuitBreakerFunctions { circuit: self.circuit(key).map(Shared), inner }
    }
}

/// Calls functions through the circuit of a key: see [`KeyedCircuitBreakerHandle::around`].
#[derive(Clone, Debug)]
pub struct KeyedCircuitBreakerFunctions<L> {
    // `None` if there was no room for it.
    circuit: Option<Shared>,
    inner: L,
}

impl<F: Function, L: AttemptLayers<F>> FunctionLayers<F> for KeyedCircuitBreakerFunctions<L> {
    type Call = CircuitBreakerCall<Shared, L::Call>;

    fn begin(&self) -> Self::Call {
        CircuitBreakerCall::new(self.circuit.clone(), self.inner.begin())
    }
}

impl<F: Function, L: AttemptLayers<F>> AttemptLayers<F> for KeyedCircuitBreakerFunctions<L> {}

/// Leads to a circuit that isn't evicted meanwhile.
#[derive(Clone)]
#[expect(unnameable_types, reason = "nobody needs to name it")]
pub struct Shared(Arc<dyn HasBreaker>);

impl CircuitRef<()> for Shared {
    fn breaker(&self) -> &Breaker {
        self.0.breaker()
    }

    fn protocol(&self) -> &() {
        &()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(self.0.breaker().name()).finish()
    }
}
