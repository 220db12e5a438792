//! Copies of requests that are `Clone`.

use super::{CopyAs, CopyRequest, Keep, KeptRequest, NotCopied, RequestFacts};

/// Copies requests of any `Clone` type, HTTP or not.
///
/// By choosing it you promise that these requests may be sent more than once: their facts say that they are idempotent.
/// Still, [`Repeat::Never`](crate::Repeat::Never), upgrades and early data of HTTP requests are respected. Each request is
/// cloned once when it is sent, and once per copy.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct CloneCopy;

#[diagnostic::do_not_recommend]
impl<Req: Clone> CopyRequest<Req> for CloneCopy {
    type Kept = Req;

    fn facts(&self, _: &Req) -> RequestFacts {
        RequestFacts::none().idempotent()
    }

    fn keep(&self, request: &mut Req, facts: &mut RequestFacts, keep: Keep) -> Option<Req> {
        (keep > Keep::Nothing && !facts.is_upgrade()).then(|| request.clone())
    }
}

#[diagnostic::do_not_recommend]
impl<Req: Clone> KeptRequest<Req> for Req {
    fn copy(&mut self, _: CopyAs) -> Result<Req, NotCopied> {
        Ok(self.clone())
    }
}
