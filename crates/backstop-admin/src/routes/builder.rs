//! Who may use the routes, and from where.

use std::{
    borrow::Cow,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use backstop_core::{ConfigError, Name};
use http::uri::Authority;

use super::{Admin, Shared};
use crate::{
    Inventory,
    actions::Actions,
    events::{Boot, Clients},
    guard::{Guard, Rules, Token},
};

/// Builds an [`Admin`].
#[must_use]
pub struct AdminBuilder {
    inventory: Inventory,
    address: SocketAddr,
    names: Vec<String>,
    /// Of each, or what is wrong with it.
    tokens: Vec<Result<Token, ConfigError>>,
    reads_need_token: bool,
    events_end: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl AdminBuilder {
    pub(super) fn new(inventory: Inventory) -> Self {
        Self {
            inventory,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            names: Vec::new(),
            tokens: Vec::new(),
            reads_need_token: true,
            events_end: None,
        }
    }

    /// The address of the listener. Loopback by default.
    ///
    /// `Host` must be this address; on loopback also `localhost` and any address of loopback; on all addresses, such as `0.0.0.0`,
    /// any address. The port doesn't matter.
    pub const fn address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Adds a host name by which the listener is reached, without a port: `admin.internal`.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// Adds an operator's token. Requests with it are `who`'s.
    ///
    /// It has 32 to 512 characters `A-Z a-z 0-9 - . _ ~ + /`, and may end in `=`. It must be random, with at least 128 bits:
    /// `openssl rand -hex 16`. Only its hash is kept.
    pub fn token(mut self, who: impl Into<Cow<'static, str>>, secret: &str) -> Self {
        let who = Name::new(who).map_err(|error| error.inside("token"));
        self.tokens.push(who.and_then(|who| Token::new(who, secret)));
        self
    }

    /// Lets everybody read who reaches the listener, which must be on loopback. Writes still need a token. By default reads need
    /// one, too.
    ///
    /// Every user and program of the machine then sees the names, settings and states of all components, and the reasons of actions.
    pub const fn open_reads(mut self) -> Self {
        self.reads_need_token = false;
        self
    }

    /// Ends event streams once `ends` says so, and keeps new ones from beginning: when the service drains. Otherwise its
    /// listener waits for clients that never go.
    pub fn end_events_when(mut self, ends: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.events_end = Some(Arc::new(ends));
        self
    }

    /// Builds the [`Admin`].
    ///
    /// # Errors
    /// If a token or a host is invalid, if reads are open and the address isn't loopback, and if there is no token although reads
    /// need one.
    pub fn build(self) -> Result<Admin, ConfigError> {
        let tokens = self.tokens.into_iter().collect::<Result<Vec<_>, _>>()?;
        let names = self.names.iter().map(|name| host_name(name)).collect::<Result<Vec<_>, _>>()?;
        let (listen, reads_need_token) = (self.address.ip(), self.reads_need_token);
        if !reads_need_token && !listen.to_canonical().is_loopback() {
            return Err(ConfigError::new("address", self.address.to_string(), "loopback, since reads are open"));
        }
        if reads_need_token && tokens.is_empty() {
            return Err(ConfigError::new("token", "missing", "at least one, unless reads are open"));
        }
        let inventory = Arc::new(self.inventory);
        let guard = Guard::new(Rules { listen, names, tokens, reads_need_token });
        Ok(Admin(Arc::new(Shared {
            actions: Arc::new(Actions::new(Arc::clone(&inventory))),
            inventory,
            boot: Boot::new(),
            clients: Clients::new(self.events_end),
            guard,
        })))
    }
}

fn host_name(name: &str) -> Result<String, ConfigError> {
    let authority = name.parse::<Authority>().ok();
    let is_name = authority.is_some_and(|authority| authority.host() == name && !name.starts_with('['));
    if is_name {
        return Ok(name.to_ascii_lowercase());
    }
    Err(ConfigError::new("host", name.to_owned(), "a host name without a port, such as admin.internal"))
}

impl fmt::Debug for AdminBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminBuilder")
            .field("address", &self.address)
            .field("names", &self.names)
            .field("tokens", &self.tokens.len())
            .field("reads_need_token", &self.reads_need_token)
            .finish_non_exhaustive()
    }
}
