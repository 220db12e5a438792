//! How calls are made to fail.

use std::{fmt, ops::RangeInclusive, time::Duration};

use backstop_core::{
    ConfigError,
    grpc::{GRPC_STATUS, GrpcCode},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING, UPGRADE},
};

const SHORTEST_DELAY: Duration = Duration::from_millis(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
const LONGEST_BODY: usize = 64 * 1024;
/// They would break the framing of the connection, or are the layer's own.
const REFUSED_HEADERS: [HeaderName; 6] = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER, UPGRADE, GRPC_STATUS];

/// How a call fails: see [the table](crate#kinds) of what its caller sees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The layer's own answer or error, like a rejection of another layer.
    Error,
    /// An answer with this status, headers and body.
    Status(StatusFault),
    /// The call is made later, by a time drawn from this range: 1 ms to 60 s.
    Delay(RangeInclusive<Duration>),
    /// The call isn't made until the run ends.
    Hang,
    /// The connection, or the stream of HTTP/2, is reset. Never for `HEAD`, whose answer has no body that could fail.
    Reset,
    /// The call is made, and the body of its answer breaks off. Never for `HEAD`, whose answer has none.
    #[non_exhaustive]
    TruncatedBody {
        /// The bytes that come before. At most all but the last one, if the length of the body is known.
        after: u64,
    },
    /// The call panics.
    Panic,
}

/// The kind of a [`Fault`], as it is written in logs, metrics and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// `error`
    Error,
    /// `status`
    Status,
    /// `delay`
    Delay,
    /// `hang`
    Hang,
    /// `reset`
    Reset,
    /// `truncated-body`
    TruncatedBody,
    /// `panic`
    Panic,
}

impl FaultKind {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::ALL.len();
    /// All kinds.
    pub const ALL: &'static [Self] =
        &[Self::Error, Self::Status, Self::Delay, Self::Hang, Self::Reset, Self::TruncatedBody, Self::Panic];

    /// The token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Status => "status",
            Self::Delay => "delay",
            Self::Hang => "hang",
            Self::Reset => "reset",
            Self::TruncatedBody => "truncated-body",
            Self::Panic => "panic",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Fault {
    /// An answer with this status, without a body: 400 to 599.
    #[must_use]
    pub fn status(status: StatusCode) -> Self {
        Self::Status(StatusFault::new(status))
    }

    /// The call is made so much later.
    #[must_use]
    pub const fn delay(time: Duration) -> Self {
        Self::Delay(time..=time)
    }

    /// The call is made, and the body of its answer breaks off after so many bytes.
    #[must_use]
    pub const fn truncated_body(after: u64) -> Self {
        Self::TruncatedBody { after }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::Error => FaultKind::Error,
            Self::Status(_) => FaultKind::Status,
            Self::Delay(_) => FaultKind::Delay,
            Self::Hang => FaultKind::Hang,
            Self::Reset => FaultKind::Reset,
            Self::TruncatedBody { .. } => FaultKind::TruncatedBody,
            Self::Panic => FaultKind::Panic,
        }
    }

    /// Whether a call with this method can fail so. The body of an answer to `HEAD` is never sent, so it can't break off.
    pub(crate) fn can_hit(&self, method: &Method) -> bool {
        *method != Method::HEAD || !matches!(self, Self::Reset | Self::TruncatedBody { .. })
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::Status(fault) => fault.check(),
            Self::Delay(range) if range.is_empty() => {
                Err(ConfigError::new("delay", format!("{range:?}"), "a range that isn't empty"))
            }
            Self::Delay(range) => [range.start(), range.end()].into_iter().try_for_each(|time| {
                ConfigError::check_range("delay", *time, SHORTEST_DELAY..=LONGEST_DELAY, "1 ms to 60 s").map(drop)
            }),
            Self::Error | Self::Hang | Self::Reset | Self::TruncatedBody { .. } | Self::Panic => Ok(()),
        }
    }
}

/// The kind, and what it is drawn or made with.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().as_str())?;
        match self {
            Self::Status(fault) => write!(f, " {}", fault.status.as_u16()),
            Self::Delay(range) => write!(f, " {range:?}"),
            Self::TruncatedBody { after } => write!(f, " after {after}"),
            Self::Error | Self::Hang | Self::Reset | Self::Panic => Ok(()),
        }
    }
}

impl From<StatusFault> for Fault {
    fn from(fault: StatusFault) -> Self {
        Self::Status(fault)
    }
}

/// An answer with a status, headers and a body.
///
/// It has `Cache-Control: no-store` unless you set that field, so that no cache keeps it.
///
/// ```
/// use backstop_fault::{Fault, StatusFault};
/// use http::{HeaderValue, Method, StatusCode, header::RETRY_AFTER};
///
/// let overloaded = StatusFault::new(StatusCode::TOO_MANY_REQUESTS)
///     .header(RETRY_AFTER, HeaderValue::from_static("2"))
///     .body("slow down");
/// let fault = Fault::from(overloaded);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct StatusFault {
    pub(crate) status: StatusCode,
    pub(crate) code: Option<GrpcCode>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl StatusFault {
    /// This status, 400 to 599, without headers and body.
    pub fn new(status: StatusCode) -> Self {
        Self { status, code: None, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// What a gRPC call is answered with, in a Trailers-Only answer. Unless set, it is
    /// [what the HTTP status maps to](https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
    pub const fn grpc_code(mut self, code: GrpcCode) -> Self {
        self.code = Some(code);
        self
    }

    /// Adds a header field. Those of the connection and of the length, such as `Content-Length`, and `grpc-status` are refused
    /// when the run is started.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Sets the body: at most 64 KiB. A gRPC call gets none.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    fn check(&self) -> Result<(), ConfigError> {
        ConfigError::check_range("status", self.status.as_u16(), 400..=599, "400 to 599")?;
        ConfigError::check_range("body", self.body.len(), ..=LONGEST_BODY, "at most 65536 bytes")?;
        if let Some(name) = REFUSED_HEADERS.into_iter().find(|name| self.headers.contains_key(name)) {
            return Err(ConfigError::new(
                "header",
                name.as_str().to_owned(),
                "a field that isn't about the connection, the length or gRPC",
            ));
        }
        if self.code == Some(GrpcCode::OK) {
            return Err(ConfigError::new("grpc_code", "0", "1 to 16"));
        }
        Ok(())
    }
}
