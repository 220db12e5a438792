use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use backstop::RetryBuilder;
use http::{Method, Request};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

pub(crate) type Client = legacy::Client<HttpConnector, Body>;

pub(crate) fn client() -> Client {
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

/// Retries with short waits.
pub(crate) fn retry() -> RetryBuilder {
    backstop::RetryLayer::builder("upstream").backoff_base(std::time::Duration::from_millis(1))
}

/// How an upstream fails, instead of answering 200 `fresh`.
pub(crate) enum Misdeed {
    /// Answers 503 `down`.
    Fail,
    /// Closes the connection without an answer.
    Break,
    /// Never answers.
    Hang,
}

#[derive(Default)]
struct Script {
    next: VecDeque<Misdeed>,
    asked: Vec<String>,
    connections: usize,
}

/// An HTTP/1.1 server that can be told to fail, until it is dropped.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    _serving: JoinSet<()>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn start_on(listener: TcpListener) -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn({
            let script = Arc::clone(&script);
            async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    script.lock().unwrap().connections += 1;
                    connections.spawn(serve(stream, Arc::clone(&script)));
                }
            }
        });
        Self { address, script, _serving: serving }
    }

    /// Sets how the next requests fail.
    pub(crate) fn next(&self, misdeeds: impl IntoIterator<Item = Misdeed>) {
        self.script.lock().unwrap().next.extend(misdeeds);
    }

    /// The requests that arrived: method and body.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.script.lock().unwrap().asked.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.script.lock().unwrap().connections
    }

    pub(crate) fn get(&self) -> Request<Body> {
        get(self.address)
    }

    pub(crate) fn post(&self) -> Request<Body> {
        post(self.address)
    }
}

async fn serve(stream: TcpStream, script: Arc<Mutex<Script>>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let method = line.split(' ').next().unwrap_or_default().to_owned();
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let misdeed = {
            let mut script = script.lock().unwrap();
            script.asked.push(format!("{method} {}", String::from_utf8_lossy(&body)).trim_end().to_owned());
            script.next.pop_front()
        };
        let answer: &[u8] = match misdeed {
            None => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfresh",
            Some(Misdeed::Fail) => {
                b"HTTP/1.1 503 Service Unavailable\r\nx-why: repairs\r\ncontent-length: 4\r\n\r\ndown"
            }
            Some(Misdeed::Break) => return Ok(()),
            Some(Misdeed::Hang) => std::future::pending().await,
        };
        stream.write_all(answer).await?;
    }
}

pub(crate) fn get(address: SocketAddr) -> Request<Body> {
    Request::get(format!("http://{address}/")).body(Body::empty()).unwrap()
}

pub(crate) fn post(address: SocketAddr) -> Request<Body> {
    let request = Request::builder().method(Method::POST).uri(format!("http://{address}/"));
    request.body(Body::from("the order")).unwrap()
}

/// A bound port that refuses connections until the test listens on it. No other test can get it.
pub(crate) fn deaf_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Counts attempts, and opens a deaf port before the third.
pub(crate) struct Opening {
    port: Option<TcpSocket>,
    pub(crate) attempts: usize,
    pub(crate) upstream: Option<Upstream>,
}

impl Opening {
    pub(crate) fn new(port: TcpSocket) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { port: Some(port), attempts: 0, upstream: None }))
    }

    pub(crate) fn attempt(&mut self) {
        self.attempts += 1;
        if self.attempts == 3 {
            self.upstream = self.port.take().map(|port| Upstream::start_on(port.listen(16).unwrap()));
        }
    }
}

/// The body of an answer.
pub(crate) async fn text<B>(answer: http::Response<B>) -> String
where
    B: http_body_util::BodyExt<Data = bytes::Bytes, Error: std::fmt::Debug>,
{
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}
