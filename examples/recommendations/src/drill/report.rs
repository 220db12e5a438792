//! The report: a table for people, JSON for programs, and whether the app passed.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::load::{SOURCES, Sample, Wrong};
use super::{DrillConfig, Outage, chart};

/// What a drill found.
#[derive(Debug, Serialize)]
pub struct DrillReport {
    rate: u32,
    circuit_wait_ms: u128,
    phases: Vec<PhaseReport>,
    #[serde(skip)]
    chart: String,
}

/// What users got in a phase, which lasts until everything works again.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct PhaseReport {
    /// The name.
    pub name: &'static str,
    /// How many requests began.
    pub requests: usize,
    /// How many were answered, with the right label and in time.
    pub answered: usize,
    /// How many weren't answered.
    pub unanswered: usize,
    /// How many answers had a label that doesn't fit their source.
    pub mislabelled: usize,
    /// How many answers took longer than the total and 50 ms.
    pub late: usize,
    /// The share of each source in the answers.
    pub sources: Vec<(&'static str, f64)>,
    /// Half of the answers were faster, measured from when the requests should have begun.
    #[serde(rename = "p50_ms", serialize_with = "as_millis")]
    pub p50: Option<Duration>,
    /// 99 % of the answers were faster.
    #[serde(rename = "p99_ms", serialize_with = "as_millis")]
    pub p99: Option<Duration>,
    /// The same of those that began while the circuits of what is broken were open.
    #[serde(rename = "p99_open_ms", serialize_with = "as_millis")]
    pub p99_open: Option<Duration>,
    /// How many calls reached what was broken.
    pub calls: u64,
    /// How many of them after its circuit had opened.
    pub calls_while_open: u64,
    /// How often its circuit let a probe through.
    pub probes: u64,
    /// From the outage until the circuits of what is broken were open.
    #[serde(rename = "time_to_degrade_ms", serialize_with = "as_millis")]
    pub time_to_degrade: Option<Duration>,
    /// From the end of the outage until the primary answered again, with all circuits closed.
    #[serde(rename = "time_to_recover_ms", serialize_with = "as_millis")]
    pub time_to_recover: Option<Duration>,
    /// Whether something was broken.
    pub is_outage: bool,
}

impl DrillReport {
    pub(super) fn new(config: &DrillConfig, mut samples: Vec<Sample>, outages: &[Outage]) -> Self {
        samples.sort_by_key(|sample| sample.at);
        let ends = outages.iter().skip(1).map(|next| next.began).chain([Duration::MAX]);
        let phases = outages.iter().zip(ends).map(|(outage, end)| PhaseReport::new(outage, end, &samples)).collect();
        let chart = chart::draw(&samples, outages);
        Self { rate: config.rate.get(), circuit_wait_ms: config.app.circuit_wait.as_millis(), phases, chart }
    }

    /// The phases, in order.
    #[must_use]
    pub fn phases(&self) -> &[PhaseReport] {
        &self.phases
    }

    /// Whether every request was answered in time, with the right label, and the app recovered from each outage.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.phases.iter().all(|phase| {
            let has_recovered = !phase.is_outage || phase.time_to_recover.is_some();
            phase.requests > 0 && phase.answered == phase.requests && has_recovered
        })
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and numbers always serialise.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Latencies and sources over time, as SVG.
    #[must_use]
    pub fn to_svg(&self) -> &str {
        &self.chart
    }
}

