//! Decides what may be stored, and up to which age it may be served.
//!
//! Everything is decided when the response arrives, and the decision is stored with the answer: serving it only compares two
//! numbers. The crate docs list the rules in a table.

use std::time::Duration;

use backstop_kit::has_content;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{CONTENT_LENGTH, RANGE, SET_COOKIE, TRANSFER_ENCODING},
};
use http_body::Body;

use crate::{
    age::{Arrival, Timestamp, created_at, fresh_for},
    cache_control::CacheControl,
    headers::IndexedHeaders,
    key::Sharing,
    quality::Quality,
    vary,
};

/// What a request says about storing its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestPolicy {
    /// When the request began, if its answer may be stored.
    pub(crate) began_at: Timestamp,
    pub(crate) sharing: Sharing,
    /// Why the request forbids storing its answer.
    pub(crate) refused: Option<&'static str>,
}

impl RequestPolicy {
    pub(crate) fn of<B: Body + 'static>(
        request: &mut Request<B>,
        sharing: Sharing,
        now: impl FnOnce() -> Timestamp,
    ) -> Self {
        let headers = request.headers();
        let is_get = *request.method() == Method::GET;
        let mut refused = if headers.contains_key(RANGE) {
            Some("range")
        } else if CacheControl::of_request(headers).no_store {
            Some("request-no-store")
        } else {
            (!is_get).then_some("method")
        };
        // Most empty bodies say so. Only the others are polled.
        if announces_content(headers) || !request.body().is_end_stream() && has_content(request) {
            refused = Some(CONTENT);
        }
        let mut policy = Self { began_at: Timestamp(0), sharing, refused };
        if policy.validates() {
            policy.began_at = now();
        }
        policy
    }

    /// The same request as a GET: a stored answer, which this one may validate, answered a GET.
    pub(crate) const fn as_get(&self) -> Self {
        Self { refused: None, ..*self }
    }

    /// Whether the response may validate the stored answer, although it may not be stored itself.
    pub(crate) fn validates(&self) -> bool {
        matches!(self.refused, None | Some("method"))
    }
}

/// The answer to a request with content is neither stored nor does it affect stored answers, since the key doesn't cover the
/// content.
const CONTENT: &str = "content";

/// Whether a request's fields announce content (RFC 9112 §6). `Content-Type` alone doesn't. In HTTP/2 content needs no such
/// field, so the body is checked too ([`has_content`]).
///
/// Content has no meaning on a GET (RFC 9110 §9.3.1), but some services use it.
pub(crate) fn announces_content(headers: &HeaderMap) -> bool {
    let is_empty = |length: &HeaderValue| length.as_bytes() == b"0";
    headers.contains_key(TRANSFER_ENCODING) || !headers.get_all(CONTENT_LENGTH).iter().all(is_empty)
}

/// What to do with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Store it, in place of the stored answer.
    Store(Lifetime, Arrival),
    /// Don't store it, and remove the stored answer.
    Remove(&'static str, Extent),
    /// Don't store it, and keep the stored answer.
    Ignore(&'static str),
}

/// Which of an owner's stored answers are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The variant that the request selects.
    Variant,
    /// Every variant.
    All,
}

/// When an answer was made, and up to which ages it may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) created: Timestamp,
    /// Fresh up to this age, in seconds.
    pub(crate) fresh_until: u32,
    /// Served up to this age, in seconds.
    pub(crate) serve_until: u32,
    /// Served while a newer answer is fetched, up to this age, in seconds.
    pub(crate) revalidate_until: u32,
}

/// Decides about a response. `has_credentials`, and `answered`, which says when it arrived, are called only if they matter.
pub(crate) fn decide(
    policy: &RequestPolicy,
    status: StatusCode,
    headers: &IndexedHeaders<'_>,
    quality: Quality,
    has_credentials: impl Fn() -> bool,
    answered: impl FnOnce() -> Arrival,
    max_stale: u32,
) -> Decision {
    if policy.refused == Some(CONTENT) {
        return Decision::Ignore(CONTENT);
    }
    let control = CacheControl::of_response(headers);
    // Credentials matter only if stored answers are shared.
    let shared = policy.sharing == Sharing::Shared;
    let is_for_caller_only = || shared && !control.public && has_credentials();
    if let Some(decision) = decide_by_status(status, shared, is_for_caller_only) {
        return decision;
    }
    if let Some(reason) = policy.refused {
        return Decision::Ignore(reason);
    }
    // Before any directive of the response: a degraded answer carries `no-store`, but the stored answer is still good, and now
    // is when it is needed.
    if quality == Quality::Degraded {
        return Decision::Ignore("degraded");
    }
    if is_for_caller_only() {
        return Decision::Ignore("credentials");
    }
    if control.no_store {
        return Decision::Remove("no-store", Extent::Variant);
    }
    if control.no_cache {
        return Decision::Remove("no-cache", Extent::Variant);
    }
    if control.private && shared {
        return Decision::Remove("private", Extent::Variant);
    }
    if headers.contains(&SET_COOKIE) {
        return Decision::Ignore("set-cookie");
    }
    if vary::by_anything(headers) {
        return Decision::Remove("vary", Extent::Variant);
    }

    let answered = answered();
    let fresh = fresh_for(headers, &control, shared, answered);
    let never_stale = control.must_revalidate || shared && (control.proxy_revalidate || control.s_maxage.is_some());
    let bound = match control.stale_if_error {
        _ if never_stale => fresh,
        Some(longer) => fresh.saturating_add(longer),
        None => u32::MAX,
    };
    let revalidating = control.stale_while_revalidate.filter(|_| !never_stale);
    let until = bound.min(max_stale);
    let lifetime = Lifetime {
        created: created_at(headers, policy.began_at, answered),
        fresh_until: fresh,
        serve_until: until,
        revalidate_until: revalidating.map_or(0, |longer| fresh.saturating_add(longer)).min(until),
    };
    if lifetime.left(answered.at).is_none() {
        Decision::Remove("never-stale", Extent::Variant)
    } else {
        Decision::Store(lifetime, answered)
    }
}

/// What a status alone decides. `None` for those whose answers may be stored.
///
/// One caller must not remove what all others share. So only a status that is the same for everybody removes a shared answer:
/// the resource is gone. A refusal depends on the caller, and a redirect often on the scheme, the region or the session.
fn decide_by_status(status: StatusCode, shared: bool, is_for_caller_only: impl Fn() -> bool) -> Option<Decision> {
    match status.as_u16() {
        200 | 203 | 204 => None,
        // It may be hidden from this caller alone.
        404 | 410 | 451 if is_for_caller_only() => Some(Decision::Ignore("credentials")),
        404 | 410 | 451 => Some(Decision::Remove("gone", Extent::Variant)),
        // This principal may not see any variant.
        401 | 403 if !shared => Some(Decision::Remove("forbidden", Extent::All)),
        300..=303 | 305..=308 if !shared => Some(Decision::Remove("moved", Extent::Variant)),
        // Failures, partial content, and statuses about this one request.
        _ => Some(Decision::Ignore("status")),
    }
}

/// Clocks of processes that share a store may differ by this much.
const MAX_SKEW: Duration = Duration::from_secs(10);

impl Lifetime {
    /// Whether the answer was made by a clock too far ahead of ours to know its age.
    pub(crate) fn is_ahead(&self, now: Timestamp) -> bool {
        self.created.since(now) > MAX_SKEW
    }

    /// How much longer the answer may be served.
    pub(crate) fn left(&self, now: Timestamp) -> Option<Duration> {
        let until = Duration::from_secs(self.serve_until.into());
        until.checked_sub(now.since(self.created)).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests;
