//! Episodes of degradation: what a chain, or a part of a page, logs instead of a line for each degraded answer.
//!
//! | while | on | line |
//! |---|---|---|
//! | no episode runs | a degraded answer, or a request that nobody answered | [`Line::Began`] |
//! | an episode runs | the first request that nobody answered | [`Line::Exhausted`] |
//! | an episode runs | a call at least 1 min after it began, then 2, 4, … 32, 60, 60 … min after the last summary | [`Line::Continues`] |
//! | an episode runs | a call after a minute whose share is at least 5 % and 4 × the share at the last line | [`Line::Rose`] |
//! | an episode runs | a fresh answer at least `quiet` after the last degraded one | [`Line::Ended`] |
//!
//! `quiet` is 1 min. It doubles, up to 10 min, when an episode begins within 10 min of the last one's end. There are no
//! timers: calls find what is due.
//!
//! Everything is decided under a lock, which degraded answers take. A fresh answer takes it only when something is due:
//! it reads one atomic while no episode runs, and the clock while one does.
//!
//! Calls in a [shadow](backstop_core::scope#shadow-calls) don't count.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_core::{Name, Reason, scope};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
const SHORTEST_QUIET: Duration = MINUTE;
const LONGEST_QUIET: Duration = Duration::from_secs(10 * 60);
/// If an episode begins this soon after the last one's end, its `quiet` doubles.
const RELAPSE: Duration = Duration::from_secs(10 * 60);
const LONGEST_GAP: Duration = Duration::from_secs(60 * 60);
/// The minutes that [`Recent`] covers.
const RECENT_MINUTES: u32 = 5;
/// The lowest share whose rise is logged.
const LEAST_RISE: f64 = 0.05;
const RISE: f64 = 4.0;

/// Nothing is due, because no episode runs.
const NO_EPISODE: u64 = u64::MAX;

/// The primary hasn't answered in the episode.
const NO_ANSWER: u64 = u64::MAX;

/// The episodes of one chain or part.
#[derive(Debug)]
pub struct Episodes {
    origin: Instant,
    /// When the next line may be due, in nanoseconds since the origin. Written under the lock. A reader that sees an older
    /// value takes the lock once too often, or at the next answer.
    due: AtomicU64,
    /// Fresh answers since the lock was last held, while an episode runs.
    fresh: AtomicU64,
    /// When the primary last answered in the episode, in nanoseconds since the origin, or [`NO_ANSWER`].
    last_fresh: AtomicU64,
    state: Mutex<State>,
}

/// The running episode, for an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Current {
    /// All of it.
    pub summary: Summary,
    /// How long ago the last answer was degraded, or missing.
    pub last_degraded: Duration,
    /// Why the primary didn't answer then.
    pub last_reason: Reason,
    /// How long ago the primary answered, if it did.
    pub last_fresh: Option<Duration>,
    /// Its last minutes.
    pub recent: Recent,
}

/// The results of the calls in about the last five minutes of an episode.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recent {
    /// All calls.
    pub calls: u64,
    /// Calls that another provider than the primary answered.
    pub degraded: u64,
    /// Calls that no provider answered.
    pub exhausted: u64,
    /// The degraded answers, by provider.
    pub providers: Vec<(Name, u64)>,
}

/// What to log.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a line is to be logged"]
pub enum Line {
    /// An episode began.
    Began,
    /// It goes on.
    Continues(Summary),
    /// Its share of degraded answers has grown.
    Rose(Summary),
    /// For the first time in the episode, no provider answered.
    Exhausted,
    /// It ended, this long ago.
    Ended(Summary, Duration),
}

/// An episode so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// All calls.
    pub calls: u64,
    /// Calls that another provider than the primary answered.
    pub degraded: u64,
    /// Calls that no provider answered.
    pub exhausted: u64,
    /// The share of degraded and exhausted calls in the last minute that had any.
    pub last_minute: f64,
    /// How long ago it began.
    pub duration: Duration,
}

#[derive(Debug)]
struct State {
    quiet: Duration,
    ended: Option<Duration>,
    episode: Option<Episode>,
}

