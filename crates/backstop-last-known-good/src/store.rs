//! Where answers are stored.

use std::{error::Error, time::Duration};

use bytes::Bytes;

/// Why a store could not do what it was asked. Its text is written to the log, so it must hold no key and no value.
pub type StoreError = Box<dyn Error + Send + Sync>;

/// A place to store bytes under keys: [`MokaStore`](crate::MokaStore) in memory, or a store of your own, outside of the
/// process.
///
/// The layer asks little of it, and believes nothing. A store that fails, takes longer than
/// [`store_timeout`](crate::LastKnownGoodBuilder::store_timeout), loses what it was given, or gives back something else, is
/// a miss and an event in the log, never an error. It may forget anything at any time. What it may not do is give one key's
/// value for another.
///
/// Keys and values hold what your users asked for and were given: keep them as safe as you keep that.
///
/// ```
/// use std::{collections::HashMap, sync::Mutex, time::Duration};
///
/// use backstop_last_known_good::{Store, StoreError};
/// use bytes::Bytes;
///
/// /// Never forgets, so it is for tests alone.
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
/// Each future may be dropped at any time. What was asked for may then have happened or not.
pub trait Store: Send + Sync + 'static {
    /// What was last put under `key`, if it is still there.
    ///
    /// # Errors
    /// [`StoreError`] where the store can't tell.
    fn get(&self, key: &[u8]) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;

    /// Puts `value` under `key`, in place of what was there. It isn't asked for any more after `ttl`.
    ///
    /// # Errors
    /// [`StoreError`] where it may not have been stored.
    fn put(&self, key: &[u8], value: Bytes, ttl: Duration) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes what is under `key`, if there is anything.
    ///
    /// # Errors
    /// [`StoreError`] where it may still be there.
    fn remove(&self, key: &[u8]) -> impl Future<Output = Result<(), StoreError>> + Send;
}
