//! A server at the other end of a pipe in memory, all on one thread.

use std::{future::pending, io};

use axum::serve::Listener;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime,
};

use super::{Server, is_answered, written};

/// What makes calls of `server`, one after the other.
pub(super) fn calls(server: Server) -> impl FnOnce() -> Box<dyn FnMut(u64) + Send> {
    move || {
        let runtime = runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (mut client, accepted) = duplex(BUFFER);
        let serve = axum::serve(OneConnection(Some(accepted)), (server.router)());
        runtime.spawn(serve.into_future());
        let (written, mut read) = (written(), Vec::with_capacity(BUFFER));
        Box::new(move |_| {
            read.clear();
            runtime.block_on(async {
                client.write_all(&written).await.expect("a request is written");
                while !is_answered(&read) {
                    client.read_buf(&mut read).await.expect("a response is read");
                }
            });
        })
    }
}

/// Takes a request, or a response.
const BUFFER: usize = 4096;

/// Accepts a single connection.
struct OneConnection(Option<DuplexStream>);

impl Listener for OneConnection {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.take() {
            Some(connection) => (connection, ()),
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}
