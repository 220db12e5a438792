//! Clients that want too much: connections, heads, bodies, time.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use std::time::Duration;

use recommendations::{Config, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::common::App;
use crate::program::{PATIENCE, Started, ask, get, options_for_free_ports, program};

/// Reads until the connection ends, however it ends.
async fn rest(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    _ = timeout(PATIENCE, stream.read_to_end(&mut read)).await.expect("the connection stays open");
    String::from_utf8(read).unwrap()
}

/// Sends a request on a connection that stays open, and reads the head of the answer and its body.
async fn keep_asking(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: app\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 16 * 1024];
    let length = timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
    answer.truncate(length);
    String::from_utf8(answer).unwrap()
}

/// The soft limit of open files of this process, which the program inherits.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

#[tokio::test]
async fn a_connection_too_many_is_refused_in_words_and_those_that_are_there_are_served() {
    let mut started = Started::start(&["--max-connections", "2"]).await;
    let mut open = TcpStream::connect(&started.app).await.unwrap();
    assert!(keep_asking(&mut open, "/livez").await.starts_with("HTTP/1.1 200 "));
    let mut other = TcpStream::connect(&started.app).await.unwrap();
    assert!(keep_asking(&mut other, "/livez").await.starts_with("HTTP/1.1 200 "));

    // Its request is on its way when it is refused. Nevertheless it gets the answer, and not a reset.
    let refused = get(&started.app, "/api/recommendations/ada").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    for part in ["Retry-After: 1\r\n", "Connection: close\r\n", "application/problem+json", "no connections left"] {
        assert!(refused.contains(part), "{part} is not in {refused}");
    }
    assert!(keep_asking(&mut open, "/api/recommendations/ada").await.starts_with("HTTP/1.1 200 "));
    // Nor do they keep operators out.
    let metrics = keep_asking(&mut other, "/metrics").await;
    assert!(metrics.contains("HTTP/1.1 200 "), "{metrics}");
    assert!(get(&started.admin, "/circuits").await.starts_with("HTTP/1.1 200 "));

    drop(other);
    while !get(&started.app, "/livez").await.starts_with("HTTP/1.1 200 ") {
        tokio::task::yield_now().await;
    }
    started.signal("TERM").await;
    assert_eq!(started.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_and_a_body_too() {
    let started = Started::start(&[]).await;
    let long = format!("X-Long: {}\r\n", "a".repeat(64 * 1024));
    let many: String = (0..100).map(|n| format!("X-{n}: a\r\n")).collect();
    for fields in [long, many] {
        let mut stream = TcpStream::connect(&started.app).await.unwrap();
        // It may be refused before all of it is sent.
        _ = stream.write_all(format!("GET /livez HTTP/1.1\r\nHost: app\r\n{fields}\r\n").as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let order = format!(
        "POST /api/orders HTTP/1.1\r\nHost: app\r\nContent-Type: application/json\r\nIdempotency-Key: \"1\"\r\n\
         Content-Length: 100000\r\nConnection: close\r\n\r\n{}",
        "a".repeat(100_000)
    );
    let answer = ask(&started.app, &order).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("application/problem+json"), "{answer}");
    assert!(get(&started.app, "/api/recommendations/ada").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn half_a_head_or_none_is_waited_for_so_long_and_no_longer() {
    let running = start(Config::on_free_ports()).await.unwrap();
    for half in ["", "GET /livez HTTP/1.1\r\nHost: a"] {
        let mut stream = TcpStream::connect(running.app()).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        let since = Instant::now();
        // Paused time moves on while nothing else happens.
        let mut read = Vec::new();
        _ = stream.read_to_end(&mut read).await;
        let took = since.elapsed();
        assert!((Duration::from_secs(74)..Duration::from_secs(80)).contains(&took), "{half:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_body_is_waited_for_until_the_requests_deadline() {
    let running = start(Config::on_free_ports()).await.unwrap();
    let mut stream = TcpStream::connect(running.app()).await.unwrap();
    let half =
        "POST /api/orders HTTP/1.1\r\nHost: app\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";
    stream.write_all(half.as_bytes()).await.unwrap();
    let since = Instant::now();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 504");
    assert!(since.elapsed() <= Duration::from_secs(16), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn every_answer_tells_browsers_to_make_nothing_of_it() {
    let app = App::start().await;
    for path in ["/api/recommendations/ada", "/api/recommendations/", "/nowhere", "/health", "/metrics"] {
        let answer = app.get(path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
    }
    assert_eq!(app.admin(http::Method::GET, "/circuits", None).await.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn ten_thousand_idle_connections_keep_nobody_out() {
    let started = Started::start(&[]).await;
    // One end of each is in this process, and the other one in the program.
    let many = 9_900.min(open_files() / 4 * 3 - 100);
    let mut idle = Vec::with_capacity(many);
    for _ in 0..many {
        idle.push(timeout(PATIENCE, TcpStream::connect(&started.app)).await.unwrap().unwrap());
    }
    for _ in 0..50 {
        let since = Instant::now();
        assert!(get(&started.app, "/api/recommendations/ada").await.starts_with("HTTP/1.1 200 "));
        assert!(since.elapsed() < Duration::from_secs(5), "{:?} beside {many} idle connections", since.elapsed());
    }
    println!("{many} idle connections");
}

#[tokio::test]
async fn it_survives_running_out_of_open_files() {
    let mut poor = Command::new("sh");
    let binary = program(&[]).as_std().get_program().to_owned();
    poor.args(["-c", "ulimit -n 96; exec \"$0\" \"$@\""]).arg(binary).args(options_for_free_ports());
    // More than there are files for.
    poor.args(["--max-connections", "100000"]).env("RECOMMENDATIONS_DRAIN", "1ms").kill_on_drop(true);
    let mut started = Started::of(poor).await;
    let mut open = TcpStream::connect(&started.app).await.unwrap();
    assert!(keep_asking(&mut open, "/livez").await.starts_with("HTTP/1.1 200 "));
    let mut greedy = Vec::new();
    for _ in 0..150 {
        greedy.push(timeout(PATIENCE, TcpStream::connect(&started.app)).await.unwrap().unwrap());
    }
    // There isn't even a file for a call to another service.
    for user in ["ada", "bob", "eve"] {
        let answer = keep_asking(&mut open, &format!("/api/recommendations/{user}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    drop(greedy);
    for _ in 0..3 {
        assert!(get(&started.app, "/api/recommendations/ada").await.starts_with("HTTP/1.1 200 "));
    }
    started.signal("TERM").await;
    assert_eq!(started.ended().await.code(), Some(0));
    let mut log = String::new();
    started.child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
    assert!(log.contains("can't accept connections"), "it never ran out: {log}");
}
