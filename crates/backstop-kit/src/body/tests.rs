//! Tests of the bodies.

mod ahead;
mod client_body;
mod content;
mod limits;
mod properties;
mod races;
mod replay;
pub(crate) mod script;
mod upload;
mod wrap;
