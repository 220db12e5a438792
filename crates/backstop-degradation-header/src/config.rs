//! The configuration and the builder.

use std::borrow::Cow;

use backstop_core::{ConfigError, Name};
use backstop_kit::caching;
use http::HeaderName;

use crate::{
    DegradationHeaderLayer,
    registered::is_registered,
    settings::{BrowserAccess, CacheSafety, CacheStatus, Details, InnerHeaders, PublicNames, Report, Settings},
};

impl DegradationHeaderLayer {
    /// A layer with the default settings. It takes no name, since it counts nothing and never responds itself.
    pub fn new() -> Self {
        Self::with(Settings::default(), PublicNames::default())
    }

    /// A builder, for other settings.
    ///
    /// ```
    /// use backstop_degradation_header::{DegradationHeaderLayer, Details, Report};
    ///
    /// # fn main() -> Result<(), backstop_degradation_header::ConfigError> {
    /// let layer = DegradationHeaderLayer::builder().details(Details::Parameters).report(Report::Always).build()?;
    /// # _ = layer;
    /// let error = DegradationHeaderLayer::builder().source_header("cache-control").build().unwrap_err();
    /// assert_eq!(error.field, "source_header");
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> DegradationHeaderBuilder {
        DegradationHeaderBuilder::default()
    }

    /// Builds a layer from a configuration.
    ///
    /// # Errors
    /// As [`DegradationHeaderBuilder::build`].
    pub fn from_config(config: DegradationHeaderConfig) -> Result<Self, ConfigError> {
        DegradationHeaderBuilder::new(config).build()
    }
}

impl Default for DegradationHeaderLayer {
    fn default() -> Self {
        Self::new()
    }
}

/// The layer's settings as plain data, for [`DegradationHeaderLayer::from_config`]. `Default` has the layer's defaults.
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, and an unknown field is an
/// error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_degradation_header::DegradationHeaderConfig;
///
/// let config: DegradationHeaderConfig = toml::from_str(r#"
///     source_header = "x-fallback-source"      # a header name without a meaning in HTTP
///     freshness_header = "x-data-freshness"    # another one
///     details = "plain"                        # or parameters
///     report = "degraded"                      # or always
///     inner_headers = "keep"                   # or remove
///     cache_safety = "enforce"                 # or leave_alone
///     cache_status = "omit"                    # or write
///     ## proxy_status = "gateway"               # off unless set
///     browsers = "unchanged"                   # or expose
/// "#)?;
/// assert_eq!(config, DegradationHeaderConfig::default());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct DegradationHeaderConfig {
    /// See [`source_header`](DegradationHeaderBuilder::source_header).
    pub source_header: Cow<'static, str>,
    /// See [`freshness_header`](DegradationHeaderBuilder::freshness_header).
    pub freshness_header: Cow<'static, str>,
    /// See [`details`](DegradationHeaderBuilder::details).
    pub details: Details,
    /// See [`report`](DegradationHeaderBuilder::report).
    pub report: Report,
    /// See [`inner_headers`](DegradationHeaderBuilder::inner_headers).
    pub inner_headers: InnerHeaders,
    /// See [`cache_safety`](DegradationHeaderBuilder::cache_safety).
    pub cache_safety: CacheSafety,
    /// See [`cache_status`](DegradationHeaderBuilder::cache_status).
    pub cache_status: CacheStatus,
    /// See [`proxy_status`](DegradationHeaderBuilder::proxy_status).
    pub proxy_status: Option<Cow<'static, str>>,
    /// See [`expose_to_browsers`](DegradationHeaderBuilder::expose_to_browsers).
    pub browsers: BrowserAccess,
}

impl Default for DegradationHeaderConfig {
    fn default() -> Self {
        Self {
            source_header: "x-fallback-source".into(),
            freshness_header: "x-data-freshness".into(),
            details: Details::default(),
            report: Report::default(),
            inner_headers: InnerHeaders::default(),
            cache_safety: CacheSafety::default(),
            cache_status: CacheStatus::default(),
            proxy_status: None,
            browsers: BrowserAccess::default(),
        }
    }
}

impl DegradationHeaderConfig {
    pub(crate) fn check(self) -> Result<Settings, ConfigError> {
        let Self { details, report, inner_headers, cache_safety, cache_status, browsers, .. } = self;
        let (source_header, freshness_header) = label_headers(self.source_header, self.freshness_header)?;
        let not_a_name = |error: ConfigError| ConfigError::new("proxy_status", error.value, error.allowed);
        let proxy_status = self.proxy_status.map(Name::new).transpose().map_err(not_a_name)?;
        Ok(Settings {
            source_header,
            freshness_header,
            details,
            report,
            inner_headers,
            cache_safety,
            cache_status,
            proxy_status,
            browsers,
        })
    }
}

impl Settings {
    /// The configuration that they were made of.
    pub(crate) fn config(&self) -> DegradationHeaderConfig {
        let Self { details, report, inner_headers, cache_safety, cache_status, browsers, .. } = *self;
        DegradationHeaderConfig {
            source_header: self.source_header.to_string().into(),
            freshness_header: self.freshness_header.to_string().into(),
            details,
            report,
            inner_headers,
            cache_safety,
            cache_status,
            proxy_status: self.proxy_status.as_ref().map(|name| name.to_string().into()),
            browsers,
        }
    }
}

/// Builds a [`DegradationHeaderLayer`]: see [`DegradationHeaderLayer::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct DegradationHeaderBuilder {
    config: DegradationHeaderConfig,
    public_names: PublicNames,
}

impl DegradationHeaderBuilder {
    pub(crate) fn new(config: DegradationHeaderConfig) -> Self {
        Self { config, public_names: PublicNames::default() }
    }

