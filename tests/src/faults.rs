//! Servers that fail at every request, each in one way.

#![allow(clippy::must_use_candidate, reason = "a helper of a test")]

use std::{future::pending, net::SocketAddr, time::Duration};

use crate::{
    http::Nobody,
    http1::{Connection, Http1Server},
};

/// How a server fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens.
    Refused,
    /// The connection is accepted, and nothing follows.
    Silence,
    /// The connection is reset once the request has arrived.
    ResetBeforeHead,
    /// The connection is reset in the middle of the head.
    ResetInHead,
    /// The head arrives a byte at a time, and never ends.
    SlowHead,
    /// The answer is a 500.
    Status,
    /// The connection ends in the middle of the body.
    TruncatedBody,
    /// The body arrives a byte at a time, and never ends.
    SlowBody,
    /// The answer isn't HTTP.
    Garbage,
    /// The head is larger than hyper's limit of about 400 KB.
    OversizedHead,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 10] = [
        Self::Refused,
        Self::Silence,
        Self::ResetBeforeHead,
        Self::ResetInHead,
        Self::SlowHead,
        Self::Status,
        Self::TruncatedBody,
        Self::SlowBody,
        Self::Garbage,
        Self::OversizedHead,
    ];

    /// Starts a server with this fault.
    pub async fn start(self) -> FaultyServer {
        if self == Self::Refused {
            return FaultyServer::Nobody(Nobody::new());
        }
        FaultyServer::Listening(Http1Server::start(move |connection| self.play(connection)).await)
    }

    async fn play(self, mut connection: Connection) {
        while connection.head().await.is_some() {
            match self {
                Self::Refused | Self::Silence => pending().await,
                Self::ResetBeforeHead => return connection.reset(),
                Self::ResetInHead => {
                    connection.write("HTTP/1.1 200 OK\r\ncontent-le").await;
                    return connection.reset();
                }
                Self::SlowHead => {
                    connection.write("HTTP/1.1 200 OK\r\nx-slow: ").await;
                    drip(&mut connection).await;
                }
                Self::Status => connection.answer(500, "500").await,
                Self::TruncatedBody => {
                    connection.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all of it").await;
                    return;
                }
                Self::SlowBody => {
                    connection.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n").await;
                    drip(&mut connection).await;
                }
                Self::Garbage => connection.write("\u{16}\u{3}\u{1} who speaks of HTTP?\r\n\r\n").await,
                Self::OversizedHead => {
                    let head =
                        format!("HTTP/1.1 200 OK\r\nx-large: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(512 * 1024));
                    connection.write(&head).await;
                }
            }
        }
    }
}

async fn drip(connection: &mut Connection) {
    loop {
        connection.write(".").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A server with a fault, until it is dropped.
#[derive(Debug)]
pub enum FaultyServer {
    /// It doesn't listen.
    Nobody(Nobody),
    /// It listens.
    Listening(Http1Server),
}

impl FaultyServer {
    /// Its address, whether it listens or not.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Nobody(nobody) => nobody.address(),
            Self::Listening(server) => server.address(),
        }
    }
}
