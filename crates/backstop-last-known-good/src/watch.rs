//! What is kept of a request, and what is done when its answer comes.
//!
//! | request | answer | then |
//! |---|---|---|
//! | GET | may be stored | its body is copied aside as it streams, and stored at its end |
//! | GET, HEAD | withdraws what was stored (gone, `no-store`; for its principal: forbidden, moved) | that is removed |
//! | GET, HEAD | 304, and a good answer to HEAD | what is stored is updated, or removed, or neither: see [`validation`] |
//! | of another method, not safe | success | what is stored of its URI is removed |
//! | any | any other | nothing |

use std::{iter, mem, pin::Pin, sync::Arc};

use backstop_core::Scope;
use backstop_kit::WrapBody;
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_LOCATION, LOCATION},
};
use http_body::Body;

use crate::{
    Store,
    age::Arrival,
    body::StoringBody,
    credentials,
    entry::Draft,
    fields,
    headers::IndexedHeaders,
    key::Owner,
    layer::Shared,
    quality::Quality,
    removals::Epoch,
    rules::{Asked, Reach, Terms, Verdict, judge},
    shelf::{Place, Unstored},
    target::{Root, Target},
    telemetry,
    validation::{self, Validation},
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
    is_head: bool,
    /// The request's fields, any of which `Vary` may name.
    fields: Vec<u8>,
    begun: Epoch,
}

impl Watch {
    /// `None` for a request that has nothing to do with what is stored. The request comes back as it was.
    pub(crate) fn of<St: Store, B: Body + 'static>(
        request: Request<B>,
        shared: &Shared<St>,
    ) -> (Option<Self>, Request<B>) {
        match *request.method() {
            Method::GET | Method::HEAD => {
                let (owner, mut request) = shared.owner_of_request(request);
                (Self::of_read(owner, &mut request, shared), request)
            }
            Method::OPTIONS | Method::TRACE | Method::CONNECT => (None, request),
            _ => (Some(Self::Write(Target::of(request.uri(), request.headers()))), request),
        }
    }

    fn of_read<St: Store, B: Body + 'static>(
        owner: Owner,
        request: &mut Request<B>,
        shared: &Shared<St>,
    ) -> Option<Self> {
        let shelf = &shared.shelf;
        let asked = Asked::by(request, owner.sharing(), || shelf.clock.now_or_earlier());
        let Some(fields) = flat(request.headers()) else {
            telemetry::not_stored(&shelf.name, "head");
            return None;
        };
        let Some(root) = Root::of(&shelf.name, request.uri(), request.headers()) else {
            telemetry::not_stored(&shelf.name, "host");
            return None;
        };
        let is_head = *request.method() == Method::HEAD;
        Some(Self::Read(Read { place: Place { root, owner }, asked, is_head, fields, begun: shelf.removals.epoch() }))
    }

    /// What must be done before `response` is given, if anything. Its body may be wrapped.
    ///
    /// `quality` is what was reported while it was made, in `scope`.
    pub(crate) fn answered<St, B>(
        self,
        response: &mut Response<B>,
        quality: Quality,
        scope: Scope,
        shared: Arc<Shared<St>>,
    ) -> Option<Task>
    where
        St: Store,
        B: WrapBody,
    {
        match self {
            Self::Read(read) => read.answered(response, quality, scope, shared),
            Self::Write(target) => written(&target, response, shared),
        }
    }
}

/// RFC 9111 §4.4.
fn written<St: Store, B>(target: &Target, response: &Response<B>, shared: Arc<Shared<St>>) -> Option<Task> {
    if !(response.status().is_success() || response.status().is_redirection()) {
        return None;
    }
    let refer = |name| response.headers().get(name).and_then(|value| target.refer(value));
    let others = [refer(LOCATION), refer(CONTENT_LOCATION)];
    let targets = iter::once(target).chain(others.iter().flatten());
    let roots: Vec<_> = targets.flat_map(|target| target.roots_to_forget(&shared.shelf.name)).collect();
    Some(Box::pin(async move { shared.shelf.forget_targets(&roots, "write").await }))
}

