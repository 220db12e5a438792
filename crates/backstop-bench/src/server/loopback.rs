//! Servers on one thread, and their clients on another. Only the servers' thread is measured.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::{
    net::TcpListener,
    runtime,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{SERVERS, Server, is_answered, written};
use crate::measure::{median, print_table};

const ROUNDS: usize = 101;
/// Connections of a client, which stay open.
const CONNECTIONS: usize = 8;
/// Requests of a round, on each connection.
const REQUESTS: u32 = 250;

pub(super) fn print() {
    let servers = Servers::start();
    let mut clients: Vec<_> = servers.addresses.iter().map(Client::connect).collect();
    // Warms up.
    clients.iter_mut().for_each(Client::make_requests);
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for _ in 0..ROUNDS {
        let times = clients.iter_mut().map(|client| {
            let before = servers.cpu_time();
            client.make_requests();
            let requests = f64::from(REQUESTS) * CONNECTIONS as f64;
            (servers.cpu_time() - before).as_secs_f64() * 1e6 / requests
        });
        rounds.push(times.collect());
    }
    let rows = SERVERS.iter().enumerate().map(|(server, Server { name, target, .. })| {
        let median_of = |figure: fn(f64, f64) -> f64| {
            let mut figures: Vec<_> = rounds.iter().map(|times| figure(times[server], times[0])).collect();
            median(&mut figures)
        };
        let (time, ratio) = (median_of(|time, _| time), median_of(|time, bare| time / bare));
        vec![(*name).to_owned(), format!("{time:.2}"), format!("{ratio:.3}"), (*target).to_owned()]
    });
    let head = ["", "µs of CPU a request", "× bare", "target"];
    print_table("A request with 10 headers over loopback", &head, &rows.collect::<Vec<_>>());
}

/// All servers, on a thread of their own.
struct Servers {
    addresses: Vec<SocketAddr>,
    /// Asks for the CPU time that the thread has used so far.
    ask: mpsc::UnboundedSender<oneshot::Sender<Duration>>,
}

impl Servers {
    fn start() -> Self {
        let (started, addresses) = oneshot::channel();
        let (ask, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<Duration>>();
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (mut addresses, mut serving) = (Vec::new(), JoinSet::new());
                for server in SERVERS {
                    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
                    addresses.push(listener.local_addr().expect("an address"));
                    serving.spawn(axum::serve(listener, (server.router)()).into_future());
                }
                started.send(addresses).expect("somebody waits");
                while let Some(answer) = asked.recv().await {
                    _ = answer.send(thread_cpu_time());
                }
            });
        });
        Self { addresses: addresses.blocking_recv().expect("addresses"), ask }
    }

    fn cpu_time(&self) -> Duration {
        let (answer, time) = oneshot::channel();
        self.ask.send(answer).expect("the servers run");
        time.blocking_recv().expect("a time")
    }
}

fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A client of one server.
struct Client {
    connections: Vec<TcpStream>,
    written: Vec<u8>,
}

impl Client {
    fn connect(server: &SocketAddr) -> Self {
        let connect = |_| {
            let connection = TcpStream::connect(server).expect("a connection");
            connection.set_nodelay(true).expect("an option of TCP");
            connection
        };
        Self { connections: (0..CONNECTIONS).map(connect).collect(), written: written() }
    }

    /// Sends a request on each connection, reads all answers, and begins anew.
    fn make_requests(&mut self) {
        let mut read = [0; 1024];
        for _ in 0..REQUESTS {
            for connection in &mut self.connections {
                connection.write_all(&self.written).expect("a request is written");
            }
            for connection in &mut self.connections {
                let mut filled = 0;
                while !is_answered(&read[..filled]) {
                    filled += connection.read(&mut read[filled..]).expect("a response is read");
                }
            }
        }
    }
}
