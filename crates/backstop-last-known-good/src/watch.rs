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

use backstop_core::{Scope, WrapBody};
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
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
    removals::Epoch,
    rules::{Asked, Terms, Verdict, judge, judge_status},
    shelf::{Place, Unstored},
    target::{Root, Target},
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
    Peek(Peek),
    Write(Target),
}

/// What is kept of a GET whose answer may be stored.
#[derive(Debug)]
pub(crate) struct Read {
    place: Place,
    asked: Asked,
    /// The request's fields: by which of them its answer is selected, that tells.
    fields: Vec<u8>,
    begun: Epoch,
}

/// What is kept of another GET or HEAD.
#[derive(Debug)]
pub(crate) struct Peek {
    target: Target,
    owner: Owner,
    asked: Asked,
}

impl Watch {
    /// `None` for a request that has nothing to do with what is stored. The request comes back as it was.
    pub(crate) fn of<St: Store, B: Body>(request: Request<B>, shared: &Shared<St>) -> (Option<Self>, Request<B>) {
        match *request.method() {
            Method::GET | Method::HEAD => {
                let (owner, request) = shared.owner_of_request(request);
                (Self::of_read(owner, &request, shared), request)
            }
            Method::OPTIONS | Method::TRACE | Method::CONNECT => (None, request),
            _ => (Some(Self::Write(Target::of(request.uri(), request.headers()))), request),
        }
    }

    fn of_read<St: Store, B: Body>(owner: Owner, request: &Request<B>, shared: &Shared<St>) -> Option<Self> {
        let (shelf, uri, headers) = (&shared.shelf, request.uri(), request.headers());
        let asked = Asked::by(request, owner.sharing(), &shared.credentials, || shelf.clock.now_or_earlier());
        if !asked.storable {
            return Some(Self::Peek(Peek { target: Target::of(uri, headers), owner, asked }));
        }
        let fields = flat(headers)?;
        let Some(root) = Root::of(&shelf.name, uri, headers) else {
            telemetry::not_stored(&shelf.name, "host");
            return None;
        };
        let begun = shelf.removals.epoch();
        Some(Self::Read(Read { place: Place { root, owner }, asked, fields, begun }))
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
            Self::Peek(peek) => peek.answered(response.status(), shared),
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

fn forget<St: Store>(shared: Arc<Shared<St>>, place: Place, reason: &'static str) -> Task {
    Box::pin(async move { shared.shelf.forget(&place, reason).await })
}

impl Peek {
    fn answered<St: Store>(self, status: StatusCode, shared: Arc<Shared<St>>) -> Option<Task> {
        let name = &shared.shelf.name;
        match judge_status(&self.asked, status) {
            Some(Verdict::Forget(reason)) => {
                let Some(root) = self.target.root(name) else {
                    telemetry::not_stored(name, "host");
                    return None;
                };
                return Some(forget(shared, Place { root, owner: self.owner }, reason));
            }
            Some(Verdict::Leave(reason)) => telemetry::not_stored(name, reason),
            Some(Verdict::Store(..)) | None => telemetry::not_stored(name, "request"),
        }
        None
    }
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
        let max_stale = u32::try_from(shelf.max_stale.as_secs()).unwrap_or(u32::MAX);
        let told = Told::by(response.headers());
        let quality = quality.and_told_by(response.extensions(), &told);
        let (terms, answered) = match judge(&self.asked, response.status(), &told, quality, answered, max_stale) {
            Verdict::Store(terms, answered) => (terms, answered),
            Verdict::Leave(reason) => {
                telemetry::not_stored(&shelf.name, reason);
                return None;
            }
            Verdict::Forget(reason) => return Some(forget(shared, self.place, reason)),
        };

        let (answer, length) = match self.begin(response, &told, terms, answered, shared.max_body) {
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
        told: &Told<'_>,
        terms: Terms,
        answered: Arrival,
        max_body: usize,
    ) -> Result<(Unstored, Length), &'static str> {
        let selectors = Selectors::of(told).ok_or("vary")?;
        let length = Length::of(told).ok_or("length")?;
        let room = length.0.unwrap_or(0).max(response.body().size_hint().lower());
        let room = usize::try_from(room).ok().filter(|room| *room <= max_body).ok_or("too-long")?;
        let draft = Draft::begin(response.status(), told, terms, answered, room).ok_or("head")?;
        let Self { place, fields, begun, .. } = self;
        Ok((Unstored { place, fields, begun, selectors, draft }, length))
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
    fn of(told: &Told<'_>) -> Option<Self> {
        let mut values = told.all(&CONTENT_LENGTH);
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
