//! The builder.

use std::{fmt, marker::PhantomData, time::Duration};

use backstop_core::{ConfigError, HttpReject, RejectAsError, RejectWith, Rejection};

use crate::{BulkheadConfig, BulkheadLayer, UntilBodyEnd, UntilHeaders, until::sealed::Marker};

/// Builds a [`BulkheadLayer`]: see [`BulkheadLayer::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct BulkheadBuilder<J = HttpReject, O = UntilBodyEnd> {
    config: BulkheadConfig,
    reject: J,
    until: PhantomData<fn() -> O>,
}

impl BulkheadBuilder {
    pub(crate) fn new(config: BulkheadConfig) -> Self {
        Self { config, reject: HttpReject::default(), until: PhantomData }
    }
}

impl<J, O> BulkheadBuilder<J, O> {
    /// How many calls run at most: 1 to 1,000,000, 100 unless set.
    ///
    /// What the dependency stands: the calls a second that it must answer, times the seconds that one takes (Little's
    /// law), and some more for the days when it is slow. The default is what RFC 9113 (§6.5.2) recommends that a server
    /// allows at the least on one connection.
    pub const fn max_concurrent(mut self, calls: u32) -> Self {
        self.config.max_concurrent = calls;
        self
    }

    /// How many more wait at most: 0 to 1,000,000. As many as may run unless set.
    ///
    /// With as many waiting as running, the last in line waits about as long as one call takes. With 0 nobody waits.
    pub const fn max_waiting(mut self, calls: u32) -> Self {
        self.config.max_waiting = Some(calls);
        self
    }

    /// How long each of them waits at most: 1 ms to 24 h, 1 s unless set.
    ///
    /// By default what the timeout gives a call: by then all that ran when the wait began have ended. The deadline of
    /// the request bounds the wait as well.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.config.max_wait = Some(wait);
        self
    }

    /// How long a response body holds its call's permit at most, from the response head on: 1 ms to 24 h, 60 s unless
    /// set.
    ///
    /// Longer than the longest answer takes on the slowest line that you serve. The default is what nginx grants a client
    /// that doesn't read (`send_timeout`). At an edge, where strangers read the bodies, `max_concurrent` clients that don't
    /// read keep all others out for this long: choose [`until_headers`](Self::until_headers) there, or a short time.
    pub const fn max_hold(mut self, hold: Duration) -> Self {
        self.config.max_hold = Some(hold);
        self
    }

    /// Gives each permit back when the response head is there, instead of at the end of the body.
    ///
    /// For responses whose body can't be wrapped, for services that don't speak HTTP, for streams without an end, which
    /// would each hold a permit all the time, and for an edge, where clients read as slowly as they like. How many bodies are
    /// read at once is then not bounded.
    ///
    /// ```
    /// use backstop_bulkhead::BulkheadLayer;
    ///
    /// let bulkhead = BulkheadLayer::builder("events").max_concurrent(20).until_headers().build()?;
    /// # Ok::<(), backstop_bulkhead::ConfigError>(())
    /// ```
    pub fn until_headers(self) -> BulkheadBuilder<J, UntilHeaders> {
        BulkheadBuilder { config: self.config, reject: self.reject, until: PhantomData }
    }

    /// Rejects with the service's error, which implements `From<Rejection>`, as `BoxError` does.
    pub fn reject_as_error(self) -> BulkheadBuilder<RejectAsError, O> {
        BulkheadBuilder { config: self.config, reject: RejectAsError::new(), until: PhantomData }
    }

    /// Rejects with what `make` makes of the [`Rejection`]: a `Result` of the service's own types.
    pub fn reject_with<Res, E, F>(self, make: F) -> BulkheadBuilder<RejectWith<F>, O>
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        BulkheadBuilder { config: self.config, reject: RejectWith::new(make), until: PhantomData }
    }
}

impl<J, O: Marker> BulkheadBuilder<J, O> {
    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] for a name that is no [`Name`](crate::Name), for a value outside its range, for a `max_wait`
    /// where nobody may wait, and for a `max_hold` beside [`until_headers`](Self::until_headers).
    pub fn build(self) -> Result<BulkheadLayer<J, O>, ConfigError> {
        let (name, settings) = self.config.check(O::HOLDS_BODIES)?;
        Ok(BulkheadLayer::with(name, &settings, self.reject))
    }
}

impl<J, O> fmt::Debug for BulkheadBuilder<J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
