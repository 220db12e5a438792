//! The state that only transitions and half-open circuits need.

use super::{
    Nanos, Transition, TransitionReason,
    call::LeaseId,
    circuit::state,
    history::History,
    packed_state::{Generation, PackedState, Phase},
    probes::Probes,
    shared_settings::RecoveryRule,
    wait::Waits,
};

/// The state that only transitions and half-open circuits need. Never locked while foreign code runs.
#[derive(Debug)]
pub(super) struct Recovery {
    /// The whole generation number. The word has its lower bits.
    pub(super) generation: u64,
    pub(super) probes: Probes,
    /// The step of the ramp, from 0 on.
    pub(super) step: usize,
    pub(super) waits: Waits,
    /// The number of transitions so far.
    transitions: u64,
    history: Option<Box<History>>,
}

impl Recovery {
    pub(super) fn new(seed: Option<u64>) -> Self {
        Self { generation: 0, probes: Probes::new(), step: 0, waits: Waits::new(seed), transitions: 0, history: None }
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) const fn probes(&self) -> &Probes {
        &self.probes
    }

    /// When a circuit that opens now admits its first probe.
    pub(super) fn opened_until(&mut self, now: Nanos, rule: &RecoveryRule, asked: Option<Nanos>) -> Nanos {
        now.saturating_add(self.waits.next(rule, asked))
    }

    /// Numbers a change of state. Under the lock, so that the numbers are in the order of the changes.
    pub(super) fn transition(&mut self, before: PackedState, to: Phase, reason: TransitionReason) -> Transition {
        let (from, to, mode) = (state(before.phase()), state(to), before.mode());
        let change = u64::from(from != to);
        self.transitions += change;
        let transition = Transition { seq: self.transitions, from, to, mode, reason, generation: self.generation };
        if let Some(history) = self.history.as_mut().filter(|_| change > 0) {
            history.push(transition);
        }
        transition
    }

    pub(super) fn keep_history(&mut self) -> u64 {
        self.history.get_or_insert_default();
        self.transitions
    }

    pub(super) fn transition_after(&self, seq: u64) -> Option<Transition> {
        self.history.as_ref()?.after(seq)
    }

    pub(super) fn head_of_probe_is_good(&mut self, generation: Generation, lease: LeaseId) -> bool {
        self.generation_bits() == generation && self.probes.head_is_good(lease)
    }

    /// The circuit closes: the next wait is the first one again.
    pub(super) const fn forget(&mut self) {
        self.waits.start_over();
        self.probes.forget();
    }

    pub(super) const fn start_generation(&mut self) {
        self.generation += 1;
    }

    pub(super) const fn generation_bits(&self) -> Generation {
        Generation::from_bits(self.generation as u32)
    }
}
