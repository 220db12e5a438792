//! What an operator asks for: which calls fail, how, and until when.

use std::{
    fmt,
    hash::{DefaultHasher, Hasher},
    time::Duration,
};

use backstop_core::ConfigError;
use backstop_kit::check_operator;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::{Fault, config::Settings};

const DEFAULT_UNTIL: Duration = Duration::from_secs(60);
const SHORTEST_UNTIL: Duration = Duration::from_secs(1);
const LONGEST_UNTIL: Duration = Duration::from_secs(15 * 60);

/// The number of a run. Each layer counts its runs from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub(crate) u64);

impl RunId {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which calls fail, how, and until when: for [`FaultHandle::start`](crate::FaultHandle::start).
///
/// A call is hit if it matches everything that is set here, with a probability of `share`.
///
/// ```
/// use std::time::Duration;
/// use backstop_fault::{Fault, FaultRun};
/// use http::{HeaderName, StatusCode};
///
/// let run = FaultRun::new(Fault::status(StatusCode::BAD_GATEWAY), 0.02, "ada", "game day: does the cache answer?")
///     .until(Duration::from_secs(300))
///     .path_prefix("/api/recommendations")
///     .by_principal(HeaderName::from_static("x-user-id"));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a run does nothing until it is started"]
pub struct FaultRun {
    pub(crate) fault: Fault,
    pub(crate) share: f64,
    pub(crate) until: Duration,
    pub(crate) seed: Option<u64>,
    pub(crate) who: String,
    pub(crate) reason: String,
    method: Option<Method>,
    path_prefix: Option<String>,
    header: Option<(HeaderName, HeaderValue)>,
    principal: Option<HeaderName>,
}

impl FaultRun {
    /// Makes a `share` of the calls fail, more than 0 and at most [`max_share`](crate::FaultBuilder::max_share), for 60 s.
    /// `who` starts it, and why: 1 to 128 and 1 to 512 bytes of printable text, which are logged.
    pub fn new(fault: impl Into<Fault>, share: f64, who: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            fault: fault.into(),
            share,
            until: DEFAULT_UNTIL,
            seed: None,
            who: who.into(),
            reason: reason.into(),
            method: None,
            path_prefix: None,
            header: None,
            principal: None,
        }
    }

    /// Ends it after this time, 1 s to 15 min. A run longer than 60 s needs [heartbeats](crate::FaultHandle::heartbeat).
    pub const fn until(mut self, time: Duration) -> Self {
        self.until = time;
        self
    }

    /// Repeats an earlier run: the same seed hits the same calls of a sequence, and the same principals, whatever else runs. Unless
    /// set, the seed is random; the [status](crate::FaultHandle::status) shows it.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Hits only requests with this method.
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Hits only requests whose path is `prefix`, or continues it with a `/`.
    pub fn path_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.path_prefix = Some(prefix.into());
        self
    }

    /// Hits only requests with this header field.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// Hits a share of the principals instead of a share of the calls: all calls of some, and no call of the others. A hash of this
    /// header field and the seed decides. Requests without the field aren't hit.
    ///
    /// If some principals call more often than others, a share of them may make more calls than that. After 100 calls, calls
    /// aren't hit while more of them were than [`max_share`](crate::FaultBuilder::max_share).
    pub fn by_principal(mut self, header: HeaderName) -> Self {
        self.principal = Some(header);
        self
    }

    pub(crate) fn check(&self, settings: &Settings) -> Result<(), ConfigError> {
        let max_share = settings.max_share;
        check_operator(&self.who, &self.reason)?;
        self.fault.check()?;
        ConfigError::check_range("until", self.until, SHORTEST_UNTIL..=LONGEST_UNTIL, "1 s to 15 min")?;
        if !(self.share > 0.0 && self.share <= max_share) {
            return Err(ConfigError::new("share", self.share.to_string(), format!("more than 0, up to {max_share}")));
        }
        if let Some(method) = self.method.as_ref().filter(|method| !settings.may_hit_method(method)) {
            let allowed = "a safe method, in a layer that wasn't built with `allow_unsafe_methods`";
            return Err(ConfigError::new("method", method.to_string(), allowed));
        }
        if let Some(method) = self.method.as_ref().filter(|method| !self.fault.can_hit(method)) {
            return Err(ConfigError::new("method", method.to_string(), "a method whose answers have bodies"));
        }
        let Some(prefix) = &self.path_prefix else { return Ok(()) };
        if !prefix.starts_with('/') || !settings.may_hit_path(prefix) {
            let allowed = "a path that begins with /, and isn't below one that is never hit";
            return Err(ConfigError::new("path_prefix", prefix.clone(), allowed));
        }
        Ok(())
    }

    /// Whether a call may be hit. A call that isn't an HTTP request matches a run that says nothing of requests.
    pub(crate) fn matches(&self, request: Option<&RequestView<'_>>) -> bool {
        let Some(request) = request else {
            return (&self.method, &self.path_prefix, &self.header, &self.principal) == (&None, &None, &None, &None);
        };
        self.fault.can_hit(request.method)
            && self.method.as_ref().is_none_or(|method| method == request.method)
            && self.path_prefix.as_ref().is_none_or(|prefix| is_below(request.path, prefix))
            && self
                .header
                .as_ref()
                .is_none_or(|(name, value)| request.headers.get_all(name).iter().any(|it| it == value))
            && self.principal.as_ref().is_none_or(|header| request.headers.contains_key(header))
    }

    pub(crate) const fn is_by_principal(&self) -> bool {
        self.principal.is_some()
    }

    /// The draw of the request's principal, if principals are drawn.
    pub(crate) fn principal_draw(&self, seed: u64, request: Option<&RequestView<'_>>) -> Option<u64> {
        let principal = request?.headers.get(self.principal.as_ref()?)?;
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        hasher.write(principal.as_bytes());
        Some(hasher.finish() >> (u64::BITS - DRAW_BITS))
    }
}

/// What fails, how: for logs and status. Of the header field, only the name.
impl fmt::Display for FaultRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, method, path_prefix, header, principal, .. } = self;
        fault.fmt(f)?;
        method.as_ref().map_or(Ok(()), |method| write!(f, ", {method}"))?;
        path_prefix.as_ref().map_or(Ok(()), |prefix| write!(f, ", below {prefix}"))?;
        header.as_ref().map_or(Ok(()), |(name, _)| write!(f, ", with {name}"))?;
        principal.as_ref().map_or(Ok(()), |name| write!(f, ", by {name}"))
    }
}

/// Draws have as many bits as a number of type `f64` is exact for.
pub(crate) const DRAW_BITS: u32 = f64::MANTISSA_DIGITS;

/// What decides whether an HTTP request may be hit.
#[derive(Clone, Copy, Debug)]
#[expect(unnameable_types, reason = "of a sealed trait")]
pub struct RequestView<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

impl<'a> RequestView<'a> {
    pub(crate) fn of<B>(request: &'a http::Request<B>) -> Self {
        Self { method: request.method(), path: request.uri().path(), headers: request.headers() }
    }
}

/// Whether `path` is `prefix`, or below it.
pub(crate) fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_segment() {
        for (path, prefix, below) in [
            ("/health", "/health", true),
            ("/health/db", "/health", true),
            ("/healthy", "/health", false),
            ("/admin/x", "/admin/", true),
            ("/", "/admin", false),
            ("/anything", "/", true),
        ] {
            assert_eq!(is_below(path, prefix), below, "{path} {prefix}");
        }
    }
}
