//! What `/health` says, as JSON.
#![expect(clippy::disallowed_types, reason = "people read the time of day")]

use std::{
    fmt::Display,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use humantime::format_rfc3339_millis;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{HealthView, InstanceView, PinView, shared_view::Others};

/// A single word.
#[derive(Serialize)]
pub(super) struct Status {
    status: &'static str,
}

impl Status {
    pub(super) const fn new(status: &'static str) -> Self {
        Self { status }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // Can't fail: there are only texts.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Writes everything that is known. The components are written once for each view: 50 of them take 20 µs, a copy less than 1.
#[derive(Default)]
pub(super) struct Details {
    components: ArcSwapOption<WrittenComponents>,
}

/// The components of a view, and when they were written.
struct WrittenComponents {
    json: Box<RawValue>,
    view: Arc<HealthView>,
    clock: Clock,
}

impl Details {
    pub(super) fn to_json(&self, view: &Arc<HealthView>, others: &Others) -> Vec<u8> {
        self.try_to_json(view, others).unwrap_or_default()
    }

    /// Can't fail: there are only texts, and keys that are texts.
    fn try_to_json(&self, view: &Arc<HealthView>, others: &Others) -> serde_json::Result<Vec<u8>> {
        let clock = Clock::now();
        let components = self.components(view, clock)?;
        let report = Report {
            status: view.status().as_str(),
            level: view.level().as_str(),
            pinned: view.pin().map(|pin| Pinned::new(pin, clock)),
            components: &components.json,
            instances: Instances(others.current()),
            timestamp: format_rfc3339_millis(clock.wall),
        };
        let mut json = Vec::with_capacity(components.json.get().len() + 512);
        serde_json::to_writer(&mut json, &report)?;
        Ok(json)
    }

    fn components(&self, view: &Arc<HealthView>, clock: Clock) -> serde_json::Result<Arc<WrittenComponents>> {
        let written = self.components.load_full();
        if let Some(written) =
            written.filter(|written| Arc::ptr_eq(&written.view, view) && clock.agrees_with(written.clock))
        {
            return Ok(written);
        }
        let json = serde_json::value::to_raw_value(&Components(view, clock))?;
        let written = Arc::new(WrittenComponents { json, view: Arc::clone(view), clock });
        self.components.store(Some(Arc::clone(&written)));
        Ok(written)
    }
}

#[derive(Serialize)]
struct Report<'a> {
    status: &'static str,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<Pinned<'a>>,
    components: &'a RawValue,
    #[serde(skip_serializing_if = "Instances::is_empty")]
    instances: Instances<'a>,
    #[serde(serialize_with = "as_text")]
    timestamp: humantime::Rfc3339Timestamp,
}

#[derive(Serialize)]
struct Pinned<'a> {
    level: &'static str,
    #[serde(serialize_with = "as_text")]
    until: humantime::Rfc3339Timestamp,
    who: &'a str,
    reason: &'a str,
}

struct Components<'a>(&'a HealthView, Clock);

#[derive(Serialize)]
struct Component<'a> {
    status: &'static str,
    #[serde(serialize_with = "as_text")]
    since: humantime::Rfc3339Timestamp,
    essential: bool,
    message: Option<&'a str>,
}

struct Instances<'a>(&'a [InstanceView]);

#[derive(Serialize)]
struct Instance<'a> {
    status: &'static str,
    level: &'static str,
    ready: bool,
    components: InstanceComponents<'a>,
}

struct InstanceComponents<'a>(&'a InstanceView);

impl<'a> Pinned<'a> {
    fn new(pin: &'a PinView, clock: Clock) -> Self {
        Self {
            level: pin.level().as_str(),
            until: format_rfc3339_millis(clock.at(pin.until)),
            who: pin.who(),
            reason: pin.reason(),
        }
    }
}

impl Serialize for Components<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view, clock) = self;
        serializer.collect_map(view.components().map(|component| {
            let shown = Component {
                status: component.state().as_str(),
                since: format_rfc3339_millis(clock.at(component.since)),
                essential: component.is_essential(),
                message: component.message(),
            };
            (component.name().as_str(), shown)
        }))
    }
}

impl Instances<'_> {
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Instances<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|view| {
            let components = InstanceComponents(view);
            let (status, level) = (view.status.as_str(), view.level.as_str());
            (view.instance.as_str(), Instance { status, level, ready: view.is_ready, components })
        }))
    }
}

impl Serialize for InstanceComponents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.components.iter().map(|(name, state)| (name.as_str(), state.as_str())))
    }
}

/// One moment on both clocks. Decisions use the monotonic one; the other is for people.
#[derive(Clone, Copy)]
struct Clock {
    monotonic: Instant,
    wall: SystemTime,
}

impl Clock {
    fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// Whether nobody has set the wall clock between the two, by a second or more.
    fn agrees_with(self, earlier: Self) -> bool {
        let wall = self.wall.duration_since(earlier.wall).unwrap_or_default();
        wall.abs_diff(self.monotonic.saturating_duration_since(earlier.monotonic)) < Duration::from_secs(1)
    }

    fn at(self, moment: Instant) -> SystemTime {
        let ago = self.monotonic.saturating_duration_since(moment);
        let ahead = moment.saturating_duration_since(self.monotonic);
        // Before 1970, a clock is not set.
        (self.wall + ahead).checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH).max(SystemTime::UNIX_EPOCH)
    }
}

fn as_text<S: Serializer>(text: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(text)
}
