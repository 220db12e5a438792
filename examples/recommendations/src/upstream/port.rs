//! A port that stays reserved while nobody listens on it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// A reserved loopback port, on which a listener can be opened and closed repeatedly.
///
/// Closing a listener frees its port, and the system may give it to another socket. A client that connects to a free port may
/// even get that port as its own and connect to itself. So a second socket stays bound to the port and never listens:
/// connections are refused, and no other socket gets the port.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    // `None` on systems (not Linux) where two sockets can't share an address.
    _held: Option<TcpSocket>,
}

impl Port {
    /// Reserves a free port, and opens its first listener.
    pub(crate) fn take() -> io::Result<(Self, TcpListener)> {
        let held = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = held.local_addr()?;
        // The order matters: a socket can't share the address of one that already listens.
        match listen(address) {
            Ok(listener) => Ok((Self { address, _held: Some(held) }, listener)),
            Err(_) => {
                drop(held);
                let listener = listen(address)?;
                Ok((Self { address, _held: None }, listener))
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a new listener. The previous one must be closed.
    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        listen(self.address)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Both sockets need it to share the address, and a new listener needs it while old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(1024)
}
