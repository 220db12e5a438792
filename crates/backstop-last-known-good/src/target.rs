//! The target of a request: its authority, path and query.

use std::{fmt, net::Ipv6Addr};

use backstop_core::Name;
use http::{HeaderMap, HeaderValue, Uri, header::HOST, uri::Scheme};

use crate::key::{FORMAT, push};

/// The authority, path and query of a request. Clones share memory.
#[derive(Clone)]
pub(crate) struct Target {
    uri: Uri,
    host: Option<HeaderValue>,
    /// Normally empty.
    more_hosts: Vec<HeaderValue>,
}

impl Target {
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let mut hosts = headers.get_all(HOST).iter().cloned();
        Self { uri: uri.clone(), host: hosts.next(), more_hosts: hosts.collect() }
    }

    /// The target that `location` refers to, if it has the same origin (RFC 9111 §4.4).
    pub(crate) fn resolve_reference(&self, location: &HeaderValue) -> Option<Self> {
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
            absolute.or_else(|| self.resolve_path(text))?
        };
        if let Some(authority) = uri.authority() {
            let same_scheme = self.uri.scheme().is_none() || self.uri.scheme() == uri.scheme();
            // If our scheme is unknown, any scheme counts as the same: removing too much is safe.
            let named = |text| Authority::named(text, uri.scheme());
            let theirs = named(authority.as_str().as_bytes())?;
            if !same_scheme || !self.texts().any(|ours| named(ours) == Some(theirs)) {
                return None;
            }
        }
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = uri.into_parts().path_and_query;
        Some(Self { uri: Uri::from_parts(parts).ok()?, ..self.clone() })
    }

    /// A path relative to ours (RFC 3986 §5.2.3, §5.2.4).
    fn resolve_path(&self, relative: &str) -> Option<Uri> {
        let (path, query) = relative.split_once('?').map_or((relative, None), |(path, query)| (path, Some(query)));
        let mut segments: Vec<&str> = self.uri.path().split('/').collect();
        segments.pop();
        for segment in path.split('/') {
            match segment {
                // The first segment is the empty text before the root.
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

    /// The authorities of the URI and of `Host`.
    fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let of_uri = self.uri.authority().map(|authority| authority.as_str().as_bytes());
        of_uri.into_iter().chain(self.host.iter().chain(&self.more_hosts).map(HeaderValue::as_bytes))
    }

    /// The key of the target, see [`TargetKey::of`].
    #[cfg(test)]
    pub(crate) fn root(&self, name: &Name) -> Option<TargetKey> {
        Some(TargetKey::new(name, &self.authorities()?, &self.uri))
    }

    fn authorities(&self) -> Option<[Option<Authority<'_>>; 2]> {
        authorities(&self.uri, self.host.iter().chain(&self.more_hosts))
    }

    /// The keys to remove when the target changes. Removing too much is safe.
    pub(crate) fn keys_to_remove(&self, name: &Name) -> Vec<TargetKey> {
        match self.authorities() {
            Some([Some(one), None]) => {
                one.spellings().map(|one| TargetKey::new(name, &[Some(one), None], &self.uri)).collect()
            }
            Some(authorities) => vec![TargetKey::new(name, &authorities, &self.uri)],
            // Nothing is stored under an authority that doesn't parse, but the service may take it for one that does.
            None => {
                let named = self.texts().filter_map(|text| Authority::named(text, self.uri.scheme()));
                let all = named.flat_map(Authority::spellings);
                all.map(|one| TargetKey::new(name, &[Some(one), None], &self.uri)).collect()
            }
        }
    }
}

/// The authority of a URI (RFC 9112 §3.2.2, RFC 9113 §8.3.1), and that of `Host` if it differs. Then the layer doesn't know which
/// one the service uses, so both are part of the key. Otherwise a caller could store one host's answer for another host.
///
/// `None` if one of them doesn't parse, or there are several `Host` (RFC 9112 §3.2).
fn authorities<'a>(
    uri: &'a Uri,
    mut hosts: impl Iterator<Item = &'a HeaderValue>,
) -> Option<[Option<Authority<'a>>; 2]> {
    let parse = |text| Authority::parse(text, uri.scheme());
    let of_uri = match uri.authority() {
        Some(authority) => Some(parse(authority.as_str().as_bytes())?),
        None => None,
    };
    let host = match hosts.next() {
        Some(host) => Some(parse(host.as_bytes())?),
        None => None,
    };
    if hosts.next().is_some() {
        return None;
    }
    Some(if of_uri.is_none() { [host, None] } else { [of_uri, host.filter(|_| host != of_uri)] })
}

