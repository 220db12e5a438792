//! A limit to the retries of all requests together.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use backstop_core::ConfigError;

use crate::{Loaded, Reloadable};

mod account;
#[cfg(all(test, backstop_loom))]
mod interleavings;
#[cfg(all(test, not(backstop_loom)))]
mod tests;

use account::{Account, Ratio};

const DEFAULT_RATIO: Ratio = Ratio { paid: 1, retry: 5 };
const DEFAULT_RESERVE: u32 = 10;

/// How many seconds of the reserve are saved up by default.
const SECONDS_SAVED: u32 = 20;
/// The least that is saved up by default. Less than one retry could never pay for one.
const LEAST_SAVED: u32 = 10;

const LARGEST_RATIO: f64 = 10.0;
const LARGEST: u32 = 1_000_000;

/// Limits retries to a share of the requests, plus a few per second.
///
/// Layers that send requests again [`deposit`](Self::deposit) for each request, and [`withdraw`](Self::withdraw) before each
/// further attempt, whether it is a retry or a hedge.
///
/// # Why
///
/// A maximum number of attempts limits what one request can cost, but not what all of them cost together. While a dependency
/// works, 3 attempts cost nothing. When it fails under its load, they triple that load, and it can't recover. A single
/// request doesn't show which case it is. The share of requests that need a retry does: if it is small, retries help and
/// cost little; if it is large, they only add load.
///
/// So every request pays a share of a retry into the budget, and every retry takes a whole one out. With a ratio of 20 %,
/// five requests pay for one retry. As long as no more than one in five needs a retry, all retries are made. In an outage
/// the load on the dependency is 20 % above the demand, instead of 200 %. The reserve pays for retries where requests are
/// so rare that their shares don't add up.
///
/// In *t* seconds, at most *ratio · requests + reserve · t + burst* retries are made. The burst is spent once, when failures
/// begin. Each further budget has its own reserve and burst, and each process has its own budgets.
/// An example, simulated by `tests/it/storm.rs` of `backstop-retry`: 1,000 clients send a request per second each, with up to
/// 3 attempts, and for a minute the dependency fails every call:
///
/// | calls of the dependency | while it fails | in its worst second | once 10 s have passed, in a second |
/// |---|---|---|---|
/// | without retries | 60,000 | 1,000 | 1,000 |
/// | without a budget | 179,800 | 3,029 | 3,000 |
/// | with this one's defaults | 72,786 | 1,400 | 1,210 |
/// | with ten of these, for 100 clients each | 79,990 | 2,800 | 1,300 |
///
/// Source: Finagle's `RetryBudget`, which has the same ratio and reserve. "Handling Overload", in Beyer et al., *Site
/// Reliability Engineering*, 2016, argues for a budget per client.
///
/// # Sharing
///
/// Clones share one budget. Give it to all layers that call the same dependency, because they share its load.
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
/// | deposits | each request that the layer could repeat, once, when it is sent. Retries don't, and neither do requests that may not be sent again, nor calls of functions that no rule lets repeat |
/// | withdrawals | each retry, when it is decided on. If the caller leaves during the wait, it isn't given back |
/// | at the start | full, with [`burst`](RetryBudgetBuilder::burst) retries |
/// | maximum | `burst`, however long nothing fails |
/// | when empty | the last answer is returned, as if the attempts had run out. Until there is a retry again, requests aren't kept for copies |
///
/// # Cost
///
/// A request adds to one atomic number. The clock is read only for a retry, and for a request that is sent while the budget
/// is empty. There is no lock. The cost doesn't depend on how long the budget was idle. Rounding errors don't add up, and
/// threads that race for the last retry don't get two.
#[derive(Clone)]
pub struct RetryBudget {
    shared: Arc<Shared>,
}

struct Shared {
    account: Reloadable<Account>,
    /// Keeps reloads apart.
    reloading: Mutex<()>,
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
        let ratio = DEFAULT_RATIO.paid as f64 / DEFAULT_RATIO.retry as f64;
        RetryBudgetBuilder { config: RetryBudgetConfig { ratio, reserve_per_second: DEFAULT_RESERVE, burst: None } }
    }

    /// The budget that `config` describes.
    ///
    /// # Errors
    /// As [`RetryBudgetBuilder::build`].
    pub fn from_config(config: &RetryBudgetConfig) -> Result<Self, ConfigError> {
        Ok(Self::full(&config.check()?))
    }

    fn full(numbers: &Numbers) -> Self {
        let account = Reloadable::new(numbers.account(numbers.burst));
        Self { shared: Arc::new(Shared { account, reloading: Mutex::new(()) }) }
    }

    /// Changes the settings of this budget, which all clones share. It keeps the whole retries that are saved, up to the new
    /// burst.
    ///
    /// A share that is paid in the same moment may be lost.
    ///
    /// # Errors
    /// As [`RetryBudgetBuilder::build`]. Nothing changes then.
    pub fn reload(&self, config: &RetryBudgetConfig) -> Result<(), ConfigError> {
        let numbers = config.check()?;
        let _reloading = self.shared.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.account();
        let saved = old.withdraw_all(old.age());
        self.shared.account.replace(numbers.account(saved.min(numbers.burst)));
        Ok(())
    }

    #[inline]
    fn account(&self) -> Loaded<'_, Account> {
        self.shared.account.load()
    }

    /// How many retries are available now.
    #[must_use]
    pub fn available(&self) -> u32 {
        let account = self.account();
        account.available(account.age())
    }

    /// Adds a request's share. Call it once for each request that the layer could send again, when it is sent.
    #[inline]
    pub fn deposit(&self) {
        self.account().deposit();
    }

    /// Whether there is no whole retry left, even with one more deposit. A layer needn't keep a copy of the request then.
    ///
    /// The clock is read only after a withdrawal was refused.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let account = self.account();
        account.is_empty() && (account.reserve == 0 || account.is_empty_at(account.age()))
    }

    /// Takes a retry out. If it returns `false`, there is none, and the request must not be sent again.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        let account = self.account();
        account.withdraw(account.age())
    }

    /// Gives back a retry that was [withdrawn](Self::withdraw) but couldn't be made.
    ///
    /// The budget never holds more than [`burst`](RetryBudgetBuilder::burst), even if more is given back than withdrawn.
    pub fn give_back(&self) {
        self.account().give_back();
    }
}

