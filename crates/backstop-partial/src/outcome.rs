//! What becomes of a page when its parts have ended: its labels, its log, its metrics.

use std::pin::Pin;

use backstop_core::{Degradation, Freshness, Name, Reason, name, scope};

use crate::{
    PageStatus, RequiredPartFailed,
    aggregate::Shared,
    gather::set::Slots,
    part::slot::{RunSlot, State, Status},
    telemetry,
};

/// A part has a stored copy by itself: [`Part::answer`](crate::Part::answer).
const STORED: Reason = Reason::new("stored");

/// The most sources that a page names: longer lists aren't read by those who get them.
const MOST_LABELS: usize = 16;

/// Reports what was degraded, or ends all parts if a required one failed.
pub(crate) fn conclude(aggregate: &Shared, mut slots: Pin<&mut dyn Slots>) -> Result<PageStatus, RequiredPartFailed> {
    let mut status = PageStatus::default();
    let mut failed = None;
    slots.as_mut().for_each(0, &mut |i, mut slot| {
        let Status { name, state, .. } = slot.status();
        let stats = aggregate.stats.of(i, name);
        match state {
            State::Answered => {
                telemetry::answered(&aggregate.name, stats);
                add_labels(&aggregate.name, slot.status(), &mut status.degradations);
            }
            State::Failed if slot.is_required() => {
                let Status { name, miss, .. } = slot.status_mut();
                let Some(miss) = miss.take() else { return };
                if miss.is_callers_fault() {
                    telemetry::answered(&aggregate.name, stats);
                } else {
                    telemetry::page_failed(&aggregate.name, stats, name, &miss);
                }
                failed = RequiredPartFailed::worse(failed.take(), &aggregate.name, name.clone(), *miss);
            }
            State::Failed => {
                if let Some(miss) = &slot.status().miss {
                    telemetry::replaced(&aggregate.name, stats, &slot.status().name, miss);
                }
                add_failure(&aggregate.name, slot, &mut status);
            }
            State::Waiting | State::Running | State::Ended => {
                telemetry::unfinished(stats);
                slot.as_mut().end();
            }
        }
    });
    match failed {
        Some(failed) => Err(failed),
        None => {
            if !status.degradations.is_empty() {
                report(&aggregate.name, &mut status.degradations);
            }
            Ok(status)
        }
    }
}

/// What was reported while the part ran, and its own freshness.
fn add_labels(aggregate: &Name, part: &Status, labels: &mut Vec<Degradation>) {
    labels.extend(part.reports.iter().map(|report| report.inside(part.name.clone())));
    if let Some(freshness) = part.freshness
        && freshness != Freshness::Fresh
    {
        labels.push(Degradation::new(aggregate.clone(), part.name.clone(), 0, STORED, freshness));
    }
}

/// The part was replaced or left out.
#[cold]
fn add_failure(aggregate: &Name, slot: Pin<&mut dyn RunSlot>, page: &mut PageStatus) {
    let source = slot.source();
    let status = slot.status_mut();
    let Some(miss) = &status.miss else { return };
    let label = Degradation::new(aggregate.clone(), source, 1, miss.reason, Freshness::Degraded);
    page.degradations.push(label.inside(status.name.clone()));
    page.warnings.extend(status.warning.take());
    page.failures.push(miss.describe(&status.name));
}

/// Reports the labels in the current scope, at most 16: the last one stands for all others.
fn report(aggregate: &Name, labels: &mut Vec<Degradation>) {
    if labels.len() > MOST_LABELS {
        let others = labels.split_off(MOST_LABELS - 1);
        let worst = others.iter().max_by_key(|label| label.current_freshness());
        labels.extend(worst.map(|worst| {
            Degradation::new(aggregate.clone(), name!("others"), 1, worst.reason(), worst.current_freshness())
        }));
    }
    labels.iter().cloned().for_each(scope::report);
}
