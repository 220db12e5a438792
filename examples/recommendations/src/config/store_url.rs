//! The URLs of shared stores.

use std::fmt;

use url::Url;

use super::ValueError;

/// The URL of a Redis or NATS server. It may contain a password, which it never shows.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(Url);

impl StoreUrl {
    /// A Redis server: `redis://[user:password@]host[:port][/database]`.
    ///
    /// # Errors
    /// [`ValueError`] for anything else. It doesn't repeat the text, which may contain a password.
    pub fn redis(text: &str) -> Result<Self, ValueError> {
        Self::parse(text, "redis", "redis://127.0.0.1:6379")
    }

    /// A NATS server: `nats://[user:password@]host[:port]`.
    ///
    /// # Errors
    /// [`ValueError`] for anything else. It doesn't repeat the text, which may contain a password.
    pub fn nats(text: &str) -> Result<Self, ValueError> {
        Self::parse(text, "nats", "nats://127.0.0.1:4222")
    }

    fn parse(text: &str, scheme: &str, example: &str) -> Result<Self, ValueError> {
        match Url::parse(text) {
            Ok(url) if url.scheme() == scheme && url.host_str().is_some_and(|host| !host.is_empty()) => Ok(Self(url)),
            _ => Err(ValueError(format!("use a URL such as {example}"))),
        }
    }

    pub(crate) const fn from_url(url: Url) -> Self {
        Self(url)
    }

    /// The URL with its password, for a client.
    pub(crate) const fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({}://…)", self.0.scheme())
    }
}
