//! Metrics and log fields, the same way in every layer.
//!
//! Without the feature `metrics` a [`Series`] is empty, its methods do nothing, and [`ENABLED`] is false.
//!
//! # Durations in events
//!
//! A duration is a field whose name ends in `_ms`. Its value is a number of milliseconds, made by [`millis`].
//!
//! # Metrics
//!
//! [`Metric`] says what a metric means, and [`Series`] is one with its labels. A series looks up the recorder at each use. So a
//! recorder that is installed later counts from then on, and a use costs no allocation of ours.
//!
//! ```
//! use backstop_core::{Name, name};
//! use backstop_kit::telemetry::{Metric, Series};
//!
//! const HEDGES: Metric = Metric::counter("hedges_total", "Requests that were sent a second time");
//!
//! struct LayerState {
//!     hedges: Series,
//! }
//!
//! fn new(name: &Name) -> LayerState {
//!     LayerState { hedges: Series::new(&HEDGES, [("name", name.into())]) }
//! }
//!
//! new(&name!("search")).hedges.increment();
//! ```

use std::time::Duration;

use backstop_core::{Name, Reason};

/// Whether metrics are compiled in.
pub const ENABLED: bool = cfg!(feature = "metrics");

/// Suggested bounds, in seconds, for the buckets of histograms whose names end in `_seconds`.
///
/// They resolve a fast answer as well as one that waits for a time limit: the defaults of the layers (1 s, 5 s, 10 s and
/// 60 s) are bounds.
pub const DURATION_BUCKETS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Tells recorders apart: the address of the installed one, or 0 without the feature `metrics`. For gauges that are set
/// once for each recorder.
#[inline]
#[must_use]
pub fn recorder_address() -> usize {
    recorder::address()
}

/// The value of a log field that ends in `_ms`: `duration` in milliseconds.
///
/// ```
/// use std::time::Duration;
/// use backstop_kit::telemetry::millis;
///
/// assert_eq!(millis(Duration::from_micros(1_500)), 1.5);
/// ```
#[must_use]
pub const fn millis(duration: Duration) -> f64 {
    // Divided, not multiplied: 70 ms are 70, not 70.00000000000001.
    duration.as_nanos() as f64 / 1e6
}

/// A metric: its name, its kind and its meaning.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "nothing is recorded"))]
pub struct Metric {
    name: &'static str,
    kind: Kind,
    help: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Metric {
    /// A number that only grows. Its name ends in `_total`.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, help }
    }

    /// A number that rises and falls.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, help }
    }

    /// A distribution. A name that ends in `_seconds` says the unit.
    #[must_use]
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, help }
    }

    /// Gives the recorder the description and the unit: seconds if the name ends in `_seconds`, else a count.
    pub fn describe(&self) {
        recorder::describe(self);
    }
}

/// The value of a label. Labels hold configured names and fixed words, never data of a request.
#[derive(Clone, Copy, Debug)]
pub enum Label<'a> {
    /// A configured name.
    Name(&'a Name),
    /// A fixed word.
    Word(&'static str),
}

impl<'a> From<&'a Name> for Label<'a> {
    fn from(name: &'a Name) -> Self {
        Self::Name(name)
    }
}

impl From<&'static str> for Label<'_> {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<Reason> for Label<'_> {
    fn from(reason: Reason) -> Self {
        Self::Word(reason.as_str())
    }
}

/// A [`Metric`] with its labels. Make it once where a healthy call uses it: only making it allocates.
#[derive(Debug)]
pub struct Series(recorder::Key);

impl Series {
    /// The series of `metric` with these labels.
    #[inline]
    #[must_use]
    pub fn new<const N: usize>(metric: &Metric, labels: [(&'static str, Label<'_>); N]) -> Self {
        Self(recorder::key(metric, labels))
    }

    /// Adds 1 to a counter.
    #[inline]
    pub fn increment(&self) {
        recorder::increment(&self.0);
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&self, value: f64) {
        recorder::set(&self.0, value);
    }

    /// Adds a duration to a histogram, in seconds.
    #[inline]
    pub fn record(&self, duration: Duration) {
        recorder::record(&self.0, duration);
    }
}

