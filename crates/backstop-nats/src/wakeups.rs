//! The wake-ups that this process was given, and hasn't acknowledged.
//!
//! They arrive in an inbox of the process, not of a call: a call that is dropped loses none.

use std::{
    collections::HashMap,
    fmt, mem,
    ops::RangeInclusive,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_nats::{Message, StatusCode, Subject, Subscriber};
use backstop_deferred::{
    JobId, StoreError,
    store::{List, StoredRecord},
};
use futures_util::Stream;
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{Instant, timeout},
};

use crate::{
    record::{Key, decode_wakeup},
    streams::Streams,
};

/// How long the answer to a pull may take, before it is lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the rest of an answer may take when all is given back. It is sent without a break.
const REST: Duration = Duration::from_millis(500);
/// How old a record may be that was read for a wake-up, and is handed to whoever asks for it first.
const FRESH: Duration = Duration::from_secs(1);

pub(crate) struct Wakeups {
    /// Held by the call that waits for the inbox.
    turn: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    inbox: Option<Inbox>,
    /// Since when a pull isn't answered.
    asked: Option<Instant>,
    /// How many wake-ups the latest pull may still bring.
    expected: usize,
    held: HashMap<JobId, Held>,
    /// Deliveries of what isn't a wake-up, or one of a newer version.
    unreadable: Vec<Subject>,
}

/// A wake-up that was delivered.
#[derive(Clone)]
pub(crate) struct Held {
    /// Where its acknowledgement goes.
    pub(crate) delivery: Subject,
    /// How often it was delivered.
    pub(crate) deliveries: u64,
    pub(crate) arrived: Instant,
    pub(crate) key: Option<Key>,
    /// The record's list, and when it is due there. `None` until the record was read.
    place: Option<(List, u64)>,
    record: Option<(StoredRecord, Instant)>,
}

impl Wakeups {
    pub(crate) fn new() -> Self {
        Self { turn: Semaphore::new(1), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes wake-ups from the server, until as many are held as allowed, or there are no more at once. Waits for none.
    pub(crate) async fn receive(&self, streams: &Streams, max_held: usize) -> Result<(), StoreError> {
        let _turn = self.turn.acquire().await?;
        let inbox = self.inbox(streams).await?;
        self.state().take_arrived()?;
        let (free, is_asked) = {
            let state = self.state();
            let is_asked = state.asked.is_some_and(|asked| asked.elapsed() < PATIENCE);
            (max_held.saturating_sub(state.held.len()), is_asked)
        };
        if free == 0 {
            return Ok(());
        }
        if !is_asked {
            let asked = Instant::now();
            streams.jetstream.pull(&streams.wakeups(), Streams::CONSUMER, free, inbox).await?;
            let mut state = self.state();
            (state.asked, state.expected) = (Some(asked), free);
        }
        self.receive_next().await
    }

    /// Waits for a message, and takes what is there then.
    async fn receive_next(&self) -> Result<(), StoreError> {
        let next = std::future::poll_fn(|cx| self.state().poll_message(cx));
        let message = timeout(PATIENCE, next).await.map_err(|_| "a pull wasn't answered")?;
        let mut state = self.state();
        state.take(message.ok_or("the client is closed")?)?;
        state.take_arrived()
    }

    /// Takes the wake-ups that no job was begun for, and that are on the way. The record of one that is about to be begun was handed
    /// out.
    pub(crate) async fn release(&self) -> Result<Vec<Subject>, StoreError> {
        let _turn = self.turn.acquire().await?;
        // If the rest of the answer was lost, what is held is given back nevertheless.
        _ = timeout(REST, async {
            while self.state().expects_more() {
                self.receive_next().await?;
            }
            Ok::<_, StoreError>(())
        })
        .await;
        let is_unused = |held: &Held| held.place.is_none() || held.record.is_some();
        let mut state = self.state();
        let unused = state.held.extract_if(|_, held| is_unused(held));
        Ok(unused.map(|(_, held)| held.delivery).collect())
    }

    async fn inbox(&self, streams: &Streams) -> Result<Subject, StoreError> {
        if let Some(inbox) = &self.state().inbox {
            return Ok(inbox.subject.clone());
        }
        let client = &streams.jetstream.client;
        let subject = Subject::from(client.new_inbox());
        let subscriber = client.subscribe(subject.clone()).await?;
        self.state().inbox = Some(Inbox { subject: subject.clone(), subscriber: Some(subscriber) });
        Ok(subject)
    }

    /// The wake-ups whose records weren't read yet.
    pub(crate) fn unknown(&self) -> Vec<(JobId, Held)> {
        let state = self.state();
        let unknown = state.held.iter().filter(|(_, held)| held.place.is_none());
        unknown.map(|(id, held)| (*id, held.clone())).collect()
    }

    /// The record of a wake-up was read.
    pub(crate) fn know(&self, id: JobId, stored: StoredRecord) {
        if let Some(held) = self.state().held.get_mut(&id) {
            held.place = Some((stored.place.list, stored.place.due));
            held.record = Some((stored, Instant::now()));
        }
    }

    /// The record that was just read for a wake-up. Once: what comes after wants to know what is stored now.
    pub(crate) fn take_record(&self, id: JobId) -> Option<StoredRecord> {
        let (stored, read) = self.state().held.get_mut(&id)?.record.take()?;
        (read.elapsed() < FRESH).then_some(stored)
    }

    /// The record was moved within this list, or found there.
    pub(crate) fn set_place(&self, id: JobId, list: List, due: u64) {
        if let Some(held) = self.state().held.get_mut(&id) {
            held.place = Some((list, due));
            held.record = None;
        }
    }

    pub(crate) fn get(&self, id: JobId) -> Option<Held> {
        self.state().held.get(&id).cloned()
    }

    pub(crate) fn remove(&self, id: JobId) -> Option<Held> {
        self.state().held.remove(&id)
    }

    pub(crate) fn take_unreadable(&self) -> Vec<Subject> {
        mem::take(&mut self.state().unreadable)
    }

    /// Those that are due, in order.
    pub(crate) fn due(&self, list: List, times: &RangeInclusive<u64>, limit: usize) -> Vec<JobId> {
        let state = self.state();
        let place = |(id, held): (&JobId, &Held)| held.place.map(|(list, due)| (list, due, *id));
        let mut due: Vec<_> = state.held.iter().filter_map(place).collect();
        due.retain(|(its_list, due, _)| *its_list == list && times.contains(due));
        due.sort_unstable();
        due.into_iter().map(|(_, _, id)| id).take(limit).collect()
    }

    /// When the first of the queued ones is due.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let state = self.state();
        let queued = |held: &Held| held.place.filter(|(list, _)| *list == List::Queued).map(|(_, due)| due);
        state.held.values().filter_map(queued).min()
    }

    /// How many of the jobs run here.
    pub(crate) fn running(&self) -> u64 {
        let state = self.state();
        state.held.values().filter(|held| matches!(held.place, Some((List::Running, _)))).count() as u64
    }
}

impl State {
    /// Whether the answer to the latest pull isn't complete, and may still come.
    fn expects_more(&self) -> bool {
        self.expected > 0 && self.inbox.is_some()
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let Some(Inbox { subscriber: Some(subscriber), .. }) = &mut self.inbox else { return Poll::Ready(None) };
        Pin::new(subscriber).poll_next(cx)
    }

