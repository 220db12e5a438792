//! A drain over real sockets, with a balancer in front that asks for readiness.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use backstop_health::{Component, Health};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::common::{millis, secs};

/// In real time. Ten times shorter than the defaults of load balancers, so that the proportions are theirs.
const POLL: Duration = millis(100);
const FAILURES: u32 = 3;
const SERVE: Duration = secs(3);

/// An HTTP/1.1 client that says what it saw of a connection. It repeats nothing.
struct Connection(TcpStream);

struct Answer {
    status: u16,
    closes: bool,
}

impl Connection {
    async fn open(to: SocketAddr) -> io::Result<Self> {
        TcpStream::connect(to).await.map(Self)
    }

    async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).await?;
        let mut read = Vec::new();
        loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.and_then(|length| length.parse().ok()).unwrap();
                if read.len() >= end + 4 + length {
                    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
                    return Ok(Answer { status, closes: head.contains("connection: close") });
                }
            }
            if self.0.read_buf(&mut read).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "cut off"));
            }
        }
    }
}

/// Asks for readiness until it has failed three times in a row.
async fn balancer(to: SocketAddr, is_in: Arc<AtomicBool>) {
    let mut failures = 0;
    while failures < FAILURES {
        let ready = async { Connection::open(to).await?.get("/readyz").await };
        failures = if ready.await.is_ok_and(|answer| answer.status == 200) { 0 } else { failures + 1 };
        sleep(POLL).await;
    }
    is_in.store(false, SeqCst);
}

/// Sends requests while the balancer has the instance, and keeps connections alive while the server does.
async fn client(to: SocketAddr, is_in: Arc<AtomicBool>, served: Arc<AtomicUsize>) -> io::Result<()> {
    let mut connection = None;
    while is_in.load(SeqCst) {
        let mut current = match connection.take() {
            Some(connection) => connection,
            None => Connection::open(to).await?,
        };
        let answer = current.get("/work").await?;
        assert_eq!(answer.status, 200);
        served.fetch_add(1, SeqCst);
        connection = (!answer.closes).then_some(current);
    }
    Ok(())
}

#[tokio::test]
async fn no_request_is_refused_or_cut_off() {
    let health = Health::builder()
        .component(Component::optional("search"))
        .serve_while_draining(SERVE)
        .finish_within(secs(10))
        .exit_within(secs(15))
        .build()
        .unwrap();
    tokio::spawn(health.run());
    let drain = health.drain();
    let app = Router::new()
        .route("/work", get(async || sleep(millis(20)).await))
        .route("/slow", get(async || sleep(SERVE + millis(500)).await))
        .layer(drain.layer())
        .merge(health.routes());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let server = axum::serve(listener, app).with_graceful_shutdown(drain.listener_closes());
    let server = tokio::spawn({
        let drain = drain.clone();
        async move { drain.serve(server.into_future()).await }
    });

    let (is_in, served) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        clients.spawn(client(to, Arc::clone(&is_in), Arc::clone(&served)));
    }
    let balancer = tokio::spawn(balancer(to, Arc::clone(&is_in)));
    while served.load(SeqCst) < 80 {
        sleep(millis(10)).await;
    }
    assert!(is_in.load(SeqCst));

    let begun = Instant::now();
    drain.begin();
    let before = served.load(SeqCst);
    // One request is still running when the listener closes.
    let slow = tokio::spawn(async move { Connection::open(to).await?.get("/slow").await });
    balancer.await.unwrap();
    assert!(begun.elapsed() < SERVE, "the balancer has seen it in time");
    while let Some(result) = clients.join_next().await {
        result.unwrap().unwrap();
    }
    assert!(served.load(SeqCst) > before, "served while draining");

    sleep_until(begun + SERVE + millis(200)).await;
    assert!(Connection::open(to).await.is_err(), "the listener is closed");
    let slow = slow.await.unwrap().unwrap();
    assert_eq!((slow.status, slow.closes), (200, true));
    server.await.unwrap().expect("nothing was cut off").unwrap();
}

#[tokio::test]
async fn a_second_signal_cuts_off_what_still_runs() {
    let health = Health::builder().build().unwrap();
    let drain = health.drain();
    let app = Router::new().route("/hung", get(std::future::pending::<()>)).layer(drain.layer());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let server = axum::serve(listener, app).with_graceful_shutdown(drain.listener_closes());
    let hung = tokio::spawn(async move { Connection::open(to).await?.get("/hung").await });
    let signals = async {
        drain.begin();
        drain.begin();
    };
    let (served, ()) = tokio::join!(drain.serve(server.into_future()), signals);
    assert!(served.is_none_or(|served| served.is_ok()));
    drop(hung);
}

/// An HTTP/2 client. Sends requests until a `GOAWAY`, waits for all answers, and returns how many there were.
async fn http2_client(to: SocketAddr, served: Arc<AtomicUsize>) -> Result<usize, h2::Error> {
    let (mut requests, connection) = h2::client::handshake(TcpStream::connect(to).await.unwrap()).await?;
    let connection = tokio::spawn(connection);
    let mut answers = JoinSet::new();
    let send = |requests: &mut h2::client::SendRequest<bytes::Bytes>, path: &str| {
        let request = http::Request::get(format!("http://test{path}")).body(()).unwrap();
        requests.send_request(request, true).map(|(answer, _)| answer)
    };
    // Still running at the `GOAWAY`.
    answers.spawn(send(&mut requests, "/slow")?);
    loop {
        requests = match requests.ready().await {
            Ok(requests) => requests,
            Err(error) => {
                assert!(error.is_go_away() && error.is_remote(), "{error}");
                break;
            }
        };
        answers.spawn(send(&mut requests, "/work")?);
        served.fetch_add(1, SeqCst);
        sleep(millis(5)).await;
    }
    let mut all = 0;
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap()?.status(), 200);
        all += 1;
    }
    // The server ends the connection, not the client.
    connection.await.unwrap()?;
    Ok(all)
}

#[tokio::test]
async fn http2_connections_get_a_goaway_when_the_listener_closes_and_finish_their_requests() {
    let health =
        Health::builder().serve_while_draining(secs(1)).finish_within(secs(10)).exit_within(secs(15)).build().unwrap();
    let drain = health.drain();
    let app = Router::new()
        .route("/work", get(async || sleep(millis(20)).await))
        .route("/slow", get(async || sleep(secs(2)).await))
        .layer(drain.layer());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let server = axum::serve(listener, app).with_graceful_shutdown(drain.listener_closes());
    let server = tokio::spawn({
        let drain = drain.clone();
        async move { drain.serve(server.into_future()).await }
    });
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4).map(|_| tokio::spawn(http2_client(to, Arc::clone(&served)))).collect();
    while served.load(SeqCst) < 40 {
        sleep(millis(10)).await;
    }
    let begun = Instant::now();
    drain.begin();
    let before = served.load(SeqCst);
    let mut answers = 0;
    for client in clients {
        answers += client.await.unwrap().unwrap();
    }
    assert!(begun.elapsed() >= secs(1), "not before the listener closes");
    let sent = served.load(SeqCst);
    assert!(sent > before, "served while draining");
    assert_eq!(answers, sent + 4, "and the slow request of each client");
    server.await.unwrap().expect("nothing was cut off").unwrap();
}
