//! The format of stored values: an answer, or a node that leads to answers (see [`key`](crate::key)).
//!
//! | part of an answer | bytes |
//! |---|---|
//! | kind and version | 2 |
//! | status | 2 |
//! | generation of its node | 8 |
//! | creation time | 8 |
//! | ages of its [lifetime](crate::rules::Lifetime), in seconds | 4 × 3 |
//! | lengths of head, body and variant | 4 × 3 |
//! | head, as [fields] | |
//! | body | |
//! | variant: its request's values of the [selecting fields](crate::vary) | |
//! | its request's values of the [negotiation] fields | the rest |
//!
//! Numbers are little-endian. Decoding never panics. Anything else, and another version, is malformed.

use std::{mem, ops::Range};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    age::{Arrival, Timestamp},
    fields,
    headers::IndexedHeaders,
    key::FORMAT,
    negotiation::{self, negotiation_fields},
    rules::Lifetime,
    vary::SelectingFields,
};

const ANSWER: [u8; 2] = [b'a', FORMAT];
const NODE: [u8; 2] = [b'n', FORMAT];
/// The size of the parts before the head.
const FIXED: usize = 2 + 2 + 8 + 8 + 4 * 3 + 4 * 3;
const GENERATION: Range<usize> = 4..12;
/// The offsets of the body's and the variant's length.
const BODY_LEN: usize = FIXED - 8;
const SELECTED_LEN: usize = FIXED - 4;

/// Larger heads aren't stored, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Answers with a longer `Connection` aren't stored, in bytes.
const MAX_CONNECTION: usize = 256;

/// Extra capacity for a date and a typical variant, to avoid a reallocation.
const EXTRA_CAPACITY: usize = 256;

/// Encodes an answer while its body streams.
#[derive(Clone)]
pub(crate) struct EntryWriter {
    bytes: Vec<u8>,
    body_from: usize,
    /// The request fields by which the answer may have been negotiated.
    negotiation_fields: SelectingFields,
    pub(crate) lifetime: Lifetime,
    /// When its head arrived.
    pub(crate) arrived: Timestamp,
}

impl EntryWriter {
    /// Writes the head, and reserves `body_len` bytes for the body. `None` if the head or its `Connection` is too large.
    pub(crate) fn begin(
        status: StatusCode,
        headers: &IndexedHeaders<'_>,
        lifetime: Lifetime,
        arrival: Arrival,
        body_len: usize,
    ) -> Option<Self> {
        let options = connection_options(headers)?;
        let mut is_dated = false;
        // A little too much if some fields aren't stored.
        let size = fields::size(headers.map().iter());
        let mut bytes = Vec::with_capacity(FIXED + size + body_len + EXTRA_CAPACITY);
        bytes.extend_from_slice(&[0; FIXED]);
        for (name, value) in headers.map().iter().filter(|(name, _)| is_stored(name, &options)) {
            is_dated |= *name == header::DATE;
            fields::put(&mut bytes, name, value)?;
        }
        if bytes.len() - FIXED > MAX_HEAD {
            return None;
        }
        // A cache adds a missing `Date` (RFC 9110 §6.6.1).
        if !is_dated {
            fields::put(&mut bytes, &header::DATE, &arrival.date.http_date()?)?;
        }
        let body_from = bytes.len();
        let head_len = u32::try_from(body_from - FIXED).ok()?;
        let fixed: &mut [u8; FIXED] = bytes.first_chunk_mut()?;
        fixed[..2].copy_from_slice(&ANSWER);
        fixed[2..4].copy_from_slice(&status.as_u16().to_le_bytes());
        fixed[12..20].copy_from_slice(&lifetime.created.0.to_le_bytes());
        fixed[20..24].copy_from_slice(&lifetime.fresh_until.to_le_bytes());
        fixed[24..28].copy_from_slice(&lifetime.serve_until.to_le_bytes());
        fixed[28..32].copy_from_slice(&lifetime.revalidate_until.to_le_bytes());
        fixed[32..BODY_LEN].copy_from_slice(&head_len.to_le_bytes());
        Some(Self { bytes, body_from, negotiation_fields: negotiation_fields(headers), lifetime, arrived: arrival.at })
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// The length of the body so far.
    pub(crate) fn body_len(&self) -> usize {
        self.bytes.len() - self.body_from
    }

    /// Completes the entry with its node's generation, its variant and its request's negotiation fields. `request` is
    /// [flattened](crate::fields). `None` if the body is longer than 4 GiB. Empties the writer.
    pub(crate) fn finish(&mut self, generation: u64, variant: &[u8], request: &[u8]) -> Option<Bytes> {
        let (body_len, selected_len) = (u32::try_from(self.body_len()).ok()?, u32::try_from(variant.len()).ok()?);
        self.bytes[GENERATION].copy_from_slice(&generation.to_le_bytes());
        self.bytes[BODY_LEN..SELECTED_LEN].copy_from_slice(&body_len.to_le_bytes());
        self.bytes[SELECTED_LEN..FIXED].copy_from_slice(&selected_len.to_le_bytes());
        self.bytes.extend_from_slice(variant);
        self.bytes.extend_from_slice(&self.negotiation_fields.variant_in(request));
        Some(mem::take(&mut self.bytes).into())
    }
}

/// Whether a field is stored. Connection fields aren't (RFC 9111 §3.1), nor is `Age`, which is computed when the answer is
/// served, nor are labels: a copy isn't `fresh` any more. `options` are the fields that the answer's `Connection` names.
fn is_stored(name: &HeaderName, options: &[&[u8]]) -> bool {
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
            | "x-data-freshness"
            | "x-fallback-source"
    );
    !dropped && !options.iter().any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
}

