//! What the layer remembers of a request, and what it does with the response.
//!
//! | request | response | action |
//! |---|---|---|
//! | GET | may be stored | copies the body while it streams, stores the answer at its end |
//! | GET, HEAD | says that the stored answer is gone, `no-store`, …; to its principal also: forbidden, moved | removes the stored answer |
//! | GET, HEAD | 304, or a good answer to HEAD | updates or removes the stored answer, or neither: see [`validation`] |
//! | with an unsafe method | success | removes everything stored for its URI |
//! | any | any other | none |

use std::{iter, mem, sync::Arc};

use backstop_core::Scope;
use backstop_kit::WrapBody;
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{CONTENT_LOCATION, LOCATION},
};
use http_body::Body;

use crate::{
    Store,
    age::Arrival,
    body::StoringBody,
    body_copy::{BodyCopy, Length, StoreTask},
    credentials,
    entry::EntryWriter,
    entry_store::PendingEntry,
    fields,
    headers::IndexedHeaders,
    key::Owner,
    layer_state::LayerState,
    path::Partition,
    quality::Quality,
    removals::Epoch,
    rules::{Decision, Extent, Lifetime, RequestPolicy, decide},
    target::{Target, TargetKey},
    telemetry,
    tier::Found,
    validation::{self, Validation},
    vary::SelectingFields,
};

/// What the layer remembers of a request.
#[derive(Debug)]
pub(crate) enum Exchange {
    Read(ReadExchange),
    Write(Target),
}

/// What the layer remembers of a GET or HEAD.
#[derive(Debug)]
pub(crate) struct ReadExchange {
    partition: Partition,
    policy: RequestPolicy,
    is_head: bool,
    /// The request's fields, any of which `Vary` may name.
    fields: Vec<u8>,
    began: Epoch,
}

impl Exchange {
    /// `None` if the request can't affect the store. The request is returned unchanged.
    pub(crate) fn of<St: Store, B: Body + 'static>(
        request: Request<B>,
        shared: &LayerState<St>,
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
        shared: &LayerState<St>,
    ) -> Option<Self> {
        let entries = &shared.entries;
        let policy = RequestPolicy::of(request, owner.sharing(), || entries.context.clock.now_estimate());
        let Some(fields) = flatten(request.headers()) else {
            telemetry::not_stored(&entries.name, "head");
            return None;
        };
        let Some(target) = TargetKey::of(&entries.name, request.uri(), request.headers()) else {
            telemetry::not_stored(&entries.name, "host");
            return None;
        };
        let is_head = *request.method() == Method::HEAD;
        Some(Self::Read(ReadExchange {
            partition: Partition { target, owner },
            policy,
            is_head,
            fields,
            began: entries.context.removals.epoch(),
        }))
    }

    /// Returns the work to finish before `response` is passed on, if any. May wrap the body.
    ///
    /// `quality` is what was reported in `scope` while the response was made.
    pub(crate) fn on_response<St, B>(
        self,
        response: &mut Response<B>,
        quality: Quality,
        scope: Scope,
        shared: Arc<LayerState<St>>,
    ) -> Option<StoreTask>
    where
        St: Store,
        B: WrapBody,
    {
        match self {
            // It says nothing about what is stored. What a write made invalid is invalid all the same.
            Self::Read(_) if scope.has_injected_fault() => {
                telemetry::not_stored(&shared.entries.name, "fault");
                None
            }
            Self::Read(read) => read.on_response(response, quality, scope, shared),
            Self::Write(target) => on_write(&target, response, shared),
        }
    }
}

/// Removes what a write makes invalid (RFC 9111 §4.4).
fn on_write<St: Store, B>(target: &Target, response: &Response<B>, shared: Arc<LayerState<St>>) -> Option<StoreTask> {
    if !(response.status().is_success() || response.status().is_redirection()) {
        return None;
    }
    let resolve_reference = |name| response.headers().get(name).and_then(|value| target.resolve_reference(value));
    let others = [resolve_reference(LOCATION), resolve_reference(CONTENT_LOCATION)];
    let targets = iter::once(target).chain(others.iter().flatten());
    let target_keys: Vec<_> = targets.flat_map(|target| target.keys_to_remove(&shared.entries.name)).collect();
    Some(Box::pin(async move { shared.remove_targets(target_keys, "write").await }))
}

