//! What the services of a layer and its handles share.

use std::{fmt, sync::Arc};

use backstop_kit::Registration;
use http::{HeaderName, Request, request};

use crate::{entry_store::EntryStore, key::Owner};

pub(crate) struct LayerState<St> {
    pub(crate) entries: EntryStore<St>,
    pub(crate) max_body: usize,
    pub(crate) credentials: Vec<HeaderName>,
    pub(crate) principal: Option<Principal>,
    pub(crate) _registration: Registration,
}

/// Returns the principal of a request.
pub(crate) type Principal = Arc<dyn Fn(&request::Parts) -> Option<Box<[u8]>> + Send + Sync>;

impl<St> LayerState<St> {
    pub(crate) fn owner(&self, head: &request::Parts) -> Owner {
        match &self.principal {
            None => Owner::Unpartitioned,
            Some(principal) => principal(head).map_or(Owner::Anonymous, Owner::Principal),
        }
    }

    /// The request is taken apart only if there is a closure, which needs its head.
    pub(crate) fn owner_of_request<B>(&self, request: Request<B>) -> (Owner, Request<B>) {
        if self.principal.is_none() {
            return (Owner::Unpartitioned, request);
        }
        let (head, body) = request.into_parts();
        (self.owner(&head), Request::from_parts(head, body))
    }

    pub(crate) fn debug(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("name", &self.entries.name)
            .field("max_stale", &self.entries.max_stale)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}
