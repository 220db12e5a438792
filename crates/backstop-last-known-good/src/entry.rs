//! What is stored, as bytes: an answer, or a node that leads to answers (see [`key`](crate::key)).
//!
//! | part of an answer | bytes |
//! |---|---|
//! | kind and version | 2 |
//! | status | 2 |
//! | when it was made | 8 |
//! | its [terms](crate::rules::Terms), in seconds | 4 × 3 |
//! | lengths of head, body and what its request selected it by | 4 × 3 |
//! | head, as [fields](crate::fields) | |
//! | body | |
//! | what its request selected it by | |
//! | what its request had in the fields that it may have been [negotiated](crate::negotiation) by | the rest |
//!
//! Numbers are little-endian. Reading never panics: what isn't exactly this is garbage, and so is another version.

use std::mem;

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    age::{Arrival, Moment},
    fields,
    headers::IndexedHeaders,
    negotiation::{self, negotiators},
    rules::Terms,
    vary::Selectors,
};

const ANSWER: [u8; 2] = [b'a', 2];
const NODE: [u8; 2] = [b'n', 1];
/// The parts of an answer that have a length of their own.
const FIXED: usize = 2 + 2 + 8 + 4 * 3 + 4 * 3;
/// Where the length of the body stands, and the one after it.
const BODY_LEN: usize = FIXED - 8;
const SELECTED_LEN: usize = FIXED - 4;

/// The largest head that is stored, in bytes.
const MOST_HEAD: usize = 64 * 1024;

/// The longest `Connection` of an answer that is stored, in bytes.
const MOST_CONNECTION: usize = 256;

/// Room for a date, and for what most requests select an answer by, without which the whole would be moved.
const SLACK: usize = 256;

/// An answer that is being written while its body comes.
pub(crate) struct Draft {
    bytes: Vec<u8>,
    body_from: usize,
    /// The fields of its request by which it may have been negotiated.
    negotiators: Selectors,
    pub(crate) terms: Terms,
    /// When its head came.
    pub(crate) arrived: Moment,
}

impl Draft {
    /// Begins with the head, and room for a body of `room` bytes. `None` where the head is too large, or its
    /// `Connection` is.
    pub(crate) fn begin(
        status: StatusCode,
        headers: &IndexedHeaders<'_>,
        terms: Terms,
        arrival: Arrival,
        room: usize,
    ) -> Option<Self> {
        let options = connection_options(headers)?;
        let mut is_dated = false;
        // A little more, where some aren't kept.
        let size = fields::size(headers.map().iter());
        let mut bytes = Vec::with_capacity(FIXED + size + room + SLACK);
        bytes.extend_from_slice(&[0; FIXED]);
        for (name, value) in headers.map().iter().filter(|(name, _)| is_kept(name, &options)) {
            is_dated |= *name == header::DATE;
            fields::put(&mut bytes, name, value)?;
        }
        if bytes.len() - FIXED > MOST_HEAD {
            return None;
        }
        // Whoever stores an answer without a date adds the one when it came (RFC 9110 §6.6.1).
        if !is_dated {
            fields::put(&mut bytes, &header::DATE, &arrival.date.http_date()?)?;
        }
        let body_from = bytes.len();
        let head_len = u32::try_from(body_from - FIXED).ok()?;
        let fixed: &mut [u8; FIXED] = bytes.first_chunk_mut()?;
        fixed[..2].copy_from_slice(&ANSWER);
        fixed[2..4].copy_from_slice(&status.as_u16().to_le_bytes());
        fixed[4..12].copy_from_slice(&terms.made.0.to_le_bytes());
        fixed[12..16].copy_from_slice(&terms.fresh.to_le_bytes());
        fixed[16..20].copy_from_slice(&terms.until.to_le_bytes());
        fixed[20..24].copy_from_slice(&terms.revalidate_until.to_le_bytes());
        fixed[24..BODY_LEN].copy_from_slice(&head_len.to_le_bytes());
        Some(Self { bytes, body_from, negotiators: negotiators(headers), terms, arrived: arrival.at })
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// How long its body is so far.
    pub(crate) fn body_len(&self) -> usize {
        self.bytes.len() - self.body_from
    }

    /// The whole, for requests that select the same; `request` is the one it answers, as [fields](crate::fields). `None` where
    /// the body is longer than 4 GiB. Nothing is left here.
    pub(crate) fn finish(&mut self, selected: &[u8], request: &[u8]) -> Option<Bytes> {
        let (body_len, selected_len) = (u32::try_from(self.body_len()).ok()?, u32::try_from(selected.len()).ok()?);
        self.bytes[BODY_LEN..SELECTED_LEN].copy_from_slice(&body_len.to_le_bytes());
        self.bytes[SELECTED_LEN..FIXED].copy_from_slice(&selected_len.to_le_bytes());
        self.bytes.extend_from_slice(selected);
        self.bytes.extend_from_slice(&self.negotiators.select(request));
        Some(mem::take(&mut self.bytes).into())
    }
}

/// Whether a field belongs into what is stored: not those that are about a connection, nor `Age`, which is told anew
/// (RFC 9111 §3.1). `options` are the fields that the answer's `Connection` names.
fn is_kept(name: &HeaderName, options: &[&[u8]]) -> bool {
    let name = name.as_str();
    let dropped = matches!(
        name,
        "age"
            | "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    );
    !dropped && !options.iter().any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
}

/// `None` where `Connection` is longer than anybody needs: each field is compared with each of its options.
fn connection_options<'a>(headers: &IndexedHeaders<'a>) -> Option<Vec<&'a [u8]>> {
    let values = || headers.get_all(&header::CONNECTION).map(HeaderValue::as_bytes);
    if values().map(<[u8]>::len).sum::<usize>() > MOST_CONNECTION {
        return None;
    }
    Some(values().flat_map(|value| value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)).collect())
}