impl ReadExchange {
    fn on_response<St, B>(
        self,
        response: &mut Response<B>,
        quality: Quality,
        scope: Scope,
        shared: Arc<LayerState<St>>,
    ) -> Option<StoreTask>
    where
        St: Store,
        B: WrapBody,
    {
        let entries = &shared.entries;
        let answered = || entries.context.clock.arrival();
        let headers = &IndexedHeaders::new(response.headers());
        let quality = quality.and_of_response(response.extensions(), headers);
        let has_credentials = || credentials::any(&self.fields, &shared.credentials);
        let decide = |policy: &RequestPolicy, status| {
            decide(
                policy,
                status,
                headers,
                quality,
                has_credentials,
                answered,
                entries.context.staleness.longest_seconds(),
            )
        };
        let not_modified = response.status() == StatusCode::NOT_MODIFIED;
        let decision = if self.policy.validates() && (not_modified || self.is_head) {
            // Decides as if the response were the GET's answer that it validates.
            let status = if not_modified { StatusCode::OK } else { response.status() };
            match decide(&self.policy.as_get(), status) {
                Decision::Store(lifetime, answered) => {
                    let validating = PendingValidation {
                        read: self,
                        headers: response.headers().clone(),
                        not_modified,
                        lifetime,
                        answered,
                    };
                    let task: StoreTask = Box::pin(validating.apply(Arc::clone(&shared)));
                    return match &shared.background {
                        None => Some(task),
                        Some(background) => {
                            background.execute(task);
                            None
                        }
                    };
                }
                other => other,
            }
        } else {
            decide(&self.policy, response.status())
        };
        let (lifetime, answered) = match decision {
            Decision::Store(lifetime, answered) => (lifetime, answered),
            Decision::Ignore(reason) => {
                telemetry::not_stored(&entries.name, reason);
                return None;
            }
            Decision::Remove(reason, extent) => {
                let Self { partition, fields, .. } = self;
                return Some(Box::pin(async move { shared.remove(&partition, &fields, reason, extent).await }));
            }
        };

        let (answer, length) = match self.begin(response, headers, lifetime, answered, shared.max_body()) {
            Ok(began) => began,
            Err(reason) => {
                telemetry::not_stored(&entries.name, reason);
                return None;
            }
        };
        let copy = BodyCopy::new(answer, length, scope, shared);
        if response.body().is_end_stream() {
            return copy.complete();
        }
        let body = mem::take(response.body_mut());
        *response.body_mut() = B::wrap(StoringBody::new(body, copy));
        None
    }

    /// Starts an entry with the response's head. The error is the reason why the answer can't be stored.
    fn begin<B: WrapBody>(
        self,
        response: &Response<B>,
        headers: &IndexedHeaders<'_>,
        lifetime: Lifetime,
        answered: Arrival,
        max_body: usize,
    ) -> Result<(PendingEntry, Length), &'static str> {
        let selecting = SelectingFields::of(headers).ok_or("vary")?;
        let length = Length::of(headers).ok_or("length")?;
        let room = length.announced().unwrap_or(0).max(response.body().size_hint().lower());
        let room = usize::try_from(room).ok().filter(|room| *room <= max_body).ok_or("too-long")?;
        let writer = EntryWriter::begin(response.status(), headers, lifetime, answered, room).ok_or("head")?;
        let Self { partition, fields, began, .. } = self;
        Ok((PendingEntry { partition, fields, began, selecting, writer, stored: telemetry::stored }, length))
    }
}

/// A 304, or a good answer to HEAD, that may update the stored answer.
struct PendingValidation {
    read: ReadExchange,
    headers: HeaderMap,
    not_modified: bool,
    lifetime: Lifetime,
    answered: Arrival,
}

impl PendingValidation {
    /// Updates or removes the stored answer.
    async fn apply<St: Store>(self, shared: Arc<LayerState<St>>) {
        if let Err(reason) = self.update(&shared).await {
            telemetry::not_stored(&shared.entries.name, reason);
        }
    }

    async fn update<St: Store>(self, shared: &Arc<LayerState<St>>) -> Result<(), &'static str> {
        let entries = &shared.entries;
        let Self {
            read: ReadExchange { partition, policy, fields, began, .. },
            headers,
            not_modified,
            lifetime,
            answered,
        } = self;
        let unrelated = if not_modified { "status" } else { "method" };
        let request = fields::to_map(&fields.clone().into(), 0).ok_or("head")?;
        let Ok(Found { entry, .. }) = entries.find(&partition, &[&request], |_| true).await else {
            return Err(unrelated);
        };
        let stored = entry.headers().ok_or("head")?;
        // A cache in between may return an older answer.
        if entries.context.is_newer(&entry.lifetime, &lifetime) {
            return Err("older");
        }
        let validation = if not_modified {
            validation::by_not_modified(&request, &headers, &stored)
        } else {
            validation::by_head(&headers, &stored, entry.body().len())
        };
        match validation {
            Validation::Unknown => return Err(unrelated),
            Validation::Changed => {
                shared.remove(&partition, &fields, "changed", Extent::Variant).await;
                return Ok(());
            }
            Validation::Current => {}
        }
        let headers = &validation::updated(stored, &headers);
        let headers = &IndexedHeaders::new(headers);
        let has_credentials = || credentials::any(&fields, &shared.credentials);
        let policy = policy.as_get();
        let decision = decide(
            &policy,
            entry.status,
            headers,
            Quality::Good,
            has_credentials,
            || answered,
            entries.context.staleness.longest_seconds(),
        );
        let lifetime = match decision {
            Decision::Store(lifetime, _) => lifetime,
            Decision::Ignore(reason) => return Err(reason),
            Decision::Remove(reason, extent) => {
                shared.remove(&partition, &fields, reason, extent).await;
                return Ok(());
            }
        };
        let selecting = SelectingFields::of(headers).ok_or("vary")?;
        let body = entry.body();
        let mut writer = EntryWriter::begin(entry.status, headers, lifetime, answered, body.len()).ok_or("head")?;
        writer.push(&body);
        let answer = PendingEntry { partition, fields, began, selecting, writer, stored: telemetry::updated };
        Arc::clone(shared).put(answer).await;
        Ok(())
    }
}

/// Expected size of a field. The buffer is usually large enough for all fields.
const FIELD_SIZE: usize = 80;

/// All fields of a request in one buffer, see [`fields`].
pub(crate) fn flatten(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut flat = Vec::with_capacity(headers.len() * FIELD_SIZE);
    for (name, value) in headers {
        fields::put(&mut flat, name, value)?;
    }
    Some(flat)
}
