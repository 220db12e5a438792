//! The chart: who answered, and how long it took, over time. One SVG without outside parts, which any browser shows.

use std::fmt::Write as _;
use std::time::Duration;

use super::Outage;
use super::load::{SOURCES, Sample};
use super::report::percentile;
use crate::recommender::TOTAL;

/// The colours of the sources, in their order: told apart without red and green, too.
const COLOURS: [&str; 4] = ["#0072b2", "#56b4e9", "#e69f00", "#cc79a7"];

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 60.0;
const SHARES: (f64, f64) = (40.0, 200.0);
const LATENCIES: (f64, f64) = (270.0, 440.0);

/// How many points there are from left to right.
const POINTS: u32 = 200;

/// Answers that began within one stretch of time.
struct Bucket {
    /// The share of each source.
    shares: [f64; SOURCES.len()],
    p50: Duration,
    p99: Duration,
}

pub(super) fn draw(samples: &[Sample], outages: &[Outage]) -> String {
    let end = samples.last().map_or(Duration::from_secs(1), |last| last.at).max(Duration::from_millis(1));
    let x = |at: Duration| LEFT + (WIDTH - LEFT - 20.0) * (at.as_secs_f64() / end.as_secs_f64()).min(1.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} 500\" font-family=\"sans-serif\" font-size=\"11\" \
         role=\"img\"><title>Who answered during the drill, and how long it took</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (n, outage) in outages.iter().enumerate() {
        let next = outages.get(n + 1).map_or(end, |next| next.began);
        let (from, to) = (x(outage.began), x(next));
        if outage.phase.faults.is_empty() {
            _ = writeln!(svg, "<text x=\"{:.0}\" y=\"32\" fill=\"#555\">{}</text>", from + 2.0, outage.phase.name);
            continue;
        }
        let mended = x(outage.mended);
        _ = writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"20\" width=\"{:.1}\" height=\"425\" fill=\"#000\" opacity=\"0.07\"/>\
             <text x=\"{:.0}\" y=\"{}\" textLength=\"{:.0}\" lengthAdjust=\"spacingAndGlyphs\">{}</text>",
            mended - from,
            from + 2.0,
            // Neighbours share no line.
            14 + 18 * (n % 2),
            (to - from - 4.0).clamp(20.0, 6.0 * outage.phase.name.len() as f64),
            outage.phase.name,
        );
    }
    let buckets = buckets(samples, end);
    shares(&mut svg, &buckets, x);
    latencies(&mut svg, &buckets, x);
    svg.push_str("</svg>\n");
    svg
}

fn buckets(samples: &[Sample], end: Duration) -> Vec<(Duration, Bucket)> {
    let width = end / POINTS;
    let starts = (0..=POINTS).map(|n| width * n);
    let within = starts.map(|start| {
        let first = samples.partition_point(|sample| sample.at < start);
        let last = samples.partition_point(|sample| sample.at < start + width);
        (start, &samples[first..last])
    });
    let bucket = |(start, samples): (Duration, &[Sample])| {
        let latencies = || samples.iter().map(|sample| sample.latency);
        let share = |source| {
            let from = samples.iter().filter(|sample| sample.outcome == Ok(source)).count();
            from as f64 / samples.len().max(1) as f64
        };
        let (p50, p99) = (percentile(latencies(), 50)?, percentile(latencies(), 99)?);
        Some((start, Bucket { shares: SOURCES.map(|(source, _)| share(source)), p50, p99 }))
    };
    within.filter_map(bucket).collect()
}

/// Areas on top of each other. What is left white wasn't answered.
fn shares(svg: &mut String, buckets: &[(Duration, Bucket)], x: impl Fn(Duration) -> f64) {
    let (top, bottom) = SHARES;
    let y = |share: f64| bottom - (bottom - top) * share;
    axis(svg, SHARES, "share of answers", &[(y(0.0), "0 %"), (y(0.5), "50 %"), (y(1.0), "100 %")]);
    for (n, (source, _)) in SOURCES.iter().enumerate() {
        let below = |bucket: &Bucket, upto: usize| bucket.shares.iter().take(upto).sum::<f64>();
        let upper = buckets.iter().map(|(at, bucket)| (x(*at), y(below(bucket, n + 1))));
        let lower = buckets.iter().rev().map(|(at, bucket)| (x(*at), y(below(bucket, n))));
        let points = path(upper.chain(lower));
        _ = writeln!(svg, "<polygon points=\"{points}\" fill=\"{}\"/>", COLOURS[n]);
        let left = LEFT + 170.0 * n as f64;
        _ = writeln!(
            svg,
            "<rect x=\"{left}\" y=\"215\" width=\"10\" height=\"10\" fill=\"{}\"/><text x=\"{}\" y=\"224\">{source}</text>",
            COLOURS[n],
            left + 14.0,
        );
    }
}

fn latencies(svg: &mut String, buckets: &[(Duration, Bucket)], x: impl Fn(Duration) -> f64) {
    let (top, bottom) = LATENCIES;
    // From 0.1 ms to 1 s, logarithmic: fast answers are as interesting as slow ones.
    let y = |latency: Duration| {
        let decades = (latency.as_secs_f64() * 10_000.0).max(1.0).log10() / 4.0;
        bottom - (bottom - top) * decades.min(1.0)
    };
    let ticks = [1, 10, 100, 1_000].map(Duration::from_millis);
    let labels = ["1 ms", "10 ms", "100 ms", "1 s"];
    let ticks: Vec<_> = ticks.iter().zip(labels).map(|(tick, label)| (y(*tick), label)).collect();
    axis(svg, LATENCIES, "latency", &ticks);
    _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#d55e00\" stroke-dasharray=\"4 3\"/>\
         <text x=\"{LEFT}\" y=\"{2:.1}\" fill=\"#d55e00\">the chain's total</text>",
        WIDTH - 20.0,
        y(TOTAL),
        y(TOTAL) + 12.0,
    );
    for (name, colour, of, left) in [
        ("p50", "#0072b2", (|bucket: &Bucket| bucket.p50) as fn(&Bucket) -> Duration, LEFT),
        ("p99", "#000", |bucket| bucket.p99, LEFT + 60.0),
    ] {
        let points = path(buckets.iter().map(|(at, bucket)| (x(*at), y(of(bucket)))));
        _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
             <text x=\"{left}\" y=\"462\" fill=\"{colour}\">{name}</text>"
        );
    }
}

fn axis(svg: &mut String, (top, bottom): (f64, f64), name: &str, ticks: &[(f64, &str)]) {
    _ = writeln!(
        svg,
        "<text x=\"12\" y=\"{:.0}\" transform=\"rotate(-90 12 {0:.0})\" text-anchor=\"middle\">{name}</text>",
        f64::midpoint(top, bottom)
    );
    for (y, label) in ticks {
        _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            WIDTH - 20.0,
            LEFT - 4.0,
            y + 4.0,
        );
    }
}

fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
}
