//! The record of a job, as bytes.
//!
//! | state | on | to |
//! |---|---|---|
//! | queued | a worker claims it: another token, and the attempt is counted | running |
//! | running | the holder of the token completes it | done, without its payload |
//! | running | the holder gives up: permanently failed, or too often | failed |
//! | running | the holder returns it, to be repeated or uncounted | queued |
//! | running | the claim isn't renewed in time: another worker claims it, and counts a crash | running |
//! | running, queued | too many crashes, or too old | failed |
//! | failed | an operator replays it | queued |
//!
//! A record is version 1, little-endian: the version, state, failure (a byte each), attempts, crashes, the kind's version (4 bytes
//! each), token (16), when it was accepted and when it expires (8 each), fingerprint (32), the hash of the owner (32, zeros if there is
//! none), the kind's length (1) and text, and the payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};

const VERSION: u8 = 1;
/// Without the kind and the payload.
const FIXED: usize = 3 + 3 * 4 + 16 + 2 * 8 + 2 * 32 + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Queued,
    Running,
    Done,
    Failed(Failure),
}

/// Why a job is among the dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The worker returned an error that is [permanent](crate::Permanent).
    Permanent,
    /// All attempts failed.
    Attempts,
    /// The worker stopped three times while it ran the job.
    Crashes,
    /// It is too old.
    Expired,
    /// The payload, or the whole record, doesn't parse.
    Malformed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) state: State,
    /// How often it was begun. Durable before it is.
    pub(crate) attempts: u32,
    /// How often a worker stopped while it ran.
    pub(crate) crashes: u32,
    pub(crate) kind: String,
    pub(crate) kind_version: u32,
    /// Of the latest claim.
    pub(crate) token: u128,
    /// When it was accepted, or replayed, in ms since the Unix epoch.
    pub(crate) accepted: u64,
    /// When it is too old, in ms since the Unix epoch.
    pub(crate) expires: u64,
    pub(crate) fingerprint: [u8; 32],
    /// A hash of the principal that the job belongs to.
    pub(crate) owner: Option<[u8; 32]>,
    pub(crate) payload: Bytes,
}

impl Record {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(FIXED + self.kind.len() + self.payload.len());
        bytes.put_u8(VERSION);
        let (state, failure) = match self.state {
            State::Queued => (0, 0),
            State::Running => (1, 0),
            State::Done => (2, 0),
            State::Failed(failure) => (3, failure as u8),
        };
        bytes.put_u8(state);
        bytes.put_u8(failure);
        bytes.put_u32_le(self.attempts);
        bytes.put_u32_le(self.crashes);
        bytes.put_u32_le(self.kind_version);
        bytes.put_u128_le(self.token);
        bytes.put_u64_le(self.accepted);
        bytes.put_u64_le(self.expires);
        bytes.put_slice(&self.fingerprint);
        bytes.put_slice(&self.owner.unwrap_or_default());
        // A kind is a name: at most 64 bytes.
        bytes.put_u8(self.kind.len() as u8);
        bytes.put_slice(self.kind.as_bytes());
        bytes.put_slice(&self.payload);
        bytes.freeze()
    }

    /// For bytes that are no record: what an operator sees among the dead letters.
    pub(crate) fn unreadable(kind: &str, bytes: Bytes) -> Self {
        Self {
            state: State::Failed(Failure::Malformed),
            attempts: 0,
            crashes: 0,
            kind: kind.to_owned(),
            kind_version: 0,
            token: 0,
            accepted: 0,
            expires: 0,
            fingerprint: [0; 32],
            owner: None,
            payload: bytes,
        }
    }

    /// Whether a newer release has written it.
    pub(crate) fn is_newer(bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|version| *version > VERSION)
    }

    /// `None` for what isn't a record of this version.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < FIXED || bytes.get_u8() != VERSION {
            return None;
        }
        let state = match (bytes.get_u8(), bytes.get_u8()) {
            (0, 0) => State::Queued,
            (1, 0) => State::Running,
            (2, 0) => State::Done,
            (3, failure) => State::Failed(failure_of(failure)?),
            _ => return None,
        };
        let (attempts, crashes, kind_version) = (bytes.get_u32_le(), bytes.get_u32_le(), bytes.get_u32_le());
        let (token, accepted, expires) = (bytes.get_u128_le(), bytes.get_u64_le(), bytes.get_u64_le());
        let (mut fingerprint, mut owner) = ([0; 32], [0; 32]);
        bytes.copy_to_slice(&mut fingerprint);
        bytes.copy_to_slice(&mut owner);
        let owner = (owner != [0; 32]).then_some(owner);
        let length = usize::from(bytes.get_u8());
        if bytes.len() < length {
            return None;
        }
        let kind = String::from_utf8(bytes.split_to(length).to_vec()).ok()?;
        Some(Self {
            state,
            attempts,
            crashes,
            kind,
            kind_version,
            token,
            accepted,
            expires,
            fingerprint,
            owner,
            payload: bytes,
        })
    }
}

impl Failure {
    /// In the order of their numbers.
    pub(crate) const ALL: [Self; 5] = [Self::Permanent, Self::Attempts, Self::Crashes, Self::Expired, Self::Malformed];

    /// As it is written in logs, metrics and reports: `permanent`, `attempts`, `crashes`, `expired`, `malformed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Attempts => "attempts",
            Self::Crashes => "crashes",
            Self::Expired => "expired",
            Self::Malformed => "malformed",
        }
    }
}

fn failure_of(byte: u8) -> Option<Failure> {
    Failure::ALL.get(usize::from(byte)).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Record> {
        let states = prop_oneof![
            Just(State::Queued),
            Just(State::Running),
            Just(State::Done),
            (0..5_u8).prop_map(|byte| State::Failed(failure_of(byte).unwrap())),
        ];
        let numbers = (any::<[u32; 3]>(), any::<u128>(), any::<[u64; 2]>());
        let hashes = (any::<[u8; 32]>(), any::<Option<[u8; 32]>>());
        (states, numbers, "[a-z_]{1,64}", hashes, any::<Vec<u8>>()).prop_map(
            |(
                state,
                ([attempts, crashes, kind_version], token, [accepted, expires]),
                kind,
                (fingerprint, owner),
                payload,
            )| {
                Record {
                    state,
                    attempts,
                    crashes,
                    kind,
                    kind_version,
                    token,
                    accepted,
                    expires,
                    fingerprint,
                    owner: owner.filter(|hash| *hash != [0; 32]),
                    payload: payload.into(),
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_record_is_read_as_it_was_written(record in records()) {
            prop_assert_eq!(Record::decode(record.encode()), Some(record));
        }

        #[test]
        fn what_is_no_record_is_none_and_no_panic(record in records(), cut in any::<proptest::sample::Index>(), garbage: Vec<u8>) {
            let bytes = record.encode();
            _ = Record::decode(garbage.into());
            let cut = cut.index(FIXED + record.kind.len());
            prop_assert_eq!(Record::decode(bytes.slice(..cut)), None);
        }
    }
}
