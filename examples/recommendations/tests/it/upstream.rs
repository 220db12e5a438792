//! The simulated upstreams fail as real ones do, on the wire.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use std::io::ErrorKind;
use std::time::Duration;

use recommendations::{Fault, FaultKind, Simulated, Upstream};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// A test that waits for longer fails. Time isn't paused here: what must happen is on the wire, not at a time.
const PATIENCE: Duration = Duration::from_secs(20);
const REQUEST: &str = "GET /v1/recommendations/ada HTTP/1.1\r\nHost: ml\r\n\r\n";

async fn ml_with(kind: FaultKind) -> Simulated {
    let ml = Simulated::start(Upstream::Ml).unwrap();
    ml.set_fault(Fault::new(kind)).await.unwrap();
    ml
}

async fn connect(ml: &Simulated) -> TcpStream {
    TcpStream::connect(ml.address()).await.unwrap()
}

async fn send(stream: &mut TcpStream, request: &str) {
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Everything that arrives until the connection ends, and how it ends.
async fn rest(stream: &mut TcpStream) -> (String, Result<(), ErrorKind>) {
    let mut read = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut read)).await.expect("the connection stays open");
    (String::from_utf8(read).unwrap(), ended.map(|_| ()).map_err(|error| error.kind()))
}

async fn answer(ml: &Simulated) -> (String, Result<(), ErrorKind>) {
    let mut stream = connect(ml).await;
    send(&mut stream, &REQUEST.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
    rest(&mut stream).await
}

async fn assert_well(ml: &Simulated) {
    let (answer, ended) = answer(ml).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["items"].as_array().unwrap().len(), 10);
    assert_eq!(ended, Ok(()));
}

#[tokio::test]
async fn without_a_fault_it_answers() {
    assert_well(&ml_with(FaultKind::None).await).await;
}

#[tokio::test]
async fn status_answers_with_that_status() {
    let ml = ml_with(FaultKind::Status).await;
    assert!(answer(&ml).await.0.starts_with("HTTP/1.1 503 "));
    let mut fault = Fault::new(FaultKind::Status);
    fault.status = http::StatusCode::IM_A_TEAPOT;
    ml.set_fault(fault).await.unwrap();
    assert!(answer(&ml).await.0.starts_with("HTTP/1.1 418 "));
}

#[tokio::test]
async fn latency_answers_late_but_well() {
    let ml = ml_with(FaultKind::Latency).await;
    let began = Instant::now();
    assert_well(&ml).await;
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn reset_is_a_reset_on_the_wire() {
    let ml = ml_with(FaultKind::Reset).await;
    assert_eq!(answer(&ml).await, (String::new(), Err(ErrorKind::ConnectionReset)));
    ml.set_fault(Fault::default()).await.unwrap();
    assert_well(&ml).await;
}

#[tokio::test]
async fn refuse_refuses_at_its_own_port_and_listens_there_again() {
    let ml = ml_with(FaultKind::None).await;
    let address = ml.address();
    for _ in 0..3 {
        let mut open = connect(&ml).await;
        ml.set_fault(Fault::new(FaultKind::Refuse)).await.unwrap();
        // Open connections are closed, and new ones are refused.
        assert_eq!(rest(&mut open).await.0, "");
        for _ in 0..10 {
            assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        ml.set_fault(Fault::default()).await.unwrap();
        assert_eq!(ml.address(), address);
        assert_well(&ml).await;
    }
}

/// The system gives a free port to any socket that asks. Not every system can reserve one, see `port.rs`.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_port_is_not_free_while_it_is_refused() {
    let ml = ml_with(FaultKind::Refuse).await;
    let error = tokio::net::TcpSocket::new_v4().unwrap().bind(ml.address()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn truncate_breaks_off_in_the_middle_of_the_body() {
    let ml = ml_with(FaultKind::Truncate).await;
    let (answer, _) = answer(&ml).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let promised = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let promised: usize = promised.parse().unwrap();
    assert!(!body.is_empty() && body.len() < promised, "{} of {promised}", body.len());
}

#[tokio::test]
async fn hang_takes_the_request_and_lets_go_of_it_when_it_is_cleared() {
    let ml = ml_with(FaultKind::Hang).await;
    let mut stream = connect(&ml).await;
    send(&mut stream, REQUEST).await;
    let mut byte = [0];
    // No test can show that nothing ever comes, but the answer to any other fault would have come by now.
    assert!(timeout(Duration::from_millis(100), stream.read(&mut byte)).await.is_err());
    ml.set_fault(Fault::default()).await.unwrap();
    assert_eq!(rest(&mut stream).await.0, "");
    assert_well(&ml).await;
}

#[tokio::test]
async fn latency_lets_go_when_it_is_cleared() {
    let ml = Simulated::start(Upstream::Ml).unwrap();
    let mut fault = Fault::new(FaultKind::Latency);
    fault.latency = Duration::from_secs(60);
    ml.set_fault(fault).await.unwrap();
    let mut stream = connect(&ml).await;
    send(&mut stream, REQUEST).await;
    let mut first = [0; 15];
    assert!(timeout(Duration::from_millis(100), stream.read(&mut first)).await.is_err());
    ml.set_fault(Fault::default()).await.unwrap();
    timeout(PATIENCE, stream.read_exact(&mut first)).await.expect("it still waits").unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
}

/// Also on a kept-alive connection: a client's pool must not avoid the fault.
#[tokio::test]
async fn a_fault_meets_the_next_request_on_an_open_connection() {
    let ml = ml_with(FaultKind::None).await;
    let mut stream = connect(&ml).await;
    let mut status = [0; 15];
    send(&mut stream, &REQUEST.replace("GET", "HEAD")).await;
    timeout(PATIENCE, stream.read_exact(&mut status)).await.unwrap().unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK");
    ml.set_fault(Fault::new(FaultKind::Reset)).await.unwrap();
    send(&mut stream, REQUEST).await;
    assert_eq!(rest(&mut stream).await.1, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_rate_is_a_share_of_the_requests() {
    let ml = Simulated::start(Upstream::Ml).unwrap();
    let failures_of_100 = async |rate| {
        let mut fault = Fault::new(FaultKind::Status);
        fault.rate = rate;
        ml.set_fault(fault).await.unwrap();
        let mut failures = 0;
        for _ in 0..100 {
            failures += usize::from(answer(&ml).await.0.starts_with("HTTP/1.1 503 "));
        }
        failures
    };
    assert_eq!([failures_of_100(0.0).await, failures_of_100(1.0).await], [0, 100]);
    // Fails by chance once in 10^13 runs.
    let half = failures_of_100(0.5).await;
    assert!((14..=86).contains(&half), "{half}");
}

#[tokio::test]
async fn what_it_does_not_know_is_a_404() {
    let ml = ml_with(FaultKind::None).await;
    for path in ["/", "/v1/popular", "/v1/recommendations/", "/v1/recommendations/a/b"] {
        let mut stream = connect(&ml).await;
        send(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: ml\r\nConnection: close\r\n\r\n")).await;
        assert!(rest(&mut stream).await.0.starts_with("HTTP/1.1 404 "), "{path}");
    }
}

#[tokio::test]
async fn it_ends_with_its_last_handle() {
    let ml = ml_with(FaultKind::None).await;
    let mut open = connect(&ml).await;
    drop(ml);
    assert_eq!(rest(&mut open).await.0, "");
}
