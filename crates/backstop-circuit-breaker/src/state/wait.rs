//! How long an open circuit stays open.

use backstop_kit::Jitter;

use super::{Nanos, shared_settings::RecoveryRule};

/// The waits of one circuit.
#[derive(Debug)]
pub(super) struct Waits {
    /// How many recoveries have failed since the circuit was closed.
    failed: u32,
    latest: Nanos,
    jitter: Jitter,
}

impl Waits {
    pub(super) fn new(seed: Option<u64>) -> Self {
        Self { failed: 0, latest: 0, jitter: Jitter::new(seed) }
    }

    /// A probe failed, or a ramp.
    pub(super) const fn grow(&mut self) {
        self.failed = self.failed.saturating_add(1);
    }

    /// The circuit closed.
    pub(super) const fn start_over(&mut self) {
        self.failed = 0;
    }

    /// The wait of a circuit that opens now: its own, or the dependency's if that is longer. Jitter only adds.
    pub(super) fn next(&mut self, rule: &RecoveryRule, asked: Option<Nanos>) -> Nanos {
        self.latest = self.draw(rule, asked);
        self.latest
    }

    /// The latest wait.
    pub(super) const fn latest(&self) -> Nanos {
        self.latest
    }

    fn draw(&self, rule: &RecoveryRule, asked: Option<Nanos>) -> Nanos {
        let RecoveryRule { first_wait, max_wait, wait_jitter, .. } = *rule;
        let factor = 1_u64.checked_shl(self.failed).unwrap_or(u64::MAX);
        let wait = first_wait.saturating_mul(factor).min(max_wait).max(asked.unwrap_or(0));
        // A wait is at most two days, which an `f64` holds to the nanosecond.
        let most = (wait as f64 * wait_jitter) as Nanos;
        wait.saturating_add(self.jitter.number(0..most.saturating_add(1)))
    }
}

#[cfg(all(test, not(backstop_loom)))]
mod tests {
    use super::*;
    use crate::state::settings::RampRule;

    const GROWING: RecoveryRule = RecoveryRule {
        first_wait: 1_000,
        max_wait: 5_000,
        probe_lease: 0,
        wait_jitter: 0.0,
        success_threshold: 1,
        max_concurrent_probes: 1,
        ramp: RampRule::NONE,
    };

    #[test]
    fn a_growing_wait_doubles_up_to_its_most_and_starts_over() {
        let mut waits = Waits::new(None);
        let mut next = || {
            let wait = waits.next(&GROWING, None);
            waits.grow();
            wait
        };
        assert_eq!([next(), next(), next(), next(), next()], [1_000, 2_000, 4_000, 5_000, 5_000]);
        (0..100).for_each(|_| _ = next());
        assert_eq!(next(), 5_000);
        waits.start_over();
        assert_eq!(waits.next(&GROWING, None), 1_000);
    }

    #[test]
    fn what_the_dependency_asked_for_only_lengthens_the_wait() {
        let mut waits = Waits::new(None);
        assert_eq!(waits.next(&GROWING, Some(900)), 1_000);
        assert_eq!(waits.next(&GROWING, Some(9_000)), 9_000);
    }

    #[test]
    fn jitter_only_adds_and_at_most_its_share() {
        let jittered = |seed| {
            let mut waits = Waits::new(Some(seed));
            (0..1000).map(|_| waits.next(&RecoveryRule { wait_jitter: 0.5, ..GROWING }, None)).collect::<Vec<_>>()
        };
        let waits = jittered(7);
        assert!(waits.iter().all(|wait| (1_000..=1_500).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < 1_050) && waits.iter().any(|wait| *wait > 1_450));
        assert_eq!(waits, jittered(7));
        assert_ne!(waits, jittered(8));
    }
}
