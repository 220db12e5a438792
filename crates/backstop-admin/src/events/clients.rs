//! Who reads `/events`.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How many clients may read at a time.
pub(crate) const CLIENTS: usize = 16;
/// A client that has read nothing for this long, heartbeats included, makes room for another.
const STUCK: Duration = Duration::from_secs(60);

/// Whether streams end: at a drain.
pub(crate) type EndsWhen = Arc<dyn Fn() -> bool + Send + Sync>;

/// The clients that read now.
#[derive(Clone)]
pub(crate) struct Clients {
    reading: Arc<Mutex<Vec<Arc<Place>>>>,
    ends: Option<EndsWhen>,
}

struct Place {
    last_read: Mutex<Instant>,
    is_lost: AtomicBool,
}

/// One of them. Dropping it makes room for another.
pub(crate) struct Client {
    clients: Clients,
    place: Arc<Place>,
}

impl Clients {
    pub(crate) fn new(ends: Option<EndsWhen>) -> Self {
        Self { reading: Arc::default(), ends }
    }

    /// Takes a place. `None` if there is none.
    pub(crate) fn enter(&self) -> Option<Client> {
        let now = Instant::now();
        let mut reading = lock(&self.reading);
        if reading.len() >= CLIENTS {
            let (index, idle) = reading
                .iter()
                .enumerate()
                .map(|(index, place)| (index, now.saturating_duration_since(*lock(&place.last_read))))
                .max_by_key(|(_, idle)| *idle)?;
            if idle < STUCK {
                return None;
            }
            reading.swap_remove(index).is_lost.store(true, Relaxed);
        }
        let place = Arc::new(Place { last_read: Mutex::new(now), is_lost: AtomicBool::new(false) });
        reading.push(Arc::clone(&place));
        Some(Client { clients: self.clone(), place })
    }
}

impl Client {
    /// Notes that the client reads. `false` ends its stream.
    pub(crate) fn goes_on(&self) -> bool {
        *lock(&self.place.last_read) = Instant::now();
        !self.place.is_lost.load(Relaxed) && !self.clients.ends.as_ref().is_some_and(|ends| ends())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        lock(&self.clients.reading).retain(|place| !Arc::ptr_eq(place, &self.place));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
