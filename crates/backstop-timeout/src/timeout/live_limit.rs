//! The limit of a layer, which its handle reloads while calls run.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::upload::LimitStart;

/// The limit and when it starts, in one word, so that a call sees both from before a reload or both from after it.
pub(crate) struct LiveLimit(AtomicU64);

/// The nanoseconds of a second, and a bit for the start.
const SECS_AT: u32 = 31;
const NANOS: u64 = (1 << 30) - 1;

impl LiveLimit {
    pub(crate) const fn new(limit: Duration, limit_start: LimitStart) -> Self {
        Self(AtomicU64::new(pack(limit, limit_start)))
    }

    #[inline]
    pub(crate) fn limit(&self) -> Duration {
        let bits = self.0.load(Relaxed);
        Duration::new(bits >> SECS_AT, (bits >> 1 & NANOS) as u32)
    }

    #[inline]
    pub(crate) fn get(&self) -> (Duration, LimitStart) {
        let bits = self.0.load(Relaxed);
        let limit_start = if bits & 1 == 1 { LimitStart::AfterUpload } else { LimitStart::WithCall };
        (Duration::new(bits >> SECS_AT, (bits >> 1 & NANOS) as u32), limit_start)
    }

    pub(crate) fn set(&self, limit: Duration, limit_start: LimitStart) {
        self.0.store(pack(limit, limit_start), Relaxed);
    }
}

/// A limit is 1 h at most.
const fn pack(limit: Duration, limit_start: LimitStart) -> u64 {
    let after_upload = matches!(limit_start, LimitStart::AfterUpload) as u64;
    limit.as_secs() << SECS_AT | (limit.subsec_nanos() as u64) << 1 | after_upload
}

impl fmt::Debug for LiveLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.limit(), f)
    }
}
