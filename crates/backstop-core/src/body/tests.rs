//! Tests of the bodies.

mod limits;
mod properties;
mod races;
mod replay;
pub(crate) mod script;
mod wrap;
