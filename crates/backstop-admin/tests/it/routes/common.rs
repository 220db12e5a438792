//! A component that notes what is asked of it, the routes around it, and a client that sends any bytes.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use backstop_admin::{
    Admin, AdminBuilder, EventLog, Inspect, Inventory, Name, Operation, OperationError, OperationFuture,
    OperationRequest, Reach, Value,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value as Json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::ServiceExt;

pub(crate) const ADA: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const BEN: &str = "fedcba9876543210fedcba9876543210";

/// What a component's operations do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    Work(Reach),
    Refuse,
    Fail,
    Hang,
}

/// A component whose handles are clones.
#[derive(Clone)]
pub(crate) struct Part(Arc<Inner>);

struct Inner {
    kind: &'static str,
    name: Name,
    does: Mutex<Does>,
    asked: Mutex<Vec<OperationRequest>>,
    running: AtomicUsize,
    log: Mutex<Option<EventLog>>,
}

impl Part {
    pub(crate) fn new(kind: &'static str, name: &'static str) -> Self {
        Self(Arc::new(Inner {
            kind,
            name: Name::new(name).unwrap(),
            does: Mutex::new(Does::Work(Reach::Instance)),
            asked: Mutex::default(),
            running: AtomicUsize::new(0),
            log: Mutex::default(),
        }))
    }

    pub(crate) fn now(&self, does: Does) {
        *self.0.does.lock().unwrap() = does;
    }

    /// The names of the operations that were run.
    pub(crate) fn ran(&self) -> Vec<String> {
        self.0.asked.lock().unwrap().iter().map(|request| request.name().to_owned()).collect()
    }

    pub(crate) fn last(&self) -> OperationRequest {
        self.0.asked.lock().unwrap().last().unwrap().clone()
    }

    /// Reports changes of state.
    pub(crate) fn change(&self, times: usize) {
        let log = self.0.log.lock().unwrap().clone().unwrap();
        for _ in 0..times {
            log.push(self.0.name.clone(), self.0.kind, vec![("to", "open".into())]);
        }
    }
}

struct Running<'a>(&'a Inner);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Inspect for Part {
    fn name(&self) -> &Name {
        &self.0.name
    }

    fn kind(&self) -> &'static str {
        self.0.kind
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![("wait", Duration::from_millis(1_500).into()), ("limit", Value::None)]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        vec![("ran", self.ran().len().into())]
    }

    fn operations(&self) -> &'static [Operation] {
        const ALL: &[Operation] = &[
            Operation::once("clear"),
            Operation::limited("pin").arguments(&[("level", "healthy or degraded")]),
            Operation::until("isolate", "end"),
            Operation::once("end"),
            Operation::until("pause", "resume"),
            Operation::once("resume"),
        ];
        ALL
    }

    fn operate<'a>(&'a self, request: &'a OperationRequest) -> OperationFuture<'a> {
        Box::pin(async move {
            assert_eq!(self.0.running.fetch_add(1, SeqCst), 0, "one at a time");
            let _running = Running(&self.0);
            let does = *self.0.does.lock().unwrap();
            self.0.asked.lock().unwrap().push(request.clone());
            tokio::task::yield_now().await;
            match does {
                Does::Work(reach) => Ok(reach),
                Does::Refuse => Err(request.text("colour", "red or green").unwrap_err().into()),
                Does::Fail => Err(OperationError::Unavailable("connection reset".to_owned())),
                Does::Hang => pending().await,
            }
        })
    }

    fn report_to(&self, log: &EventLog) {
        *self.0.log.lock().unwrap() = Some(log.clone());
    }
}

/// The routes for these components, with two operators.
pub(crate) fn builder(parts: &[&Part]) -> AdminBuilder {
    let inventory = parts.iter().fold(Inventory::new(), |inventory, part| inventory.register((*part).clone()));
    Admin::builder(inventory).token("ada", ADA).token("ben", BEN)
}

/// The same, without a network. Effects are ended.
pub(crate) struct Local {
    router: Router,
    _background: JoinSet<()>,
}

impl Local {
    pub(crate) fn new(parts: &[&Part]) -> Self {
        let admin = builder(parts).build().unwrap();
        let mut background = JoinSet::new();
        background.spawn(admin.run());
        Self { router: admin.router(), _background: background }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Json) -> Answer {
        self.send(Method::POST, path, body.to_string().into()).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Body) -> Answer {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.header("authorization", format!("Bearer {ADA}"));
        let request = request.header("content-type", "application/json").body(body).unwrap();
        answer(&self.router, request).await
    }
}

pub(crate) async fn answer(router: &Router, request: Request<Body>) -> Answer {
    let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn ok(&self) -> Json {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self.json()
    }

    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> Json {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        problem
    }
}

/// The routes on a real socket.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _background: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(admin: &Admin) -> Self {
        Self::with(admin, admin.router()).await
    }

    pub(crate) async fn with(admin: &Admin, router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut background = JoinSet::new();
        background.spawn(admin.run());
        background.spawn(async { _ = axum::serve(listener, router).await });
        Self { address, _background: background }
    }

    /// Sends these bytes, and reads the answer to its end.
    pub(crate) async fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server may answer and close before it has read everything.
        _ = stream.write_all(request).await;
        let mut bytes = Vec::new();
        _ = stream.read_to_end(&mut bytes).await;
        parse(&bytes)
    }

    /// Sends a request whose connection ends with it. `lines` are further lines of the head.
    pub(crate) async fn send(&self, start: &str, lines: &[&str], body: &str) -> Answer {
        let mut head = format!("{start} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        for line in lines {
            head.push_str(line);
            head.push_str("\r\n");
        }
        self.raw(format!("{head}\r\n{body}").as_bytes()).await
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or("no answer");
    let status = status.parse().unwrap_or_else(|_| panic!("{text}"));
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    Answer { status, headers, body: body.to_owned() }
}
