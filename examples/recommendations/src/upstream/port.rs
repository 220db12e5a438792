//! A port that stays ours while nobody listens on it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// A loopback port that can be listened on, and not, any number of times.
///
/// Closing a listener gives its port back to the system, and the next socket that asks for any port may get it; a
/// client that connects to a free port can even be given that very port as its own and connect to itself. So a second
/// socket is bound to the port all along and never listens: connections are refused, and nobody else gets it.
#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    // Where the system doesn't let two sockets share an address (not Linux), there is none.
    _held: Option<TcpSocket>,
}

impl Port {
    /// A free port, and its first listener.
    pub(super) fn take() -> io::Result<(Self, TcpListener)> {
        let held = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = held.local_addr()?;
        // The order matters: to share an address with a socket that already listens isn't allowed.
        match listen(address) {
            Ok(listener) => Ok((Self { address, _held: Some(held) }, listener)),
            Err(_) => {
                drop(held);
                let listener = listen(address)?;
                Ok((Self { address, _held: None }, listener))
            }
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new listener; the one before must be gone.
    pub(super) fn listen(&self) -> io::Result<TcpListener> {
        listen(self.address)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Both sockets need it to share the address, and the listener to come back while old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(1024)
}
