//! Operators' flags, and how they are written in a store.
//!
//! ```text
//! disabled
//! who: ada
//! reason: the reviews API is down until noon
//! ```
//!
//! The first line is the state. Everything else may be left out. When the flag ends is the time to live of its key, so that no
//! two clocks need to agree. `removed` marks a flag that an operator has removed.

use std::{fmt::Write, str, time::Duration};

use backstop_core::{ConfigError, Reach};
use backstop_kit::{REASON_MAX, WHO_MAX, check_operator, is_printable};
use bytes::Bytes;
use tokio::time::Instant;

use crate::FeatureState;

/// The longest time that a feature may be forced on.
pub(crate) const FORCED_ON_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The clocks of a store and of an instance may differ by this much over a day.
pub(crate) const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);
/// The longest text of a flag in a store. Anything longer isn't a flag.
pub const FLAG_MAX_BYTES: usize = 1024;
/// The longest time of a flag that is set on one instance.
const HERE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const REMOVED: &str = "removed";

/// An operator's decision about a feature: see [`FeaturesHandle::set`](crate::FeaturesHandle::set).
///
/// While it lasts it decides alone: over the level, over components, and over errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    state: FeatureState,
    who: String,
    reason: String,
    expires: Option<Instant>,
    reach: Reach,
}

impl Flag {
    /// Who set it.
    #[must_use]
    pub fn who(&self) -> &str {
        &self.who
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The state that it forces.
    #[must_use]
    pub const fn state(&self) -> FeatureState {
        self.state
    }

    /// How long it still lasts. `None` until it is removed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.expires.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Which instances it reaches.
    #[must_use]
    pub const fn reach(&self) -> Reach {
        self.reach
    }

    pub(crate) const fn expires(&self) -> Option<Instant> {
        self.expires
    }

    pub(crate) fn has_expired(&self) -> bool {
        self.expires.is_some_and(|at| at <= Instant::now())
    }

    /// Reads what is in a store. `ttl` is what is left of the key's time to live.
    pub(crate) fn parse(text: &[u8], ttl: Option<Duration>) -> Result<StoredFlag, Malformed> {
        if text.len() > FLAG_MAX_BYTES {
            return Err(Malformed("it is longer than a flag"));
        }
        let text = str::from_utf8(text).map_err(|_| Malformed("it isn't text"))?;
        let mut lines = text.lines();
        let state = match lines.next().map(str::trim) {
            Some("enabled") => FeatureState::Enabled,
            Some("degraded") => FeatureState::Degraded,
            Some("disabled") => FeatureState::Disabled,
            Some(REMOVED) => return Ok(StoredFlag::Removed),
            _ => return Err(Malformed("its first line is none of enabled, degraded, disabled, removed")),
        };
        if state == FeatureState::Enabled && ttl.is_none_or(|ttl| ttl > FORCED_ON_MAX + CLOCK_TOLERANCE) {
            return Err(Malformed("it forces the feature on, for more than 24 h"));
        }
        let (mut who, mut reason) = (String::new(), String::new());
        for line in lines {
            match line.split_once(':') {
                Some(("who", text)) => who = printable(text.trim(), WHO_MAX),
                Some(("reason", text)) => reason = printable(text.trim(), REASON_MAX),
                // Written by a later version.
                _ => {}
            }
        }
        // `None` if it overflows the clock: then it never ends.
        let expires = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        Ok(StoredFlag::Set(Self { state, who, reason, expires, reach: Reach::Fleet }))
    }

    /// Its text in a store.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut text = String::from(self.state.as_str());
        // Writing to a string can't fail.
        _ = write!(text, "\nwho: {}\nreason: {}\n", self.who, self.reason);
        text.into()
    }

    /// The text that marks a removed flag.
    pub(crate) const fn removed() -> Bytes {
        Bytes::from_static(REMOVED.as_bytes())
    }

    /// The same decision, whenever it ends.
    pub(crate) fn is_same_decision(&self, other: &Self) -> bool {
        (self.state, &self.who, &self.reason) == (other.state, &other.who, &other.reason)
    }
}

/// What a store holds of a feature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StoredFlag {
    Set(Flag),
    Removed,
}

/// Why bytes aren't a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// An operator's change: what, who, why, until when.
///
/// ```
/// use std::time::Duration;
/// use backstop_features::FlagChange;
///
/// let change = FlagChange::disable("ada", "the reviews API is down").until(Duration::from_secs(3_600));
/// # _ = change;
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is set"]
pub struct FlagChange {
    state: FeatureState,
    who: String,
    reason: String,
    until: Option<Duration>,
}

impl FlagChange {
    /// Forces the feature on, whatever the level and its errors. [`until`](Self::until) is required.
    pub fn enable(who: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(FeatureState::Enabled, who.into(), reason.into())
    }

    /// Degrades the feature.
    pub fn degrade(who: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(FeatureState::Degraded, who.into(), reason.into())
    }

    /// Turns the feature off.
    pub fn disable(who: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(FeatureState::Disabled, who.into(), reason.into())
    }

    /// Sets the feature to `state`.
    pub fn to(state: FeatureState, who: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(state, who.into(), reason.into())
    }

