//! How many of the requests may be repeated.

use std::{fmt, sync::Arc};

use backstop_core::ConfigError;

mod account;
#[cfg(all(test, backstop_loom))]
mod interleavings;
#[cfg(all(test, not(backstop_loom)))]
mod tests;

use account::{Account, Ratio};

const DEFAULT_RATIO: Ratio = Ratio { paid: 1, retry: 5 };
const DEFAULT_RESERVE: u32 = 10;

/// How many seconds of the reserve are saved up, unless it is said otherwise.
const SECONDS_SAVED: u32 = 20;
/// The least that is saved up, unless it is said otherwise: without any room nothing could be saved for a whole retry.
const LEAST_SAVED: u32 = 10;

const LARGEST_RATIO: f64 = 10.0;
const LARGEST: u32 = 1_000_000;

/// How many retries the requests pay for: a share of them, and a few per second.
///
/// For layers that send requests again: they [`deposit`](Self::deposit) for each request, and [`withdraw`](Self::withdraw)
/// before each further attempt, be it a retry or a hedge.
///
/// # Why
///
/// A number of attempts bounds what one request can cost, and says nothing of all of them together. While a dependency
/// works, 3 attempts cost nothing; when it fails under its load, they triple that load, and it can't come back. What tells
/// the two apart is not to be seen in any one request: it is the share of requests that need repeating. When it is small,
/// repeating helps and costs little. When it is large, repeating only adds to the trouble.
///
/// So every request pays a share of a retry into the budget, and every retry takes a whole one out. With a ratio of 20 %,
/// five requests pay for one retry: as long as no more than one in five needs one, all are made; in an outage the load on
/// the dependency is a fifth more than the demand, instead of three times as much. The reserve pays for the retries of
/// a service with so few requests that their shares don't add up.
///
/// In any time of *t* seconds at most *ratio · requests + reserve · t + burst* retries are made: the burst comes once, when
/// failures begin. Each further budget adds a reserve and a burst of its own, each further process has at least one.
/// 1,000 clients with a request per second each, a dependency that fails whatever it is asked for a minute, up to 3
/// attempts, simulated by `tests/it/storm.rs` of `backstop-retry`:
///
/// | calls of the dependency | while it fails | in its worst second | once 10 s have passed, in a second |
/// |---|---|---|---|
/// | without retries | 60,000 | 1,000 | 1,000 |
/// | without a budget | 179,800 | 3,029 | 3,000 |
/// | with this one's defaults | 72,786 | 1,400 | 1,210 |
/// | with ten of these, for 100 clients each | 79,990 | 2,800 | 1,300 |
///
/// Source: Finagle's `RetryBudget`, which has the same ratio and reserve; "Handling Overload", in Beyer et al., *Site
/// Reliability Engineering*, 2016, argues for a budget of each client.
///
/// # Sharing
///
/// Clones are one and the same budget. Give it to several layers where they call the same dependency: it is the dependency
/// that must bear the load.
///
/// ```
/// use backstop_kit::RetryBudget;
///
/// let reads = RetryBudget::builder().ratio(0.1).reserve_per_second(5).burst(1).build()?;
/// let writes = reads.clone();
/// assert!(reads.withdraw());
/// assert!(!writes.withdraw());
/// # Ok::<(), backstop_core::ConfigError>(())
/// ```
///
/// # Exactly
///
/// | | |
/// |---|---|
/// | pays in | each request that the layer could repeat, once, when it is sent: not its retries, and not those that no retry may send again |
/// | takes out | each retry, when it is decided on. It isn't given back where the caller leaves during the wait |
/// | begins | full, with [`burst`](RetryBudgetBuilder::burst) retries |
/// | saves | up to `burst`, however long nothing fails |
/// | when empty | the answer at hand is returned, as when the attempts have run out. Nothing is kept of the requests that are sent meanwhile, until enough has been paid in or the reserve has grown enough |
///
/// # Cost
///
/// A request adds to one atomic number. The clock is read only where a retry asks, and where a request is sent while the
/// budget is empty. Nothing is locked, and nothing is done for time that has passed: an hour and a week of idleness cost
/// the same subtraction. No rounding adds up, and threads that race for the last retry don't get two.
#[derive(Clone)]
pub struct RetryBudget {
    account: Arc<Account>,
}

