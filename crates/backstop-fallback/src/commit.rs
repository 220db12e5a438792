//! When an answer is taken for one.

use std::pin::Pin;

use backstop_core::{ConfigError, grpc};
use backstop_kit::{ReadAhead, WrapBody};
use http::Response;

const LARGEST_MAX_BYTES: usize = 1024 * 1024 * 1024;

/// When an answer is taken for one, and the chain ends: see [`FallbackChainBuilder::commit_on`].
///
/// | choice | an answer is one when | what is held in memory |
/// |---|---|---|
/// | `Headers`, the default | its head has come | nothing |
/// | `FirstFrame` | the first of its body has come, or its body has ended | one frame |
/// | `Complete` | its body has ended, or is longer than `max_bytes` | up to `max_bytes`, and one frame |
///
/// What goes wrong after that goes wrong for the caller: the chain can't take back what has been sent.
///
/// [`FallbackChainBuilder::commit_on`]: crate::FallbackChainBuilder::commit_on
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Commit {
    /// Its head has come.
    #[default]
    Headers,
    /// The first frame of its body has come that holds anything: an upstream that sends a head and then dies or hangs has
    /// failed.
    FirstFrame,
    /// All of its body has come: an upstream that dies or hangs halfway has failed, too.
    ///
    /// For answers that are small. A longer one is passed on as it streams, once more than `max_bytes` have come. Don't
    /// choose it for streams of events: one that is slower than its time, and shorter, would be taken for hung.
    Complete {
        /// The longest body that is waited for, in bytes: 1 to 1 GiB.
        max_bytes: usize,
    },
}

impl Commit {
    pub(crate) fn check(self) -> Result<(), ConfigError> {
        if let Self::Complete { max_bytes } = self {
            ConfigError::in_range("max_bytes", max_bytes, 1..=LARGEST_MAX_BYTES, "1 to 1073741824 (1 GiB)")?;
        }
        Ok(())
    }

    /// What waits for it; `None` where there is nothing to wait for.
    pub(crate) fn committer<B: WrapBody>(self) -> Option<Committer<Response<B>>> {
        let max_bytes = match self {
            Self::Headers => return None,
            Self::FirstFrame => 0,
            Self::Complete { max_bytes } => max_bytes,
        };
        Some(Box::new(move |response| Box::pin(commit(response, max_bytes))))
    }
}

/// Waits for an answer's body. Erased, so that chains of anything else know nothing of bodies.
pub(crate) type Committer<T> = Box<dyn Fn(T) -> Committing<T> + Send + Sync>;

/// `None` where the body breaks off.
pub(crate) type Committing<T> = Pin<Box<dyn Future<Output = Option<Committed<T>>> + Send>>;

/// An answer of whose body enough has come.
pub(crate) struct Committed<T> {
    pub(crate) answer: T,
    /// The same answer without its body, where what came in the body is still to be judged: gRPC's status.
    pub(crate) to_judge: Option<T>,
}

async fn commit<B: WrapBody>(response: Response<B>, max_bytes: usize) -> Option<Committed<Response<B>>> {
    let (head, body) = response.into_parts();
    let status_to_come = grpc::is_grpc(&head.headers) && grpc::status_in_headers(&head.headers).is_none();
    let ahead = ReadAhead::new(body, max_bytes).await.ok()?;
    let to_judge = match ahead.trailers {
        Some(trailers) if status_to_come => Some(grpc::trailers_only(trailers)?),
        // A call that ends without a status has failed.
        None if status_to_come && ahead.is_whole => return None,
        _ => None,
    };
    Some(Committed { answer: Response::from_parts(head, ahead.body), to_judge })
}
