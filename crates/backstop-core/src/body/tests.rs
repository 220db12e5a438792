//! Tests of the bodies.

mod limits;
mod properties;
mod races;
mod replay;
mod resume;
pub(crate) mod script;
mod wrap;
