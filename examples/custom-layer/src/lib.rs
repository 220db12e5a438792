//! Two layers of your own beside Backstop's: [hedged requests](HedgeLayer), and a [rate limit](RateLimitLayer).
//!
//! "Writing a layer", in the documentation of `backstop-kit`, walks through both.
#![allow(missing_debug_implementations, reason = "it is short, to be read")]

mod hedge;
mod rate_limit;

pub use hedge::{Hedge, HedgeEvent, HedgeFuture, HedgeLayer};
pub use rate_limit::{RATE_LIMITED, RateLimit, RateLimitFuture, RateLimitHandle, RateLimitLayer};