/// A host, and its port unless it is the default (RFC 3986 §6.2.3).
#[derive(Clone, Copy)]
struct Authority<'a> {
    host: Host<'a>,
    port: Option<u16>,
}

#[derive(Clone, Copy)]
enum Host<'a> {
    Name(&'a [u8]),
    Ipv6(Ipv6Addr),
}

/// The bytes of a host name: unreserved characters and delimiters (RFC 3986 §3.2.2). Percent-encoding isn't accepted: nobody uses
/// it, and it allows many spellings of one name.
const IN_NAME: [bool; 256] = {
    let mut in_name = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        in_name[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~')
            || matches!(byte as u8, b'!' | b'$' | b'&'..=b',' | b';' | b'=');
        byte += 1;
    }
    in_name
};

/// The longest host name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

impl<'a> Authority<'a> {
    /// Parses an authority (RFC 9110 §7.2, RFC 3986 §3.2.2). Userinfo isn't allowed (RFC 9110 §4.2.4).
    fn parse(text: &'a [u8], scheme: Option<&Scheme>) -> Option<Self> {
        let text = text.trim_ascii();
        let (host, rest) = if let Some(bracketed) = text.strip_prefix(b"[") {
            let (address, rest) = bracketed.split_at(bracketed.iter().position(|byte| *byte == b']')?);
            (Host::Ipv6(str::from_utf8(address).ok()?.parse().ok()?), &rest[1..])
        } else {
            let end = text.iter().position(|byte| !IN_NAME[usize::from(*byte)]).unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            if !(1..=MAX_NAME).contains(&name.len()) {
                return None;
            }
            (Host::Name(name), rest)
        };
        let port = match rest {
            [] | [b':'] => None,
            [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
                Some(str::from_utf8(digits).ok()?.parse().ok()?)
            }
            _ => return None,
        };
        // Without a scheme, the default port is unknown.
        let default = match scheme {
            Some(scheme) if *scheme == Scheme::HTTP => Some(80),
            Some(scheme) if *scheme == Scheme::HTTPS => Some(443),
            _ => None,
        };
        Some(Self { host, port: port.filter(|_| port != default) })
    }

    /// Parses an authority after its userinfo.
    fn named(text: &'a [u8], scheme: Option<&Scheme>) -> Option<Self> {
        Self::parse(text.rsplit(|byte| *byte == b'@').next()?, scheme)
    }

    /// All authorities that may be the same: without a scheme, a default port is kept.
    fn spellings(self) -> impl Iterator<Item = Self> {
        let defaults = [None, Some(80), Some(443)];
        let ports = if defaults.contains(&self.port) { defaults.to_vec() } else { vec![self.port] };
        ports.into_iter().map(move |port| Self { port, ..self })
    }

    fn add_to(&self, key: &mut Vec<u8>) {
        match self.host {
            Host::Name(name) => {
                push(key, b'a', name);
                let from = key.len() - name.len();
                key[from..].make_ascii_lowercase();
            }
            Host::Ipv6(address) => push(key, b'6', &address.octets()),
        }
        if let Some(port) = self.port {
            push(key, b':', &port.to_le_bytes());
        }
    }
}

impl PartialEq for Authority<'_> {
    fn eq(&self, other: &Self) -> bool {
        let same_host = match (self.host, other.host) {
            (Host::Name(one), Host::Name(other)) => one.eq_ignore_ascii_case(other),
            (Host::Ipv6(one), Host::Ipv6(other)) => one == other,
            (Host::Name(_), Host::Ipv6(_)) | (Host::Ipv6(_), Host::Name(_)) => false,
        };
        same_host && self.port == other.port
    }
}

/// The key of a target's first node.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TargetKey {
    /// The bytes of the key.
    pub(crate) key: Vec<u8>,
}

impl TargetKey {
    /// The key of a request's [target](Target::of). `None` if the authority doesn't parse.
    pub(crate) fn of(name: &Name, uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        Some(Self::new(name, &authorities(uri, headers.get_all(HOST).iter())?, uri))
    }

    fn new(name: &Name, authorities: &[Option<Authority<'_>>; 2], uri: &Uri) -> Self {
        // Enough for most answers, including the parts below the first node.
        let mut key = Vec::with_capacity(256);
        key.push(FORMAT);
        push(&mut key, b'n', name.as_str().as_bytes());
        authorities.iter().flatten().for_each(|authority| authority.add_to(&mut key));
        let path = uri.path_and_query().map_or(&b"/"[..], |path| path.as_str().as_bytes());
        push(&mut key, b't', path);
        Self { key }
    }
}

/// A target may contain secrets, such as a token in its query.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").finish_non_exhaustive()
    }
}

impl fmt::Debug for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
