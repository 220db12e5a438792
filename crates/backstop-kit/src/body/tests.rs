//! Tests of the bodies.

mod ahead;
mod content;
mod limits;
mod properties;
mod races;
mod replay;
pub(crate) mod script;
mod upload;
mod wrap;