    /// The header that lists the sources. Default: `X-Fallback-Source`.
    pub fn source_header(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.config.source_header = name.into();
        self
    }

    /// The header with the freshness. Default: `X-Data-Freshness`.
    pub fn freshness_header(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.config.freshness_header = name.into();
        self
    }

    /// The detail in the headers. Default: [`Details::Plain`].
    pub fn details(mut self, details: Details) -> Self {
        self.config.details = details;
        self
    }

    /// Which responses are labelled. Default: [`Report::Degraded`].
    pub fn report(mut self, report: Report) -> Self {
        self.config.report = report;
        self
    }

    /// What happens to labels that a handler or an upstream set. Default: [`InnerHeaders::Keep`].
    pub fn inner_headers(mut self, inner_headers: InnerHeaders) -> Self {
        self.config.inner_headers = inner_headers;
        self
    }

    /// Caching of degraded responses. Default: [`CacheSafety::Enforce`].
    pub fn cache_safety(mut self, cache_safety: CacheSafety) -> Self {
        self.config.cache_safety = cache_safety;
        self
    }

    /// Adds a member to `Cache-Status` ([RFC 9211]) if the answer is a stored copy. Unless set, nothing is added.
    ///
    /// The copy's source is the name of the cache: `cached; hit; detail=circuit-open` if the primary wasn't asked, and `cached;
    /// fwd=stale; fwd-status=503; detail=status-503` if it was, and failed. An answer that a handler composes of stored and
    /// other data isn't a stored copy.
    ///
    /// [RFC 9211]: https://www.rfc-editor.org/rfc/rfc9211
    pub fn cache_status(mut self) -> Self {
        self.config.cache_status = CacheStatus::Write;
        self
    }

    /// Adds a member to `Proxy-Status` ([RFC 9209 §2]) if a layer inside rejected the call, under the name of this service:
    /// `gateway; error=destination_unavailable; details="circuit-open"`. For gateways alone: any other service is the origin
    /// of its responses. Unless set, nothing is added.
    ///
    /// | rejection | `error` |
    /// |---|---|
    /// | `circuit-open`, `recovering`, `all-providers-failed` | `destination_unavailable` |
    /// | `bulkhead-full` | `connection_limit_reached` |
    /// | a 504 of a call that was made | `http_response_timeout` |
    /// | a 4xx | `http_request_error` |
    /// | any other one that was made without a call | `proxy_internal_response` |
    /// | any other | `proxy_internal_error` |
    ///
    /// [RFC 9209 §2]: https://www.rfc-editor.org/rfc/rfc9209#section-2
    pub fn proxy_status(mut self, gateway: impl Into<Cow<'static, str>>) -> Self {
        self.config.proxy_status = Some(gateway.into());
        self
    }

    /// Adds the headers of a labelled response to `Access-Control-Expose-Headers`, so that scripts of other origins can read
    /// them. Unless set, a browser hides them from such scripts.
    ///
    /// It adds to what the response exposes already, and leaves all else that CORS needs to a CORS layer. Put that inside this
    /// layer. Outside works, too, unless it has a list of exposed headers of its own, such as `CorsLayer::expose_headers` of
    /// tower-http: it replaces ours.
    ///
    /// The header doesn't depend on the request's `Origin`, as it doesn't in tower-http. If it did, a cache could give the
    /// answer to a request of the same origin to a script of another one, which then couldn't read the labels
    /// ([Fetch, CORS protocol and HTTP caches](https://fetch.spec.whatwg.org/#cors-protocol-and-http-caches)); only
    /// `Vary: Origin` would prevent that, at the cost of a copy for each origin.
    pub fn expose_to_browsers(mut self) -> Self {
        self.config.browsers = BrowserAccess::Expose;
        self
    }

    /// See [`DegradationHeaderLayer::public_names`].
    pub fn public_names(mut self, names: impl Fn(&Name) -> Option<Name> + Send + Sync + 'static) -> Self {
        self.public_names = PublicNames::new(names);
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    /// [`ConfigError`] if `source_header` or `freshness_header` isn't a header name, or has a meaning already: IANA's
    /// [registered fields], those of gRPC, and a few more in wide use. Also if both are the same, and if `proxy_status` isn't
    /// a [`Name`].
    ///
    /// [registered fields]: https://www.iana.org/assignments/http-fields/
    pub fn build(self) -> Result<DegradationHeaderLayer, ConfigError> {
        Ok(DegradationHeaderLayer::with(self.config.check()?, self.public_names))
    }
}

/// Checks the names of both labels.
pub(crate) fn label_headers(
    source: Cow<'static, str>,
    freshness: Cow<'static, str>,
) -> Result<(HeaderName, HeaderName), ConfigError> {
    let source = label_header("source_header", source)?;
    let freshness = label_header("freshness_header", freshness)?;
    if source == freshness {
        let value = freshness.as_str().to_owned();
        return Err(ConfigError::new("freshness_header", value, "another name than source_header's"));
    }
    Ok((source, freshness))
}

/// Checks a label's name. A name with a meaning in HTTP would be misread, or removed by our own cache safety.
fn label_header(field: &'static str, value: Cow<'static, str>) -> Result<HeaderName, ConfigError> {
    match HeaderName::from_bytes(value.as_bytes()) {
        Ok(name) if !is_registered(name.as_str()) && !caching::governs(&name) && !is_grpc(name.as_str()) => Ok(name),
        _ => Err(ConfigError::new(field, value, "a header name that has no meaning in HTTP or gRPC yet")),
    }
}

/// `-bin` metadata contains base64.
fn is_grpc(name: &str) -> bool {
    name.starts_with("grpc-") || name.ends_with("-bin")
}
