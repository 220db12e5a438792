//! An HTTP/2 server that says goodbye while a request is on its way.

#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const PREFACE_LENGTH: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The fields of a response with the status 200, which ends the first stream: the index 8 of HPACK's static table.
const OK: [u8; 10] = [0, 0, 1, HEADERS, 5, 0, 0, 0, 1, 0x88];

/// `NO_ERROR`, as when a server shuts down; `INTERNAL_ERROR`; `ENHANCE_YOUR_CALM`.
pub const GOAWAY_CODES: [u8; 3] = [0, 2, 11];

/// Which request a server has processed when it says goodbye (RFC 9113 §6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processed {
    /// None: the last stream is 0.
    None,
    /// Perhaps the first one: the last stream is 1.
    First,
}

/// Reads the first request of its first connection whole, sends a GOAWAY, and ends the connection. Answers on the others,
/// until it is dropped.
#[derive(Debug)]
pub struct GoawayServer {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl GoawayServer {
    /// A server that says goodbye with this error code.
    pub async fn start(processed: Processed, code: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let mut serving = JoinSet::new();
        let counted = Arc::clone(&requests);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            let mut goaway =
                Some([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, u8::from(processed == Processed::First), 0, 0, 0, code]);
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, goaway.take(), Arc::clone(&counted)));
            }
        });
        Self { address, requests, _serving: serving }
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests arrived.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }
}

async fn serve(mut socket: TcpStream, goaway: Option<[u8; 17]>, requests: Arc<AtomicUsize>) {
    socket.read_exact(&mut [0; PREFACE_LENGTH]).await.unwrap();
    socket.write_all(&SETTINGS).await.unwrap();
    let mut head = [0; 9];
    while socket.read_exact(&mut head).await.is_ok() {
        let [long, middle, short, kind, flags, ..] = head;
        let length = u32::from_be_bytes([0, long, middle, short]);
        socket.read_exact(&mut vec![0; length as usize]).await.unwrap();
        requests.fetch_add(usize::from(kind == HEADERS), SeqCst);
        if [DATA, HEADERS].contains(&kind) && flags & END_STREAM != 0 {
            match goaway {
                Some(goaway) => {
                    socket.write_all(&goaway).await.unwrap();
                    // Reads on: closing with unread bytes would reset the connection.
                    socket.shutdown().await.unwrap();
                }
                None => socket.write_all(&OK).await.unwrap(),
            }
        }
    }
}
