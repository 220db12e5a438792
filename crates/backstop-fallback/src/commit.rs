//! How much of an answer must have arrived before the chain ends.

use std::pin::Pin;

use backstop_core::{ConfigError, grpc};
use backstop_kit::{ReadAhead, WrapBody};
use http::Response;

const LARGEST_MAX_BYTES: usize = 1024 * 1024 * 1024;

/// How much of an answer must have arrived before the chain ends: see [`FallbackChainBuilder::commit_on`].
///
/// | choice | the chain ends when | what is held in memory |
/// |---|---|---|
/// | `Headers`, the default | the head has arrived | nothing |
/// | `FirstFrame` | the first frame of the body has arrived, or the body has ended | one frame |
/// | `Complete` | the body has ended, or is longer than `max_bytes` | up to `max_bytes`, and one frame |
///
/// The caller sees later failures, because the chain can't take back what was sent.
///
/// [`FallbackChainBuilder::commit_on`]: crate::FallbackChainBuilder::commit_on
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Commit {
    /// The head has arrived.
    #[default]
    Headers,
    /// The first non-empty frame of the body has arrived. An upstream that sends a head and then dies or hangs has failed.
    FirstFrame,
    /// The whole body has arrived. An upstream that dies or hangs halfway has failed, too.
    ///
    /// For small answers. A longer answer is streamed once more than `max_bytes` have arrived. Not for streams of events, which
    /// would look hung while they are slow and short.
    Complete {
        /// The longest body to wait for, in bytes: 1 to 1 GiB.
        max_bytes: usize,
    },
}

impl Commit {
    pub(crate) fn check(self) -> Result<(), ConfigError> {
        if let Self::Complete { max_bytes } = self {
            ConfigError::check_range("max_bytes", max_bytes, 1..=LARGEST_MAX_BYTES, "1 to 1073741824 (1 GiB)")?;
        }
        Ok(())
    }

    /// What waits for the body; `None` if nothing does.
    pub(crate) fn wait_for_body<B: WrapBody>(self) -> Option<WaitForBody<Response<B>>> {
        let max_bytes = match self {
            Self::Headers => return None,
            Self::FirstFrame => 0,
            Self::Complete { max_bytes } => max_bytes,
        };
        Some(Box::new(move |response| Box::pin(wait_for_body(response, max_bytes))))
    }
}

/// Waits for an answer's body. Erased, since a chain may be of any type.
pub(crate) type WaitForBody<T> = Box<dyn Fn(T) -> BodyWait<T> + Send + Sync>;

/// `None` if the body breaks off.
pub(crate) type BodyWait<T> = Pin<Box<dyn Future<Output = Option<AnswerWithBody<T>>> + Send>>;

/// An answer with enough of its body.
pub(crate) struct AnswerWithBody<T> {
    pub(crate) answer: T,
    /// An answer with the gRPC status of the trailers, which hasn't been judged yet.
    pub(crate) to_judge: Option<T>,
}

async fn wait_for_body<B: WrapBody>(response: Response<B>, max_bytes: usize) -> Option<AnswerWithBody<Response<B>>> {
    let (head, body) = response.into_parts();
    let status_to_come = grpc::is_grpc(&head.headers) && grpc::status_in_headers(&head.headers).is_none();
    let ahead = ReadAhead::new(body, max_bytes).await.ok()?;
    let to_judge = match ahead.trailers {
        Some(trailers) if status_to_come => Some(grpc::trailers_only(trailers)?),
        // A call that ends without a status has failed.
        None if status_to_come && ahead.is_whole => return None,
        _ => None,
    };
    Some(AnswerWithBody { answer: Response::from_parts(head, ahead.body), to_judge })
}
