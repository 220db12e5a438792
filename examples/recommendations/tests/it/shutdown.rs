//! How long a shutdown waits for running requests.
#![allow(clippy::panic, clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::time::Duration;

use recommendations::{Config, StartError, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

#[tokio::test]
async fn a_request_that_never_ends_holds_the_end_up_for_the_grace_and_no_longer() {
    let running = start(Config::on_free_ports()).await.unwrap();
    let mut stream = TcpStream::connect(running.admin()).await.unwrap();
    let head = format!(
        "PUT /chaos/ml HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\
         Expect: 100-continue\r\n\r\n",
        running.admin()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Sent once the handler waits for the body, which never arrives.
    let mut told = [0; 12];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100");

    tokio::time::pause();
    let started = Instant::now();
    running.drain().begin();
    running.serve().await;
    assert_eq!(started.elapsed().as_secs(), Duration::from_secs(5).as_secs());
}

#[tokio::test]
async fn a_drain_that_is_too_long_is_refused() {
    let mut config = Config::on_free_ports();
    config.drain = Duration::MAX;
    let Err(StartError::Layer(error)) = start(config).await else { panic!("it started") };
    assert_eq!(error.field, "serve_while_draining");
}
