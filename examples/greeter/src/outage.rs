//! An outage and its end, as a client sees it.

use std::{
    error::Error,
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use backstop::{CircuitBreakerHandle, CircuitState, StandardHandle};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};
use tonic::transport::{self, Channel, Endpoint, server::TcpIncoming};

use crate::{
    client,
    pb::{HelloRequest, greeter_client::GreeterClient},
    server,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Prints each stage of an outage to `output`, one call per `pace`. The circuit waits for three times as long.
///
/// # Errors
/// If there is no loopback network, if a call fails (which the client's fallback should prevent), or if `output` can't be
/// written.
pub async fn run(pace: Duration, output: &mut impl Write) -> Result<()> {
    let primary = LocalServer::start("the primary", TcpListener::bind("127.0.0.1:0").await?)?;
    let replica = LocalServer::start("the replica", TcpListener::bind("127.0.0.1:0").await?)?;
    let address = primary.address;
    let (mut client, handle) = client::connect(primary.channel()?, replica.channel()?, pace * 3)?;

    writeln!(output, "\nBoth servers are up. The primary answers:")?;
    call(&mut client, &handle, 2, pace, output).await?;

    primary.stop().await?;
    writeln!(output, "\nThe primary goes down. Its replica answers, labelled:")?;
    call(&mut client, &handle, 2, pace, output).await?;

    replica.stop().await?;
    writeln!(output, "\nThe replica goes down, too. A canned reply is better than none:")?;
    call(&mut client, &handle, 2, pace, output).await?;

    let primary = LocalServer::start("the primary", TcpListener::bind(address).await?)?;
    writeln!(output, "\nThe primary is back. When its wait is over, the circuit lets two probes through, and closes:")?;
    for _ in 0..20 {
        call(&mut client, &handle, 1, pace, output).await?;
        if state(&handle) == CircuitState::Closed {
            break;
        }
    }
    call(&mut client, &handle, 1, pace, output).await?;
    primary.stop().await
}

/// Calls and prints the reply, its labels and the circuit's state, `times` times.
async fn call(
    client: &mut GreeterClient<impl client::Stack>,
    handle: &StandardHandle,
    times: usize,
    pace: Duration,
    output: &mut impl Write,
) -> Result<()> {
    for _ in 0..times {
        let reply = client.say_hello(HelloRequest { name: "Ada".to_owned() }).await?;
        let label = |name| reply.metadata().get(name).map_or("-", |value| value.to_str().unwrap_or("?"));
        writeln!(
            output,
            "  {:34}  x-fallback-source: {:15}  x-data-freshness: {:8}  circuit: {}",
            reply.get_ref().message,
            label("x-fallback-source"),
            label("x-data-freshness"),
            state(handle),
        )?;
        tokio::time::sleep(pace).await;
    }
    Ok(())
}

fn state(handle: &StandardHandle) -> CircuitState {
    handle.circuit_breaker().map_or(CircuitState::Closed, CircuitBreakerHandle::state)
}

/// A server in this process, over a real socket.
#[derive(Debug)]
pub struct LocalServer {
    /// Where it listens.
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    tasks: JoinSet<std::result::Result<(), transport::Error>>,
}

impl LocalServer {
    /// Serves on `listener`.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn start(from: &'static str, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let stopped = async { _ = stopped.await };
        let mut tasks = JoinSet::new();
        tasks.spawn(server::serve(from, TcpIncoming::from(listener), stopped));
        Ok(Self { address, stop, tasks })
    }

    /// A connection to it, made on first use and again whenever it is lost.
    ///
    /// # Errors
    /// If the address makes no URI.
    pub fn channel(&self) -> std::result::Result<Channel, transport::Error> {
        Ok(Endpoint::from_shared(format!("http://{}", self.address))?.connect_lazy())
    }

    /// Closes the listener and all connections.
    ///
    /// # Errors
    /// The server's.
    pub async fn stop(mut self) -> Result<()> {
        _ = self.stop.send(());
        while let Some(result) = self.tasks.join_next().await {
            result??;
        }
        Ok(())
    }
}