#[derive(Debug)]
struct Episode {
    began: Duration,
    last_degraded: Duration,
    last_reason: Reason,
    calls: u64,
    degraded: u64,
    exhausted: u64,
    minute: Minute,
    /// The minutes before it that [`Recent`] covers, with the time of their ends.
    past: VecDeque<(Duration, Recent)>,
    /// The last whole minute's share, now and at the last line.
    share: f64,
    share_at_line: Option<f64>,
    next_summary: Duration,
    gap: Duration,
}

#[derive(Debug)]
struct Minute {
    began: Duration,
    answers: Recent,
}

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call<'a> {
    /// This provider answered.
    Degraded(&'a Name),
    Exhausted,
}

impl Episodes {
    /// No episode runs.
    #[must_use]
    pub fn new() -> Self {
        let state = State { quiet: SHORTEST_QUIET, ended: None, episode: None };
        Self {
            origin: Instant::now(),
            due: AtomicU64::new(NO_EPISODE),
            fresh: AtomicU64::new(0),
            last_fresh: AtomicU64::new(NO_ANSWER),
            state: Mutex::new(state),
        }
    }

    /// Counts a fresh answer.
    #[inline]
    pub fn fresh(&self) -> Option<Line> {
        if self.due.load(Relaxed) == NO_EPISODE { None } else { self.fresh_in_episode() }
    }

    #[cold]
    fn fresh_in_episode(&self) -> Option<Line> {
        if scope::is_shadow() {
            return None;
        }
        self.fresh.fetch_add(1, Relaxed);
        let now = self.origin.elapsed();
        self.last_fresh.store(nanos(now), Relaxed);
        if nanos(now) < self.due.load(Relaxed) {
            return None;
        }
        self.decide(|state| state.fresh(now))
    }

    /// Counts an answer of `provider`. `reason` is why the primary didn't answer.
    pub fn degraded(&self, provider: &Name, reason: Reason) -> Option<Line> {
        self.failed(Call::Degraded(provider), reason)
    }

    /// Counts a call that no provider answered.
    pub fn exhausted(&self, reason: Reason) -> Option<Line> {
        self.failed(Call::Exhausted, reason)
    }

    fn failed(&self, call: Call<'_>, reason: Reason) -> Option<Line> {
        if scope::is_shadow() {
            return None;
        }
        let now = self.origin.elapsed();
        let line = self.decide(|state| state.failed(call, reason, now));
        if line == Some(Line::Began) {
            self.last_fresh.store(NO_ANSWER, Relaxed);
        }
        line
    }

    /// The running episode.
    #[must_use]
    pub fn current(&self) -> Option<Current> {
        let now = self.origin.elapsed();
        let mut state = self.lock();
        state.add_fresh(self.fresh.swap(0, Relaxed));
        let episode = state.episode.as_ref()?;
        let last_fresh = Some(self.last_fresh.load(Relaxed)).filter(|at| *at != NO_ANSWER).map(Duration::from_nanos);
        Some(Current {
            summary: episode.summary(now),
            last_degraded: now.saturating_sub(episode.last_degraded),
            last_reason: episode.last_reason,
            last_fresh: last_fresh.map(|at| now.saturating_sub(at)),
            recent: episode.recent(now),
        })
    }

    fn decide(&self, f: impl FnOnce(&mut State) -> Option<Line>) -> Option<Line> {
        let mut state = self.lock();
        state.add_fresh(self.fresh.swap(0, Relaxed));
        let line = f(&mut state);
        self.due.store(state.due().map_or(NO_EPISODE, nanos), Relaxed);
        line
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Episodes {
    fn default() -> Self {
        Self::new()
    }
}

/// More than 584 years count as 584.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NO_EPISODE - 1)
}

impl State {
    fn add_fresh(&mut self, fresh: u64) {
        if let Some(episode) = &mut self.episode {
            episode.calls += fresh;
            episode.minute.answers.calls += fresh;
        }
    }

    /// When a fresh answer has to take the lock again.
    fn due(&self) -> Option<Duration> {
        let episode = self.episode.as_ref()?;
        Some((episode.minute.began + MINUTE).min(episode.last_degraded + self.quiet))
    }

    /// Handles a fresh answer, which was already counted.
    fn fresh(&mut self, now: Duration) -> Option<Line> {
        let episode = self.episode.as_mut()?;
        if now < episode.last_degraded + self.quiet {
            return episode.minute_line(now);
        }
        // The calls of the quiet time are counted, but the episode lasted only until the last degraded answer.
        let summary = episode.summary(episode.last_degraded);
        let quiet = now.saturating_sub(episode.last_degraded);
        self.episode = None;
        self.ended = Some(now);
        Some(Line::Ended(summary, quiet))
    }

