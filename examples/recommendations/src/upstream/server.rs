//! The accept loop. It can stop listening, and holds the connections so that it can close them.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::data::Ledger;
use super::fault::{Fault, FaultKind};
use super::port::Port;
use super::{Command, Simulated, Upstream, connection};

/// How often a server with a rate between 0 and 1 decides whether to refuse.
const FLICKER: Duration = Duration::from_millis(50);

struct Server {
    upstream: Upstream,
    port: Port,
    /// `None` while it refuses.
    listener: Option<TcpListener>,
    /// Closed when the server is dropped.
    connections: JoinSet<()>,
    fault: watch::Sender<Fault>,
    done: Ledger,
    requests: Arc<AtomicU64>,
}

#[expect(clippy::disallowed_methods, reason = "a separate server, which ends when its last handle is dropped")]
pub(super) fn start(upstream: Upstream) -> io::Result<Simulated> {
    let (port, listener) = Port::take()?;
    let address = port.address();
    let (fault, seen) = watch::channel(Fault::default());
    let (commands, inbox) = mpsc::channel(1);
    let server = Server {
        upstream,
        port,
        listener: Some(listener),
        connections: JoinSet::new(),
        fault,
        done: Ledger::default(),
        requests: Arc::default(),
    };
    let requests = Arc::clone(&server.requests);
    tokio::spawn(server.run(inbox));
    Ok(Simulated { upstream, address, fault: seen, requests, commands })
}

impl Server {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut flicker = interval(FLICKER);
        loop {
            tokio::select! {
                command = inbox.recv() => {
                    let Some(Command { fault, done }) = command else { return };
                    self.fault.send_replace(fault);
                    // The caller may have gone. The fault is set in any case.
                    let _ = done.send(self.listen_or_refuse().await);
                }
                _ = flicker.tick(), if self.flickers() => {
                    if let Err(error) = self.listen_or_refuse().await {
                        tracing::warn!(upstream = self.upstream.name(), %error, "can't listen again");
                    }
                }
                stream = accept(self.listener.as_ref()) => {
                    let serve = connection::serve(
                        stream,
                        self.upstream,
                        self.done.clone(),
                        self.fault.subscribe(),
                        Arc::clone(&self.requests),
                    );
                    self.connections.spawn(serve);
                }
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    fn flickers(&self) -> bool {
        let fault = self.fault.borrow();
        fault.kind == FaultKind::Refuse && fault.rate > 0.0 && fault.rate < 1.0
    }

    async fn listen_or_refuse(&mut self) -> io::Result<()> {
        let refuse = {
            let fault = self.fault.borrow();
            fault.kind == FaultKind::Refuse && fault.strikes()
        };
        if refuse {
            self.listener = None;
            // Waits until they are closed, so that no later request is served on a kept-alive connection.
            self.connections.shutdown().await;
        } else if self.listener.is_none() {
            self.listener = Some(self.port.listen()?);
        }
        Ok(())
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Usually out of file descriptors, which passes. The loop must not spin until then.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}