impl Read {
    fn answered<St, B>(
        self,
        response: &mut Response<B>,
        quality: Quality,
        scope: Scope,
        shared: Arc<Shared<St>>,
    ) -> Option<Task>
    where
        St: Store,
        B: WrapBody,
    {
        let shelf = &shared.shelf;
        let answered = || shelf.clock.arrival();
        let headers = &IndexedHeaders::new(response.headers());
        let quality = quality.and_told_by(response.extensions(), headers);
        let names_caller = || credentials::any(&self.fields, &shared.credentials);
        let judge =
            |asked: &Asked, status| judge(asked, status, headers, quality, names_caller, answered, shelf.most_stale());
        let not_modified = response.status() == StatusCode::NOT_MODIFIED;
        let verdict = if self.asked.validates() && (not_modified || self.is_head) {
            // As if it were the answer that it is about, which isn't stored for it.
            let status = if not_modified { StatusCode::OK } else { response.status() };
            match judge(&self.asked.regardless_of_method(), status) {
                Verdict::Store(terms, answered) => {
                    let validating =
                        Validating { read: self, headers: response.headers().clone(), not_modified, terms, answered };
                    return Some(Box::pin(async move { validating.settle(&shared).await }));
                }
                other => other,
            }
        } else {
            judge(&self.asked, response.status())
        };
        let (terms, answered) = match verdict {
            Verdict::Store(terms, answered) => (terms, answered),
            Verdict::Leave(reason) => {
                telemetry::not_stored(&shelf.name, reason);
                return None;
            }
            Verdict::Forget(reason, reach) => {
                let Self { place, fields, .. } = self;
                return Some(Box::pin(async move { shared.shelf.forget(&place, &fields, reason, reach).await }));
            }
        };

        let (answer, length) = match self.begin(response, headers, terms, answered, shared.max_body) {
            Ok(begun) => begun,
            Err(reason) => {
                telemetry::not_stored(&shelf.name, reason);
                return None;
            }
        };
        let copying = Copying { answer, length, made_in: scope, read_in: Scope::new(), shared };
        if response.body().is_end_stream() {
            return copying.complete();
        }
        let body = mem::take(response.body_mut());
        *response.body_mut() = B::wrap(StoringBody::new(body, copying));
        None
    }

    /// Begins with the head. What can't be stored as a whole is an error that says why.
    fn begin<B: WrapBody>(
        self,
        response: &Response<B>,
        headers: &IndexedHeaders<'_>,
        terms: Terms,
        answered: Arrival,
        max_body: usize,
    ) -> Result<(Unstored, Length), &'static str> {
        let selectors = Selectors::of(headers).ok_or("vary")?;
        let length = Length::of(headers).ok_or("length")?;
        let room = length.0.unwrap_or(0).max(response.body().size_hint().lower());
        let room = usize::try_from(room).ok().filter(|room| *room <= max_body).ok_or("too-long")?;
        let draft = Draft::begin(response.status(), headers, terms, answered, room).ok_or("head")?;
        let Self { place, fields, begun, .. } = self;
        Ok((Unstored { place, fields, begun, selectors, draft, stored: telemetry::stored }, length))
    }
}

/// A 304, or a good answer to HEAD, that may be stored as what it is about.
struct Validating {
    read: Read,
    headers: HeaderMap,
    not_modified: bool,
    terms: Terms,
    answered: Arrival,
}

impl Validating {
    /// Does with what is stored what the answer says of it.
    async fn settle<St: Store>(self, shared: &Shared<St>) {
        if let Err(reason) = self.update(shared).await {
            telemetry::not_stored(&shared.shelf.name, reason);
        }
    }

