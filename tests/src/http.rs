//! Loopback servers, a scripted upstream, and clients of both.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::unwrap_used,
    reason = "a helper of a test may fail it"
)]

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, Uri, response::Parts, uri},
    response::{IntoResponse, Response},
};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinSet,
};
use tower::{Service, ServiceBuilder, ServiceExt};

/// The answer of a working [`Upstream`].
pub const PERSONAL: &str = "just for you";

/// An app on a free loopback port, until this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Server {
    /// Serves `app`.
    pub async fn start(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { address, _serving: serving }
    }

    /// Its address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a GET over a new connection.
    pub async fn get(&self, path: &str) -> (Parts, String) {
        self.send(get(path)).await
    }

    /// Sends a GET over a new connection, and doesn't read the answer's body yet.
    pub async fn open(&self, path: &str) -> Response {
        client(self.address).oneshot(get(path)).await.unwrap()
    }

    /// Sends `request` over a new connection.
    pub async fn send(&self, request: Request) -> (Parts, String) {
        read(client(self.address).oneshot(request).await.unwrap()).await
    }
}

/// How an [`Upstream`] answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Answers 200 with [`PERSONAL`].
    Well,
    /// Answers with this status, and its number as the body.
    Fail(StatusCode),
    /// Never answers.
    Hang,
}

/// A scripted service on a free loopback port.
#[derive(Debug)]
pub struct Upstream {
    server: Server,
    told: Arc<Told>,
}

struct Told {
    /// The answers to the next requests, one each.
    first: Mutex<VecDeque<Does>>,
    /// The answer to all others.
    then: Mutex<Does>,
    calls: AtomicUsize,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Starts one that answers every request by `then`.
    pub async fn start(then: Does) -> Self {
        let told = Arc::new(Told { first: Mutex::default(), then: Mutex::new(then), calls: AtomicUsize::default() });
        let asked = Arc::clone(&told);
        let app = Router::new().fallback(move || {
            let told = Arc::clone(&asked);
            async move { told.answer().await }
        });
        Self { server: Server::start(app).await, told }
    }

    /// Its address.
    pub const fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Sets the answer from now on.
    pub fn now(&self, then: Does) {
        *self.told.then.lock().unwrap() = then;
    }

    /// Sets the answers to the next requests.
    pub fn first(&self, first: impl IntoIterator<Item = Does>) {
        self.told.first.lock().unwrap().extend(first);
    }

    /// How many requests have reached it.
    pub fn calls(&self) -> usize {
        self.told.calls.load(Ordering::Relaxed)
    }
}

impl Told {
    async fn answer(&self) -> Response {
        let next = self.first.lock().unwrap().pop_front();
        let does = next.unwrap_or(*self.then.lock().unwrap());
        self.calls.fetch_add(1, Ordering::Relaxed);
        match does {
            Does::Well => PERSONAL.into_response(),
            Does::Fail(status) => (status, status.as_str().to_owned()).into_response(),
            Does::Hang => std::future::pending().await,
        }
    }
}

/// A loopback address on which nobody can listen until this is dropped.
#[derive(Debug)]
pub struct Nobody(TcpSocket);

impl Nobody {
    /// Binds a port without listening. A free port could become another test's a moment later.
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self(socket)
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

impl Default for Nobody {
    fn default() -> Self {
        Self::new()
    }
}

/// A hyper-util client of one address, its response bodies mapped to axum's.
pub fn client(
    address: SocketAddr,
) -> impl Service<Request, Response = Response, Error = Error, Future: Send + 'static> + Clone + Send + Sync + 'static {
    let client: Client<HttpConnector, Body> = Client::builder(TokioExecutor::new()).build_http();
    ServiceBuilder::new()
        .map_request(move |mut request: Request| {
            *request.uri_mut() = at(address, request.uri());
            request
        })
        .map_response(|response: http::Response<hyper::body::Incoming>| response.map(Body::new))
        .service(client)
}

fn at(address: SocketAddr, uri: &Uri) -> Uri {
    let mut parts = uri::Parts::default();
    parts.scheme = Some(uri::Scheme::HTTP);
    parts.authority = Some(address.to_string().parse().unwrap());
    parts.path_and_query = uri.path_and_query().cloned();
    Uri::from_parts(parts).unwrap()
}

/// A GET without a body.
pub fn get(path: &str) -> Request {
    http::Request::get(path).body(Body::empty()).unwrap()
}

/// A POST with a body.
pub fn post(path: &str, body: &'static str) -> Request {
    http::Request::post(path).body(Body::from(body)).unwrap()
}

/// A response without a body.
pub fn status(status: StatusCode) -> Response {
    status.into_response()
}

/// Reads a whole response.
pub async fn read(response: Response) -> (Parts, String) {
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (head, String::from_utf8(body.to_vec()).unwrap())
}

/// The value of a response header, as text.
pub fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name).map(|value| value.to_str().unwrap())
}
