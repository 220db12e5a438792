//! Calls of a store, bounded in time.

use std::time::Duration;

use tokio::time::timeout;

use crate::StoreError;

/// Waits for a call of a store, up to `limit`. A call that takes longer is dropped, and has failed.
///
/// ```
/// use std::{future::pending, time::Duration};
/// use backstop_kit::bounded;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let error = bounded::<()>(Duration::from_secs(1), pending()).await.unwrap_err();
/// assert_eq!(error.to_string(), "it took longer than 1s");
/// # }
/// ```
///
/// # Errors
/// That of the call, or one that says that it took too long.
pub async fn bounded<T>(limit: Duration, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(limit, call).await.unwrap_or_else(|_| Err(format!("it took longer than {limit:?}").into()))
}