impl RetryBudget {
    /// Builds a budget.
    ///
    /// ```
    /// use backstop_kit::RetryBudget;
    ///
    /// let error = RetryBudget::builder().ratio(f64::NAN).build().unwrap_err();
    /// assert_eq!(error.to_string(), "ratio is NaN, allowed is: 0 to 10");
    /// ```
    pub const fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder { ratio: None, reserve: DEFAULT_RESERVE, burst: None }
    }

    fn of(ratio: Ratio, reserve: u32, burst: u32) -> Self {
        let account = Account::new(ratio, reserve, burst);
        Self { account: Arc::new(account) }
    }

    /// How many retries could be made now.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.account.available(self.account.age())
    }

    /// A request pays its share. To be done once for each request that the layer could send again, when it is sent.
    #[inline]
    pub fn deposit(&self) {
        self.account.deposit();
    }

    /// Whether a request that is sent now can't pay for a retry with its own share. The clock is read only while a request
    /// before it found none left.
    ///
    /// For layers that then keep nothing of the request.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.account.is_empty() && (self.account.reserve == 0 || self.account.is_empty_at(self.account.age()))
    }

    /// Takes a retry out, if there is a whole one. If not, the request must not be sent again.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        self.account.withdraw(self.account.age())
    }

    /// Gives back a retry that was [withdrawn](Self::withdraw) and couldn't be made.
    ///
    /// One that wasn't withdrawn counts as one saved, where there is room: a budget never holds more than
    /// [`burst`](RetryBudgetBuilder::burst).
    pub fn give_back(&self) {
        self.account.give_back();
    }
}

impl Default for RetryBudget {
    /// 20 % of the requests, 10 retries a second, and up to 200 saved.
    fn default() -> Self {
        Self::of(DEFAULT_RATIO, DEFAULT_RESERVE, default_burst(DEFAULT_RESERVE))
    }
}

/// Whether both are one and the same budget.
impl PartialEq for RetryBudget {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.account, &other.account)
    }
}

impl Eq for RetryBudget {}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { ratio, reserve, burst, .. } = &*self.account;
        f.debug_struct("RetryBudget")
            .field("ratio", &(f64::from(ratio.paid) / f64::from(ratio.retry)))
            .field("reserve_per_second", reserve)
            .field("burst", burst)
            .field("available", &self.available())
            .finish()
    }
}

/// Builds a [`RetryBudget`]: see [`RetryBudget::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RetryBudgetBuilder {
    ratio: Option<f64>,
    reserve: u32,
    burst: Option<u32>,
}

impl RetryBudgetBuilder {
    /// The share of a retry that each request pays for: 0.2 unless set, 0 to 10.
    ///
    /// A fraction with a denominator of up to 10,000 is exact: with `2.0 / 3.0` three requests pay for two retries. Another
    /// number is taken for the nearest such fraction.
    pub const fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = Some(ratio);
        self
    }

    /// How many retries a second may be made beside that: 10 unless set, up to 1,000,000.
    pub const fn reserve_per_second(mut self, retries: u32) -> Self {
        self.reserve = retries;
        self
    }

    /// The most retries that are saved up, and what the budget begins with: 1 to 1,000,000. The reserve of 20 s unless set,
    /// and at least 10.
    ///
    /// So many retries more than the ratio and the reserve allow may be made when failures begin.
    pub const fn burst(mut self, retries: u32) -> Self {
        self.burst = Some(retries);
        self
    }

    /// The budget.
    ///
    /// # Errors
    /// [`ConfigError`] names the knob whose value isn't allowed.
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        let ratio = match self.ratio {
            Some(ratio) => Ratio::nearest(ConfigError::in_range("ratio", ratio, 0.0..=LARGEST_RATIO, "0 to 10")?),
            None => DEFAULT_RATIO,
        };
        let reserve = ConfigError::in_range("reserve_per_second", self.reserve, ..=LARGEST, "0 to 1000000")?;
        if ratio.paid == 0 && reserve == 0 {
            let allowed = "more than 0 where the ratio is 0 (for no retries, set max_attempts to 1)";
            return Err(ConfigError::new("reserve_per_second", reserve.to_string(), allowed));
        }
        let burst = self.burst.unwrap_or_else(|| default_burst(reserve));
        ConfigError::in_range("burst", burst, 1..=LARGEST, "1 to 1000000")?;
        Ok(RetryBudget::of(ratio, reserve, burst))
    }
}

fn default_burst(reserve: u32) -> u32 {
    reserve.saturating_mul(SECONDS_SAVED).clamp(LEAST_SAVED, LARGEST)
}
