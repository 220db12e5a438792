//! The host that a client was sent to.

use std::net::IpAddr;

use http::uri::Authority;

/// A host that DNS can't redirect, or one of the configured names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// Clients don't look it up.
    Localhost,
    Ip(IpAddr),
    /// In lower case.
    Name(String),
}

impl Host {
    pub(super) fn of(authority: &Authority) -> Option<Self> {
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Some(Self::Ip(ip.to_canonical()));
        }
        let name = host.to_ascii_lowercase();
        Some(if name == "localhost" { Self::Localhost } else { Self::Name(name) })
    }

    /// Whether this host reaches a listener at `listen` that has these names. A listener on all addresses is reached by every
    /// address: an attack by DNS rebinding needs a name.
    pub(super) fn reaches(&self, listen: IpAddr, names: &[String]) -> bool {
        let listen = listen.to_canonical();
        let on_loopback = listen.is_loopback() || listen.is_unspecified();
        match self {
            Self::Localhost => on_loopback,
            Self::Ip(ip) => *ip == listen || listen.is_unspecified() || (on_loopback && ip.is_loopback()),
            Self::Name(name) => names.contains(name),
        }
    }
}
