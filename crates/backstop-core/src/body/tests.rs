//! Tests of the bodies.

mod ahead;
mod limits;
mod properties;
mod races;
mod replay;
mod resume;
pub(crate) mod script;
mod wrap;
