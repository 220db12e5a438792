//! Headers that say how long a caller waits. They are parsed strictly.

use std::{fmt, str::FromStr, time::Duration};

use backstop_core::{ConfigError, grpc};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header::InvalidHeaderName};

static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
static ENVOY_EXPECTED_RQ_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// A request header that says how long the caller waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadlineHeader {
    /// `grpc-timeout`: 1 to 8 digits and one of the units `H`, `M`, `S`, `m`, `u`, `n`.
    ///
    /// It is always used on gRPC requests. If it is configured, it is used on all other requests, too, such as gRPC-Web's.
    ///
    /// Source: [gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md), "Timeout".
    GrpcTimeout,
    /// `x-envoy-expected-rq-timeout-ms`: milliseconds, set by Envoy's router on the requests that it forwards. 0 means no
    /// limit, as [for a route](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#config-route-v3-routeaction).
    ///
    /// Source: [Envoy's router](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-expected-rq-timeout-ms).
    EnvoyExpectedRqTimeoutMs,
    /// A header of this name with whole milliseconds, such as Connect's `connect-timeout-ms`. 0 means no time, as in
    /// `grpc-timeout`.
    Milliseconds(HeaderName),
}

/// By its name. A name other than those of [`GrpcTimeout`](Self::GrpcTimeout) and
/// [`EnvoyExpectedRqTimeoutMs`](Self::EnvoyExpectedRqTimeoutMs) has milliseconds.
impl From<HeaderName> for DeadlineHeader {
    fn from(name: HeaderName) -> Self {
        match name {
            name if name == GRPC_TIMEOUT => Self::GrpcTimeout,
            name if name == ENVOY_EXPECTED_RQ_TIMEOUT_MS => Self::EnvoyExpectedRqTimeoutMs,
            name => Self::Milliseconds(name),
        }
    }
}

/// By its name, as in a configuration file.
impl FromStr for DeadlineHeader {
    type Err = InvalidHeaderName;

    fn from_str(name: &str) -> Result<Self, InvalidHeaderName> {
        name.parse::<HeaderName>().map(Self::from)
    }
}

impl fmt::Display for DeadlineHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name().as_str())
    }
}

/// Why a header can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Malformed,
    /// Several values that differ.
    Contradictory,
}

impl DeadlineHeader {
    /// The header's name.
    #[must_use]
    pub fn name(&self) -> &HeaderName {
        match self {
            Self::GrpcTimeout => &GRPC_TIMEOUT,
            Self::EnvoyExpectedRqTimeoutMs => &ENVOY_EXPECTED_RQ_TIMEOUT_MS,
            Self::Milliseconds(name) => name,
        }
    }

    /// The time in this header, if there is one.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Result<Option<Duration>, Unreadable> {
        let mut values = headers.get_all(self.name()).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.any(|other| other != value) {
            return Err(Unreadable::Contradictory);
        }
        let time = self.parse(value.as_bytes()).ok_or(Unreadable::Malformed)?;
        let is_no_limit = *self == Self::EnvoyExpectedRqTimeoutMs && time.is_zero();
        Ok((!is_no_limit).then_some(time))
    }

    fn parse(&self, value: &[u8]) -> Option<Duration> {
        match self {
            Self::GrpcTimeout => parse_grpc_timeout(value),
            Self::EnvoyExpectedRqTimeoutMs | Self::Milliseconds(_) => {
                digits(value, LONGEST_NUMBER).map(Duration::from_millis)
            }
        }
    }

    /// The longest time up to `left` that this header can express, and its value. `None` if that is zero.
    pub(crate) fn write(&self, left: Duration) -> Option<(Duration, HeaderValue)> {
        let (time, value) = match self {
            Self::GrpcTimeout => write_grpc_timeout(left)?,
            Self::EnvoyExpectedRqTimeoutMs | Self::Milliseconds(_) => {
                let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                (Duration::from_millis(millis), HeaderValue::from(millis))
            }
        };
        (!time.is_zero()).then_some((time, value))
    }
}

/// The headers to use for a request: the configured ones, and `grpc-timeout` for a gRPC request.
pub(crate) fn of<'a, B>(
    request: &Request<B>,
    configured: &'a [DeadlineHeader],
) -> impl Iterator<Item = &'a DeadlineHeader> + use<'a, B> {
    let grpc = grpc::is_grpc_request(request).then_some(&DeadlineHeader::GrpcTimeout);
    grpc.into_iter().chain(configured.iter().filter(move |header| grpc != Some(*header)))
}

/// Checks that no header is configured twice, even with two formats.
pub(crate) fn check_each_once(field: &'static str, headers: &[DeadlineHeader]) -> Result<(), ConfigError> {
    let is_repeated = |(i, header): (usize, &DeadlineHeader)| headers[..i].iter().any(|h| h.name() == header.name());
    match headers.iter().enumerate().find(|it| is_repeated(*it)) {
        Some((_, header)) => Err(ConfigError::new(field, header.name().as_str().to_owned(), "each header once")),
        None => Ok(()),
    }
}

/// The largest `u64` has this many digits.
const LONGEST_NUMBER: usize = 20;

/// Parses digits only: no sign, no space.
fn digits(text: &[u8], longest: usize) -> Option<u64> {
    if text.is_empty() || text.len() > longest {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// `TimeoutValue` has at most 8 digits.
const GRPC_DIGITS: usize = 8;
const GRPC_LARGEST: u128 = 99_999_999;

/// gRPC's units with their length in nanoseconds, the finest first.
const GRPC_UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60 * 1_000_000_000),
    (b'H', 3_600 * 1_000_000_000),
];

fn parse_grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, number) = value.split_last()?;
    let number = digits(number, GRPC_DIGITS)?;
    let (_, nanos) = GRPC_UNITS.iter().find(|(letter, _)| letter == unit)?;
    // Saturates, because 8 digits of hours exceed 64 bits of nanoseconds.
    Some(Duration::from_nanos(*nanos).saturating_mul(u32::try_from(number).ok()?))
}

/// Writes `left` in the finest unit that fits 8 digits, or as the largest number of hours.
fn write_grpc_timeout(left: Duration) -> Option<(Duration, HeaderValue)> {
    let left = left.as_nanos();
    let hours = GRPC_UNITS.last()?;
    let (letter, nanos) =
        GRPC_UNITS.iter().find(|(_, nanos)| left / u128::from(*nanos) <= GRPC_LARGEST).unwrap_or(hours);
    let number = u32::try_from((left / u128::from(*nanos)).min(GRPC_LARGEST)).ok()?;
    let value = HeaderValue::try_from(format!("{number}{}", char::from(*letter))).ok()?;
    Some((Duration::from_nanos(*nanos).saturating_mul(number), value))
}

#[cfg(test)]
mod tests;
