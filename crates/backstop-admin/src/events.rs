//! `/events`: changes of state as server-sent events.
//!
//! A client has no buffer of its own: it has a position in the inventory's log. So a slow client costs nothing and holds nothing
//! up. When it reads on and more than [`BUFFERED`] events have come, it gets the last of them, after a `gap`.

mod clients;

use std::{
    fmt::Write,
    future::Future,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{Event, EventLog};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use serde::Serialize;
use tokio::time::{Instant, Sleep, sleep};

use self::clients::Client;
pub(crate) use self::clients::Clients;
use crate::{
    json::Members,
    routes::{Problem, timestamp},
};

/// How many events a client may fall behind.
pub(crate) const BUFFERED: usize = 256;
/// How often the log is looked at.
const INTERVAL: Duration = Duration::from_millis(200);
/// Keeps proxies from closing a connection without events, and finds clients that have gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Names one log in the ids of events, so that an id of an earlier process isn't taken for one of this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot(String);

impl Boot {
    pub(crate) fn new() -> Self {
        // The only random number that the standard library has.
        Self(format!("{:016x}", RandomState::new().hash_one(0)))
    }

    fn id(&self, seq: u64) -> String {
        format!("{}-{seq}", self.0)
    }
}

/// Where a client begins to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// With the first event that is still there.
    Start,
    /// After this one.
    After(u64),
    /// After one that this log doesn't have: the process was started again.
    Unknown,
}

impl Position {
    /// From `Last-Event-ID`, which a client sends when it connects again.
    pub(crate) fn of(headers: &HeaderMap, boot: &Boot, log: &EventLog) -> Result<Self, Problem> {
        let Some(given) = headers.get("last-event-id") else { return Ok(Self::Start) };
        let id = given.to_str().ok().and_then(|id| {
            let (boot, seq) = id.rsplit_once('-')?;
            Some((boot, seq.parse::<u64>().ok()?))
        });
        let Some((theirs, seq)) = id else {
            let given = String::from_utf8_lossy(given.as_bytes()).into_owned();
            return Err(Problem::field("Last-Event-ID", Some(&given.into()), "the id of an event: `boot-number`"));
        };
        let newest = log.after(0).last().map_or(0, |event| event.seq);
        Ok(if theirs == boot.0 && seq <= newest { Self::After(seq) } else { Self::Unknown })
    }
}

/// What comes next for a client that has read up to an event.
#[derive(Debug, PartialEq)]
pub(crate) struct Batch {
    /// How many events it has missed. `Some(None)` if nobody knows.
    pub(crate) gap: Option<Option<u64>>,
    pub(crate) events: Vec<Event>,
}

/// Reads on.
pub(crate) fn read(log: &EventLog, position: Position) -> Batch {
    let after = if let Position::After(seq) = position { seq } else { 0 };
    let mut events = log.after(after);
    let skipped = events.len().saturating_sub(BUFFERED);
    events.drain(..skipped);
    let first = events.first().map(|event| event.seq);
    let gap = match position {
        Position::Unknown => Some(None),
        Position::Start => None,
        Position::After(seq) => first.map(|first| first - seq - 1).filter(|missed| *missed > 0).map(Some),
    };
    Batch { gap, events }
}

/// The body of `/events`.
pub(crate) struct Events {
    log: EventLog,
    boot: Boot,
    position: Position,
    client: Client,
    /// `None` before the first look.
    wait: Option<Pin<Box<Sleep>>>,
    wrote: Instant,
}

impl Events {
    pub(crate) fn new(log: EventLog, boot: Boot, position: Position, client: Client) -> Self {
        Self { log, boot, position, client, wait: None, wrote: Instant::now() }
    }

    fn next(&mut self) -> String {
        let Batch { gap, events } = read(&self.log, self.position);
        let mut text = String::new();
        if let Some(missed) = gap {
            let before = events.first().map_or(0, |event| event.seq - 1);
            write_event(&mut text, &self.boot.id(before), "gap", &Gap { missed });
        }
        for event in &events {
            write_event(&mut text, &self.boot.id(event.seq), "change", &Change::of(event));
        }
        let last = events.last().map(|event| event.seq);
        self.position = match (last, self.position) {
            (Some(seq), _) => Position::After(seq),
            // From here on, the log's first event is the next one.
            (None, Position::Unknown | Position::Start) => Position::After(0),
            (None, position @ Position::After(_)) => position,
        };
        text
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        loop {
            if !this.client.goes_on() {
                return Poll::Ready(None);
            }
            let is_first = this.wait.is_none();
            if let Some(wait) = &mut this.wait {
                std::task::ready!(wait.as_mut().poll(cx));
            }
            this.wait = Some(Box::pin(sleep(INTERVAL)));
            let mut text = this.next();
            // The first sends the head of the answer on its way.
            if text.is_empty() && (is_first || this.wrote.elapsed() >= HEARTBEAT) {
                text.push_str(":\n\n");
            }
            if !text.is_empty() {
                this.wrote = Instant::now();
                return Poll::Ready(Some(Ok(Frame::data(text.into()))));
            }
        }
    }
}

#[derive(Serialize)]
struct Gap {
    missed: Option<u64>,
}

#[derive(Serialize)]
struct Change<'a> {
    at: String,
    kind: &'static str,
    name: &'a str,
    fields: Members<'a, &'static str>,
}

impl<'a> Change<'a> {
    fn of(event: &'a Event) -> Self {
        Self { at: timestamp(event.at), kind: event.kind, name: event.by.as_str(), fields: Members(&event.fields) }
    }
}

fn write_event(text: &mut String, id: &str, event: &str, data: &impl Serialize) {
    // Neither can fail. JSON has no line breaks.
    let data = serde_json::to_string(data).unwrap_or_default();
    _ = write!(text, "id: {id}\nevent: {event}\ndata: {data}\n\n");
}

#[cfg(test)]
mod tests;
