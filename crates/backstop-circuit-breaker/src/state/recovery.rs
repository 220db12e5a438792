//! What only the holder of the lock may do: admitting probes, the steps of a ramp, closing the circuit, and operators'
//! changes.

use crate::CircuitMode;

use super::{
    CircuitState, Nanos, Settings, Transition, TransitionReason, Verdict,
    call::{Admission, Finished, LeaseId, Refused, Turn},
    circuit::{Circuit, Observer, refused},
    packed_state::{PackedState, Phase},
    probes::Caller,
    recovery_state::Recovery,
    shared_settings::RecoveryRule,
    sync::Ordering,
    windows::Windows,
};

/// A prober without a permit asks again after a part of the wait, within these bounds.
const SOONEST: Nanos = 1_000_000;
const LATEST: Nanos = 1_000_000_000;

impl<O: Observer> Circuit<O> {
    /// Reads everything again under the lock, because another caller may have taken the permit meanwhile. That probe may even
    /// have failed, and the next wait may have begun.
    pub(super) fn admit_locked(
        &self,
        now: Nanos,
        time_left: Option<Nanos>,
    ) -> (Result<Admission, Refused>, Option<Transition>) {
        let mut recovery = self.lock();
        let word = self.load();
        let rule = self.observer.settings().recovery();
        let wait = recovery.waits.latest();
        let mut transition = None;
        let tried_since = match word.phase() {
            Phase::Closed => return (Ok(Admission::new(word.generation(), None)), None),
            Phase::Forced => return (Err(refused(word, 0, now)), None),
            Phase::Open => {
                let deadline = self.deadline();
                if now < deadline {
                    return (Err(refused(word, deadline, now)), None);
                }
                deadline
            }
            Phase::Probing | Phase::Saturated => {
                transition = self.expire(&mut recovery, &rule, now);
                if transition.is_some() {
                    return (self.admit_recovered(now), transition);
                }
                recovery.probes.last_admitted()
            }
            Phase::Ramp => {
                transition = self.end_step(&mut recovery, &rule, now);
                return (self.admit_recovered(now), transition);
            }
        };
        if let Some(until) = recovery.probes.held_back_until(time_left, tried_since, wait)
            && now < until
        {
            if word.phase() != Phase::Open {
                self.publish_probes(&recovery, &rule);
            }
            return (Err(refused(word, until, now)), None);
        }
        if word.phase() == Phase::Open {
            recovery.probes.restart(tried_since);
            transition = Some(self.publish(&mut recovery, Phase::Probing, TransitionReason::WaitPassed));
        }
        let lease = self.lease(&mut recovery, &rule, Caller::Call { time_left }, now);
        (lease.ok_or_else(|| refused(self.load(), 0, now)), transition)
    }

    /// Admits a call to a circuit that is closed, or in a ramp.
    fn admit_recovered(&self, now: Nanos) -> Result<Admission, Refused> {
        let (word, ramp) = (self.load(), self.ramp());
        if word.is_closed() || ramp.admits() {
            Ok(Admission::new(word.generation(), None))
        } else {
            Err(refused(word, ramp.ends(), now))
        }
    }

    /// As [`admit_locked`](Self::admit_locked), for a prober. It supplies all successes except the last one. It supplies that
    /// one only if no call had a result for a whole wait, because a probe may demand less of the dependency than calls do.
    pub(super) fn turn_locked(&self, now: Nanos) -> (Turn, Option<Transition>) {
        let mut recovery = self.lock();
        let word = self.load();
        let rule = self.observer.settings().recovery();
        let wait = recovery.waits.latest();
        let soon = Turn::After((wait / 8).clamp(SOONEST, LATEST));
        let mut transition = None;
        let quiet_from = match word.phase() {
            Phase::Closed | Phase::Forced => return (Turn::Idle, None),
            Phase::Open => {
                let deadline = self.deadline();
                if now < deadline {
                    return (Turn::After(deadline - now), None);
                }
                Some(deadline.saturating_add(wait))
            }
            Phase::Probing | Phase::Saturated => {
                transition = self.expire(&mut recovery, &rule, now);
                if transition.is_some() {
                    return (Turn::Idle, transition);
                }
                recovery.probes.quiet_from(wait)
            }
            // It makes no call: without traffic, the time alone ends the steps.
            Phase::Ramp => {
                let transition = self.end_step(&mut recovery, &rule, now);
                let (ends, in_any_case) = (self.ramp().ends(), self.ramp().ends_in_any_case());
                let next = if now < ends { ends } else { in_any_case };
                let turn = if transition.is_some() { Turn::Idle } else { Turn::After(next.saturating_sub(now)) };
                return (turn, transition);
            }
        };
        let supplied = if word.phase() == Phase::Open { 0 } else { recovery.probes.supplied() };
        if supplied.saturating_add(1) >= rule.success_threshold && quiet_from.is_none_or(|from| now < from) {
            return (quiet_from.map_or(soon, |from| Turn::After(from.saturating_sub(now))), None);
        }
        if word.phase() == Phase::Open {
            recovery.probes.restart(self.deadline());
            transition = Some(self.publish(&mut recovery, Phase::Probing, TransitionReason::WaitPassed));
        }
        let turn = match self.lease(&mut recovery, &rule, Caller::Prober, now) {
            Some(mut admission) => {
                admission.counts_while_leased = true;
                Turn::Probe { admission, lease: rule.probe_lease }
            }
            None => soon,
        };
        (turn, transition)
    }