    /// Takes what is in the inbox.
    fn take_arrived(&mut self) -> Result<(), StoreError> {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(message)) = self.poll_message(&mut cx) {
            self.take(message)?;
        }
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<(), StoreError> {
        self.asked = None;
        match message.status {
            None | Some(StatusCode::OK) => self.expected = self.expected.saturating_sub(1),
            // There is no message, or no more.
            Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => {
                self.expected = 0;
                return Ok(());
            }
            Some(status) => {
                self.expected = 0;
                return Err(format!("a pull was answered with {status}").into());
            }
        }
        let Some(delivery) = message.reply else { return Ok(()) };
        let (Some((id, key)), Some(deliveries)) = (decode_wakeup(&message.payload), deliveries(&delivery)) else {
            self.unreadable.push(delivery);
            return Ok(());
        };
        let held = Held { delivery, deliveries, arrived: Instant::now(), key, place: None, record: None };
        // A job that runs here is known.
        let place = self.held.get(&id).and_then(|held| held.place).filter(|(list, _)| *list == List::Running);
        self.held.insert(id, Held { place, ..held });
        Ok(())
    }
}

/// The third token after `$JS.ACK`, or after the domain and account that newer servers insert.
fn deliveries(delivery: &str) -> Option<u64> {
    let tokens: Vec<_> = delivery.strip_prefix("$JS.ACK.")?.split('.').collect();
    tokens.get(if tokens.len() < 9 { 2 } else { 4 })?.parse().ok()
}

struct Inbox {
    subject: Subject,
    /// `None` while it is dropped.
    subscriber: Option<Subscriber>,
}

impl Drop for Inbox {
    #[expect(clippy::mem_forget, reason = "see below")]
    fn drop(&mut self) {
        // A subscriber spawns a task when it is dropped, which panics outside a runtime.
        if Handle::try_current().is_err() {
            mem::forget(self.subscriber.take());
        }
    }
}

impl fmt::Debug for Wakeups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakeups").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_delivery_say_how_often_it_was_made() {
        assert_eq!(deliveries("$JS.ACK.stream.workers.3.17.18.1690000000000000000.5"), Some(3));
        assert_eq!(deliveries("$JS.ACK.hub.hash.stream.workers.4.17.18.1690000000000000000.5.token"), Some(4));
        assert_eq!(deliveries("_INBOX.x"), None);
    }
}
