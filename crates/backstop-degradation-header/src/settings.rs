//! The settings, as the layer's services share them.

use std::{fmt, sync::Arc};

use backstop_core::{Name, SourcePath};
use http::HeaderName;

use crate::{X_DATA_FRESHNESS, X_FALLBACK_SOURCE};

/// The detail in the headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Details {
    /// `cached`, `stale`. The default.
    #[default]
    Plain,
    /// With RFC 9651 parameters: `cached;index=1;reason=circuit-open`, `stale;age=912`.
    Parameters,
}

/// Which responses are labelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Report {
    /// Degraded responses. The default.
    #[default]
    Degraded,
    /// Also the primary's fresh responses, with `X-Data-Freshness: fresh`, to distinguish "not degraded" from "not labelled".
    /// Not 5xx, failing gRPC statuses and rejections, since these aren't answers of the primary.
    Always,
}

/// What happens to labels that a handler or an upstream set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum InnerHeaders {
    /// They are kept after our own, if they parse. The default.
    #[default]
    Keep,
    /// They are removed. For proxies of untrusted upstreams.
    Remove,
}

/// Caching of degraded responses, and of stale ones with unknown age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CacheSafety {
    /// Caches may not store them. The default.
    #[default]
    Enforce,
    /// The response's own caching fields are kept. A fallback layer sets `no-store` on its own degraded answers.
    LeaveAlone,
}

/// Whether stored copies are reported in `Cache-Status` ([RFC 9211](https://www.rfc-editor.org/rfc/rfc9211)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CacheStatus {
    /// They aren't. The default.
    #[default]
    Omit,
    /// See [`DegradationHeaderBuilder::cache_status`](crate::DegradationHeaderBuilder::cache_status).
    Write,
}

/// Whether scripts of other origins may read the headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum BrowserAccess {
    /// What `Access-Control-Expose-Headers` says is left alone. The default.
    #[default]
    Unchanged,
    /// See [`DegradationHeaderBuilder::expose_to_browsers`](crate::DegradationHeaderBuilder::expose_to_browsers).
    Expose,
}

/// Validated settings, which a reload replaces.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) source_header: HeaderName,
    pub(crate) freshness_header: HeaderName,
    pub(crate) details: Details,
    pub(crate) report: Report,
    pub(crate) inner_headers: InnerHeaders,
    pub(crate) cache_safety: CacheSafety,
    pub(crate) cache_status: CacheStatus,
    /// The name of this service in `Proxy-Status`.
    pub(crate) proxy_status: Option<Name>,
    pub(crate) browsers: BrowserAccess,
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
            cache_status: CacheStatus::default(),
            proxy_status: None,
            browsers: BrowserAccess::default(),
        }
    }
}

/// Maps sources to public names.
#[derive(Clone, Default)]
pub(crate) struct PublicNames(Option<Arc<Map>>);

type Map = dyn Fn(&Name) -> Option<Name> + Send + Sync;

impl PublicNames {
    pub(crate) fn new(names: impl Fn(&Name) -> Option<Name> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(names)))
    }

    /// The public path of a reported source: each of its names is mapped.
    pub(crate) fn of_path(&self, path: SourcePath<'_>) -> Option<String> {
        let public: Option<Vec<_>> = path.names().map(|name| self.of(name)).collect();
        public.map(|names| names.iter().map(Name::as_str).collect::<Vec<_>>().join("/"))
    }

    fn of(&self, source: &Name) -> Option<Name> {
        match &self.0 {
            Some(names) => names(source),
            None => Some(source.clone()),
        }
    }

    /// Whether names are mapped.
    pub(crate) const fn are_mapped(&self) -> bool {
        self.0.is_some()
    }

    /// The public name of a source that a handler or an upstream listed: each name of its path is mapped.
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
