//! An HTTP/1.1 server for which a test writes every byte.

#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http::Method;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A server on a free loopback port, until it is dropped.
#[derive(Debug)]
pub struct Http1Server {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    _serving: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Log {
    connections: usize,
    methods: Vec<Method>,
}

impl Http1Server {
    /// Plays `script` on each connection.
    pub async fn start<Fut>(script: impl Fn(Connection) -> Fut + Send + 'static) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        let mut serving = JoinSet::new();
        serving.spawn({
            let log = Arc::clone(&log);
            async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    let number = {
                        let mut log = log.lock().unwrap();
                        log.connections += 1;
                        log.connections
                    };
                    let connection = Connection { number, stream: BufReader::new(stream), log: Arc::clone(&log) };
                    connections.spawn(script(connection));
                }
            }
        });
        Self { address, log, _serving: serving }
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made to it.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    /// The methods of the requests, in order of arrival.
    #[must_use]
    pub fn methods(&self) -> Vec<Method> {
        self.log.lock().unwrap().methods.clone()
    }
}

/// One connection. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    number: usize,
    stream: BufReader<TcpStream>,
    log: Arc<Mutex<Log>>,
}

impl Connection {
    /// Its number, from 1.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Reads a request's head, in lower case. `None` once the client has closed the connection.
    pub async fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head).await.unwrap_or_default() == 0 {
                return None;
            }
        }
        let (method, _) = head.split_once(' ').unwrap();
        self.log.lock().unwrap().methods.push(method.parse().unwrap());
        Some(head.to_ascii_lowercase())
    }

    /// Reads the body that follows such a head.
    pub async fn body(&mut self, head: &str) -> String {
        if head.contains("transfer-encoding: chunked") {
            let mut body = String::new();
            loop {
                let chunk = self.chunk().await;
                if chunk.is_empty() {
                    return body;
                }
                body.push_str(&chunk);
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        self.exactly(length.map_or(0, |length| length.parse().unwrap())).await
    }

    /// Reads one chunk of a body. The last one is empty.
    pub async fn chunk(&mut self) -> String {
        let mut size = String::new();
        self.stream.read_line(&mut size).await.unwrap();
        let chunk = self.exactly(usize::from_str_radix(size.trim(), 16).unwrap()).await;
        self.exactly("\r\n".len()).await;
        chunk
    }

    async fn exactly(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Writes these bytes unchanged. Ignores a client that has gone.
    pub async fn write(&mut self, bytes: &str) {
        _ = self.stream.write_all(bytes.as_bytes()).await;
    }

    /// Answers with this status and a body of declared length.
    pub async fn answer(&mut self, status: u16, body: &str) {
        self.write(&format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    }

    /// Resets it, like a host that has crashed.
    pub fn reset(self) {
        self.stream.into_inner().set_zero_linger().unwrap();
    }
}

/// Runs all other tasks of this runtime, sockets included, until none of them can continue.
///
/// For a runtime of one thread: afterwards only the calling task, or another host, can make progress.
pub async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}
