//! Why the app didn't start.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use backstop::deferred::StoreError;

use crate::config::ConfigError;

/// An error that kept the app from starting.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is unsafe.
    Config(ConfigError),
    /// A layer's configuration is invalid.
    Layer(backstop::ConfigError),
    /// The app can't listen on an address.
    Listen {
        /// The option that set the address.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// The cause.
        error: io::Error,
    },
    /// A simulated upstream didn't start.
    Upstream(io::Error),
    /// A shared store's address can't be used.
    Store {
        /// The option that set the address.
        option: &'static str,
        /// The cause.
        error: String,
    },
    /// The file of a queue can't be opened.
    Jobs(StoreError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Layer(error) => error.fmt(f),
            Self::Listen { option, address, error } => {
                write!(f, "can't listen on {address}: {error}; use {option} to choose another address")
            }
            Self::Upstream(error) => write!(f, "can't start a simulated upstream: {error}"),
            Self::Store { option, error } => write!(f, "can't use the server of {option}: {error}"),
            Self::Jobs(error) => {
                write!(f, "can't open the queued jobs: {error}; use --jobs-dir to choose another directory")
            }
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Layer(error) => Some(error),
            Self::Listen { error, .. } | Self::Upstream(error) => Some(error),
            Self::Jobs(error) => Some(&**error),
            Self::Store { .. } => None,
        }
    }
}
