//! What a request is about.

use std::fmt;

use backstop_core::Name;
use http::{HeaderMap, HeaderValue, Uri, header::HOST, uri::Scheme};

use crate::key::{hash, push};

/// What a request is about. Clones share the memory.
#[derive(Clone)]
pub(crate) struct Target {
    uri: Uri,
    /// The authority of a request that has it in a header.
    host: Option<HeaderValue>,
}

impl Target {
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let host = if uri.authority().is_none() { headers.get(HOST).cloned() } else { None };
        Self { uri: uri.clone(), host }
    }

    /// What `location` refers to, where it is of the same origin (RFC 9111 §4.4).
    pub(crate) fn refer(&self, location: &HeaderValue) -> Option<Self> {
        let text = location.to_str().ok()?.trim();
        let text = text.split('#').next().unwrap_or_default();
        let absolute = if let Some(rest) = text.strip_prefix("//") {
            format!("{}://{rest}", self.uri.scheme_str().unwrap_or("http")).parse::<Uri>().ok()?
        } else if text.starts_with('/') {
            text.parse().ok()?
        } else if text.is_empty() || text.starts_with('?') {
            format!("{}{text}", self.uri.path()).parse().ok()?
        } else if let Some(uri) = text.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some()) {
            uri
        } else {
            self.resolve(text)?
        };
        if absolute.authority().is_none() {
            let mut parts = self.uri.clone().into_parts();
            parts.path_and_query = absolute.into_parts().path_and_query;
            return Some(Self { uri: Uri::from_parts(parts).ok()?, host: self.host.clone() });
        }
        let found = Self { uri: absolute, host: None };
        // Where our own scheme isn't known, either is taken for the same: to forget too much is safe.
        let same_scheme = self.uri.scheme().is_none() || self.uri.scheme() == found.uri.scheme();
        (same_scheme && self.authority() == found.authority()).then_some(found)
    }

    /// A path relative to ours (RFC 3986 §5.2.3, §5.2.4).
    fn resolve(&self, relative: &str) -> Option<Uri> {
        let (path, query) = relative.split_once('?').map_or((relative, None), |(path, query)| (path, Some(query)));
        let mut segments: Vec<&str> = self.uri.path().split('/').collect();
        segments.pop();
        for segment in path.split('/') {
            match segment {
                // The first one is the empty text before the root.
                ".." if segments.len() > 1 => _ = segments.pop(),
                "." | ".." => {}
                segment => segments.push(segment),
            }
        }
        if matches!(path.rsplit('/').next(), Some("." | "..")) {
            segments.push("");
        }
        let path = segments.join("/");
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        query.map_or_else(|| path.clone(), |query| format!("{path}?{query}")).parse().ok()
    }

    /// The authority in lower case, without the port that its scheme has anyway, and without who asks.
    fn authority(&self) -> Vec<u8> {
        let written = self.uri.authority().map(|authority| authority.as_str().as_bytes());
        let written = written.or_else(|| self.host.as_ref().map(HeaderValue::as_bytes)).unwrap_or_default();
        let host = written.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
        let mut host = host.trim_ascii().to_ascii_lowercase();
        let default: &[&[u8]] = match self.uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => &[b":80"],
            Some(scheme) if *scheme == Scheme::HTTPS => &[b":443"],
            // Which scheme it came by isn't told. On one authority the two ports lead to the same service, or to none.
            _ => &[b":80", b":443"],
        };
        if let Some(end) = default.iter().find_map(|port| Some(host.strip_suffix(*port)?.len())) {
            host.truncate(end);
        }
        host
    }

    fn path_and_query(&self) -> &[u8] {
        self.uri.path_and_query().map_or(b"/", |path| path.as_str().as_bytes())
    }

    /// The key of its first node.
    pub(crate) fn key(&self, name: &Name) -> Vec<u8> {
        let (authority, path) = (self.authority(), self.path_and_query());
        let mut key = Vec::with_capacity(name.as_str().len() + authority.len() + path.len() + 64);
        push(&mut key, b'n', name.as_str().as_bytes());
        push(&mut key, b'a', &authority);
        push(&mut key, b't', path);
        key
    }

    /// The same for equal targets.
    pub(crate) fn hash(&self) -> u64 {
        hash(self.path_and_query())
    }
}

/// A target may hold what is nobody's business, as a token in its query.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
