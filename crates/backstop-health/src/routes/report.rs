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

use crate::{HealthView, InstanceView, PinView, shared_view::OtherInstances};

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

/// Writes everything that is known. The components are written once for each view, and those of other instances once for each
/// reading of the store: 50 components take 20 µs, a copy less than 1.
#[derive(Default)]
pub(super) struct Details {
    components: ArcSwapOption<Written<HealthView>>,
    instances: ArcSwapOption<Written<OtherInstances>>,
}

/// The JSON of something, and when it was written.
struct Written<T> {
    json: Box<RawValue>,
    of: Arc<T>,
    clock: Clock,
}

impl Details {
    pub(super) fn to_json(&self, view: &Arc<HealthView>, others: &Arc<OtherInstances>) -> Vec<u8> {
        self.try_to_json(view, others).unwrap_or_default()
    }

    /// Can't fail: there are only texts, and keys that are texts.
    fn try_to_json(&self, view: &Arc<HealthView>, others: &Arc<OtherInstances>) -> serde_json::Result<Vec<u8>> {
        let clock = Clock::now();
        let components = written(&self.components, view, clock, || Components(view, clock))?;
        let current = Some(others.current()).filter(|current| !current.is_empty());
        let instances =
            current.map(|current| written(&self.instances, others, clock, || Instances(current))).transpose()?;
        let instances = instances.as_deref().map(|written| &*written.json);
        let report = Report {
            status: view.status().as_str(),
            level: view.level().as_str(),
            pinned: view.pin().map(|pin| Pinned::new(pin, clock)),
            components: &components.json,
            instances,
            timestamp: format_rfc3339_millis(clock.wall),
        };
        let len = components.json.get().len() + instances.map_or(0, |json| json.get().len());
        let mut json = Vec::with_capacity(len + 512);
        serde_json::to_writer(&mut json, &report)?;
        Ok(json)
    }
}

/// What was written of `of` before, or else `content`.
fn written<T, C: Serialize>(
    last: &ArcSwapOption<Written<T>>,
    of: &Arc<T>,
    clock: Clock,
    content: impl FnOnce() -> C,
) -> serde_json::Result<Arc<Written<T>>> {
    let is_current = |written: &Arc<Written<T>>| Arc::ptr_eq(&written.of, of) && clock.agrees_with(written.clock);
    if let Some(written) = last.load_full().filter(is_current) {
        return Ok(written);
    }
    let json = serde_json::value::to_raw_value(&content())?;
    let written = Arc::new(Written { json, of: Arc::clone(of), clock });
    last.store(Some(Arc::clone(&written)));
    Ok(written)
}

#[derive(Serialize)]
struct Report<'a> {
    status: &'static str,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<Pinned<'a>>,
    components: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    instances: Option<&'a RawValue>,
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
