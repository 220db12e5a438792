//! Wrapping, watching, replaying and buffering bodies.

mod abort;
mod ahead;
mod buffered;
mod client_body;
mod content;
mod erased;
#[cfg(feature = "tonic")]
mod grpc_trailers;
mod guarded;
mod pieces;
mod recording;
mod replay;
mod replay_impls;
mod request_failure;
mod sync_body;
#[cfg(test)]
pub(crate) mod tests;
mod upload;
mod wait_time;
mod wrap;

pub use abort::AbortBody;
pub use ahead::{Ahead, ReadAhead};
pub(crate) use buffered::BufferedBody;
pub use client_body::{ClientBody, IntoWrapBody};
pub use content::has_content;
#[cfg(feature = "tonic")]
pub use grpc_trailers::errors_as_trailers;
pub use guarded::{BodyAction, BodyGuard, BodyStep, GuardedBody};
pub(crate) use pieces::{Piece, Pieces};
pub use replay::{NotReplayable, Replay, ReplayError, ReplayState, ReplayableBody, split_by_recording};
pub use request_failure::RequestFailure;
pub use sync_body::SyncBody;
pub use upload::Upload;
pub use wait_time::WaitTime;
pub use wrap::WrapBody;