/// A stored answer.
pub(crate) struct Entry {
    pub(crate) status: StatusCode,
    pub(crate) terms: Terms,
    bytes: Bytes,
    /// Where the head, the body, and what its request selected it by end.
    head_end: usize,
    body_end: usize,
    selected_end: usize,
}

impl Entry {
    pub(crate) fn decode(bytes: Bytes) -> Option<Self> {
        let mut fixed: &[u8] = bytes.get(..FIXED)?.strip_prefix(&ANSWER)?;
        let status = StatusCode::from_u16(fixed.get_u16_le()).ok()?;
        let terms = Terms {
            made: Moment(fixed.get_u64_le()),
            fresh: fixed.get_u32_le(),
            until: fixed.get_u32_le(),
            revalidate_until: fixed.get_u32_le(),
        };
        let mut end_after = |start: usize| start.checked_add(usize::try_from(fixed.get_u32_le()).ok()?);
        let head_end = end_after(FIXED)?;
        let body_end = end_after(head_end)?;
        let selected_end = end_after(body_end)?;
        (selected_end <= bytes.len()).then_some(Self { status, terms, bytes, head_end, body_end, selected_end })
    }

    pub(crate) fn body(&self) -> Bytes {
        self.bytes.slice(self.head_end..self.body_end)
    }

    /// What its request selected it by.
    pub(crate) fn selected(&self) -> &[u8] {
        &self.bytes[self.body_end..self.selected_end]
    }

    /// Whether a request of these fields accepts its coding and its language.
    pub(crate) fn is_accepted_by(&self, request: &[&HeaderMap]) -> bool {
        negotiation::accepts(&self.bytes[FIXED..self.head_end], &self.bytes[self.selected_end..], request)
    }

    /// Its headers, with room for one more. `None` where they are garbage.
    pub(crate) fn headers(&self) -> Option<HeaderMap> {
        fields::to_map(&self.bytes.slice(FIXED..self.head_end), 1)
    }
}

/// What leads to answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Part of the keys of all below it.
    pub(crate) generation: u64,
    pub(crate) written: Moment,
    pub(crate) selectors: Selectors,
}

impl Node {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&NODE);
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&self.written.0.to_le_bytes());
        self.selectors.encode(&mut bytes);
        bytes.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (generation, bytes) = bytes.strip_prefix(&NODE)?.split_first_chunk()?;
        let (written, selectors) = bytes.split_first_chunk()?;
        Some(Self {
            generation: u64::from_le_bytes(*generation),
            written: Moment(u64::from_le_bytes(*written)),
            selectors: Selectors::decode(selectors)?,
        })
    }
}

#[cfg(test)]
mod tests;
