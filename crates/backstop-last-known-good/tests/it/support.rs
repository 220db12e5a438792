//! A primary that answers as it is told, bodies that come in pieces, and stores that let one down.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test uses some of it, and a helper of a test may fail it"
)]

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::Body;
use backstop_last_known_good::{Freshness, LastKnownGoodLayer, NotStored, Store, StoreError};
use backstop_test::{Scripted, Step};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, request, response::Parts};
use http_body::Frame;
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};

pub fn get(uri: &str, headers: &[(&str, &str)]) -> Request<Body> {
    request("GET", uri, headers)
}

pub fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let builder = Request::builder().method(method).uri(uri);
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(Body::empty()).unwrap()
}

pub fn response(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let builder = Response::builder().status(StatusCode::from_u16(status).unwrap());
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(body.into()).unwrap()
}

/// Gives the response as it comes out of the layer, the body not yet read.
pub async fn begin<St: Store>(
    layer: &LastKnownGoodLayer<St>,
    request: Request<Body>,
    answer: Response<Body>,
) -> Response<Body> {
    let primary = Scripted::<_, _, Infallible>::steps([Step::answer(answer)]);
    layer.layer(primary).oneshot(request).await.unwrap()
}

/// Sends a request that the primary answers so, and reads all of it.
pub async fn send<St: Store>(
    layer: &LastKnownGoodLayer<St>,
    request: Request<Body>,
    answer: Response<Body>,
) -> (Parts, Bytes) {
    let (head, body) = begin(layer, request, answer).await.into_parts();
    (head, body.collect().await.unwrap().to_bytes())
}

/// What is stored for a request.
#[derive(Debug, PartialEq)]
pub struct Stored {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
    pub age: u64,
}

pub async fn stored<St: Store>(layer: &LastKnownGoodLayer<St>, request: Request<Body>) -> Result<Stored, NotStored> {
    stored_for(layer, request.into_parts().0).await
}

pub async fn stored_for<St: Store>(layer: &LastKnownGoodLayer<St>, head: request::Parts) -> Result<Stored, NotStored> {
    let answer = layer.handle().answer::<Body>(head).await?;
    let Some(Freshness::Stale { age: Some(age) }) = answer.freshness() else { panic!("{:?}", answer.freshness()) };
    let (head, body) = answer.into_value().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Ok(Stored { status: head.status, headers: head.headers, body, age: age.as_secs() })
}

/// The body that is stored for a request.
pub async fn body_of<St: Store>(layer: &LastKnownGoodLayer<St>, request: Request<Body>) -> Result<String, NotStored> {
    stored(layer, request).await.map(|stored| stored.body)
}

/// A body that yields what it is told, when it is told.
#[derive(Clone, Default)]
pub struct Pieces(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    frames: VecDeque<Result<Frame<Bytes>, std::io::Error>>,
    ended: bool,
    waker: Option<Waker>,
}

impl Pieces {
    pub fn body(&self) -> Body {
        Body::new(PiecesBody(self.clone()))
    }

    fn tell(&self, tell: impl FnOnce(&mut Told)) {
        let mut told = self.0.lock().unwrap();
        tell(&mut told);
        if let Some(waker) = told.waker.take() {
            waker.wake();
        }
    }

    pub fn data(&self, data: &'static str) {
        self.tell(|told| told.frames.push_back(Ok(Frame::data(data.into()))));
    }

    pub fn trailers(&self, trailers: HeaderMap) {
        self.tell(|told| told.frames.push_back(Ok(Frame::trailers(trailers))));
    }

    pub fn fail(&self) {
        self.tell(|told| told.frames.push_back(Err(std::io::ErrorKind::ConnectionReset.into())));
    }

    pub fn end(&self) {
        self.tell(|told| told.ended = true);
    }
}

struct PiecesBody(Pieces);

impl http_body::Body for PiecesBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut told = self.0.0.lock().unwrap();
        match told.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None if told.ended => Poll::Ready(None),
            None => {
                told.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// How a [`TestStore`] behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaves {
    Well,
    /// Answers after this time.
    Slowly(Duration),
    Fails,
    Hangs,
    /// Gives back other bytes than it was given.
    Corrupts,
}

/// A store that does what it is told. Clones share what is stored.
#[derive(Clone, Debug)]
pub struct TestStore(Arc<Mutex<Shelf>>);

#[derive(Debug)]
struct Shelf {
    values: HashMap<Vec<u8>, Bytes>,
    behaves: Behaves,
    puts: usize,
}

impl TestStore {
    pub fn new(behaves: Behaves) -> Self {
        Self(Arc::new(Mutex::new(Shelf { values: HashMap::new(), behaves, puts: 0 })))
    }

    pub fn now(&self, behaves: Behaves) {
        self.0.lock().unwrap().behaves = behaves;
    }

    /// How often something was put.
    pub fn puts(&self) -> usize {
        self.0.lock().unwrap().puts
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().values.len()
    }

    /// Whether these bytes are anywhere in it.
    pub fn holds(&self, text: &str) -> bool {
        let shelf = self.0.lock().unwrap();
        let found = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        shelf.values.iter().any(|(key, value)| found(key) || found(value))
    }

    async fn behave(&self) -> Result<bool, StoreError> {
        let behaves = self.0.lock().unwrap().behaves;
        match behaves {
            Behaves::Well => {}
            Behaves::Slowly(time) => tokio::time::sleep(time).await,
            Behaves::Fails => return Err("the store is down".into()),
            Behaves::Hangs => pending().await,
            Behaves::Corrupts => return Ok(true),
        }
        Ok(false)
    }
}

impl Store for TestStore {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let corrupt = self.behave().await?;
        let value = self.0.lock().unwrap().values.get(key).cloned();
        Ok(value.map(|value| if corrupt { value.slice(value.len() / 2..) } else { value }))
    }

    async fn put(&self, key: &[u8], value: Bytes, _: Duration) -> Result<(), StoreError> {
        self.behave().await?;
        let mut shelf = self.0.lock().unwrap();
        shelf.puts += 1;
        shelf.values.insert(key.to_owned(), value);
        Ok(())
    }

    async fn remove(&self, key: &[u8]) -> Result<(), StoreError> {
        self.behave().await?;
        self.0.lock().unwrap().values.remove(key);
        Ok(())
    }
}