    /// Takes back expired leases, and ends the trial if there are enough successes now.
    fn expire(&self, recovery: &mut Recovery, rule: &RecoveryRule, now: Nanos) -> Option<Transition> {
        let enough = recovery.probes.expire(now) && recovery.probes.successes() >= rule.success_threshold;
        enough.then(|| self.probes_succeeded(recovery, rule, now))
    }

    /// Begins the ramp, or closes the circuit without one.
    fn probes_succeeded(&self, recovery: &mut Recovery, rule: &RecoveryRule, now: Nanos) -> Transition {
        recovery.step = 0;
        if self.ramp().begin(&rule.ramp, 0, recovery.generation_bits(), now) {
            self.publish(recovery, Phase::Ramp, TransitionReason::ProbesSucceeded)
        } else {
            self.close_locked(recovery, TransitionReason::ProbesSucceeded)
        }
    }

    /// Begins the next step of the ramp if this one is over, and closes the circuit after the last one.
    fn end_step(&self, recovery: &mut Recovery, rule: &RecoveryRule, now: Nanos) -> Option<Transition> {
        let generation = recovery.generation_bits();
        if !self.ramp().is_over(generation, now) {
            return None;
        }
        recovery.step += 1;
        let goes_on = self.ramp().begin(&rule.ramp, recovery.step, generation, now);
        (!goes_on).then(|| self.close_locked(recovery, TransitionReason::RampEnded))
    }

    fn lease(&self, recovery: &mut Recovery, rule: &RecoveryRule, caller: Caller, now: Nanos) -> Option<Admission> {
        let lease = recovery.probes.lease(caller, now, rule.probe_lease, rule.max_concurrent_probes);
        self.publish_probes(recovery, rule);
        lease.map(|_| Admission::new(recovery.generation_bits(), lease))
    }

    pub(super) fn end_probe(
        &self,
        admission: &Admission,
        lease: LeaseId,
        finished: Finished,
        now: Nanos,
    ) -> Option<Transition> {
        let mut recovery = self.lock();
        if recovery.generation_bits() != admission.generation {
            return None;
        }
        let wait = recovery.waits.latest();
        let was_out = recovery.probes.give_back(lease, &finished, now, wait);
        let rule = self.observer.settings().recovery();
        let failed = match finished {
            Finished { verdict: Verdict::Failure, .. } => Some(TransitionReason::ProbeFailed),
            Finished { verdict: Verdict::Success, slow: true, .. } => Some(TransitionReason::ProbeSlow),
            _ => None,
        };
        if let Some(reason) = failed {
            let transition = self.publish(&mut recovery, Phase::Open, reason);
            recovery.waits.grow();
            self.set_deadline(recovery.opened_until(now, &rule, finished.asked));
            return Some(transition);
        }
        match finished.verdict {
            // Already counted, when its lease expired.
            Verdict::Success if admission.counts_while_leased && !was_out => {}
            Verdict::Success if recovery.probes.succeeded() >= rule.success_threshold => {
                return Some(self.probes_succeeded(&mut recovery, &rule, now));
            }
            _ => {}
        }
        self.publish_probes(&recovery, &rule);
        None
    }

    /// Refuses every call from now on.
    pub(crate) fn isolate(&self) {
        let transition = {
            let mut recovery = self.lock();
            (self.load().phase() != Phase::Forced)
                .then(|| self.publish(&mut recovery, Phase::Forced, TransitionReason::Manual))
        };
        self.report(transition, &|| None);
    }

