//! The example as a user runs it, over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

mod client;
mod generated;
mod outage;
