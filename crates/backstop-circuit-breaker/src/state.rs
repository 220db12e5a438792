//! The state machine. It doesn't depend on a runtime: it gets the time in nanoseconds, and reports transitions to an
//! [`Observer`].
//!
//! | from | on | to |
//! |---|---|---|
//! | closed | a failure, and [`SharedSettings`] and [`Windows`](windows::Windows) say so | open |
//! | open | a call, once the wait has passed | half-open; that call is a probe |
//! | half-open | successful probes reach the threshold | closed, nothing counted; or the [`ramp`], where there is one |
//! | half-open | a failed probe | open |
//! | half-open | a neutral probe, or a lease that expires | half-open, with one more free permit; see [`probes`] for callers who leave |
//! | half-open | a lease that expires after a good head, and a call | as a successful probe |
//! | ramp | a call that its share refuses, or a prober, once the step is over | the next step, counts kept; after the last one closed, nothing counted |
//! | ramp | a failure or a slow call, as in a closed circuit | open, the next and longer wait |
//! | any | `isolate` | isolated |
//! | any but closed | `close` | closed, nothing counted |
//! | any | `reset` | closed, nothing counted |
//! | closed, ramp | `reload`, with a window of another kind or size | the same, nothing counted |
//! | any other | `reload`, the same | unchanged; when it closes, it counts in the new window |
//! | isolated | another mode | isolated |
//! | any other | another mode | closed, nothing counted |
//! | any | `reload` of anything else | unchanged; a step of a ramp that has begun keeps its share and its end |
//!
//! Leases end with the half-open circuit: a ramp has none, and results of probes that are still running count nowhere.
//!
//! An observing circuit goes through the same transitions. It admits what it would refuse, and such a call has no result.
//!
//! Every transition starts a generation. An admission carries its generation, and its result counts only in that
//! generation.
//!
//! # Who writes what
//!
//! - The count and position of a closed circuit, or of a ramp: every call, by compare-and-swap on the
//!   [`PackedState`](packed_state::PackedState). A success that changes nothing writes nothing.
//! - The phase and the generation: only the holder of the lock of [`Recovery`](recovery_state::Recovery). So what is read
//!   under the lock stays true under it. The failure that trips takes the lock, too, but is still counted by the
//!   compare-and-swap that opens.
//! - The windows, and the deadline after which a refusal must check again: also under that lock. A result loads the windows
//!   once. If it finds new ones before their generation begins, it counts in the generation that is about to end. If it
//!   trips, it takes the lock first, and finds another generation under it.
//! - The step of a ramp: the holder of the lock, before the ramp's word is published, and again for each further step. Which
//!   call it admits: every call, by compare-and-swap on a word of its own.
//! - The [`SharedSettings`]: a reload, at any time. A setting applies from the next read on.
//!
//! A refusal reads only the word, the deadline and the clock. It must not combine a word with the deadline of another one. So
//! the deadline is zero before its word is published, and zero again when that word is replaced. Zero has always passed, and
//! sends the caller to the lock, where both are read again. If a slow reader combines an older word with a later deadline, the
//! circuit refuses at that time, too, so the refusal is right.

mod buckets;
mod call;
mod calls;
mod circuit;
mod closed;
mod count;
mod history;
mod packed_state;
mod probes;
mod ramp;
mod reading;
mod recovery;
mod recovery_state;
mod ring;
mod settings;
mod share;
mod shared_settings;
mod slow;
pub(crate) mod sync;
mod transition_state;
mod wait;
mod windows;

#[cfg(all(test, backstop_loom))]
mod interleavings;
#[cfg(all(test, not(backstop_loom)))]
mod tests;

use std::time::Duration;

use backstop_core::Verdict;

use crate::{
    CircuitState,
    transition::{Transition, TransitionReason},
};

pub(crate) use call::{Admission, AskedAhead, Counted, Finished, Refused, Turn};
pub(crate) use circuit::{Circuit, ErrorOf, Observer};
pub(crate) use packed_state::MAX_CALLS;
pub(crate) use settings::{MAX_STEPS, RampRule, Settings, SlowRate, Trip, WaitRule, WindowSize};
pub(crate) use share::Share;
pub(crate) use shared_settings::SharedSettings;

/// Nanoseconds since the caller's epoch.
pub(crate) type Nanos = u64;

pub(crate) fn nanos(duration: Duration) -> Nanos {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}