    async fn update<St: Store>(self, shared: &Shared<St>) -> Result<(), &'static str> {
        let shelf = &shared.shelf;
        let Self { read: Read { place, asked, fields, begun, .. }, headers, not_modified, terms, answered } = self;
        let says_nothing = if not_modified { "status" } else { "method" };
        let request = fields::to_map(&fields.clone().into(), 0).ok_or("head")?;
        let Ok((_, entry)) = shelf.find(place.clone(), &[&request]).await else {
            return Err(says_nothing);
        };
        let stored = entry.headers().ok_or("head")?;
        // Another cache may answer with what is older.
        if shelf.is_newer(&entry.terms, &terms) {
            return Err("older");
        }
        let validation = if not_modified {
            validation::by_not_modified(&request, &headers, &stored)
        } else {
            validation::by_head(&headers, &stored, entry.body().len())
        };
        match validation {
            Validation::Unknown => return Err(says_nothing),
            Validation::Changed => {
                shelf.forget(&place, &fields, "changed", Reach::Variant).await;
                return Ok(());
            }
            Validation::Current => {}
        }
        let headers = &validation::updated(stored, &headers);
        let headers = &IndexedHeaders::new(headers);
        let names_caller = || credentials::any(&fields, &shared.credentials);
        let asked = asked.regardless_of_method();
        let verdict =
            judge(&asked, entry.status, headers, Quality::Good, names_caller, || answered, shelf.most_stale());
        let terms = match verdict {
            Verdict::Store(terms, _) => terms,
            Verdict::Leave(reason) => return Err(reason),
            Verdict::Forget(reason, reach) => {
                shelf.forget(&place, &fields, reason, reach).await;
                return Ok(());
            }
        };
        let selectors = Selectors::of(headers).ok_or("vary")?;
        let body = entry.body();
        let mut draft = Draft::begin(entry.status, headers, terms, answered, body.len()).ok_or("head")?;
        draft.push(&body);
        shelf.put(&mut Unstored { place, fields, begun, selectors, draft, stored: telemetry::updated }).await;
        Ok(())
    }
}

/// An answer whose body is on its way.
pub(crate) struct Copying<St> {
    answer: Unstored,
    length: Length,
    /// Its head was made in this one. Other tasks may still report to it.
    made_in: Scope,
    /// What is reported while its body is made. A new one: the time of the request says nothing of its body.
    read_in: Scope,
    shared: Arc<Shared<St>>,
}

impl<St> Copying<St> {
    /// Nobody wanted all of the body.
    pub(crate) fn is_dropped(&self) {
        telemetry::not_stored(&self.shared.shelf.name, "incomplete");
    }
}

impl<St: Store> Copying<St> {
    /// Polls the body. What is reported meanwhile moves on to the scope around it; `Degraded` says that any of it was less
    /// than good.
    pub(crate) fn poll<T>(&mut self, poll: impl FnOnce() -> T) -> (T, Quality) {
        let polled = self.read_in.enter(poll);
        let quality = match (Quality::reported_in(&mut self.read_in), Quality::reported_in(&mut self.made_in)) {
            (Quality::Good, Quality::Good) => Quality::Good,
            _ => Quality::Degraded,
        };
        (polled, quality)
    }

    /// A part of the body, or its trailers, was less than good.
    pub(crate) fn is_degraded(&self) {
        telemetry::not_stored(&self.shared.shelf.name, "degraded");
    }

    /// Copies a piece of the body. What is longer than it may be is `None`.
    pub(crate) fn push(&mut self, data: &[u8]) -> Option<()> {
        let len = self.answer.draft.body_len().saturating_add(data.len());
        if len > self.shared.max_body {
            telemetry::not_stored(&self.shared.shelf.name, "too-long");
            return None;
        }
        self.answer.draft.push(data);
        Some(())
    }

    /// Whether all is there that was announced.
    pub(crate) fn has_all(&self) -> bool {
        self.length.0 == Some(self.answer.draft.body_len() as u64)
    }

    /// The body has ended: it is stored if it is all there.
    pub(crate) fn complete(mut self) -> Option<Task> {
        if self.length.0.is_some() && !self.has_all() {
            telemetry::not_stored(&self.shared.shelf.name, "incomplete");
            return None;
        }
        Some(Box::pin(async move { self.shared.shelf.put(&mut self.answer).await }))
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
    fn of(headers: &IndexedHeaders<'_>) -> Option<Self> {
        let mut values = headers.get_all(&CONTENT_LENGTH);
        match (values.next(), values.next()) {
            (None, _) => Some(Self(None)),
            (Some(value), None) => {
                // Digits alone: a number may have a sign before it.
                let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
                digits.parse().ok().map(|length| Self(Some(length)))
            }
            (Some(_), Some(_)) => None,
        }
    }
}

/// Room for a field, as it is expected: for the most part there is enough for all of them.
const FIELD: usize = 80;

/// All fields of a request, flat.
pub(crate) fn flat(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut flat = Vec::with_capacity(headers.len() * FIELD);
    for (name, value) in headers {
        fields::put(&mut flat, name, value)?;
    }
    Some(flat)
}