    /// Closes a circuit that isn't closed.
    pub(crate) fn close(&self) {
        let transition = {
            let mut recovery = self.lock();
            (!self.load().is_closed()).then(|| self.close_locked(&mut recovery, TransitionReason::Manual))
        };
        self.report(transition, &|| None);
    }

    /// Resets the circuit: closed, with nothing counted.
    pub(crate) fn reset(&self) {
        let transition = self.close_locked(&mut self.lock(), TransitionReason::Manual);
        self.report(Some(transition).filter(|transition| transition.from != CircuitState::Closed), &|| None);
    }

    /// Replaces windows if their kind or size has changed, and changes the mode. All other settings are
    /// [live](Observer::settings).
    pub(crate) fn reload(&self, settings: &Settings) {
        self.reload_windows(settings);
        self.set_mode(settings.mode);
    }

    /// Closes the circuit, with nothing counted, if it is in another mode. An operator's isolation stays.
    pub(crate) fn set_mode(&self, mode: CircuitMode) {
        if self.load().mode() == mode {
            return;
        }
        let transition = {
            let mut recovery = self.lock();
            let word = self.load();
            let phase = if word.phase() == Phase::Forced { Phase::Forced } else { Phase::Closed };
            (word.mode() != mode).then(|| {
                recovery.forget();
                self.publish_in(mode, &mut recovery, phase, TransitionReason::Manual)
            })
        };
        self.report(transition.filter(|transition| transition.from != transition.to), &|| None);
    }

    fn reload_windows(&self, settings: &Settings) {
        if self.windows().are_of(settings) && self.load().is_closed() {
            return;
        }
        let mut recovery = self.lock();
        let before = self.load();
        if !self.windows().are_of(settings) {
            self.replace_windows(Windows::new(settings, recovery.generation_bits()));
            // An open circuit starts a generation when it closes.
            if before.counts_results() {
                self.publish(&mut recovery, before.phase(), TransitionReason::Manual);
            }
        }
        if matches!(before.phase(), Phase::Probing | Phase::Saturated) {
            self.publish_probes(&recovery, &self.observer.settings().recovery());
        }
    }

    fn close_locked(&self, recovery: &mut Recovery, reason: TransitionReason) -> Transition {
        recovery.forget();
        self.publish(recovery, Phase::Closed, reason)
    }

    fn publish(&self, recovery: &mut Recovery, phase: Phase, reason: TransitionReason) -> Transition {
        self.publish_in(self.load().mode(), recovery, phase, reason)
    }

    /// Starts a generation. Unlike a trip, this can't fail, so the ring is renewed first.
    fn publish_in(
        &self,
        mode: CircuitMode,
        recovery: &mut Recovery,
        phase: Phase,
        reason: TransitionReason,
    ) -> Transition {
        self.set_deadline(0);
        recovery.start_generation();
        let (generation, windows) = (recovery.generation_bits(), self.windows());
        self.renew_ring(recovery);
        windows.renew(generation);
        let word = match phase {
            Phase::Closed => windows.first_word(phase, generation),
            Phase::Ramp => {
                self.ramp().renew(generation);
                windows.first_word(phase, generation)
            }
            _ => PackedState::new(phase, generation),
        };
        // Release: a thread that acquires this word sees the ring's tags, and the zero deadline or a later one.
        let before = PackedState::from_bits(self.word.swap(word.with_mode(mode).bits(), Ordering::AcqRel));
        recovery.transition(before.with_mode(mode), phase, reason)
    }

    /// Writes to the word whether a permit is left, within the same generation.
    fn publish_probes(&self, recovery: &Recovery, rule: &RecoveryRule) {
        let free_at = recovery.probes.free_at(rule.max_concurrent_probes);
        let phase = if free_at.is_some() { Phase::Saturated } else { Phase::Probing };
        self.set_deadline(0);
        // A plain store: only the holder of the lock writes the word of a half-open circuit.
        let word = PackedState::new(phase, recovery.generation_bits()).with_mode(self.load().mode());
        self.word.store(word.bits(), Ordering::Release);
        self.set_deadline(free_at.unwrap_or(0));
    }

    pub(super) fn renew_ring(&self, recovery: &Recovery) {
        if let Some(ring) = &self.windows().ring {
            ring.renew(recovery.generation, recovery.generation_bits());
        }
    }
}
