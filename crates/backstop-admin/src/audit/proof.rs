//! When the service was seen to work without a dependency.
#![expect(clippy::disallowed_types, reason = "operators read the time of day")]

use std::time::{Duration, SystemTime};

/// That the service was seen to work.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    at: SystemTime,
    by: String,
}

impl Proof {
    pub(crate) fn now(by: String) -> Self {
        Self { at: SystemTime::now(), by }
    }

    /// By what, and how long ago.
    pub(crate) fn text(&self) -> String {
        let ago = SystemTime::now().duration_since(self.at).unwrap_or_default();
        format!("{}, {} ago", self.by, rounded(ago))
    }
}

/// How long ago a Unix time was.
pub(crate) fn ago(unix: Duration) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    rounded(now.saturating_sub(unix))
}

/// In its greatest unit.
fn rounded(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_its_greatest_unit() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7_199, "1 h"), (86_400, "1 d"), (864_001, "10 d")]
        {
            assert_eq!(rounded(Duration::from_secs(seconds)), text);
        }
    }
}
