//! The error of a store.

/// An error of a store outside the process. Its text is logged, so it must not contain secrets, keys or values.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;
