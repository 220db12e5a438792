//! The store on a disk that fails, whose power fails, and whose file is damaged.

use std::{
    collections::HashMap,
    io::{Error, ErrorKind},
    panic,
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop_test::assert_property;
use bytes::Bytes;
use proptest::{prelude::*, sample::Index};
use redb::StorageBackend;
use tokio::time::timeout;

use super::{Disk, RedbJobStore};
use crate::{
    JobId, StoreError,
    store::{Created, JobStore, List, Place, StoredRecord},
};

const LISTS: [List; 4] = [List::Queued, List::Running, List::Done, List::Dead];
const MANY: u64 = 1_000_000;
/// What a disk writes as a whole. The database relies on that for its header.
const SECTOR: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Nothing can be written.
    Full,
    /// Nothing can be written, read or synced.
    Broken,
    /// Only a part of what is written is: some sectors.
    Short,
    /// The code panics.
    Panics,
}

/// A disk in memory. Clones share it.
#[derive(Clone, Debug, Default)]
struct SimulatedDisk(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    /// What is there after the power has failed.
    synced: Vec<u8>,
    /// What was written since.
    unsynced: Vec<(usize, Vec<u8>)>,
    /// After this many operations.
    fault: Option<(u32, Fault)>,
}

impl SimulatedDisk {
    fn with(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Contents { synced: bytes.clone(), bytes, ..Contents::default() })))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    /// Waits until its store has closed it.
    async fn released(&self) {
        while Arc::strong_count(&self.0) > 1 {
            tokio::task::yield_now().await;
        }
    }

    fn set(&self, fault: Option<(u32, Fault)>) {
        self.0.lock().unwrap().fault = fault;
    }

    /// What is left after the power has failed: of what wasn't synced, anything.
    fn after_power_failure(&self, survives: &[Index]) -> Self {
        let contents = self.0.lock().unwrap();
        let mut bytes = contents.synced.clone();
        bytes.resize(contents.bytes.len(), 0);
        for survivor in survives.iter().filter(|_| !contents.unsynced.is_empty()) {
            let (offset, data) = survivor.get(&contents.unsynced);
            let end = (offset + data.len()).min(bytes.len());
            bytes[*offset..end].copy_from_slice(&data[..end - offset]);
        }
        Self::with(bytes)
    }

    fn fault(&self) -> Option<Fault> {
        match &mut self.0.lock().unwrap().fault {
            Some((0, fault)) => Some(*fault),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }

    fn check(&self, stopped_by: &[Fault], kind: ErrorKind) -> Result<(), Error> {
        match self.fault() {
            Some(Fault::Panics) => panic!("the disk panics"),
            Some(fault) if stopped_by.contains(&fault) => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for SimulatedDisk {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        self.check(&[Fault::Broken], ErrorKind::Other)?;
        let offset = usize::try_from(offset).unwrap();
        Ok(self.0.lock().unwrap().bytes[offset..offset + len].to_vec())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.check(&[Fault::Full, Fault::Broken], ErrorKind::StorageFull)?;
        self.0.lock().unwrap().bytes.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self, _: bool) -> Result<(), Error> {
        self.check(&[Fault::Broken], ErrorKind::Other)?;
        let contents = &mut *self.0.lock().unwrap();
        contents.synced.resize(contents.bytes.len(), 0);
        for (offset, data) in contents.unsynced.drain(..) {
            // What was cut off is gone.
            let end = (offset + data.len()).min(contents.synced.len());
            contents.synced[offset..end].copy_from_slice(&contents.bytes[offset..end]);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let checked = self.check(&[Fault::Full, Fault::Broken, Fault::Short], ErrorKind::StorageFull);
        let is_short = matches!(self.0.lock().unwrap().fault, Some((0, Fault::Short)));
        let written = match checked {
            Ok(()) => data.len(),
            Err(_) if is_short => data.len() / 2 / SECTOR * SECTOR,
            Err(_) => 0,
        };
        let data = &data[..written];
        let (contents, offset) = (&mut *self.0.lock().unwrap(), usize::try_from(offset).unwrap());
        // Behind its end, a file grows.
        let len = contents.bytes.len().max(offset + data.len());
        contents.bytes.resize(len, 0);
        contents.bytes[offset..offset + data.len()].copy_from_slice(data);
        contents.unsynced.push((offset, data.to_vec()));
        checked
    }
}

async fn open(disk: &SimulatedDisk) -> Result<RedbJobStore, StoreError> {
    let disk = Disk::new(disk.clone());
    RedbJobStore::start(move || Ok(disk), Duration::ZERO).await
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    // The store must answer, whatever happens.
    runtime.block_on(async { timeout(Duration::from_secs(60), test).await.unwrap() })
}

/// What may be done to a store and its disk.
#[derive(Clone, Debug)]
enum Step {
    Create {
        key: u8,
        len: usize,
        due: u64,
    },
    Replace {
        job: Index,
        list: List,
        due: u64,
    },
    Remove {
        job: Index,
    },
    Break(u32, Fault),
    Mend,
    /// The process ends, and starts again.
    Restart,
    /// The machine, too.
    PowerFails(Vec<Index>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let list = || prop::sample::select(&LISTS[..]);
    let fault = prop::sample::select(&[Fault::Full, Fault::Broken, Fault::Short, Fault::Panics][..]);
    let step = prop_oneof![
        6 => (0..5_u8, 0..9_000_usize, 0..9_u64).prop_map(|(key, len, due)| Step::Create { key, len, due }),
        6 => (any::<Index>(), list(), 0..9_u64).prop_map(|(job, list, due)| Step::Replace { job, list, due }),
        2 => any::<Index>().prop_map(|job| Step::Remove { job }),
        3 => (0..40_u32, fault).prop_map(|(after, fault)| Step::Break(after, fault)),
        2 => Just(Step::Mend),
        1 => Just(Step::Restart),
        1 => prop::collection::vec(any::<Index>(), 0..20).prop_map(Step::PowerFails),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a record may be, as far as the calls' answers say.
type Possible = Vec<Option<(Bytes, Place)>>;

struct Tested {
    disk: SimulatedDisk,
    store: RedbJobStore,
    jobs: Vec<(JobId, u8)>,
    records: HashMap<JobId, Possible>,
}

impl Tested {
    /// What the store says about a job, which must be possible.
    async fn get(&mut self, id: JobId) -> Option<Option<StoredRecord>> {
        let stored = self.store.get(id).await.ok()?;
        let record = stored.clone().map(|stored| (stored.bytes, stored.place));
        let possible = self.records.get_mut(&id).unwrap();
        let is_possible = possible.contains(&record);
        assert!(is_possible, "{id} is in {:?}, which isn't possible", record.map(|(_, place)| place));
        *possible = vec![record];
        Some(stored)
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Create { key, len, due } => {
                let (id, place) = (JobId::random().unwrap(), Place { list: List::Queued, due });
                let bytes = Bytes::from(vec![len as u8; len]);
                let created = self.store.create(id, Some([key; 32]), bytes.clone(), place, MANY).await;
                let new = Some((bytes, place));
                self.records.insert(
                    id,
                    match created {
                        Ok(Created::New) => vec![new],
                        Ok(_) => vec![None],
                        Err(_) => vec![None, new],
                    },
                );
                self.jobs.push((id, key));
            }
            Step::Replace { job, list, due } if !self.jobs.is_empty() => {
                let (id, _) = *job.get(&self.jobs);
                if let Some(Some(stored)) = self.get(id).await {
                    let (bytes, place) = (Bytes::from(vec![due as u8; 100]), Place { list, due });
                    let replaced = self.store.replace(id, stored.version, bytes.clone(), place).await;
                    self.change(id, Some((bytes, place)), &replaced.map(|version| version.is_some()));
                }
            }
            Step::Remove { job } if !self.jobs.is_empty() => {
                let (id, _) = *job.get(&self.jobs);
                if let Some(Some(stored)) = self.get(id).await {
                    let removed = self.store.remove(id, stored.version).await;
                    self.change(id, None, &removed);
                }
            }
            Step::Replace { .. } | Step::Remove { .. } => {}
            Step::Break(after, fault) => self.disk.set(Some((after, fault))),
            Step::Mend => self.disk.set(None),
            Step::Restart => self.open(self.disk.clone()).await,
            Step::PowerFails(survives) => self.open(self.disk.after_power_failure(&survives)).await,
        }
    }

    fn change(&mut self, id: JobId, to: Option<(Bytes, Place)>, is_done: &Result<bool, StoreError>) {
        let possible = self.records.get_mut(&id).unwrap();
        match is_done {
            Ok(true) => *possible = vec![to],
            Ok(false) => panic!("nobody else has changed it"),
            Err(_) => possible.push(to),
        }
    }

    async fn open(&mut self, disk: SimulatedDisk) {
        disk.set(None);
        // The process ends without closing its file, so nothing of it must reach the new one.
        self.disk = SimulatedDisk::with(disk.bytes());
        self.store = open(&self.disk).await.unwrap();
        for (_, place) in self.records.values_mut().flatten().flatten() {
            if place.list == List::Running {
                *place = Place { list: List::Queued, due: 0 };
            }
        }
    }

    /// All is as it may be, once the disk works again.
    async fn check(&mut self) {
        self.disk.set(None);
        // The failure of a call before.
        _ = self.store.totals(List::Queued).await;
        let mut stored = Vec::new();
        for (id, key) in self.jobs.clone() {
            if let Err(error) = self.store.get(id).await {
                panic!("the disk works, but: {error}");
            }
            let Some(found) = self.get(id).await else { panic!("the disk works") };
            stored.extend(found.map(|found| (id, key, found)));
        }
        for list in LISTS {
            let mut expected: Vec<_> = stored.iter().filter(|(.., it)| it.place.list == list).collect();
            expected.sort_by_key(|(id, _, it)| (it.place.due, *id));
            let due = self.store.due(list, 0..=u64::MAX, 1_000).await.unwrap();
            assert_eq!(due, expected.iter().map(|(id, ..)| *id).collect::<Vec<_>>());
            let totals = self.store.totals(list).await.unwrap();
            let bytes = expected.iter().map(|(.., it)| it.bytes.len() as u64).sum();
            assert_eq!((totals.records, totals.bytes), (expected.len() as u64, bytes));
        }
        for key in 0..5 {
            let of_key: Vec<_> = stored.iter().filter(|(_, its, _)| *its == key).map(|(id, ..)| *id).collect();
            let place = Place { list: List::Queued, due: 1 };
            let id = JobId::random().unwrap();
            let created = self.store.create(id, Some([key; 32]), Bytes::new(), place, MANY).await.unwrap();
            match of_key[..] {
                [] => assert_eq!(created, Created::New),
                [id] => assert_eq!(created, Created::Exists(id)),
                _ => panic!("{of_key:?} have the same key"),
            }
        }
    }
}

#[test]
fn what_was_confirmed_is_there_whatever_the_disk_does() {
    // Each case opens some files.
    assert_property(16, &steps(), |steps| {
        run(async {
            let disk = SimulatedDisk::default();
            let store = open(&disk).await.unwrap();
            let mut tested = Tested { disk, store, jobs: Vec::new(), records: HashMap::new() };
            for step in steps {
                tested.step(step).await;
            }
            tested.check().await;
        });
    });
}

#[test]
fn after_a_failure_the_file_is_opened_again_and_callers_get_the_error_until_then() {
    run(async {
        for (fault, error) in [(Fault::Full, "no storage space"), (Fault::Panics, "the disk panics")] {
            for open_again_after in [Duration::ZERO, Duration::MAX] {
                let disk = SimulatedDisk::default();
                let backend = Disk::new(disk.clone());
                let store = RedbJobStore::start(move || Ok(backend), open_again_after).await.unwrap();
                let create = || {
                    let id = JobId::random().unwrap();
                    store.create(id, None, Bytes::new(), Place { list: List::Queued, due: 1 }, MANY)
                };
                disk.set(Some((0, fault)));
                let text = create().await.unwrap_err().to_string();
                assert!(text.contains(error), "{text}");
                disk.set(None);
                match create().await {
                    Ok(created) => assert_eq!((created, open_again_after), (Created::New, Duration::ZERO)),
                    Err(error) => assert_eq!((error.to_string(), open_again_after), (text, Duration::MAX)),
                }
            }
        }
    });
}

#[test]
fn a_file_whose_creation_was_interrupted_is_created_again() {
    let operations_and_survivors = (0..60_u32, prop::collection::vec(any::<Index>(), 0..20));
    assert_property(32, &operations_and_survivors, |(operations, survives)| {
        run(async {
            let disk = SimulatedDisk::default();
            disk.set(Some((operations, Fault::Broken)));
            _ = open(&disk).await;
            disk.set(None);
            for left in [disk.after_power_failure(&survives), disk] {
                open(&left).await.unwrap();
            }
        });
    });
}

/// A file with some records, closed.
fn file() -> Vec<u8> {
    run(async {
        let disk = SimulatedDisk::default();
        let store = open(&disk).await.unwrap();
        for number in 0..40 {
            let place = Place { list: LISTS[number % 4], due: number as u64 };
            let key = (number % 2 == 0).then_some([number as u8; 32]);
            let bytes = Bytes::from(vec![number as u8; 200 * (number % 5)]);
            store.create(JobId::from_bytes([number as u8; 16]), key, bytes, place, MANY).await.unwrap();
        }
        drop(store);
        disk.released().await;
        disk.bytes()
    })
}

/// Whether the file can be opened. If so, everything is done to it that can be, and answers or fails.
fn use_file(bytes: Vec<u8>) -> bool {
    run(async {
        let Ok(store) = open(&SimulatedDisk::with(bytes)).await else { return false };
        for list in LISTS {
            _ = store.totals(list).await;
            for id in store.due(list, 0..=u64::MAX, 100).await.unwrap_or_default() {
                if let Ok(Some(stored)) = store.get(id).await {
                    _ = store.replace(id, stored.version, stored.bytes, stored.place).await;
                    _ = store.remove(id, stored.version + 1).await;
                }
            }
        }
        let place = Place { list: List::Queued, due: 1 };
        for key in 0..40 {
            _ = store.create(JobId::random().unwrap(), Some([key; 32]), Bytes::new(), place, MANY).await;
        }
        true
    })
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_opened_or_refused() {
    let file = file();
    assert!(use_file(file.clone()));
    let mut bytes = file.clone();
    // At every byte of its last page, if there are many cases.
    let step = (4096 / ProptestConfig::default().cases as usize).max(1);
    for len in (file.len() - 4096..file.len()).rev().step_by(step) {
        bytes.truncate(len);
        _ = use_file(bytes.clone());
    }
    assert_property(8, &(0..file.len()), |len| _ = use_file(file[..len].to_vec()));
}

#[test]
fn a_damaged_file_is_opened_or_refused() {
    let file = file();
    // Most of the file is empty.
    let used: Vec<usize> =
        (0..file.len()).filter(|at| file[at / 64 * 64..at / 64 * 64 + 64].iter().any(|it| *it != 0)).collect();
    let flips = prop::collection::vec((prop::sample::select(used), 0..8_u8), 1..4);
    assert_property(8, &flips, |flips| {
        let mut file = file.clone();
        for (at, bit) in flips {
            file[at] ^= 1 << bit;
        }
        _ = use_file(file);
    });
}
