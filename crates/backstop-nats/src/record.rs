//! A record as it is stored in a stream.

use backstop_deferred::{
    JobId, StoreError,
    store::{List, Place, StoredRecord},
};
use bytes::{Buf, BufMut, Bytes, BytesMut};

const VERSION: u8 = 1;
/// Version, list, when it is due, whether there is a key, the key.
pub(crate) const HEAD: usize = 1 + 1 + 8 + 1 + 32;

/// The hash of a key.
pub(crate) type Key = [u8; 32];

/// Where a record is: in a list, or in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    In(List),
    /// Its creation took too long, so that it must not succeed any more.
    Nowhere,
}

const LOCATIONS: [Location; 5] = [
    Location::In(List::Queued),
    Location::In(List::Running),
    Location::In(List::Done),
    Location::In(List::Dead),
    Location::Nowhere,
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) location: Location,
    pub(crate) due: u64,
    pub(crate) key: Option<Key>,
    pub(crate) bytes: Bytes,
}

impl Record {
    pub(crate) fn new(place: Place, key: Option<Key>, bytes: Bytes) -> Self {
        Self { location: Location::In(place.list), due: place.due, key, bytes }
    }

    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.location, Location::In(List::Queued | List::Running))
    }

    /// As the users of the store see it.
    pub(crate) fn stored(&self, version: u64) -> Option<StoredRecord> {
        let Location::In(list) = self.location else { return None };
        Some(StoredRecord { bytes: self.bytes.clone(), version, place: Place { list, due: self.due } })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEAD + self.bytes.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(LOCATIONS.iter().position(|location| *location == self.location).unwrap_or_default() as u8);
        bytes.put_u64_le(self.due);
        bytes.put_u8(u8::from(self.key.is_some()));
        bytes.put_slice(&self.key.unwrap_or_default());
        bytes.put_slice(&self.bytes);
        bytes.freeze()
    }

    /// # Errors
    /// If it isn't such a record, or one of a newer version.
    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, StoreError> {
        if bytes.len() < HEAD || bytes.get_u8() != VERSION {
            return Err("a record that this version can't read".into());
        }
        let location = LOCATIONS.get(usize::from(bytes.get_u8())).ok_or("a record in an unknown list")?;
        let (due, has_key) = (bytes.get_u64_le(), bytes.get_u8() != 0);
        let mut key = Key::default();
        bytes.copy_to_slice(&mut key);
        Ok(Self { location: *location, due, key: has_key.then_some(key), bytes })
    }
}

/// What a wake-up says: whom to wake up, and under which key it was created.
pub(crate) fn encode_wakeup(id: JobId, key: Option<Key>) -> Bytes {
    let mut bytes = vec![VERSION];
    bytes.extend(id.to_bytes());
    bytes.extend(key.iter().flatten());
    bytes.into()
}

/// `None` if it isn't a wake-up, or one of a newer version.
pub(crate) fn decode_wakeup(bytes: &[u8]) -> Option<(JobId, Option<Key>)> {
    let (id, key) = bytes.strip_prefix(&[VERSION])?.split_first_chunk()?;
    let key = if key.is_empty() { None } else { Some(key.try_into().ok()?) };
    Some((JobId::from_bytes(*id), key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_record_is_read_as_it_was_written(
            location in prop::sample::select(&LOCATIONS[..]), due: u64, key: Option<Key>, bytes: Vec<u8>,
        ) {
            let record = Record { location, due, key, bytes: bytes.into() };
            prop_assert_eq!(Record::decode(record.encode()).unwrap(), record);
        }

        #[test]
        fn a_wakeup_is_read_as_it_was_written(id: [u8; 16], key: Option<Key>) {
            let id = JobId::from_bytes(id);
            prop_assert_eq!(decode_wakeup(&encode_wakeup(id, key)), Some((id, key)));
        }

        #[test]
        fn garbage_is_an_error_and_no_panic(garbage: Vec<u8>) {
            _ = Record::decode(garbage.clone().into());
            _ = decode_wakeup(&garbage);
        }
    }

    #[test]
    fn a_record_that_is_cut_is_an_error() {
        let record = Record { location: Location::Nowhere, due: 1, key: None, bytes: Bytes::new() }.encode();
        for end in 0..record.len() {
            assert!(Record::decode(record.slice(..end)).is_err(), "{end}");
        }
    }
}
