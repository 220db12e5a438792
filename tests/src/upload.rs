//! A request body that a test sends piece by piece.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

/// A body of unknown length, and the sender of its chunks. The sender is closed once nobody reads the body.
pub fn upload() -> (mpsc::Sender<&'static str>, Body) {
    let (sender, receiver) = mpsc::channel(8);
    (sender, Body::new(Upload(receiver)))
}

struct Upload(mpsc::Receiver<&'static str>);

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk.into()))))
    }
}
