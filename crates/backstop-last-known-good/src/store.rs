//! The trait of stores.

use std::time::Duration;

use backstop_kit::StoreError;
use bytes::Bytes;

/// Stores bytes under keys: [`MokaStore`](crate::MokaStore) in memory, or your own store outside the process.
///
/// The layer tolerates a store that fails, takes longer than
/// [`store_timeout`](crate::LastKnownGoodBuilder::store_timeout), loses entries at any time, or returns malformed bytes. Each
/// of these is a miss and an event, never an error. A store must not return the value of another key.
///
/// Keys and values contain your users' requests and answers. Protect them as you protect those.
///
/// ```
/// use std::{collections::HashMap, sync::Mutex, time::Duration};
///
/// use backstop_last_known_good::{Store, StoreError};
/// use bytes::Bytes;
///
/// /// Never evicts, so it is for tests only.
/// #[derive(Default)]
/// struct Map(Mutex<HashMap<Vec<u8>, Bytes>>);
///
/// impl Store for Map {
///     async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
///         Ok(self.0.lock().unwrap().get(key).cloned())
///     }
///
///     async fn put(&self, key: &[u8], value: Bytes, _: Duration) -> Result<(), StoreError> {
///         self.0.lock().unwrap().insert(key.to_owned(), value);
///         Ok(())
///     }
///
///     async fn remove(&self, key: &[u8]) -> Result<(), StoreError> {
///         self.0.lock().unwrap().remove(key);
///         Ok(())
///     }
/// }
/// ```
///
/// # Cancellation
/// Each future may be dropped at any time. The operation may then have happened or not.
pub trait Store: Send + Sync + 'static {
    /// Returns the value last put under `key`, if it is still there.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't tell.
    fn get(&self, key: &[u8]) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;

    /// Returns the values under several keys, in their order.
    ///
    /// Override it if the store can do this in one round trip, as stores over a network can: then serving an answer takes one.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't tell.
    fn get_all(&self, keys: &[Vec<u8>]) -> impl Future<Output = Result<Vec<Option<Bytes>>, StoreError>> + Send {
        async move {
            let mut values = Vec::with_capacity(keys.len());
            for key in keys {
                values.push(self.get(key).await?);
            }
            Ok(values)
        }
    }

    /// Puts `value` under `key`, replacing the value there. The store may drop it after `ttl`.
    ///
    /// # Errors
    /// [`StoreError`] if the value may not have been stored.
    fn put(&self, key: &[u8], value: Bytes, ttl: Duration) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes the value under `key`, if there is one.
    ///
    /// # Errors
    /// [`StoreError`] if the value may still be there.
    fn remove(&self, key: &[u8]) -> impl Future<Output = Result<(), StoreError>> + Send;
}
