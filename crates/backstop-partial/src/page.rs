//! A page, and what is missing from it.

use std::{borrow::Cow, iter};

use backstop_core::{Degradation, Freshness};

use crate::PartFailure;

#[cfg(feature = "axum")]
mod response;
#[cfg(feature = "serde")]
mod serialize;

/// The data of a page, and what is missing from it.
///
#[cfg_attr(feature = "serde", doc = "It is serialised as")]
#[cfg_attr(not(feature = "serde"), doc = "With the feature `serde` it is serialised as")]
/// `{data, degraded, partial_failure, warnings, failed_services: [{service, reason}]}`, and with the feature `axum` it is a
/// JSON response. To have these members beside those of your own struct, flatten it, or its
/// [status](Self::into_parts):
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_partial::{Aggregate, PageStatus, name, part};
///
/// #[derive(serde::Serialize)]
/// struct Dashboard {
///     orders: Vec<u32>,
///     #[serde(flatten)]
///     status: PageStatus,
/// }
///
/// # async fn recent_orders() -> Result<Vec<u32>, std::io::Error> { Ok(vec![7]) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dashboard = Aggregate::new(name!("dashboard"));
/// let page = dashboard.gather((part(name!("orders"), recent_orders()).or_default(),)).await?;
/// let ((orders,), status) = page.into_parts();
/// assert_eq!(
///     serde_json::to_string(&Dashboard { orders, status })?,
///     r#"{"orders":[7],"degraded":false,"partial_failure":false,"warnings":[],"failed_services":[]}"#
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Page<T> {
    data: T,
    status: PageStatus,
}

/// What is missing from a [`Page`].
#[derive(Clone, Debug, Default)]
pub struct PageStatus {
    pub(crate) degradations: Vec<Degradation>,
    pub(crate) warnings: Vec<Cow<'static, str>>,
    pub(crate) failures: Vec<PartFailure>,
    /// What is serialised of each failure's error. Empty unless asked for.
    explanations: Vec<Option<String>>,
}

impl<T> Page<T> {
    pub(crate) const fn new(data: T, status: PageStatus) -> Self {
        Self { data, status }
    }

    /// The data.
    #[must_use]
    pub const fn data(&self) -> &T {
        &self.data
    }

    /// What is missing.
    #[must_use]
    pub const fn status(&self) -> &PageStatus {
        &self.status
    }

    /// The data. The page's labels stay in the scope of the request.
    pub fn into_data(self) -> T {
        self.data
    }

    /// The data, and what is missing from it.
    pub fn into_parts(self) -> (T, PageStatus) {
        (self.data, self.status)
    }

    /// The page with other data.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Page<U> {
        Page { data: f(self.data), status: self.status }
    }

    /// Adds to each failed service what `text` returns, as the member `error`.
    ///
    /// **Text of errors may hold secrets**, and tells attackers about your insides. Do it only where callers are your own.
    ///
    /// ```
    /// # use backstop_partial::{Aggregate, name, part};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dashboard = Aggregate::new(name!("dashboard"));
    /// # let page = dashboard.gather((part(name!("orders"), async { Ok::<_, String>(()) }).or_default(),)).await?;
    /// let page = page.explain(|failure| failure.error.clone());
    /// # _ = page;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn explain(mut self, text: impl FnMut(&PartFailure) -> Option<String>) -> Self {
        self.status.explanations = self.status.failures.iter().map(text).collect();
        self
    }
}

impl PageStatus {
    /// Whether anything isn't as fresh or as complete as it should be: a part was replaced or left out, or has a stored copy.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.freshness() > Freshness::Fresh
    }

    /// Whether a part was replaced or left out.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        !self.failures.is_empty()
    }

    /// The worst freshness of all parts, now.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.degradations.iter().map(Degradation::current_freshness).max().unwrap_or(Freshness::Fresh)
    }

    /// The [warnings](crate::Part::warn) of the parts that failed.
    #[must_use]
    pub fn warnings(&self) -> &[Cow<'static, str>] {
        &self.warnings
    }

    /// The parts that were replaced or left out, and why.
    #[must_use]
    pub fn failures(&self) -> &[PartFailure] {
        &self.failures
    }

    /// The labels of the page, as its scope has them.
    #[must_use]
    pub fn degradations(&self) -> &[Degradation] {
        &self.degradations
    }

    /// Each failure, with what [`Page::explain`] said of it.
    #[cfg_attr(not(feature = "serde"), expect(dead_code, reason = "only serialised"))]
    fn explained(&self) -> impl Iterator<Item = (&PartFailure, Option<&str>)> {
        let explanations = self.explanations.iter().map(Option::as_deref).chain(iter::repeat(None));
        self.failures.iter().zip(explanations)
    }
}
