//! The state machine, free of any runtime: time comes in as nanoseconds, transitions go out to an [`Observer`].
//!
//! | from | on | to |
//! |---|---|---|
//! | closed | a failure, and [`LiveSettings`] and [`Windows`] say so | open |
//! | open | a call, once the wait has passed | half-open; that call is a probe |
//! | half-open | as many successful probes as the threshold asks for | closed, nothing counted |
//! | half-open | a failed probe | open |
//! | half-open | a neutral probe, or a lease that expires | half-open, a permit is free again; see [`probes`] for callers who leave |
//! | half-open | a lease that expires after a good head, and a call | as a successful probe |
//! | any | `isolate` | isolated |
//! | any but closed | `close` | closed, nothing counted |
//! | any | `reset` | closed, nothing counted |
//! | closed | `reload`, with a window of another kind or size | closed, nothing counted |
//! | any other | `reload`, the same | unchanged; when it closes, it counts in the new window |
//! | any | `reload` of anything else | unchanged |
//!
//! Every transition starts a generation. An admission carries the generation that it was given in, and its result
//! counts in that generation or not at all.
//!
//! # Who may write what
//!
//! - A closed circuit's count and position: anybody, by compare-and-swap on the [`PackedState`]. A success that changes
//!   nothing writes nothing.
//! - The phase and the generation: only who holds the lock of [`Recovery`]. So what was read under it stays true under
//!   it. The failure that trips takes the lock too, but is still counted by the compare-and-swap that opens.
//! - The deadline, after which a refusal must ask again: under that lock as well. And which windows there are. A
//!   result looks for them once. If it finds new ones just before their generation begins, it counts in the one that is
//!   about to be forgotten; and if that trips, the lock comes first, and under it the generation is another one.
//! - The [`LiveSettings`]: anybody, at any time. Each counts from when it is next looked at.
//!
//! A refusal reads the word, the deadline and the clock, and nothing else. So that it never pairs a word with a
//! deadline that doesn't refuse for it, a deadline is zero before the word that it belongs to is published, and after
//! that word has gone: zero has always passed, and sends the caller to the lock, under which both are looked at again.
//! A deadline in the future that a slow reader pairs with an older word belongs to a later time of refusing, so that
//! the refusal is right all the same.

mod buckets;
mod call;
mod calls;
mod circuit;
mod closed;
mod history;
mod live_settings;
mod packed_state;
mod probes;
mod reading;
mod recovery;
mod recovery_state;
mod ring;
mod settings;
mod share;
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

pub(crate) use call::{Admission, Counted, Finished, Refused, Turn};
pub(crate) use circuit::{Circuit, ErrorOf, Observer};
pub(crate) use live_settings::LiveSettings;
pub(crate) use packed_state::MAX_CALLS;
pub(crate) use settings::{Settings, SlowRate, Trip, WaitRule, WindowSize};
pub(crate) use share::Share;

/// Nanoseconds since an epoch of the caller's.
pub(crate) type Nanos = u64;

pub(crate) fn nanos(duration: Duration) -> Nanos {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}
