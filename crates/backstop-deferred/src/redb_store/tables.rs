//! What is in the file.

use std::ops::RangeInclusive;

use backstop_kit::StoreError;
use bytes::Bytes;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use crate::{Created, JobId, List, Place, Stored, Totals};

/// Version, list, when it is due, key (empty without one), bytes.
type Columns<'a> = (u64, u8, u64, &'a [u8], &'a [u8]);
/// By id.
const RECORDS: TableDefinition<'_, u128, Columns<'_>> = TableDefinition::new("records");
const KEYS: TableDefinition<'_, &[u8], u128> = TableDefinition::new("keys");
/// List, when it is due, id.
const PLACES: TableDefinition<'_, (u8, u64, u128), ()> = TableDefinition::new("places");
/// How many records are in each list, and their bytes.
const TOTALS: TableDefinition<'_, u8, (u64, u64)> = TableDefinition::new("totals");
/// The latest version.
const LATEST: TableDefinition<'_, (), u64> = TableDefinition::new("latest");

/// The tables, within a transaction.
pub(super) struct Tables<'a> {
    records: Table<'a, u128, Columns<'static>>,
    keys: Table<'a, &'static [u8], u128>,
    places: Table<'a, (u8, u64, u128), ()>,
    totals: Table<'a, u8, (u64, u64)>,
    latest: Table<'a, (), u64>,
    /// How often a record was written or removed.
    pub(super) writes: u64,
}

/// A record, and its key.
struct Row {
    stored: Stored,
    key: Vec<u8>,
}

impl<'a> Tables<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            keys: transaction.open_table(KEYS)?,
            places: transaction.open_table(PLACES)?,
            totals: transaction.open_table(TOTALS)?,
            latest: transaction.open_table(LATEST)?,
            writes: 0,
        })
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
        if self.totals(List::Queued)?.records + self.totals(List::Running)?.records >= max_pending {
            return Ok(Created::Full);
        }
        self.put(number_of(id), key, bytes, place)?;
        if !key.is_empty() {
            self.keys.insert(key, number_of(id))?;
        }
        Ok(Created::New)
    }

    pub(super) fn get(&self, id: JobId) -> Result<Option<Stored>, StoreError> {
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
        self.take(number_of(id), &row.stored)?;
        self.put(number_of(id), &row.key, bytes, place).map(Some)
    }

    pub(super) fn remove(&mut self, id: JobId, version: u64) -> Result<bool, StoreError> {
        let Some(row) = self.row_of(number_of(id), version)? else { return Ok(false) };
        self.take(number_of(id), &row.stored)?;
        self.keys.remove(&*row.key)?;
        Ok(true)
    }

    pub(super) fn due(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let range = self.places.range((list as u8, *times.start(), 0)..=(list as u8, *times.end(), u128::MAX))?;
        range.take(limit).map(|found| Ok(id_of(found?.0.value().2))).collect()
    }

    pub(super) fn totals(&self, list: List) -> Result<Totals, StoreError> {
        let (records, bytes) = self.totals.get(list as u8)?.map_or((0, 0), |found| found.value());
        Ok(Totals { records, bytes })
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
        let stored = Stored { bytes: Bytes::copy_from_slice(bytes), version, place: Place { list, due } };
        Ok(Some(Row { stored, key: key.to_owned() }))
    }

    fn row_of(&self, id: u128, version: u64) -> Result<Option<Row>, StoreError> {
        Ok(self.row(id)?.filter(|row| row.stored.version == version))
    }

    /// Its version.
    fn put(&mut self, id: u128, key: &[u8], bytes: &[u8], Place { list, due }: Place) -> Result<u64, StoreError> {
        self.writes += 1;
        let Totals { records, bytes: all_bytes } = self.totals(list)?;
        self.totals.insert(list as u8, (records + 1, all_bytes + bytes.len() as u64))?;
        let version = self.latest.get(())?.map_or(0, |latest| latest.value()) + 1;
        self.latest.insert((), version)?;
        self.records.insert(id, (version, list as u8, due, key, bytes))?;
        self.places.insert((list as u8, due, id), ())?;
        Ok(version)
    }

    fn take(&mut self, id: u128, Stored { bytes, place: Place { list, due }, .. }: &Stored) -> Result<(), StoreError> {
        self.writes += 1;
        let totals = self.totals(*list)?;
        let (records, all_bytes) = (totals.records.saturating_sub(1), totals.bytes.saturating_sub(bytes.len() as u64));
        self.totals.insert(*list as u8, (records, all_bytes))?;
        self.records.remove(id)?;
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
