//! What the layer can be told.

use std::{borrow::Cow, fmt, sync::Arc};

use backstop_core::{ConfigError, Name};
use backstop_kit::caching;
use http::HeaderName;

use crate::{DegradationHeaderLayer, X_DATA_FRESHNESS, X_FALLBACK_SOURCE, registered::is_registered};

/// How much the headers tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Details {
    /// `cached`, `stale`. The default.
    #[default]
    Plain,
    /// With RFC 9651 parameters: `cached;index=1;reason=circuit-open`, `stale;age=912`.
    Parameters,
}

/// Which answers are labelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// Those that something degraded. The default.
    #[default]
    Degraded,
    /// The primary's fresh ones as well, by `X-Data-Freshness: fresh`: whoever looks can tell "not degraded" from
    /// "not labelled". Not on 5xx, bad gRPC statuses and rejections: there the primary gave no answer.
    Always,
}

/// What becomes of labels that the response has already, from a handler or an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum InnerHeaders {
    /// They are kept where they parse, after our own. The default.
    #[default]
    Keep,
    /// They are removed, for proxies of untrusted upstreams.
    Remove,
}

/// What caches are told of a degraded answer, and of a stale one of unknown age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheSafety {
    /// Not to store it. The default.
    #[default]
    Enforce,
    /// Whatever the response says itself. A fallback layer's own degraded answers say `no-store`.
    LeaveAlone,
}

/// The layer's settings as plain data, for [`DegradationHeaderLayer::from_config`]. Its `Default` is the layer's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DegradationHeaderConfig {
    /// The header that lists the sources.
    pub source_header: Cow<'static, str>,
    /// The header that tells the freshness.
    pub freshness_header: Cow<'static, str>,
    /// How much the headers tell.
    pub details: Details,
    /// Which answers are labelled.
    pub report: Report,
    /// What becomes of labels that the response has already.
    pub inner_headers: InnerHeaders,
    /// What caches are told.
    pub cache_safety: CacheSafety,
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

    /// The header that lists the sources: `X-Fallback-Source` unless set.
    pub fn source_header(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.config.source_header = name.into();
        self
    }

    /// The header that tells the freshness: `X-Data-Freshness` unless set.
    pub fn freshness_header(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.config.freshness_header = name.into();
        self
    }

    /// How much the headers tell: [`Details::Plain`] unless set.
    pub fn details(mut self, details: Details) -> Self {
        self.config.details = details;
        self
    }

    /// Which answers are labelled: [`Report::Degraded`] unless set.
    pub fn report(mut self, report: Report) -> Self {
        self.config.report = report;
        self
    }

    /// What becomes of labels that the response has already: [`InnerHeaders::Keep`] unless set.
    pub fn inner_headers(mut self, inner_headers: InnerHeaders) -> Self {
        self.config.inner_headers = inner_headers;
        self
    }

    /// What caches are told: [`CacheSafety::Enforce`] unless set.
    pub fn cache_safety(mut self, cache_safety: CacheSafety) -> Self {
        self.config.cache_safety = cache_safety;
        self
    }

    /// As [`DegradationHeaderLayer::public_names`].
    pub fn public_names(mut self, names: impl Fn(&Name) -> Option<Name> + Send + Sync + 'static) -> Self {
        self.public_names = PublicNames::new(names);
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] for `source_header` or `freshness_header` where it is no header name, or one that has a meaning
    /// already: IANA's [registered fields], those of gRPC, and a few more in wide use; or where both are the same.
    ///
    /// [registered fields]: https://www.iana.org/assignments/http-fields/
    pub fn build(self) -> Result<DegradationHeaderLayer, ConfigError> {
        let Self { config, public_names } = self;
        let source_header = own_header("source_header", config.source_header)?;
        let freshness_header = own_header("freshness_header", config.freshness_header)?;
        if source_header == freshness_header {
            let value = freshness_header.as_str().to_owned();
            return Err(ConfigError::new("freshness_header", value, "another name than source_header's"));
        }
        Ok(DegradationHeaderLayer::with(Settings {
            source_header,
            freshness_header,
            details: config.details,
            report: config.report,
            inner_headers: config.inner_headers,
            cache_safety: config.cache_safety,
            public_names,
        }))
    }
}

/// A label under a name that has a meaning already would be taken for that, or be undone by our own cache safety.
fn own_header(field: &'static str, value: Cow<'static, str>) -> Result<HeaderName, ConfigError> {
    match HeaderName::from_bytes(value.as_bytes()) {
        Ok(name) if !is_registered(name.as_str()) && !caching::governs(&name) && !is_grpc(name.as_str()) => Ok(name),
        _ => Err(ConfigError::new(field, value, "a header name that has no meaning in HTTP or gRPC yet")),
    }
}

/// Metadata that ends so holds base64.
fn is_grpc(name: &str) -> bool {
    name.starts_with("grpc-") || name.ends_with("-bin")
}

/// The checked settings, as the layer's services share them.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) source_header: HeaderName,
    pub(crate) freshness_header: HeaderName,
    pub(crate) details: Details,
    pub(crate) report: Report,
    pub(crate) inner_headers: InnerHeaders,
    pub(crate) cache_safety: CacheSafety,
    pub(crate) public_names: PublicNames,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            source_header: X_FALLBACK_SOURCE,
            freshness_header: X_DATA_FRESHNESS,
            details: Details::default(),
            report: Report::default(),
            inner_headers: InnerHeaders::default(),
            cache_safety: CacheSafety::default(),
            public_names: PublicNames::default(),
        }
    }
}

/// What sources are called outside.
#[derive(Clone, Default)]
pub(crate) struct PublicNames(Option<Arc<Map>>);

type Map = dyn Fn(&Name) -> Option<Name> + Send + Sync;

impl PublicNames {
    pub(crate) fn new(names: impl Fn(&Name) -> Option<Name> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(names)))
    }

    /// What this source of ours is called.
    pub(crate) fn of(&self, source: &Name) -> Option<Name> {
        match &self.0 {
            Some(names) => names(source),
            None => Some(source.clone()),
        }
    }

    /// Whether sources may be called something else outside.
    pub(crate) const fn are_mapped(&self) -> bool {
        self.0.is_some()
    }

    /// What a source is called that somebody else listed, perhaps one of ours: each name of its path is mapped.
    pub(crate) fn of_token(&self, token: &str) -> Option<String> {
        let public = |name: &str| self.of(&Name::new(name.to_owned()).ok()?).map(|name| name.to_string());
        let path: Option<Vec<_>> = token.split('/').map(public).collect();
        path.map(|path| path.join("/"))
    }
}

impl fmt::Debug for PublicNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "mapped" } else { "as they are" })
    }
}
