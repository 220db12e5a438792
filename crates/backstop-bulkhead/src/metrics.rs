//! Metrics of the layer, with the feature `metrics`.
//!
//! Metric handles are looked up on each use, because the recorder may be installed later.

use backstop_core::Name;

#[cfg(not(feature = "metrics"))]
mod recorder {
    use super::Name;

    pub(crate) const fn refused(_: &Name) {}
    pub(crate) const fn held_too_long(_: &Name) {}
    pub(crate) fn show_in_use(_: &Name, _: impl Fn() -> u32) {}
}

#[cfg(feature = "metrics")]
mod recorder {
    use super::Name;

    pub(crate) fn refused(name: &Name) {
        metrics::counter!("bulkhead_rejections_total", "name" => name.to_string()).increment(1);
    }

    pub(crate) fn held_too_long(name: &Name) {
        metrics::counter!("bulkhead_held_too_long_total", "name" => name.to_string()).increment(1);
    }

    /// Two threads may write at once. Each reads the number again after its write, and writes again if it has changed, so that
    /// the last write is the current number.
    pub(crate) fn show_in_use(name: &Name, now: impl Fn() -> u32) {
        let gauge = metrics::gauge!("bulkhead_in_use", "name" => name.to_string());
        loop {
            let shown = now();
            gauge.set(f64::from(shown));
            if now() == shown {
                return;
            }
        }
    }
}

pub(crate) use recorder::{held_too_long, refused, show_in_use};