    fn failed(&mut self, call: Call<'_>, reason: Reason, now: Duration) -> Option<Line> {
        let Some(episode) = &mut self.episode else {
            let is_relapse = self.ended.is_some_and(|ended| now < ended + RELAPSE);
            self.quiet = if is_relapse { LONGEST_QUIET.min(self.quiet * 2) } else { SHORTEST_QUIET };
            self.episode.insert(Episode::new(now, reason)).count(call, reason, now);
            return Some(Line::Began);
        };
        // The minute that has passed doesn't include this call.
        let line = episode.minute_line(now);
        episode.count(call, reason, now);
        if call == Call::Exhausted && episode.exhausted == 1 { Some(Line::Exhausted) } else { line }
    }
}

impl Episode {
    const fn new(now: Duration, reason: Reason) -> Self {
        Self {
            began: now,
            last_degraded: now,
            last_reason: reason,
            calls: 0,
            degraded: 0,
            exhausted: 0,
            minute: Minute::new(now),
            past: VecDeque::new(),
            share: 0.0,
            share_at_line: None,
            next_summary: now.saturating_add(MINUTE),
            gap: MINUTE,
        }
    }

    fn count(&mut self, call: Call<'_>, reason: Reason, now: Duration) {
        self.last_degraded = now;
        self.last_reason = reason;
        self.calls += 1;
        let answers = &mut self.minute.answers;
        answers.calls += 1;
        match call {
            Call::Degraded(provider) => {
                self.degraded += 1;
                answers.count_degraded(provider, 1);
            }
            Call::Exhausted => {
                self.exhausted += 1;
                answers.exhausted += 1;
            }
        }
    }

    fn recent(&self, now: Duration) -> Recent {
        let since = now.saturating_sub(MINUTE * RECENT_MINUTES);
        let past = self.past.iter().filter(|(ended, _)| *ended > since).map(|(_, answers)| answers);
        let mut recent = Recent::default();
        past.chain([&self.minute.answers]).for_each(|answers| recent.add(answers));
        recent
    }

    /// The line that is due, if a whole minute has passed.
    fn minute_line(&mut self, now: Duration) -> Option<Line> {
        if now < self.minute.began + MINUTE {
            return None;
        }
        let Minute { answers, .. } = mem::replace(&mut self.minute, Minute::new(now));
        if answers.calls > 0 {
            self.share = (answers.degraded + answers.exhausted) as f64 / answers.calls as f64;
        }
        self.past.push_back((now, answers));
        if self.past.len() as u32 >= RECENT_MINUTES {
            self.past.pop_front();
        }
        let rose = self.share_at_line.is_some_and(|before| self.share >= LEAST_RISE && self.share >= RISE * before);
        let is_due = now >= self.next_summary;
        if is_due {
            self.gap = LONGEST_GAP.min(self.gap * 2);
            self.next_summary = now + self.gap;
        }
        if !rose && !is_due {
            return None;
        }
        self.share_at_line = Some(self.share);
        let summary = self.summary(now);
        Some(if rose { Line::Rose(summary) } else { Line::Continues(summary) })
    }

    fn summary(&self, now: Duration) -> Summary {
        let Self { calls, degraded, exhausted, .. } = *self;
        let duration = now.saturating_sub(self.began);
        Summary { calls, degraded, exhausted, last_minute: self.share, duration }
    }
}

impl Minute {
    const fn new(now: Duration) -> Self {
        Self { began: now, answers: Recent { calls: 0, degraded: 0, exhausted: 0, providers: Vec::new() } }
    }
}

impl Recent {
    fn count_degraded(&mut self, provider: &Name, answers: u64) {
        self.degraded += answers;
        match self.providers.iter_mut().find(|(name, _)| name == provider) {
            Some((_, count)) => *count += answers,
            None => self.providers.push((provider.clone(), answers)),
        }
    }

    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.exhausted += other.exhausted;
        for (provider, answers) in &other.providers {
            self.count_degraded(provider, *answers);
        }
    }
}

#[cfg(test)]
mod tests;
