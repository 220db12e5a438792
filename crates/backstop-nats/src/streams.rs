//! The streams of a queue: their names, and that they exist and are as they must be.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::Client;
use backstop_deferred::{JobId, StoreError, store::List};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    NatsJobStoreConfig,
    jetstream::{JetStream, number},
    record::Key,
    telemetry,
};

/// How long a delivered wake-up isn't delivered again, in ns: as long as a claim lasts.
const ACK_WAIT: u64 = 30_000_000_000;

pub(crate) struct Streams {
    pub(crate) jetstream: JetStream,
    config: NatsJobStoreConfig,
    /// Held by the future that opens or changes them.
    turn: Semaphore,
    opened: Mutex<Option<Opened>>,
}

/// Settings with which a stream or consumer would lose jobs, or give wrong answers, unless they are off.
const OFF: [&str; 11] = [
    "backoff",
    "deliver_subject",
    "discard_new_per_subject",
    "filter_subject",
    "filter_subjects",
    "headers_only",
    "mem_storage",
    "mirror",
    "no_ack",
    "sealed",
    "subject_transform",
];
/// How long streams that were as they must be aren't looked at again, whatever fails.
const RECENT: Duration = Duration::from_secs(1);

/// The streams were as they must be, and no call has failed since.
struct Opened {
    at: Instant,
    /// The `max_msgs` of the wake-ups, once it was checked.
    max_pending: Option<u64>,
}

impl Streams {
    pub(crate) fn new(client: Client, config: NatsJobStoreConfig) -> Self {
        let jetstream = JetStream::new(client, config.domain.as_deref());
        Self { jetstream, config, turn: Semaphore::new(1), opened: Mutex::new(None) }
    }

    pub(crate) const fn config(&self) -> &NatsJobStoreConfig {
        &self.config
    }

    /// Records and keys.
    pub(crate) fn jobs(&self) -> String {
        self.stream("jobs")
    }

    pub(crate) fn wakeups(&self) -> String {
        self.stream("wakeups")
    }

    /// Copies of the records of a list, in the order in which they were moved there.
    pub(crate) fn ended(&self, list: List) -> String {
        self.stream(word(list))
    }

    pub(crate) const CONSUMER: &str = "workers";

    fn stream(&self, what: &str) -> String {
        format!("backstop_{}_{what}", self.config.name)
    }

    fn subject(&self, what: &str) -> String {
        format!("backstop.{}.{what}", self.config.name)
    }

    pub(crate) fn job_subject(&self, id: JobId) -> String {
        self.subject(&format!("job.{id}"))
    }

    pub(crate) fn key_subject(&self, key: &Key) -> String {
        use std::fmt::Write as _;
        key.iter().fold(self.subject("key."), |mut subject, byte| {
            // Writing to a string doesn't fail.
            _ = write!(subject, "{byte:02x}");
            subject
        })
    }

    pub(crate) fn wakeup_subject(&self) -> String {
        self.subject("wakeup")
    }

    pub(crate) fn ended_subject(&self, list: List, id: JobId) -> String {
        self.subject(&format!("{}.{id}", word(list)))
    }

    pub(crate) fn ended_subjects(&self, list: List) -> String {
        self.subject(&format!("{}.*", word(list)))
    }

    fn opened(&self) -> MutexGuard<'_, Option<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has failed: the streams are looked at before they are used again, once a second at most.
    pub(crate) fn close(&self) {
        self.opened().take_if(|opened| opened.at.elapsed() > RECENT);
    }

    /// Creates what doesn't exist, and checks what does.
    pub(crate) async fn open(&self) -> Result<(), StoreError> {
        if self.opened().is_some() {
            return Ok(());
        }
        let _turn = self.turn.acquire().await?;
        if self.opened().is_some() {
            return Ok(());
        }
        let per_subject = |what, subjects: &[&str]| {
            let subjects: Vec<_> = subjects.iter().map(|subject| self.subject(subject)).collect();
            json!({
                "name": self.stream(what), "subjects": subjects, "retention": "limits", "discard": "new",
                "max_msgs": -1, "max_msgs_per_subject": 1, "max_age": 0, "storage": "file",
                "num_replicas": self.config.replicas, "deny_delete": false,
            })
        };
        let mut jobs = per_subject("jobs", &["job.*", "key.*"]);
        jobs["allow_direct"] = json!(true);
        let wakeups = json!({
            "name": self.wakeups(), "subjects": [self.wakeup_subject()], "retention": "workqueue", "discard": "new",
            "max_age": 0, "storage": "file", "num_replicas": self.config.replicas, "deny_delete": false,
        });
        let ended = [List::Done, List::Dead].map(|list| per_subject(word(list), &[&format!("{}.*", word(list))]));
        self.ensure_stream(&jobs).await?;
        // Without their wake-ups, jobs would never run.
        if self.jetstream.stream(&self.wakeups()).await?.is_none() && self.totals(&self.jobs()).await?.0 > 0 {
            let (wakeups, jobs) = (self.wakeups(), self.jobs());
            return Err(
                format!("the stream {wakeups} is gone, but {jobs} has records: restore it, or delete both").into()
            );
        }
        for config in [wakeups].iter().chain(&ended) {
            self.ensure_stream(config).await?;
        }
        self.ensure_consumer().await?;
        *self.opened() = Some(Opened { at: Instant::now(), max_pending: None });
        Ok(())
    }

