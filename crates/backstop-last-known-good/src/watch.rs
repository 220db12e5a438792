//! What is kept of a request, and what is done when its answer comes.
//!
//! | request | answer | then |
//! |---|---|---|
//! | GET | may be stored | its body is copied aside as it streams, and stored at its end |
//! | GET | withdraws what was stored (gone, moved, forbidden, `no-store`) | that is removed |
//! | GET that can't be stored, HEAD | does so by its status alone | that is removed |
//! | of another method, not safe | success | what is stored of its URI is removed |
//! | any | any other | nothing |

use std::{iter, mem, pin::Pin, sync::Arc};

use backstop_core::WrapBody;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{CONTENT_LENGTH, CONTENT_LOCATION, LOCATION},
};
use http_body::Body;

use crate::{
    Store,
    age::Arrival,
    body::StoringBody,
    entry::Draft,
    fields,
    key::Owner,
    layer::Shared,
    quality::Quality,
    rules::{Asked, Terms, Verdict, judge},
    shelf::{Epoch, Place},
    target::Target,
    telemetry,
    told::Told,
    vary::Selectors,
};

/// What is left to do with the store.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is kept of a request.
#[derive(Debug)]
pub(crate) enum Watch {
    Read(Read),
    Write(Target),
}

/// What is kept of a GET or HEAD.
#[derive(Debug)]
pub(crate) struct Read {
    place: Place,
    asked: Asked,
    /// The request's fields, where its answer may be stored: by which of them it is selected, the answer tells.
    fields: Vec<u8>,
    begun: Epoch,
}

impl Watch {
    /// `None` for a request that has nothing to do with what is stored. The request comes back as it was.
    pub(crate) fn of<St: Store, B: Body>(request: Request<B>, shared: &Shared<St>) -> (Option<Self>, Request<B>) {
        match *request.method() {
            Method::GET | Method::HEAD => {
                let (owner, request) = shared.owner_of_request(request);
                (Read::begin(owner, &request, shared).map(Self::Read), request)
            }
            Method::OPTIONS | Method::TRACE | Method::CONNECT => (None, request),
            _ => (Some(Self::Write(Target::of(request.uri(), request.headers()))), request),
        }
    }

    /// What must be done before `response` is given, if anything. Its body may be wrapped.
    ///
    /// `quality` is what was reported while it was made.
    pub(crate) fn answered<St, B>(
        self,
        response: &mut Response<B>,
        quality: Quality,
        shared: &Arc<Shared<St>>,
    ) -> Option<Task>
    where
        St: Store,
        B: WrapBody,
    {
        match self {
            Self::Read(read) => read.answered(response, quality, shared),
            Self::Write(target) => written(target, response, shared),
        }
    }
}

/// RFC 9111 §4.4.
fn written<St: Store, B>(target: Target, response: &Response<B>, shared: &Arc<Shared<St>>) -> Option<Task> {
    if !(response.status().is_success() || response.status().is_redirection()) {
        return None;
    }
    let refer = |name| response.headers().get(name).and_then(|value| target.refer(value));
    let others = [refer(LOCATION), refer(CONTENT_LOCATION)];
    let targets: Vec<_> = iter::once(target).chain(others.into_iter().flatten()).collect();
    let shared = Arc::clone(shared);
    Some(Box::pin(async move { shared.shelf.forget_targets(&targets, "write").await }))
}

impl Read {
    fn begin<St: Store, B: Body>(owner: Owner, request: &Request<B>, shared: &Shared<St>) -> Option<Self> {
        let headers = request.headers();
        let now = || shared.shelf.clock.now_or_earlier();
        let asked = Asked::by(request, owner.sharing(), &shared.credentials, now);
        let fields = if asked.storable { flat(headers)? } else { Vec::new() };
        let target = Target::of(request.uri(), headers);
        let begun = shared.shelf.epoch(&target);
        Some(Self { place: Place { target, owner }, asked, fields, begun })
    }

