//! Copies of anything that can be cloned.

use super::{CopyAs, CopyRequest, Keep, NotCopied, RequestFacts};

/// Copies requests of any `Clone` type, HTTP or not.
///
/// Choosing it is your word that these requests may be sent more than once: their facts say that they are idempotent. Each
/// request is cloned once when it is sent and once per copy, whole, whatever [`Keep`] and [`CopyAs`] say: this strategy
/// doesn't know the type's parts.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct CloneCopy;

#[diagnostic::do_not_recommend]
impl<Req: Clone> CopyRequest<Req> for CloneCopy {
    type Kept = Req;

    fn facts(&self, _: &Req) -> RequestFacts {
        RequestFacts::none().idempotent()
    }

    fn keep(&self, request: &mut Req, _: Keep) -> Req {
        request.clone()
    }

    fn copy(&self, kept: &mut Req, _: CopyAs) -> Result<Req, NotCopied> {
        Ok(kept.clone())
    }
}