impl Default for RetryBudget {
    /// 20 % of the requests, 10 retries a second, and up to 200 saved.
    fn default() -> Self {
        let (ratio, reserve, burst) = (DEFAULT_RATIO, DEFAULT_RESERVE, default_burst(DEFAULT_RESERVE));
        Self::full(&Numbers { ratio, reserve, burst })
    }
}

/// Whether both share one budget.
impl PartialEq for RetryBudget {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for RetryBudget {}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { ratio, reserve, burst, .. } = &*self.account();
        f.debug_struct("RetryBudget")
            .field("ratio", &(f64::from(ratio.paid) / f64::from(ratio.retry)))
            .field("reserve_per_second", reserve)
            .field("burst", burst)
            .field("available", &self.available())
            .finish()
    }
}

/// A budget as plain data, for [`RetryBudget::from_config`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct RetryBudgetConfig {
    /// See [`RetryBudgetBuilder::ratio`].
    pub ratio: f64,
    /// See [`RetryBudgetBuilder::reserve_per_second`].
    pub reserve_per_second: u32,
    /// See [`RetryBudgetBuilder::burst`]. If `None`: the reserve of 20 s, and at least 10.
    pub burst: Option<u32>,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        RetryBudget::builder().config
    }
}

impl RetryBudgetConfig {
    /// # Errors
    /// [`ConfigError`] names the field whose value isn't allowed.
    fn check(&self) -> Result<Numbers, ConfigError> {
        let ratio = Ratio::nearest(ConfigError::check_range("ratio", self.ratio, 0.0..=LARGEST_RATIO, "0 to 10")?);
        let reserve = self.reserve_per_second;
        ConfigError::check_range("reserve_per_second", reserve, ..=LARGEST, "0 to 1000000")?;
        if ratio.paid == 0 && reserve == 0 {
            let allowed = "more than 0 where the ratio is 0 (for no retries, set max_attempts to 1)";
            return Err(ConfigError::new("reserve_per_second", reserve.to_string(), allowed));
        }
        let burst = self.burst.unwrap_or_else(|| default_burst(reserve));
        ConfigError::check_range("burst", burst, 1..=LARGEST, "1 to 1000000")?;
        Ok(Numbers { ratio, reserve, burst })
    }
}

/// A checked configuration.
struct Numbers {
    ratio: Ratio,
    reserve: u32,
    burst: u32,
}

impl Numbers {
    fn account(&self, saved: u32) -> Account {
        Account::new(self.ratio, self.reserve, self.burst, saved)
    }
}

/// Builds a [`RetryBudget`]: see [`RetryBudget::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RetryBudgetBuilder {
    config: RetryBudgetConfig,
}

impl RetryBudgetBuilder {
    /// The share of a retry that each request pays for: 0.2 unless set, 0 to 10.
    ///
    /// A fraction with a denominator of up to 10,000 is exact: with `2.0 / 3.0` three requests pay for two retries. Any other
    /// number is rounded to the nearest such fraction.
    pub const fn ratio(mut self, ratio: f64) -> Self {
        self.config.ratio = ratio;
        self
    }

    /// How many retries per second are added, whatever the requests: 10 unless set, up to 1,000,000.
    pub const fn reserve_per_second(mut self, retries: u32) -> Self {
        self.config.reserve_per_second = retries;
        self
    }

    /// The most retries that are saved up, and how many the budget starts with: 1 to 1,000,000. Unless set, the reserve of
    /// 20 s, and at least 10.
    ///
    /// When failures begin, so many retries may be made beyond the ratio and the reserve.
    pub const fn burst(mut self, retries: u32) -> Self {
        self.config.burst = Some(retries);
        self
    }

    /// Builds the budget.
    ///
    /// # Errors
    /// [`ConfigError`] with the field whose value isn't allowed.
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        RetryBudget::from_config(&self.config)
    }
}

fn default_burst(reserve: u32) -> u32 {
    reserve.saturating_mul(SECONDS_SAVED).clamp(LEAST_SAVED, LARGEST)
}
