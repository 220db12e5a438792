//! What must hold of the test kit.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

mod drip;
mod logs;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "redis")]
mod redis;
mod scripted;