impl PhaseReport {
    fn new(outage: &Outage, end: Duration, samples: &[Sample]) -> Self {
        let samples: Vec<_> = samples.iter().filter(|sample| (outage.began..end).contains(&sample.at)).collect();
        let count = |wrong| samples.iter().filter(|sample| sample.outcome == Err(wrong)).count();
        let answered = samples.iter().filter(|sample| sample.outcome.is_ok()).count();
        let sources = SOURCES.map(|(source, _)| {
            let from = samples.iter().filter(|sample| sample.outcome == Ok(source)).count();
            (source, from as f64 / answered.max(1) as f64)
        });
        let is_open =
            |sample: &&&Sample| outage.opened.is_some_and(|opened| sample.at >= opened) && sample.at < outage.mended;
        Self {
            name: outage.phase.name,
            requests: samples.len(),
            answered,
            unanswered: count(Wrong::Unanswered),
            mislabelled: count(Wrong::Mislabelled),
            late: count(Wrong::Late),
            sources: sources.into_iter().filter(|(_, share)| *share > 0.0).collect(),
            p50: percentile(samples.iter().map(|sample| sample.latency), 50),
            p99: percentile(samples.iter().map(|sample| sample.latency), 99),
            p99_open: percentile(samples.iter().filter(is_open).map(|sample| sample.latency), 99),
            calls: outage.calls,
            calls_while_open: outage.calls_while_open,
            probes: outage.probes,
            time_to_degrade: outage.opened.map(|opened| opened.saturating_sub(outage.began)),
            time_to_recover: outage
                .recovered
                .filter(|_| !outage.phase.faults.is_empty())
                .map(|recovered| recovered.saturating_sub(outage.mended)),
            is_outage: !outage.phase.faults.is_empty(),
        }
    }
}

/// The smallest latency that at least `percent` of them don't exceed.
pub(super) fn percentile(latencies: impl Iterator<Item = Duration>, percent: usize) -> Option<Duration> {
    let mut latencies: Vec<_> = latencies.collect();
    latencies.sort_unstable();
    let rank = (latencies.len() * percent).div_ceil(100);
    latencies.get(rank.checked_sub(1)?).copied()
}

impl fmt::Display for DrillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22} {:>8} {:>9} {:>8} {:>8} {:>9} {:>6} {:>10} {:>8} {:>8}  sources",
            "phase", "requests", "answered", "p50", "p99", "p99 open", "calls", "open/probes", "degrade", "recover"
        )?;
        for phase in &self.phases {
            let share = 100.0 * phase.answered as f64 / phase.requests.max(1) as f64;
            let calls = format!("{}/{}", phase.calls_while_open, phase.probes);
            write!(
                f,
                "{:<22} {:>8} {share:>8.2}% {:>8} {:>8} {:>9} {:>6} {calls:>11} {:>8} {:>8} ",
                phase.name,
                phase.requests,
                millis(phase.p50),
                millis(phase.p99),
                millis(phase.p99_open),
                phase.calls,
                millis(phase.time_to_degrade),
                millis(phase.time_to_recover),
            )?;
            for (source, share) in &phase.sources {
                write!(f, " {source} {:.1}%", 100.0 * share)?;
            }
            writeln!(f)?;
            let PhaseReport { unanswered, mislabelled, late, .. } = phase;
            if unanswered + mislabelled + late > 0 {
                writeln!(f, "  WRONG: {unanswered} unanswered, {mislabelled} mislabelled, {late} too late")?;
            }
            if phase.is_outage && phase.time_to_recover.is_none() {
                writeln!(f, "  WRONG: it didn't recover")?;
            }
        }
        let verdict = if self.is_passed() { "passed" } else { "FAILED" };
        writeln!(
            f,
            "{verdict}: {} requests a second, open-loop; latencies from when a request should have begun",
            self.rate
        )
    }
}

fn millis(time: Option<Duration>) -> String {
    match time.map(|time| time.as_secs_f64() * 1_000.0) {
        None => "-".to_owned(),
        Some(millis) if millis < 100.0 => format!("{millis:.1}ms"),
        Some(millis) => format!("{millis:.0}ms"),
    }
}

// `serialize_with` passes references.
fn as_millis<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    // In hundredths.
    time.map(|time| (time.as_secs_f64() * 100_000.0).round() / 100.0).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_smallest_latency_that_so_many_do_not_exceed() {
        let ms = Duration::from_millis;
        let all = || (1..=200).map(ms);
        assert_eq!([50, 99, 100].map(|percent| percentile(all(), percent)), [100, 198, 200].map(|n| Some(ms(n))));
        assert_eq!(percentile([ms(7)].into_iter(), 1), Some(ms(7)));
        assert_eq!(percentile([].into_iter(), 99), None);
    }
}
