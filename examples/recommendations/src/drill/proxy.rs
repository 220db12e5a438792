//! A connection to Redis that can be cut, so that the drill needn't stop the server.

use std::io;
use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::StoreUrl;
use crate::server::StartError;
use crate::upstream::Port;

/// Passes connections on, unless it is down. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    url: StoreUrl,
    is_down: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// In front of this server.
    pub(super) fn start(server: &StoreUrl) -> Result<Self, StartError> {
        let (port, listener) = Port::take().map_err(StartError::Upstream)?;
        let (host, server_port) = server.address();
        let (is_down, downs) = watch::channel(false);
        let mut task = JoinSet::new();
        let url = server.through(port.address());
        task.spawn(async move {
            // It only fails if the port can't be listened on again.
            _ = run(port, listener, (host, server_port), downs).await;
        });
        Ok(Self { url, is_down, _task: task })
    }

    /// The URL for clients.
    pub(super) const fn url(&self) -> &StoreUrl {
        &self.url
    }

    pub(super) fn set_down(&self, is_down: bool) {
        self.is_down.send_replace(is_down);
    }
}

async fn run(
    port: Port,
    mut listener: TcpListener,
    server: (String, u16),
    mut is_down: watch::Receiver<bool>,
) -> io::Result<()> {
    let gone = |_| io::Error::other("the drill is over");
    loop {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                down = is_down.wait_for(|is_down| *is_down) => {
                    down.map_err(gone)?;
                    break;
                }
                Ok((client, _)) = listener.accept() => {
                    connections.spawn(pass_on(client, server.clone()));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        // Connections end, and new ones are refused.
        drop(listener);
        connections.shutdown().await;
        is_down.wait_for(|is_down| !*is_down).await.map_err(gone)?;
        listener = port.listen()?;
    }
}

async fn pass_on(mut client: TcpStream, server: (String, u16)) {
    let address: (&str, u16) = (&server.0, server.1);
    if let Ok(mut server) = TcpStream::connect(address).await {
        _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

impl StoreUrl {
    /// The same server, reached through `proxy`.
    fn through(&self, proxy: SocketAddr) -> Self {
        let mut url = self.url().clone();
        // Neither fails for the URL of a server.
        _ = url.set_ip_host(proxy.ip());
        _ = url.set_port(Some(proxy.port()));
        Self::from_url(url)
    }

    fn address(&self) -> (String, u16) {
        (self.url().host_str().unwrap_or_default().to_owned(), self.url().port().unwrap_or(6379))
    }
}
