//! Accepts connections, within bounds.
//!
//! `axum::serve` accepts any number of them, and waits for a request for as long as its client likes. Each takes an open file and
//! some memory, so a few idle clients could keep all others out.

use std::fs;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use backstop::Drain;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::metrics::CONNECTIONS_REFUSED;

/// How long a connection may take until the head of its next request is complete. Balancers keep idle connections for 60 s: if ours
/// were shorter, they would send requests into connections that are just being closed.
const HEAD: Duration = Duration::from_secs(75);

/// The longest head of a request, and the most fields in it. Ours have ten lines.
const LONGEST_HEAD: usize = 32 * 1024;
const MOST_FIELDS: usize = 64;

/// How many connections there may be, unless set or unless there are fewer open files.
const CONNECTIONS: usize = 10_000;

/// The answer to a connection too many. A balancer tries another instance.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/problem+json\r\n\
    Content-Length: 93\r\n\
    Cache-Control: no-store\r\n\
    Retry-After: 1\r\n\
    Connection: close\r\n\r\n\
    {\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"this instance has no connections left\"}";

/// How many connections are refused in words at the same time, and for how long each. Others are just closed.
const REFUSALS: usize = 64;
const REFUSAL: Duration = Duration::from_secs(1);

/// Serves `router` until the drain closes the listener, and then what is running.
pub(super) async fn serve(listener: TcpListener, router: Router, max_connections: usize, drain: Drain) {
    let permits = Arc::new(Semaphore::new(max_connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let mut connections = JoinSet::new();
    let mut was_full = false;
    let mut closes = pin!(drain.listener_closes());
    loop {
        let stream = tokio::select! {
            biased;
            () = &mut closes => break,
            Some(_) = connections.join_next() => continue,
            stream = accept(&listener) => stream,
        };
        if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
            was_full = false;
            let serving = connection(stream, router.clone(), drain.listener_closes());
            connections.spawn(async move {
                serving.await;
                drop(permit);
            });
            continue;
        }
        metrics::counter!(CONNECTIONS_REFUSED).increment(1);
        if !was_full {
            tracing::warn!(max_connections, "connections are refused: there are as many as allowed");
            was_full = true;
        }
        if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
            connections.spawn(async move {
                _ = timeout(REFUSAL, refuse(stream)).await;
                drop(permit);
            });
        }
    }
    // From now on, the system refuses connections.
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(listener: &TcpListener) -> TcpStream {
    let mut is_logged = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // An answer is written at once, so waiting for more to send would only delay it.
                _ = stream.set_nodelay(true);
                return stream;
            }
            // The client has gone already.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            // Usually out of open files, which passes. The loop must not spin until then.
            Err(error) => {
                if !is_logged {
                    tracing::error!(%error, "can't accept connections");
                    is_logged = true;
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, closes: impl Future<Output = ()>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LONGEST_HEAD)
        .max_headers(MOST_FIELDS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        // An error is the client's: it sent something else than HTTP, or left.
        _ = connection.as_mut() => return,
        () = closes => connection.as_mut().graceful_shutdown(),
    }
    _ = connection.await;
}

async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(FULL).await?;
    stream.shutdown().await?;
    // Closing while there is something unread would reset the connection, and its client might never see the answer.
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

/// How many connections there may be, unless set: three quarters of the open files, because calls to other services and the stores
/// need some as well.
pub(super) fn default_max_connections() -> usize {
    let open_files = fs::read_to_string("/proc/self/limits").ok().and_then(|limits| soft_limit(&limits));
    // Elsewhere than on Linux, the least that systems have.
    CONNECTIONS.min(open_files.unwrap_or(256) / 4 * 3)
}

fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["status"], 503);
    }

    #[test]
    fn the_limit_of_open_files_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             95765                95765                processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(limits), Some(1024));
        assert_eq!(soft_limit(&limits.replace("1024 ", "unlimited")), Some(usize::MAX));
        assert_eq!(soft_limit("Max processes 1 1"), None);
        assert!((1..=CONNECTIONS).contains(&default_max_connections()));
    }
}