    const fn new(state: FeatureState, who: String, reason: String) -> Self {
        Self { state, who, reason, until: None }
    }

    /// How long the flag lasts: 1 s to 365 days, at most 24 h if it forces a feature on or is [set
    /// here](crate::FeaturesHandle::set_here). Until it is removed unless set.
    pub const fn until(mut self, time: Duration) -> Self {
        self.until = Some(time);
        self
    }

    pub(crate) const fn ttl(&self) -> Option<Duration> {
        self.until
    }

    /// The flag of this change, for all instances or for this one.
    pub(crate) fn check(self, reach: Reach) -> Result<Flag, ConfigError> {
        check_operator(&self.who, &self.reason)?;
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(365 * 24 * 60 * 60));
        match (self.state, self.until) {
            (FeatureState::Enabled, until) => {
                let allowed = "1 s to 24 h, because it forces a feature on";
                let Some(until) = until else { return Err(ConfigError::new("until", "none", allowed)) };
                ConfigError::check_range("until", until, least..=FORCED_ON_MAX, allowed)?;
            }
            (_, Some(until)) => {
                ConfigError::check_range("until", until, least..=most, "1 s to 365 days")?;
            }
            (_, None) => {}
        }
        let expires = self.until.and_then(|until| Instant::now().checked_add(until));
        Ok(Flag { state: self.state, who: self.who, reason: self.reason, expires, reach })
    }

    /// The flag of this change, for this instance alone. It must end by itself, because nobody else sees it.
    pub(crate) fn check_here(self) -> Result<Flag, ConfigError> {
        let allowed = "1 s to 24 h, because it is set on one instance";
        let Some(until) = self.until else { return Err(ConfigError::new("until", "none", allowed)) };
        ConfigError::check_range("until", until, ..=HERE_MAX, allowed)?;
        self.check(Reach::Instance)
    }
}

/// Cut to `most` bytes, without characters that aren't printable.
fn printable(text: &str, most: usize) -> String {
    let mut printable = String::new();
    for c in text.chars().filter(|c| is_printable(*c)) {
        if printable.len() + c.len_utf8() > most {
            break;
        }
        printable.push(c);
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn parsed(text: &str, ttl: Option<Duration>) -> Flag {
        match Flag::parse(text.as_bytes(), ttl) {
            Ok(StoredFlag::Set(flag)) => flag,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flag_is_read_as_it_was_written() {
        for state in FeatureState::ALL {
            let flag = FlagChange::to(state, "ada", "a: reason").until(HOUR).check(Reach::Fleet).unwrap();
            assert!(parsed(str::from_utf8(&flag.to_bytes()).unwrap(), Some(HOUR)).is_same_decision(&flag));
        }
        assert_eq!(Flag::parse(&Flag::removed(), None), Ok(StoredFlag::Removed));
    }

    #[test]
    fn one_word_by_hand_is_a_flag() {
        let flag = parsed("disabled", None);
        assert_eq!((flag.state(), flag.who(), flag.remaining()), (FeatureState::Disabled, "", None));
        assert_eq!(parsed(" degraded \r\n", None).state(), FeatureState::Degraded);
    }

    #[test]
    fn anything_else_is_no_flag() {
        for garbage in ["", "off", "Disabled", "disabledd", "{}", "\0", &"disabled\n".repeat(200)] {
            assert!(Flag::parse(garbage.as_bytes(), None).is_err(), "{garbage}");
        }
        assert!(Flag::parse(b"\xff\xfe", None).is_err());
        assert!(Flag::parse(b"enabled", None).is_err(), "forced on for ever");
        assert!(Flag::parse(b"enabled", Some(25 * HOUR)).is_err(), "forced on for too long");
    }

    #[test]
    fn what_a_store_says_cannot_break_a_line_of_the_log() {
        let flag = parsed("disabled\nwho: a\tb\u{1b}[2J\nreason: x\u{7}\u{2028}\u{202e}y", None);
        assert_eq!((flag.who(), flag.reason()), ("ab[2J", "xy"));
    }

    #[test]
    fn a_change_needs_who_why_and_to_force_on_until() {
        assert_eq!(FlagChange::disable("", "why").check(Reach::Fleet).unwrap_err().field, "who");
        assert_eq!(FlagChange::disable("ada", " ").check(Reach::Fleet).unwrap_err().field, "reason");
        assert_eq!(FlagChange::disable("ada", "two\nlines").check(Reach::Fleet).unwrap_err().field, "reason");
        for c in ['\u{2028}', '\u{202e}', '\u{2066}'] {
            assert_eq!(FlagChange::disable(format!("a{c}da"), "why").check(Reach::Fleet).unwrap_err().field, "who");
        }
        assert_eq!(FlagChange::enable("ada", "why").check(Reach::Fleet).unwrap_err().field, "until");
        assert_eq!(FlagChange::enable("ada", "why").until(25 * HOUR).check(Reach::Fleet).unwrap_err().field, "until");
        assert!(FlagChange::enable("ada", "why").until(24 * HOUR).check(Reach::Fleet).is_ok());
        assert!(FlagChange::disable("ada", "why").check(Reach::Fleet).is_ok());
    }
}
