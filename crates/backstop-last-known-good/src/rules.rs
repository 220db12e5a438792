//! What may be stored, and up to which age it may be served.
//!
//! All of it is decided when an answer comes, and what is decided is stored with it: serving it compares two numbers. The
//! crate's docs have the rules as a table.

use std::time::Duration;

use backstop_kit::has_content;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{CONTENT_LENGTH, RANGE, SET_COOKIE, TRANSFER_ENCODING},
};
use http_body::Body;

use crate::{
    age::{Arrival, Moment, fresh_for, made_at},
    cache_control::CacheControl,
    headers::IndexedHeaders,
    quality::Quality,
    vary,
};

/// Who may be given what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Whoever asks.
    Shared,
    /// One principal alone.
    Personal,
}

/// What of a request bears on whether its answer may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// When, where its answer may be stored.
    pub(crate) at: Moment,
    pub(crate) sharing: Sharing,
    /// Why no answer to this request may be stored, as far as the request tells.
    pub(crate) refused: Option<&'static str>,
}

impl Asked {
    pub(crate) fn by<B: Body + 'static>(
        request: &mut Request<B>,
        sharing: Sharing,
        now: impl FnOnce() -> Moment,
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
        // Most bodies know that they are empty.
        if tells_of_content(headers) || !request.body().is_end_stream() && has_content(request) {
            refused = Some(CONTENT);
        }
        let mut asked = Self { at: Moment(0), sharing, refused };
        if asked.validates() {
            asked.at = now();
        }
        asked
    }

    /// The same, of a GET: what is validated was one.
    pub(crate) const fn regardless_of_method(&self) -> Self {
        Self { refused: None, ..*self }
    }

    /// Whether its answer may tell whether what is stored is still good, though it may not be stored itself.
    pub(crate) fn validates(&self) -> bool {
        matches!(self.refused, None | Some("method"))
    }
}

/// Why no answer to a request with content is stored, nor says anything about what is: the target alone doesn't tell what it
/// answers.
const CONTENT: &str = "content";

/// Whether a request's fields say that it has content (RFC 9112 §6). Since HTTP/2 they need not, so its body is asked, too
/// ([`has_content`]). A `Content-Type` alone is none.
///
/// On a GET content has no meaning (RFC 9110 §9.3.1), but there are services that heed it, so that the target alone doesn't
/// tell what was asked for.
pub(crate) fn tells_of_content(headers: &HeaderMap) -> bool {
    let is_empty = |length: &HeaderValue| length.as_bytes() == b"0";
    headers.contains_key(TRANSFER_ENCODING) || !headers.get_all(CONTENT_LENGTH).iter().all(is_empty)
}

/// What is to be done about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is stored, in place of what was.
    Store(Terms, Arrival),
    /// It isn't stored, and what was may not be served any more.
    Forget(&'static str, Reach),
    /// It isn't stored, and says nothing of what is.
    Leave(&'static str),
}

/// How much an answer withdraws of what is stored for its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What its request selects.
    Variant,
    /// Every variant.
    All,
}

/// On which terms an answer is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) made: Moment,
    /// It is fresh up to this age, in seconds.
    pub(crate) fresh: u32,
    /// It may be served up to this age, in seconds.
    pub(crate) until: u32,
    /// It may be served while a newer one is fetched up to this age, in seconds.
    pub(crate) revalidate_until: u32,
}

/// Judges an answer. `names_caller` says whether the request has credentials. That and when the answer came are asked only
/// where they matter.
pub(crate) fn judge(
    asked: &Asked,
    status: StatusCode,
    headers: &IndexedHeaders<'_>,
    quality: Quality,
    names_caller: impl Fn() -> bool,
    answered: impl FnOnce() -> Arrival,
    max_stale: u32,
) -> Verdict {
    if asked.refused == Some(CONTENT) {
        return Verdict::Leave(CONTENT);
    }
    let control = CacheControl::of_response(headers);
    // Who asks matters only where what is stored is for all.
    let shared = asked.sharing == Sharing::Shared;
    let is_for_caller_alone = || shared && !control.public && names_caller();
    if let Some(verdict) = judge_status(status, shared, is_for_caller_alone) {
        return verdict;
    }
    if let Some(reason) = asked.refused {
        return Verdict::Leave(reason);
    }
    // Before all that such an answer says of caches: less than was asked for leaves with `no-store`, which says nothing of
    // the good one, and just now is when that is needed.
    if quality == Quality::Degraded {
        return Verdict::Leave("degraded");
    }
    if is_for_caller_alone() {
        return Verdict::Leave("credentials");
    }
    if control.no_store {
        return Verdict::Forget("no-store", Reach::Variant);
    }
    if control.no_cache {
        return Verdict::Forget("no-cache", Reach::Variant);
    }
    if control.private && shared {
        return Verdict::Forget("private", Reach::Variant);
    }
    if headers.contains(&SET_COOKIE) {
        return Verdict::Leave("set-cookie");
    }
    if vary::by_anything(headers) {
        return Verdict::Forget("vary", Reach::Variant);
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
    let terms = Terms {
        made: made_at(headers, asked.at, answered),
        fresh,
        until,
        revalidate_until: revalidating.map_or(0, |longer| fresh.saturating_add(longer)).min(until),
    };
    if terms.left(answered.at).is_none() {
        Verdict::Forget("never-stale", Reach::Variant)
    } else {
        Verdict::Store(terms, answered)
    }
}

/// What a status says by itself, but for those of answers that may be stored.
///
/// One caller must not take from all what is stored for all. So that is withdrawn only by what is said to anybody: that it is
/// gone. A refusal is about who asks, and a redirection often about how: by which scheme, from where, logged in or not.
fn judge_status(status: StatusCode, shared: bool, is_for_caller_alone: impl Fn() -> bool) -> Option<Verdict> {
    match status.as_u16() {
        200 | 203 | 204 => None,
        // What one caller isn't shown may be hidden from that caller alone.
        404 | 410 | 451 if is_for_caller_alone() => Some(Verdict::Leave("credentials")),
        404 | 410 | 451 => Some(Verdict::Forget("gone", Reach::Variant)),
        // Not for this principal (any more), in any variant.
        401 | 403 if !shared => Some(Verdict::Forget("forbidden", Reach::All)),
        300..=303 | 305..=308 if !shared => Some(Verdict::Forget("moved", Reach::Variant)),
        // Failures, parts, and what is about this one request.
        _ => Some(Verdict::Leave("status")),
    }
}

/// So far the clocks of processes with the same store are believed to differ.
const SKEW: Duration = Duration::from_secs(10);

impl Terms {
    /// Whether it was made by a clock so far ahead of ours that its age can't be told.
    pub(crate) fn are_ahead(&self, now: Moment) -> bool {
        self.made.since(now) > SKEW
    }

    /// How much longer it may be served.
    pub(crate) fn left(&self, now: Moment) -> Option<Duration> {
        let until = Duration::from_secs(self.until.into());
        until.checked_sub(now.since(self.made)).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests;