    fn answered<St, B>(self, response: &mut Response<B>, quality: Quality, shared: &Arc<Shared<St>>) -> Option<Task>
    where
        St: Store,
        B: WrapBody,
    {
        let shelf = &shared.shelf;
        let answered = || shelf.clock.arrival();
        let max_stale = u32::try_from(shelf.max_stale.as_secs()).unwrap_or(u32::MAX);
        let told = Told::by(response.headers());
        let quality = quality.and_told_by(response.extensions(), &told);
        let (terms, answered) = match judge(&self.asked, response.status(), &told, quality, answered, max_stale) {
            Verdict::Store(terms, answered) => (terms, answered),
            Verdict::Leave(reason) => {
                telemetry::not_stored(&shelf.name, reason);
                return None;
            }
            Verdict::Forget(reason) => {
                let (shared, place) = (Arc::clone(shared), self.place);
                return Some(Box::pin(async move { shared.shelf.forget(&place, reason).await }));
            }
        };

        let copying = match Copying::begin(self, response, &told, terms, answered, shared) {
            Ok(copying) => copying,
            Err(reason) => {
                telemetry::not_stored(&shelf.name, reason);
                return None;
            }
        };
        if response.body().is_end_stream() {
            return copying.complete();
        }
        let body = mem::take(response.body_mut());
        *response.body_mut() = B::wrap(StoringBody::new(body, copying));
        None
    }
}

/// An answer whose body is on its way.
pub(crate) struct Copying<St> {
    read: Read,
    draft: Draft,
    selectors: Selectors,
    length: Length,
    shared: Arc<Shared<St>>,
}

impl<St: Store> Copying<St> {
    /// Begins with the head. What can't be stored as a whole is an error that says why.
    fn begin<B: WrapBody>(
        read: Read,
        response: &Response<B>,
        told: &Told<'_>,
        terms: Terms,
        answered: Arrival,
        shared: &Arc<Shared<St>>,
    ) -> Result<Self, &'static str> {
        let selectors = Selectors::of(told).ok_or("vary")?;
        let length = Length::of(told).ok_or("length")?;
        let room = length.0.unwrap_or(0).max(response.body().size_hint().lower());
        let room = usize::try_from(room).ok().filter(|room| *room <= shared.max_body).ok_or("too-long")?;
        let draft = Draft::begin(response.status(), told, terms, answered, room).ok_or("head")?;
        Ok(Self { read, draft, selectors, length, shared: Arc::clone(shared) })
    }

    /// Copies a piece of the body. What is longer than it may be is `None`.
    pub(crate) fn push(&mut self, data: &[u8]) -> Option<()> {
        let len = self.draft.body_len().saturating_add(data.len());
        if len > self.shared.max_body {
            telemetry::not_stored(&self.shared.shelf.name, "too-long");
            return None;
        }
        self.draft.push(data);
        Some(())
    }

    /// Whether all is there that was announced.
    pub(crate) fn has_all(&self) -> bool {
        self.length.0 == Some(self.draft.body_len() as u64)
    }

    /// The body has ended: it is stored if it is all there.
    pub(crate) fn complete(self) -> Option<Task> {
        let Self { read, draft, selectors, length, shared } = self;
        if length.0.is_some_and(|length| length != draft.body_len() as u64) {
            telemetry::not_stored(&shared.shelf.name, "incomplete");
            return None;
        }
        Some(Box::pin(async move {
            shared.shelf.put(&read.place, selectors, &read.fields, draft, read.begun).await;
        }))
    }

    /// The body has failed.
    pub(crate) fn fail(&self) {
        telemetry::not_stored(&self.shared.shelf.name, "incomplete");
    }
}

/// The length of a body, where it was announced.
#[derive(Clone, Copy)]
struct Length(Option<u64>);

impl Length {
    /// `None` for what is no length, or several.
    fn of(told: &Told<'_>) -> Option<Self> {
        let mut values = told.all(&CONTENT_LENGTH);
        match (values.next(), values.next()) {
            (None, _) => Some(Self(None)),
            (Some(value), None) => value.to_str().ok()?.parse().ok().map(|length| Self(Some(length))),
            (Some(_), Some(_)) => None,
        }
    }
}

/// All fields of a request, flat.
pub(crate) fn flat(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut flat = Vec::with_capacity(fields::size(headers.iter()));
    flatten(headers, &mut flat)?;
    Some(flat)
}

/// Appends fields.
pub(crate) fn flatten(headers: &HeaderMap, flat: &mut Vec<u8>) -> Option<()> {
    headers.iter().try_for_each(|(name, value): (&HeaderName, &HeaderValue)| fields::put(flat, name, value))
}
