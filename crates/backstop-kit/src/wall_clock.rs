//! The time of what outlives a process.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Between two readings of the wall clock.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// Smaller steps of the wall clock are ignored, in ms.
const SMALL_STEP: i64 = 1_000;

/// Milliseconds since the Unix epoch, which go on evenly, for what outlives the process. Each minute, it follows steps of the wall
/// clock of a second or more: a process may start before its clock is set, or be suspended while the monotonic clock stands still.
#[derive(Debug)]
pub struct WallClock {
    start: Reading,
    since: Instant,
    step: Mutex<Step>,
}

#[derive(Debug)]
struct Step {
    by: i64,
    read: Instant,
}

/// What the clocks of the system show, in ms.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: u64,
    monotonic: u64,
}

impl Default for WallClock {
    /// Shows what the wall clock shows.
    fn default() -> Self {
        let now = Instant::now();
        Self { start: Reading::now(), since: now, step: Mutex::new(Step { by: 0, read: now }) }
    }
}

impl WallClock {
    /// The time, in milliseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        let mut step = self.step();
        if step.read.elapsed() >= READ_AGAIN {
            step.read_again(self.start);
        }
        (self.start.wall + self.since.elapsed().as_millis() as u64).saturating_add_signed(step.by)
    }

    /// Follows the wall clock now.
    pub fn read_again(&self) {
        self.step().read_again(self.start);
    }

    fn step(&self) -> MutexGuard<'_, Step> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Step {
    fn read_again(&mut self, start: Reading) {
        *self = Self { by: step_between(start, Reading::now()), read: Instant::now() };
    }
}

impl Reading {
    #[expect(clippy::disallowed_types, reason = "records outlive the process, and with it the monotonic clock")]
    fn now() -> Self {
        static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        let monotonic = FIRST.get_or_init(std::time::Instant::now).elapsed().as_millis() as u64;
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { wall: wall.as_millis() as u64, monotonic }
    }
}

/// By how much more the wall clock has moved than the monotonic one.
const fn step_between(start: Reading, now: Reading) -> i64 {
    let step = now.wall.wrapping_sub(start.wall).wrapping_sub(now.monotonic.wrapping_sub(start.monotonic)) as i64;
    if step.unsigned_abs() < SMALL_STEP as u64 { 0 } else { step }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_steps_of_the_wall_clock_in_both_directions() {
        let start = Reading { wall: 1_700_000_000_000, monotonic: 5_000 };
        for (moved, step) in [(60_000, 0), (60_999, 0), (59_001, 0), (3_660_000, 3_600_000), (-3_540_000, -3_600_000)] {
            let now = Reading { wall: start.wall.saturating_add_signed(moved), monotonic: 65_000 };
            assert_eq!(step_between(start, now), step);
        }
    }
}
