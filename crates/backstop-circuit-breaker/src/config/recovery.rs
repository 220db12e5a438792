//! How a circuit closes.

use std::{fmt, time::Duration};

use backstop_core::ConfigError;

use crate::state::{MAX_STEPS, RampRule, nanos};

const DEFAULT_EACH: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(60);
const SMALLEST: f64 = 0.000_001;
const LARGEST: f64 = 0.999_999;

/// How a circuit closes after its probes succeeded: at once, or by a ramp of growing shares.
///
/// ```
/// use std::time::Duration;
///
/// use backstop_circuit_breaker::{CircuitBreakerLayer, Recovery};
///
/// let recovery = Recovery::ramp([0.01, 0.05, 0.25, 0.5]).each(Duration::from_secs(5));
/// let breaker = CircuitBreakerLayer::builder("ml_service").recovery(recovery).build()?;
/// # Ok::<(), backstop_circuit_breaker::ConfigError>(())
/// ```
///
/// See [when to ramp](crate#recovering-by-a-ramp).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recovery {
    shares: [f64; MAX_STEPS],
    /// How many there are. More than fit are refused when the layer is built.
    steps: usize,
    each: Duration,
}

impl Recovery {
    /// Closes at once: the default.
    #[must_use]
    pub const fn at_once() -> Self {
        Self::ramp([])
    }

    /// Admits these shares of the calls, one step after another: 1 to 8 shares, each larger than the one before, 0.000001 to
    /// 0.999999.
    #[must_use]
    pub const fn ramp<const N: usize>(shares: [f64; N]) -> Self {
        Self::of(&shares)
    }

    /// How long a step lasts at least: 1 ms to 60 s, 5 s unless set.
    ///
    /// A step also lasts until 10 of the admitted calls have ended, but never longer than 60 s, looked at whenever the share
    /// refuses a call.
    #[must_use]
    pub const fn each(mut self, time: Duration) -> Self {
        self.each = time;
        self
    }

    pub(super) const fn of(all: &[f64]) -> Self {
        let mut shares = [0.0; MAX_STEPS];
        let mut step = 0;
        while step < all.len() && step < MAX_STEPS {
            shares[step] = all[step];
            step += 1;
        }
        Self { shares, steps: all.len(), each: DEFAULT_EACH }
    }

    pub(super) fn shares(&self) -> &[f64] {
        self.shares.get(..self.steps).unwrap_or(&self.shares)
    }

    pub(super) fn check(&self) -> Result<RampRule, ConfigError> {
        let shares = self.shares();
        let wrong = |value: String, allowed: &'static str| Err(ConfigError::new("recovery", value, allowed));
        if self.steps > MAX_STEPS {
            return wrong(format!("{} shares", self.steps), "at most 8 shares");
        }
        if let Some(share) = shares.iter().find(|share| !(SMALLEST..=LARGEST).contains(*share)) {
            return wrong(share.to_string(), "shares from 0.000001 to 0.999999");
        }
        if shares.windows(2).any(|pair| matches!(pair, [first, second] if first >= second)) {
            return wrong(format!("{shares:?}"), "shares that grow with each step");
        }
        let each = ConfigError::check_range("recovery", self.each, SHORTEST..=LONGEST, "1 ms to 60 s for each step")?;
        Ok(RampRule::new(shares, nanos(each)))
    }
}

/// [`at_once`](Self::at_once).
impl Default for Recovery {
    fn default() -> Self {
        Self::at_once()
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps == 0 { f.write_str("none") } else { write!(f, "{:?}, {:?} each", self.shares(), self.each) }
    }
}

/// In a file: `{ ramp = [0.01, 0.05, 0.25, 0.5], each = "5s" }`.
#[cfg(feature = "serde")]
mod file {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{DEFAULT_EACH, Duration, Recovery};

    #[derive(Deserialize, Serialize)]
    #[serde(default, deny_unknown_fields)]
    struct InFile {
        ramp: Vec<f64>,
        #[serde(with = "humantime_serde")]
        each: Duration,
    }

    impl Default for InFile {
        fn default() -> Self {
            Self { ramp: Vec::new(), each: DEFAULT_EACH }
        }
    }

    impl Serialize for Recovery {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            InFile { ramp: self.shares().to_vec(), each: self.each }.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Recovery {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let InFile { ramp, each } = InFile::deserialize(deserializer)?;
            Ok(Self::of(&ramp).each(each))
        }
    }
}
