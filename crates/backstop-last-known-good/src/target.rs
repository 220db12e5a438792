//! What a request is about.

use std::fmt;

use backstop_core::Name;
use http::{HeaderMap, HeaderValue, Uri, header::HOST, uri::Scheme};

use crate::key::{hash, push};

/// What a request is about: its authority, path and query. Clones share the memory.
#[derive(Clone)]
pub(crate) struct Target {
    uri: Uri,
    host: Option<HeaderValue>,
    /// There should be one.
    more_hosts: Vec<HeaderValue>,
}

impl Target {
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let mut hosts = headers.get_all(HOST).iter().cloned();
        Self { uri: uri.clone(), host: hosts.next(), more_hosts: hosts.collect() }
    }

    /// What `location` refers to, where it is of the same origin (RFC 9111 §4.4).
    pub(crate) fn refer(&self, location: &HeaderValue) -> Option<Self> {
        let text = location.to_str().ok()?.trim();
        let text = text.split('#').next().unwrap_or_default();
        let uri: Uri = if text.starts_with("//") {
            format!("{}:{text}", self.uri.scheme_str().unwrap_or("http")).parse().ok()?
        } else if text.starts_with('/') {
            text.parse().ok()?
        } else if text.is_empty() || text.starts_with('?') {
            format!("{}{text}", self.uri.path()).parse().ok()?
        } else {
            let absolute = text.parse().ok().filter(|uri: &Uri| uri.scheme().is_some());
            absolute.or_else(|| self.resolve(text))?
        };
        if let Some(authority) = uri.authority() {
            // Where our own scheme isn't known, either is taken for the same: to forget too much is safe.
            let same_scheme = self.uri.scheme().is_none() || self.uri.scheme() == uri.scheme();
            let theirs = normal(authority.as_str().as_bytes(), uri.scheme());
            let is_ours = |ours| normal(ours, self.uri.scheme()).eq_ignore_ascii_case(theirs);
            if !same_scheme || !self.authorities().any(is_ours) {
                return None;
            }
        }
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = uri.into_parts().path_and_query;
        Some(Self { uri: Uri::from_parts(parts).ok()?, ..self.clone() })
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

    fn authorities(&self) -> impl Iterator<Item = &[u8]> {
        authorities(&self.uri, self.host.iter().chain(&self.more_hosts))
    }

    pub(crate) fn root(&self, name: &Name) -> Root {
        Root::new(name, &self.uri, self.authorities())
    }
}

/// The authority of a URI and those of `Host`. Where they differ, which of them the service goes by isn't known, so that all
/// of them count: else one caller could have stored for one host what another host answers.
fn authorities<'a>(uri: &'a Uri, hosts: impl Iterator<Item = &'a HeaderValue>) -> impl Iterator<Item = &'a [u8]> {
    let of_uri = uri.authority().map(|authority| authority.as_str().as_bytes());
    of_uri.into_iter().chain(hosts.map(HeaderValue::as_bytes))
}

/// Where all that is stored of a target begins.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Root {
    /// The key of its first node.
    pub(crate) key: Vec<u8>,
    /// The same for equal targets.
    pub(crate) hash: u64,
}

impl Root {
    /// That of the [target](Target::of), which needn't be kept for it.
    pub(crate) fn of(name: &Name, uri: &Uri, headers: &HeaderMap) -> Self {
        Self::new(name, uri, authorities(uri, headers.get_all(HOST).iter()))
    }

    fn new<'a, I: Iterator<Item = &'a [u8]>>(name: &Name, uri: &Uri, authorities: I) -> Self {
        // Enough for most, what is below the node included.
        let mut key = Vec::with_capacity(256);
        push(&mut key, b'n', name.as_str().as_bytes());
        let mut former = 0;
        for authority in authorities {
            let (from, host) = (key.len(), normal(authority, uri.scheme()));
            push(&mut key, b'a', host);
            let host_from = key.len() - host.len();
            key[host_from..].make_ascii_lowercase();
            // Most often the two say the same.
            if former != 0 && key[former..from] == key[from..] {
                key.truncate(from);
            } else {
                former = from;
            }
        }
        let path = uri.path_and_query().map_or(&b"/"[..], |path| path.as_str().as_bytes());
        push(&mut key, b't', path);
        Self { key, hash: hash(path) }
    }
}

/// An authority without the port that its scheme has anyway, and without who asks. Its case doesn't matter.
fn normal<'a>(authority: &'a [u8], scheme: Option<&Scheme>) -> &'a [u8] {
    let mut host = authority;
    // Most often nobody is named, and that is soon seen.
    if authority.contains(&b'@') {
        host = authority.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
    }
    let host = host.trim_ascii();
    let default: &[&[u8]] = match scheme {
        Some(scheme) if *scheme == Scheme::HTTP => &[b":80"],
        Some(scheme) if *scheme == Scheme::HTTPS => &[b":443"],
        // Which scheme it came by isn't told. On one authority the two ports lead to the same service, or to none.
        _ => &[b":80", b":443"],
    };
    default.iter().find_map(|port| host.strip_suffix(*port)).unwrap_or(host)
}

/// A target may hold what is nobody's business, as a token in its query.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").finish_non_exhaustive()
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