    async fn ensure_stream(&self, config: &Value) -> Result<(), StoreError> {
        let name = config["name"].as_str().unwrap_or_default();
        let found = match self.jetstream.stream(name).await? {
            Some(found) => found,
            None if self.jetstream.create_stream(name, config).await? => {
                telemetry::created(name);
                return Ok(());
            }
            None => self.jetstream.stream(name).await?.ok_or("a stream was created, and is gone")?,
        };
        check(&format!("the stream {name}"), config, &found["config"])
    }

    async fn ensure_consumer(&self) -> Result<(), StoreError> {
        let stream = self.wakeups();
        let config = json!({
            "durable_name": Self::CONSUMER, "deliver_policy": "all", "ack_policy": "explicit", "ack_wait": ACK_WAIT,
            "max_deliver": -1, "max_ack_pending": -1, "replay_policy": "instant",
        });
        let found = match self.jetstream.consumer(&stream, Self::CONSUMER).await? {
            Some(found) => found,
            // Creating it again with the same settings changes nothing.
            None => self.jetstream.create_consumer(&stream, Self::CONSUMER, &config).await?,
        };
        check(&format!("the consumer {} of the stream {stream}", Self::CONSUMER), &config, &found["config"])
    }

    /// Sees to it that the server refuses more wake-ups than that. `false` if as many are there.
    ///
    /// A server before 2.10.5 drops the oldest messages beyond a lower `max_msgs`, whatever `discard` says. So it is only
    /// lowered while the queue is half empty: no queue is filled in the meantime.
    pub(crate) async fn bound(&self, max_pending: u64) -> Result<bool, StoreError> {
        let is_bound = || self.opened().as_ref().is_some_and(|opened| opened.max_pending == Some(max_pending));
        if is_bound() {
            return Ok(true);
        }
        let _turn = self.turn.acquire().await?;
        if is_bound() {
            return Ok(true);
        }
        let stream = self.wakeups();
        let mut info = self.jetstream.stream(&stream).await?.ok_or("the stream of wake-ups is gone")?;
        if info["config"]["max_msgs"] != json!(max_pending) {
            let pending = number(&info["state"], "messages")?;
            let is_raised = info["config"]["max_msgs"].as_u64().is_some_and(|found| found < max_pending);
            if !is_raised && pending > max_pending / 2 {
                return Ok(pending < max_pending);
            }
            let found = info["config"]["max_msgs"].to_string();
            info["config"]["max_msgs"] = json!(max_pending);
            self.jetstream.update_stream(&stream, &info["config"]).await.map_err(|error| {
                format!("the stream {stream} has `max_msgs` {found}, and not `max_pending`, {max_pending}: {error}")
            })?;
        }
        if let Some(opened) = &mut *self.opened() {
            opened.max_pending = Some(max_pending);
        }
        Ok(true)
    }

    /// The first and the last sequence number of a stream. `None` if it is empty.
    pub(crate) async fn range(&self, stream: &str) -> Result<Option<(u64, u64)>, StoreError> {
        let state = &self.jetstream.stream(stream).await?.ok_or("the stream is gone")?["state"];
        let is_empty = number(state, "messages")? == 0;
        Ok(if is_empty { None } else { Some((number(state, "first_seq")?, number(state, "last_seq")?)) })
    }

    /// How many messages are in a stream, and the length of their payloads, roughly.
    pub(crate) async fn totals(&self, stream: &str) -> Result<(u64, u64), StoreError> {
        let info = self.jetstream.stream(stream).await?.ok_or("the stream is gone")?;
        Ok((number(&info["state"], "messages")?, number(&info["state"], "bytes")?))
    }
}

const fn word(list: List) -> &'static str {
    match list {
        List::Queued | List::Running => "pending",
        List::Done => "done",
        List::Dead => "dead",
    }
}

/// An error that names the first setting that isn't as it must be.
fn check(what: &str, wanted: &Value, found: &Value) -> Result<(), StoreError> {
    for setting in OFF {
        let found = &found[setting];
        if ![json!(null), json!(false), json!(""), json!([])].contains(found) {
            return Err(format!("{what} has `{setting}` {found}, and must have none").into());
        }
    }
    for (setting, wanted) in wanted.as_object().into_iter().flatten() {
        // A server leaves out what is off.
        let found = if found[setting].is_null() { &json!(false) } else { &found[setting] };
        let is_fine = match setting.as_str() {
            "num_replicas" => found.as_u64() >= wanted.as_u64(),
            _ => found == wanted,
        };
        if !is_fine {
            return Err(format!("{what} has `{setting}` {found}, and must have {wanted}").into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_wrong_is_named() {
        let wanted = json!({ "retention": "workqueue", "num_replicas": 3, "deny_delete": false });
        let error = |found| check("the stream x", &wanted, &found).err().map(|error| error.to_string());
        assert_eq!(error(json!({ "retention": "workqueue", "num_replicas": 3 })), None);
        assert_eq!(error(json!({ "retention": "workqueue", "num_replicas": 5, "deny_delete": false, "new": 1 })), None);
        let few = error(json!({ "retention": "workqueue", "num_replicas": 1 }));
        assert_eq!(few.as_deref(), Some("the stream x has `num_replicas` 1, and must have 3"));
        let filtered = error(json!({ "retention": "workqueue", "num_replicas": 3, "filter_subject": "x" }));
        assert_eq!(filtered.as_deref(), Some("the stream x has `filter_subject` \"x\", and must have none"));
        let kept = error(json!({ "retention": "workqueue", "num_replicas": 3, "deny_delete": true }));
        assert_eq!(kept.as_deref(), Some("the stream x has `deny_delete` true, and must have false"));
    }
}
