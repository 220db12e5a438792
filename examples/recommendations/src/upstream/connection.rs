//! One connection. Each request meets the fault that is set when it arrives.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use super::data::{Ledger, Upstream};
use super::fault::{Fault, FaultKind};

pub(super) async fn serve(
    stream: TcpStream,
    upstream: Upstream,
    done: Ledger,
    fault: watch::Receiver<Fault>,
    requests: Arc<AtomicU64>,
) {
    let service = service_fn(move |request| {
        requests.fetch_add(1, Ordering::Relaxed);
        Box::pin(answer(request, upstream, done.clone(), fault.clone()))
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Without hyper's shutdown, which would close a connection properly that must be reset.
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let stream = connection.into_parts().io.into_inner();
    if ended.is_err_and(|error| broken_off(&error) == Some(BrokenOff::Reset)) {
        // With a linger time of zero, closing sends RST. If that isn't available, the connection is closed.
        let _ = stream.set_zero_linger();
    }
}

fn broken_off(error: &hyper::Error) -> Option<BrokenOff> {
    error.source()?.downcast_ref().copied()
}

async fn answer(
    request: Request<Incoming>,
    upstream: Upstream,
    done: Ledger,
    mut fault: watch::Receiver<Fault>,
) -> Result<Response<Answer>, BrokenOff> {
    let met = fault.borrow_and_update().clone();
    let kind = if met.strikes() { met.kind } else { FaultKind::None };
    match kind {
        // If the server refuses only part of the time, accepted connections are served.
        FaultKind::None | FaultKind::Refuse => Ok(well(&request, upstream, &done)),
        FaultKind::Status => Ok(json_response(met.status, &json!({ "error": "simulated" }))),
        FaultKind::Latency => {
            tokio::select! {
                () = sleep(met.latency) => {}
                () = cleared(&mut fault, kind) => {}
            }
            Ok(well(&request, upstream, &done))
        }
        FaultKind::Hang => {
            cleared(&mut fault, kind).await;
            Err(BrokenOff::Hung)
        }
        FaultKind::Late => {
            #[expect(clippy::disallowed_methods, reason = "it ends after the latency, and must outlive its caller")]
            let working = tokio::spawn(async move {
                sleep(met.latency).await;
                well(&request, upstream, &done)
            });
            working.await.map_err(|_| BrokenOff::Hung)
        }
        FaultKind::Reset => {
            // It is done, and nobody is told.
            drop(well(&request, upstream, &done));
            Err(BrokenOff::Reset)
        }
        FaultKind::Truncate => Ok(well(&request, upstream, &done).map(Answer::broken_off)),
    }
}

/// Waits until the fault changes, so that a cleared fault releases its requests.
async fn cleared(fault: &mut watch::Receiver<Fault>, kind: FaultKind) {
    // An error means that the server has stopped, and so will this task.
    let _ = fault.wait_for(|now| now.kind != kind).await;
}

fn well(request: &Request<Incoming>, upstream: Upstream, done: &Ledger) -> Response<Answer> {
    let path = request.uri().path();
    let answer = match *request.method() {
        Method::GET | Method::HEAD => upstream.get(path, done).map(|value| (StatusCode::OK, value)),
        Method::DELETE => upstream.delete(path, done),
        Method::POST => match request.headers().get("idempotency-key").map(HeaderValue::to_str) {
            Some(Ok(key)) => upstream.post(path, key.trim_matches('"'), done),
            _ => return json_response(StatusCode::BAD_REQUEST, &json!({ "error": "no idempotency key" })),
        },
        _ => {
            return json_response(
                StatusCode::METHOD_NOT_ALLOWED,
                &json!({ "error": "only GET, HEAD, POST and DELETE" }),
            );
        }
    };
    match answer {
        Some((status, value)) => json_response(status, &value),
        None => json_response(StatusCode::NOT_FOUND, &json!({ "error": "not found" })),
    }
}

fn json_response(status: StatusCode, value: &serde_json::Value) -> Response<Answer> {
    let mut response = Response::new(Answer::whole(value.to_string().into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Why a connection breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BrokenOff {
    Hung,
    Reset,
    Truncated,
}

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated fault: {self:?}")
    }
}

impl Error for BrokenOff {}

/// A body that may end before its declared length.
struct Answer {
    data: Bytes,
    promised: u64,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Proper,
    /// hyper sends its buffer while the body is pending. An immediate error would discard it.
    BreakOffAfterFlush,
    BreakOff,
}

impl Answer {
    fn whole(data: Bytes) -> Self {
        Self { promised: data.len() as u64, data, end: End::Proper }
    }

    /// The first half of the data, with the length of all of it.
    fn broken_off(mut self) -> Self {
        self.data.truncate(self.data.len() / 2);
        self.end = End::BreakOffAfterFlush;
        self
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            self.promised -= data.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match self.end {
            End::Proper => Poll::Ready(None),
            End::BreakOffAfterFlush => {
                self.end = End::BreakOff;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            End::BreakOff => Poll::Ready(Some(Err(BrokenOff::Truncated))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.end == End::Proper
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}
