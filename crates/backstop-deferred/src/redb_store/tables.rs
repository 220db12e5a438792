//! What is in the file.

use std::ops::RangeInclusive;

use backstop_kit::StoreError;
use bytes::Bytes;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::unwind_safe::UnwindSafe;
use crate::{
    JobId,
    store::{Created, List, Place, StoredRecord, Totals},
};

/// Version, list, when it is due, key (empty without one), bytes.
type Columns<'a> = (u64, u8, u64, &'a [u8], &'a [u8]);
/// By id.
const RECORDS: TableDefinition<'_, u128, Columns<'_>> = TableDefinition::new("records");
const KEYS: TableDefinition<'_, &[u8], u128> = TableDefinition::new("keys");
/// List, when it is due, id.
const PLACES: TableDefinition<'_, (u8, u64, u128), ()> = TableDefinition::new("places");
/// The latest version; then for each list, how many records are in it, and their bytes.
const NUMBERS: TableDefinition<'_, (), [u64; 9]> = TableDefinition::new("numbers");

/// The tables, within a transaction. What changes with each record is written once, in the end.
pub(super) struct Tables<'a> {
    records: UnwindSafe<Table<'a, u128, Columns<'static>>>,
    keys: UnwindSafe<Table<'a, &'static [u8], u128>>,
    places: UnwindSafe<Table<'a, (u8, u64, u128), ()>>,
    numbers: UnwindSafe<Table<'a, (), [u64; 9]>>,
    latest: u64,
    totals: [Totals; 4],
    /// How often a record was written or removed.
    pub(super) writes: u64,
}

/// A record, and its key.
struct Row {
    stored: StoredRecord,
    key: Vec<u8>,
}

impl<'a> Tables<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, StoreError> {
        let numbers = UnwindSafe::new(transaction.open_table(NUMBERS)?);
        let [latest, totals @ ..] = numbers.get(())?.map_or([0; 9], |numbers| numbers.value());
        let totals = std::array::from_fn(|list| Totals { records: totals[2 * list], bytes: totals[2 * list + 1] });
        Ok(Self {
            records: UnwindSafe::new(transaction.open_table(RECORDS)?),
            keys: UnwindSafe::new(transaction.open_table(KEYS)?),
            places: UnwindSafe::new(transaction.open_table(PLACES)?),
            numbers,
            latest,
            totals,
            writes: 0,
        })
    }

    /// Whether anything was written.
    pub(super) fn close(mut self) -> Result<bool, StoreError> {
        if self.writes > 0 {
            let [queued, running, done, dead] = self.totals.map(|totals| [totals.records, totals.bytes]);
            let numbers = [&[self.latest][..], &queued, &running, &done, &dead].concat();
            self.numbers.insert((), <[u64; 9]>::try_from(numbers).map_err(|_| "other lists")?)?;
        }
        Ok(self.writes > 0)
    }

    pub(super) fn create(
        &mut self,
        id: JobId,
        key: Option<[u8; 32]>,
        bytes: &[u8],
        place: Place,
        max_pending: u64,
    ) -> Result<Created, StoreError> {
        let key = key.as_ref().map_or(&[][..], |key| key);
        if let Some(found) = self.keys.get(key)?.map(|found| found.value()) {
            return Ok(Created::Exists(id_of(found)));
        }
        if self.totals(List::Queued).records + self.totals(List::Running).records >= max_pending {
            return Ok(Created::Full);
        }
        self.put(number_of(id), key, bytes, place)?;
        if !key.is_empty() {
            self.keys.insert(key, number_of(id))?;
        }
        Ok(Created::New)
    }

    pub(super) fn get(&self, id: JobId) -> Result<Option<StoredRecord>, StoreError> {
        Ok(self.row(number_of(id))?.map(|row| row.stored))
    }

    pub(super) fn replace(
        &mut self,
        id: JobId,
        version: u64,
        bytes: &[u8],
        place: Place,
    ) -> Result<Option<u64>, StoreError> {
        let Some(row) = self.row_of(number_of(id), version)? else { return Ok(None) };
        self.leave(number_of(id), &row.stored)?;
        self.put(number_of(id), &row.key, bytes, place).map(Some)
    }

    pub(super) fn remove(&mut self, id: JobId, version: u64) -> Result<bool, StoreError> {
        let Some(row) = self.row_of(number_of(id), version)? else { return Ok(false) };
        self.leave(number_of(id), &row.stored)?;
        self.records.remove(number_of(id))?;
        self.keys.remove(&*row.key)?;
        Ok(true)
    }

    pub(super) fn due(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let range = self.places.range((list as u8, *times.start(), 0)..=(list as u8, *times.end(), u128::MAX))?;
        range.take(limit).map(|found| Ok(id_of(found?.0.value().2))).collect()
    }

    pub(super) const fn totals(&self, list: List) -> Totals {
        self.totals[list as usize]
    }

    /// Whoever ran them is gone.
    pub(super) fn return_running(&mut self) -> Result<(), StoreError> {
        for id in self.due(List::Running, 0..=u64::MAX, usize::MAX)? {
            if let Some(stored) = self.get(id)? {
                self.replace(id, stored.version, &stored.bytes, Place { list: List::Queued, due: 0 })?;
            }
        }
        Ok(())
    }

    fn row(&self, id: u128) -> Result<Option<Row>, StoreError> {
        let Some(found) = self.records.get(id)? else { return Ok(None) };
        let (version, list, due, key, bytes) = found.value();
        let list = list_of(list).ok_or("an unknown list")?;
        let stored = StoredRecord { bytes: Bytes::copy_from_slice(bytes), version, place: Place { list, due } };
        Ok(Some(Row { stored, key: key.to_owned() }))
    }

    fn row_of(&self, id: u128, version: u64) -> Result<Option<Row>, StoreError> {
        Ok(self.row(id)?.filter(|row| row.stored.version == version))
    }

    /// Its version.
    fn put(&mut self, id: u128, key: &[u8], bytes: &[u8], Place { list, due }: Place) -> Result<u64, StoreError> {
        self.writes += 1;
        self.latest += 1;
        let totals = &mut self.totals[list as usize];
        (totals.records, totals.bytes) = (totals.records + 1, totals.bytes + bytes.len() as u64);
        self.records.insert(id, (self.latest, list as u8, due, key, bytes))?;
        self.places.insert((list as u8, due, id), ())?;
        Ok(self.latest)
    }

    /// A record leaves its place.
    fn leave(
        &mut self,
        id: u128,
        StoredRecord { bytes, place: Place { list, due }, .. }: &StoredRecord,
    ) -> Result<(), StoreError> {
        self.writes += 1;
        let Totals { records, bytes: all } = self.totals[*list as usize];
        let (records, bytes) = (records.saturating_sub(1), all.saturating_sub(bytes.len() as u64));
        self.totals[*list as usize] = Totals { records, bytes };
        self.places.remove((*list as u8, *due, id))?;
        Ok(())
    }
}

fn list_of(number: u8) -> Option<List> {
    [List::Queued, List::Running, List::Done, List::Dead].into_iter().find(|list| *list as u8 == number)
}

const fn number_of(id: JobId) -> u128 {
    u128::from_be_bytes(id.to_bytes())
}

const fn id_of(number: u128) -> JobId {
    JobId::from_bytes(number.to_be_bytes())
}
