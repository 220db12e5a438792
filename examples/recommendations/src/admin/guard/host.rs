//! The host that a browser was told to go to.

use std::net::IpAddr;

use http::uri::Authority;

/// A host that can only be this machine's, whatever DNS says: an IP address, or `localhost`, which browsers don't look up.
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

    /// Whether this is where a listener at `listen` is reached.
    pub(super) fn reaches(self, listen: IpAddr) -> bool {
        // A listener on every address has every address; and a page can't have its own name by giving an address.
        self.is_at(listen) || (listen.is_unspecified() && matches!(self, Self::Ip(_)))
    }

    /// The same, but for the addresses that a listener on every address has beside loopback.
    pub(super) fn is_at(self, listen: IpAddr) -> bool {
        let on_loopback = listen.to_canonical().is_loopback() || listen.is_unspecified();
        match self {
            Self::Localhost => on_loopback,
            Self::Ip(ip) => ip == listen.to_canonical() || (on_loopback && ip.is_loopback()),
        }
    }
}
