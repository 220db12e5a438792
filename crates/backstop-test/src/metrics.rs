//! Captured metrics.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use ::metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, LocalRecorderGuard, Metadata, Recorder,
    SharedString, Unit,
};

use crate::lock::lock;

/// Keeps what the macros of the `metrics` crate record.
///
/// Clones share what they keep. It is displayed with one series on each line, which makes it a good message of an assertion.
///
/// ```
/// use backstop_test::Metrics;
///
/// let metrics = Metrics::new();
/// let _guard = metrics.listen();
/// metrics::counter!("orders_total", "shop" => "north", "result" => "paid").increment(2);
/// metrics::counter!("orders_total", "shop" => "north", "result" => "refused").increment(1);
///
/// assert_eq!(metrics.counter("orders_total", &[("result", "paid")]), 2, "{metrics}");
/// assert_eq!(metrics.counter("orders_total", &[("shop", "north")]), 3);
/// ```
///
/// # Labels
///
/// A query matches every series of its name that has all the given labels, and may have more. No labels match all of them.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    series: BTreeMap<Series, Value>,
    descriptions: BTreeMap<String, String>,
    history: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    name: String,
    /// Sorted.
    labels: Vec<(String, String)>,
}

#[derive(Clone)]
enum Value {
    Counter(u64),
    Gauge(f64),
    /// Each sample, in order.
    Histogram(Vec<f64>),
}

impl Metrics {
    /// Keeps what is recorded from now on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps what is recorded on this thread until the guard is dropped.
    ///
    /// Drop guards of several `Metrics` in the reverse order in which they were made, as variables are: each restores the
    /// recorder before it. A tuple drops the first one first.
    ///
    /// Handles that were made before, such as a `Counter` in a `static`, go on to their own recorder.
    #[must_use = "it listens until the guard is dropped"]
    pub fn listen(&self) -> LocalRecorderGuard<'_> {
        // No guard of our own: layers tell recorders apart by their addresses.
        ::metrics::set_default_local_recorder(self)
    }

    /// The sum of the counters that match, or 0.
    #[must_use]
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.matching(name, labels, |value| if let Value::Counter(count) = value { Some(*count) } else { None })
            .iter()
            .sum()
    }

    /// The value of the gauge that matches, if one was set.
    ///
    /// # Panics
    ///
    /// If several match.
    #[must_use]
    #[track_caller]
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let gauges =
            self.matching(name, labels, |value| if let Value::Gauge(value) = value { Some(*value) } else { None });
        assert!(gauges.len() <= 1, "several gauges {name} match {labels:?}:\n{self}");
        gauges.first().copied()
    }

    /// All samples of the histograms that match.
    #[must_use]
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        self.matching(name, labels, |value| if let Value::Histogram(all) = value { Some(all.clone()) } else { None })
            .concat()
    }

    /// Each series with its value, sorted, to compare all of them at once: `orders_total{result=paid,shop=north} 2`.
    ///
    /// The value of a histogram is the list of its samples.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        lock(&self.0).series.iter().map(|(series, value)| format!("{series} {value}")).collect()
    }

    /// Each change in order: the series, as in [`lines`](Self::lines), and its new value, or the new sample of a histogram.
    #[must_use]
    pub fn history(&self) -> Vec<String> {
        lock(&self.0).history.clone()
    }

    /// The description of each metric that was described, by its name: `counter in count: Orders of all shops`.
    #[must_use]
    pub fn descriptions(&self) -> BTreeMap<String, String> {
        lock(&self.0).descriptions.clone()
    }

    fn describe(&self, kind: &str, name: &KeyName, unit: Option<Unit>, description: &str) {
        let unit = unit.map(|unit| format!(" in {}", unit.as_str())).unwrap_or_default();
        lock(&self.0).descriptions.insert(name.as_str().to_owned(), format!("{kind}{unit}: {description}"));
    }

    fn matching<T>(&self, name: &str, labels: &[(&str, &str)], of_kind: impl Fn(&Value) -> Option<T>) -> Vec<T> {
        let recorded = lock(&self.0);
        let matching = recorded.series.iter().filter(|(series, _)| series.matches(name, labels));
        matching.filter_map(|(_, value)| of_kind(value)).collect()
    }

    fn handle(&self, key: &Key) -> Arc<Handle> {
        let mut labels: Vec<_> = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
        labels.sort();
        Arc::new(Handle { series: Series { name: key.name().to_owned(), labels }, metrics: self.clone() })
    }
}

impl Recorder for Metrics {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe("counter", &name, unit, &description);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe("gauge", &name, unit, &description);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe("histogram", &name, unit, &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.handle(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.handle(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.handle(key))
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines()).finish()
    }
}

impl Series {
    fn matches(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let has =
            |label: &(&str, &str)| self.labels.iter().any(|(key, value)| (key.as_str(), value.as_str()) == *label);
        self.name == name && labels.iter().all(has)
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        write!(f, "{}{{{}}}", self.name, labels.join(","))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counter(count) => write!(f, "{count}"),
            Self::Gauge(value) => write!(f, "{value}"),
            Self::Histogram(samples) => write!(f, "{samples:?}"),
        }
    }
}

/// What a counter, a gauge or a histogram writes to.
struct Handle {
    series: Series,
    metrics: Metrics,
}

impl Handle {
    /// Changes the value, which is `new` at first, and returns what the history shows of it.
    #[track_caller]
    fn change<T: fmt::Display>(&self, new: Value, change: impl FnOnce(&mut Value) -> Option<T>) {
        let mut recorded = lock(&self.metrics.0);
        let value = recorded.series.entry(self.series.clone()).or_insert(new);
        let Some(shown) = change(value) else { panic!("{} is a metric of two kinds", self.series) };
        recorded.history.push(format!("{} {shown}", self.series));
    }

    fn count(&self, to: impl FnOnce(u64) -> u64) {
        self.change(Value::Counter(0), |value| {
            let Value::Counter(count) = value else { return None };
            *count = to(*count);
            Some(*count)
        });
    }

    fn set(&self, to: impl FnOnce(f64) -> f64) {
        self.change(Value::Gauge(0.0), |value| {
            let Value::Gauge(value) = value else { return None };
            *value = to(*value);
            Some(*value)
        });
    }
}

impl CounterFn for Handle {
    fn increment(&self, by: u64) {
        self.count(|count| count + by);
    }

    fn absolute(&self, to: u64) {
        self.count(|count| count.max(to));
    }
}

impl GaugeFn for Handle {
    fn increment(&self, by: f64) {
        self.set(|value| value + by);
    }

    fn decrement(&self, by: f64) {
        self.set(|value| value - by);
    }

    fn set(&self, to: f64) {
        self.set(|_| to);
    }
}

impl HistogramFn for Handle {
    fn record(&self, sample: f64) {
        self.change(Value::Histogram(Vec::new()), |value| {
            let Value::Histogram(samples) = value else { return None };
            samples.push(sample);
            Some(sample)
        });
    }
}
