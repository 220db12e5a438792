//! The simulated upstreams: real HTTP/1.1 servers on loopback, in this process, whose faults can be set.
//!
//! They stand for other teams' services, so the app knows only their URLs. Don't copy this into a service.

mod connection;
mod data;
mod fault;
mod port;
mod server;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

#[cfg(test)]
pub(crate) use self::data::Ledger;
pub use self::data::Upstream;
pub use self::fault::{Fault, FaultKind, WrongField};
pub(crate) use self::port::Port;

/// A simulated upstream that runs until the last clone of this is dropped.
#[derive(Debug, Clone)]
pub struct Simulated {
    upstream: Upstream,
    address: SocketAddr,
    fault: watch::Receiver<Fault>,
    requests: Arc<AtomicU64>,
    commands: mpsc::Sender<Command>,
}

/// A new fault for a server, and the channel for the result.
#[derive(Debug)]
struct Command {
    fault: Fault,
    done: oneshot::Sender<io::Result<()>>,
}

impl Simulated {
    /// Starts `upstream` on a free loopback port.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub fn start(upstream: Upstream) -> io::Result<Self> {
        server::start(upstream)
    }

    /// Which upstream this is.
    #[must_use]
    pub fn upstream(&self) -> Upstream {
        self.upstream
    }

    /// Its address, which stays the same with every fault.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have reached it, whatever became of them.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Its fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault.borrow().clone()
    }

    /// Sets its fault, which applies to all requests and connections that begin after this returns.
    ///
    /// # Errors
    ///
    /// If a server that refused connections can't listen again.
    pub async fn set_fault(&self, fault: Fault) -> io::Result<()> {
        let (done, applied) = oneshot::channel();
        let stopped = || io::Error::other("the simulated upstream has stopped");
        self.commands.send(Command { fault, done }).await.map_err(|_| stopped())?;
        applied.await.map_err(|_| stopped())?
    }
}
