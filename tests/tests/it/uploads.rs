//! A proxy with `standard()` around hyper-util's client, and callers whose uploads break off, are malformed, too long or too
//! slow. Those are the callers' failures, not the upstream's.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    response::{IntoResponse, Response},
    routing::get,
};
use backstop::{
    CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, FallbackChain, FallbackLayer, Provider, Standard, name,
};
use backstop_tests::{http::Server, http1::Http1Server};
use http::{StatusCode, Uri};
use http_body_util::Limited;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Version {
    Http1,
    Http2,
}

/// An upstream that reads each upload to its end, and answers 200.
async fn upstream() -> Server {
    let app = Router::new().route("/", get(async || "well").post(async |body: Bytes| body.len().to_string()));
    Server::start(app).await
}

/// hyper-util's client, speaking this version.
fn client(version: Version) -> Client<HttpConnector, Body> {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.http2_only(matches!(version, Version::Http2)).build_http()
}

/// Forwards requests through layers, and counts those that it has finished, however they ended.
struct Proxy {
    server: Server,
    done: Arc<Semaphore>,
}

/// A request in the proxy.
struct Working(Arc<Semaphore>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

impl Proxy {
    /// Outside of all layers, bodies of requests for `/limited` end after ten bytes. An error is answered with 502, as by
    /// most proxies.
    async fn start<L, S>(layers: L, version: Version, upstream: SocketAddr) -> Self
    where
        L: Layer<Upstream, Service = S>,
        S: Service<Request, Response = Response, Error: Send, Future: Send + 'static> + Clone + Send + Sync + 'static,
    {
        let service = ServiceBuilder::new().layer(layers).service(to(upstream, version));
        let done = Arc::new(Semaphore::new(0));
        let ends = Arc::clone(&done);
        let app = Router::new().fallback(move |request: Request| {
            let working = Working(Arc::clone(&ends));
            let service = service.clone();
            async move {
                let request = if request.uri().path() == "/limited" {
                    request.map(|body| Body::new(Limited::new(body, 10)))
                } else {
                    request
                };
                let answer = service.oneshot(request).await;
                drop(working);
                answer.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
            }
        });
        Self { server: Server::start(app).await, done }
    }

    /// Waits until it has finished one more request.
    async fn is_done(&self) {
        timeout(LONG, self.done.acquire()).await.expect("the proxy goes on for ever").unwrap().forget();
    }

    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends the bytes of a request, and returns the status of the answer.
    async fn status(&self, request: &str) -> u16 {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let status = status(&mut stream).await;
        self.is_done().await;
        status
    }

    async fn is_well(&self, circuit: &CircuitBreakerHandle) {
        assert_eq!((circuit.state(), circuit.counts().failures), (CircuitState::Closed, 0));
        assert_eq!(self.server.get("/").await.1, "well");
        self.is_done().await;
    }
}

async fn status(stream: &mut TcpStream) -> u16 {
    let mut line = [0; 12];
    timeout(LONG, stream.read_exact(&mut line)).await.expect("no answer").unwrap();
    std::str::from_utf8(&line).unwrap().split(' ').next_back().unwrap().parse().unwrap()
}

type Upstream = tower::util::BoxCloneSyncService<Request, Response, hyper_util::client::legacy::Error>;

/// The client of one upstream.
fn to(upstream: SocketAddr, version: Version) -> Upstream {
    let client = client(version);
    let service = ServiceBuilder::new()
        .map_request(move |mut request: Request| {
            *request.uri_mut() = Uri::try_from(format!("http://{upstream}/")).unwrap();
            *request.version_mut() = http::Version::default();
            request
        })
        .map_response(|response: http::Response<hyper::body::Incoming>| response.map(Body::new))
        .service(client);
    Upstream::new(service)
}

const BROKEN_OFF: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhello";
const MALFORMED: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nno size\r\n";
const TOO_LONG: &str = "POST /limited HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n14\r\nhello wide wide world\r\n0\r\n\r\n";

/// Breaks uploads in each way, five times each.
async fn breaks_uploads(proxy: &Proxy, circuit: &CircuitBreakerHandle) {
    for _ in 0..5 {
        let mut stream = proxy.connect().await;
        stream.write_all(BROKEN_OFF.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        proxy.is_done().await;
    }
    proxy.is_well(circuit).await;
    for _ in 0..5 {
        assert_eq!(proxy.status(MALFORMED).await, 400);
    }
    proxy.is_well(circuit).await;
    for _ in 0..5 {
        assert_eq!(proxy.status(TOO_LONG).await, 413);
    }
    proxy.is_well(circuit).await;
    for _ in 0..5 {
        let stream = TcpStream::connect(proxy.server.address()).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        let mut driving = JoinSet::new();
        driving.spawn(async { _ = connection.await });
        let request = http::Request::post("http://a/").body(()).unwrap();
        let (_answer, mut upload) = sender.send_request(request, false).unwrap();
        upload.send_data(Bytes::from_static(b"hello"), false).unwrap();
        upload.send_reset(h2::Reason::CANCEL);
        proxy.is_done().await;
    }
    proxy.is_well(circuit).await;
}

#[tokio::test]
async fn uploads_that_their_callers_break_open_no_circuit_over_http1() {
    let upstream = upstream().await;
    let layers = Standard::new(name!("upstream"));
    let circuit = layers.handle().circuit_breaker().unwrap().clone();
    let proxy = Proxy::start(layers, Version::Http1, upstream.address()).await;
    breaks_uploads(&proxy, &circuit).await;
}

#[tokio::test]
async fn uploads_that_their_callers_break_open_no_circuit_over_http2() {
    let upstream = upstream().await;
    let layers = Standard::new(name!("upstream"));
    let circuit = layers.handle().circuit_breaker().unwrap().clone();
    let proxy = Proxy::start(layers, Version::Http2, upstream.address()).await;
    breaks_uploads(&proxy, &circuit).await;
}

/// The breaker alone doesn't change the error. By the error, or by the body, it knows whose failure it is.
#[tokio::test]
async fn a_circuit_breaker_alone_knows_a_broken_upload() {
    for version in [Version::Http1, Version::Http2] {
        let upstream = upstream().await;
        let layer = CircuitBreakerLayer::new(name!("upstream"));
        let circuit = layer.handle();
        let proxy = Proxy::start(layer, version, upstream.address()).await;
        for _ in 0..5 {
            assert_eq!(proxy.status(MALFORMED).await, 502, "the handler's own word for an error");
            assert_eq!(proxy.status(TOO_LONG).await, 502);
        }
        proxy.is_well(&circuit).await;

        // Also if the error doesn't show it, because a closure calls every error a failure.
        let layer = CircuitBreakerLayer::builder("upstream")
            .classify_fn(|result: Result<&Response, backstop::ErrorRef<'_>>| match result {
                Ok(_) => backstop::Outcome::success(),
                Err(_) => backstop::Outcome::failure(),
            })
            .build()
            .unwrap();
        let circuit = layer.handle();
        let proxy = Proxy::start(layer, version, upstream.address()).await;
        for _ in 0..5 {
            assert_eq!(proxy.status(MALFORMED).await, 502);
        }
        proxy.is_well(&circuit).await;
    }
}

#[tokio::test]
async fn a_broken_upload_is_the_primarys_answer_and_goes_to_no_other_provider() {
    for version in [Version::Http1, Version::Http2] {
        let upstream = upstream().await;
        let instead = FallbackChain::builder("uploads")
            .provider(Provider::handler(name!("elsewhere"), || async { "elsewhere" }).even_if_processed())
            .build()
            .unwrap();
        let layers = ServiceBuilder::new()
            .layer(FallbackLayer::new(name!("upstream"), instead))
            .layer(Standard::new(name!("upstream")));
        let proxy = Proxy::start(layers, version, upstream.address()).await;
        assert_eq!(proxy.status(MALFORMED).await, 400);
        assert_eq!(proxy.status(TOO_LONG).await, 413);
    }
}

/// Sends a byte every 100 ms until there is an answer: 20 bytes would take 2 s.
async fn slowly(proxy: &Proxy) -> u16 {
    let mut stream = proxy.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n").await.unwrap();
    let (mut reads, mut writes) = stream.split();
    let mut line = [0; 12];
    let answered = async { timeout(LONG, reads.read_exact(&mut line)).await.expect("no answer").unwrap() };
    tokio::select! {
        _ = answered => {}
        () = async {
            loop {
                writes.write_all(b"a").await.unwrap();
                sleep(Duration::from_millis(100)).await;
            }
        } => {}
    }
    std::str::from_utf8(&line).unwrap().split(' ').next_back().unwrap().parse().unwrap()
}

#[tokio::test]
async fn five_slow_callers_open_no_circuit_and_are_told_that_they_were_slow() {
    for version in [Version::Http1, Version::Http2] {
        let upstream = upstream().await;
        let layers = Standard::new(name!("upstream"));
        let circuit = layers.handle().circuit_breaker().unwrap().clone();
        let proxy = Proxy::start(layers, version, upstream.address()).await;
        let (a, b, c, d, e) =
            tokio::join!(slowly(&proxy), slowly(&proxy), slowly(&proxy), slowly(&proxy), slowly(&proxy));
        assert_eq!([a, b, c, d, e], [408; 5]);
        for _ in 0..5 {
            proxy.is_done().await;
        }
        proxy.is_well(&circuit).await;
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_read_the_upload_has_failed() {
    let hung = Http1Server::start(|connection| async move {
        std::future::pending::<()>().await;
        drop(connection);
    })
    .await;
    let layers = Standard::new(name!("upstream"));
    let circuit = layers.handle().circuit_breaker().unwrap().clone();
    let service = ServiceBuilder::new().layer(layers).service(to(hung.address(), Version::Http1));
    // Larger than all buffers on the way.
    let body = Body::from(vec![0; 32 << 20]);
    let answer = service.oneshot(http::Request::post("/").body(body).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(circuit.counts().failures, 1);
}