/// The fields that `Connection` names. `None` if it is too long: each field is compared with each of them.
fn connection_options<'a>(headers: &IndexedHeaders<'a>) -> Option<Vec<&'a [u8]>> {
    let values = || headers.get_all(&header::CONNECTION).map(HeaderValue::as_bytes);
    if values().map(<[u8]>::len).sum::<usize>() > MAX_CONNECTION {
        return None;
    }
    Some(values().flat_map(|value| value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)).collect())
}

/// A stored answer. Clones share memory.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) status: StatusCode,
    /// Of the node that it was stored under.
    pub(crate) generation: u64,
    pub(crate) lifetime: Lifetime,
    bytes: Bytes,
    /// The ends of the head, the body and the variant.
    head_end: usize,
    body_end: usize,
    selected_end: usize,
}

impl Entry {
    pub(crate) fn decode(bytes: Bytes) -> Option<Self> {
        let mut fixed: &[u8] = bytes.get(..FIXED)?.strip_prefix(&ANSWER)?;
        let status = StatusCode::from_u16(fixed.get_u16_le()).ok()?;
        let generation = fixed.get_u64_le();
        let lifetime = Lifetime {
            created: Timestamp(fixed.get_u64_le()),
            fresh_until: fixed.get_u32_le(),
            serve_until: fixed.get_u32_le(),
            revalidate_until: fixed.get_u32_le(),
        };
        let mut end_after = |start: usize| start.checked_add(usize::try_from(fixed.get_u32_le()).ok()?);
        let head_end = end_after(FIXED)?;
        let body_end = end_after(head_end)?;
        let selected_end = end_after(body_end)?;
        (selected_end <= bytes.len()).then_some(Self {
            status,
            generation,
            lifetime,
            bytes,
            head_end,
            body_end,
            selected_end,
        })
    }

    /// The same answer for another node and another variant.
    pub(crate) fn encode_for(&self, generation: u64, variant: &[u8]) -> Option<Bytes> {
        let negotiation = &self.bytes[self.selected_end..];
        let mut bytes = Vec::with_capacity(self.body_end + variant.len() + negotiation.len());
        bytes.extend_from_slice(&self.bytes[..self.body_end]);
        bytes[GENERATION].copy_from_slice(&generation.to_le_bytes());
        bytes[SELECTED_LEN..FIXED].copy_from_slice(&u32::try_from(variant.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(variant);
        bytes.extend_from_slice(negotiation);
        Some(bytes.into())
    }

    pub(crate) fn body(&self) -> Bytes {
        self.bytes.slice(self.head_end..self.body_end)
    }

    /// The request's values of the selecting fields.
    pub(crate) fn variant(&self) -> &[u8] {
        &self.bytes[self.body_end..self.selected_end]
    }

    /// Whether a request with these fields accepts the answer's coding and language.
    pub(crate) fn is_accepted_by(&self, request: &[&HeaderMap]) -> bool {
        negotiation::accepts(&self.bytes[FIXED..self.head_end], &self.bytes[self.selected_end..], request)
    }

    /// The headers, with capacity for one more. `None` if they are malformed.
    pub(crate) fn headers(&self) -> Option<HeaderMap> {
        fields::to_map(&self.bytes.slice(FIXED..self.head_end), 1)
    }
}

/// A node that leads to answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// What is directly below the node has the same.
    pub(crate) generation: u64,
    /// The generation of the node above; 0 if there is none.
    pub(crate) parent: u64,
    pub(crate) written: Timestamp,
    pub(crate) selecting: SelectingFields,
}

impl Node {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&NODE);
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&self.parent.to_le_bytes());
        bytes.extend_from_slice(&self.written.0.to_le_bytes());
        self.selecting.encode(&mut bytes);
        bytes.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (generation, bytes) = bytes.strip_prefix(&NODE)?.split_first_chunk()?;
        let (parent, bytes) = bytes.split_first_chunk()?;
        let (written, selecting) = bytes.split_first_chunk()?;
        Some(Self {
            generation: u64::from_le_bytes(*generation),
            parent: u64::from_le_bytes(*parent),
            written: Timestamp(u64::from_le_bytes(*written)),
            selecting: SelectingFields::decode(selecting)?,
        })
    }
}

#[cfg(test)]
mod tests;
