//! The simulated upstreams: real HTTP/1.1 servers on loopback, in this process, that can be told to fail.
//!
//! They stand in for the network and for other teams' services, so they are as far from the app as those are: the app
//! knows their URLs and nothing else. None of this is for copying into a service.

mod connection;
mod data;
mod fault;
mod port;
mod server;

use std::io;
use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot, watch};

pub use self::data::Upstream;
pub use self::fault::{Fault, FaultKind, WrongField};

/// A simulated upstream that runs until the last clone of this is dropped.
#[derive(Debug, Clone)]
pub struct Simulated {
    upstream: Upstream,
    address: SocketAddr,
    fault: watch::Receiver<Fault>,
    commands: mpsc::Sender<Command>,
}

/// What a server is asked to do, and where it says that it has.
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
    /// When there is no such port.
    pub fn start(upstream: Upstream) -> io::Result<Self> {
        server::start(upstream)
    }

    /// Which upstream this is.
    #[must_use]
    pub fn upstream(&self) -> Upstream {
        self.upstream
    }

    /// Where it listens: always there, whatever its fault.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault.borrow().clone()
    }

    /// Changes its fault. When this returns, every new request and connection meets the new one.
    ///
    /// # Errors
    ///
    /// When a server that had stopped listening can't listen again.
    pub async fn set_fault(&self, fault: Fault) -> io::Result<()> {
        let (done, applied) = oneshot::channel();
        let stopped = || io::Error::other("the simulated upstream has stopped");
        self.commands.send(Command { fault, done }).await.map_err(|_| stopped())?;
        applied.await.map_err(|_| stopped())?
    }
}
