//! The host that a browser was sent to.

use std::net::IpAddr;

use http::uri::Authority;

/// A host that DNS can't redirect: an IP address, or `localhost`, which browsers don't look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    Localhost,
    Ip(IpAddr),
}

impl Host {
    pub(super) fn of(authority: &Authority) -> Option<Self> {
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host();
        if host.eq_ignore_ascii_case("localhost") {
            return Some(Self::Localhost);
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        bare.parse().ok().map(|ip: IpAddr| Self::Ip(ip.to_canonical()))
    }

    /// Whether this host reaches a listener at `listen`.
    pub(super) fn reaches(self, listen: IpAddr) -> bool {
        // A listener on all addresses has every address. DNS rebinding needs a name, so an address is safe.
        self.is_at(listen) || (listen.is_unspecified() && matches!(self, Self::Ip(_)))
    }

    /// The same, but a listener on all addresses counts as loopback only.
    pub(super) fn is_at(self, listen: IpAddr) -> bool {
        let on_loopback = listen.to_canonical().is_loopback() || listen.is_unspecified();
        match self {
            Self::Localhost => on_loopback,
            Self::Ip(ip) => ip == listen.to_canonical() || (on_loopback && ip.is_loopback()),
        }
    }
}