/// A value that only metrics need. Without the feature `metrics` it takes no space, and is never made.
#[derive(Clone, Copy, Debug)]
pub struct MetricsOnly<T>(recorder::Slot<T>);

impl<T: Copy> MetricsOnly<T> {
    /// Not made yet.
    #[inline]
    #[must_use]
    pub const fn none() -> Self {
        Self(recorder::empty())
    }

    /// Makes the value now.
    #[inline]
    #[must_use]
    pub fn with(make: impl FnOnce() -> T) -> Self {
        let mut this = Self::none();
        this.set_once(make);
        this
    }

    /// Makes the value unless it was made before.
    #[inline]
    pub fn set_once(&mut self, make: impl FnOnce() -> T) {
        recorder::fill(&mut self.0, make);
    }

    /// The value, if it was made.
    #[inline]
    #[must_use]
    pub const fn get(self) -> Option<T> {
        recorder::content(self.0)
    }
}

#[cfg(not(feature = "metrics"))]
mod recorder {
    use std::{marker::PhantomData, time::Duration};

    use super::{Label, Metric};

    #[derive(Debug)]
    pub(super) struct Key;

    pub(super) const fn key<const N: usize>(_: &Metric, _: [(&'static str, Label<'_>); N]) -> Key {
        Key
    }

    pub(super) const fn increment(_: &Key) {}
    pub(super) const fn set(_: &Key, _: f64) {}
    pub(super) const fn record(_: &Key, _: Duration) {}
    pub(super) const fn describe(_: &Metric) {}

    pub(super) const fn address() -> usize {
        0
    }

    pub(super) type Slot<T> = PhantomData<T>;

    pub(super) const fn empty<T>() -> Slot<T> {
        PhantomData
    }

    pub(super) fn fill<T>(_: &mut Slot<T>, _: impl FnOnce() -> T) {}

    pub(super) const fn content<T: Copy>(_: Slot<T>) -> Option<T> {
        None
    }
}

#[cfg(feature = "metrics")]
mod recorder {
    use std::{borrow::Cow, time::Duration};

    pub(super) use metrics::Key;
    use metrics::{Level, Metadata, SharedString, Unit, with_recorder};

    use super::{Kind, Label, Metric};

    static METADATA: Metadata<'static> = Metadata::new("backstop", Level::INFO, None);

    pub(super) fn key<const N: usize>(metric: &Metric, labels: [(&'static str, Label<'_>); N]) -> Key {
        Key::from_parts(metric.name, Vec::from(labels.map(|(key, value)| metrics::Label::new(key, value))))
    }

    impl From<Label<'_>> for SharedString {
        fn from(label: Label<'_>) -> Self {
            match label {
                // A literal isn't copied.
                Label::Name(name) => Cow::from(name.clone()).into(),
                Label::Word(word) => Self::const_str(word),
            }
        }
    }

    pub(super) fn increment(key: &Key) {
        with_recorder(|recorder| recorder.register_counter(key, &METADATA).increment(1));
    }

    pub(super) fn set(key: &Key, value: f64) {
        with_recorder(|recorder| recorder.register_gauge(key, &METADATA).set(value));
    }

    pub(super) fn record(key: &Key, duration: Duration) {
        with_recorder(|recorder| recorder.register_histogram(key, &METADATA).record(duration));
    }

    pub(super) fn describe(metric: &Metric) {
        let unit = Some(if metric.name.ends_with("_seconds") { Unit::Seconds } else { Unit::Count });
        let (name, help) = (metric.name.into(), metric.help.into());
        with_recorder(|recorder| match metric.kind {
            Kind::Counter => recorder.describe_counter(name, unit, help),
            Kind::Gauge => recorder.describe_gauge(name, unit, help),
            Kind::Histogram => recorder.describe_histogram(name, unit, help),
        });
    }

    pub(super) fn address() -> usize {
        with_recorder(|recorder| std::ptr::from_ref(recorder).addr())
    }

    pub(super) type Slot<T> = Option<T>;

    pub(super) const fn empty<T>() -> Slot<T> {
        None
    }

    pub(super) fn fill<T>(slot: &mut Slot<T>, make: impl FnOnce() -> T) {
        slot.get_or_insert_with(make);
    }

    pub(super) const fn content<T: Copy>(slot: Slot<T>) -> Option<T> {
        slot
    }
}
