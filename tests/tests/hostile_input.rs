//! What it costs to read bytes from outside: counted in instructions at once, twice and four times the size.
//!
//! valgrind counts them, exactly and whatever else the machine does. This program starts itself under it, once; where it isn't
//! on the PATH a line says so, and nothing is shown. `.ci/run` installs it.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use axum::body::Body;
use backstop::{
    DeadlineHeader, DeadlineLayer, DegradationHeaderLayer, FallbackChain, FallbackLayer, LastKnownGoodLayer,
    PropagateDeadlineLayer, Provider, name, standard,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use tokio::runtime::{Builder, Runtime};
use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

/// The smallest size of a field, in bytes. Real ones are far smaller.
const SIZE: usize = 2 * 1024;

/// So many instructions are no growth: what is made once, or when a table grows, is counted too. Quadratic time would take
/// millions more.
const NOISE: u64 = 1_000_000;

/// Under valgrind this is set.
const COUNTED: &str = "BACKSTOP_COUNTED";

/// What is counted: valgrind counts from when it is entered, and writes the count down when it is left.
#[inline(never)]
fn counted_call(call: &mut dyn FnMut()) {
    call();
}

/// Bytes that are bad to read for somebody.
const PATTERNS: [fn(usize) -> Vec<u8>; 9] = [
    |size| vec![b'9'; size],
    |size| vec![b','; size],
    |size| b"a=\",".repeat(size / 4),
    |size| [b"\"", &b"\\\"".repeat(size / 2)[..]].concat(),
    |size| [b"1", &vec![b' '; size][..], b"1"].concat(),
    |size| list(size, |i| format!("x-{i:04},")),
    |size| [b"fresh", &b";age=1"[..].repeat(size / 6)[..]].concat(),
    |size| b"a@:".repeat(size / 3),
    |size| b"en;q=0.1,".repeat(size / 9),
];

fn list(size: usize, member: impl Fn(usize) -> String) -> Vec<u8> {
    (0..size / 7).map(member).collect::<String>().into_bytes()
}

/// What is asked, and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    Read,
    /// The service fails, and what is stored is served.
    Failed,
    Written,
    Grpc,
}

use Exchange::{Failed, Grpc, Read, Written};

/// Every field that something in the workspace reads.
const ASKED: [(Exchange, &str); 17] = [
    (Read, "cache-control"),
    (Read, "connection"),
    (Read, "content-length"),
    (Read, "early-data"),
    (Read, "host"),
    (Read, "idempotency-key"),
    (Read, "pragma"),
    (Read, "transfer-encoding"),
    (Read, "upgrade"),
    (Read, "x-api-key"),
    (Read, "x-envoy-expected-rq-timeout-ms"),
    (Read, "x-other"),
    (Failed, "accept-encoding"),
    (Failed, "accept-language"),
    (Failed, "host"),
    (Written, "host"),
    (Grpc, "grpc-timeout"),
];

const ANSWERED: [(Exchange, &str); 23] = [
    (Read, "age"),
    (Read, "cache-control"),
    (Read, "connection"),
    (Read, "content-encoding"),
    (Read, "content-language"),
    (Read, "content-length"),
    (Read, "content-type"),
    (Read, "date"),
    (Read, "expires"),
    (Read, "pragma"),
    (Read, "set-cookie"),
    (Read, "vary"),
    (Read, "x-data-freshness"),
    (Read, "x-fallback-source"),
    (Read, "x-other"),
    (Failed, "date"),
    (Failed, "retry-after"),
    (Failed, "x-data-freshness"),
    (Failed, "x-fallback-source"),
    (Written, "content-location"),
    (Written, "location"),
    (Grpc, "grpc-retry-pushback-ms"),
    (Grpc, "grpc-status"),
];

/// Requests and their answers, of a size.
struct Case {
    name: String,
    make: Box<dyn Fn(usize) -> Vec<Call>>,
}

type Call = (Request<Body>, Answer);
type Answer = (StatusCode, Vec<Field>);
type Field = (HeaderName, HeaderValue);

fn exchange(exchange: Exchange, asked: Vec<Field>, answered: Vec<Field>) -> Call {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "/a/b/c".parse().unwrap();
    let status = match exchange {
        Read => StatusCode::OK,
        Failed => StatusCode::SERVICE_UNAVAILABLE,
        Written => {
            *request.method_mut() = Method::POST;
            StatusCode::CREATED
        }
        Grpc => {
            *request.method_mut() = Method::POST;
            *request.version_mut() = Version::HTTP_2;
            request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            StatusCode::OK
        }
    };
    let mut answer = vec![];
    if exchange == Grpc {
        answer.push(field("content-type", b"application/grpc"));
    }
    asked.into_iter().for_each(|(name, value)| _ = request.headers_mut().append(name, value));
    answer.extend(answered);
    (request, (status, answer))
}

fn field(name: &str, value: &[u8]) -> Field {
    (name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap())
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let mut case = |name: String, make: Box<dyn Fn(usize) -> Vec<Call>>| all.push(Case { name, make });
    // In a long line, and in many. Not in too many: a build with debug assertions has `HeaderMap` look at all lines of a field
    // for each one that it removes.
    let values = |name: &'static str, size: usize| {
        let lines = PATTERNS.into_iter().map(move |bytes| vec![field(name, &bytes(size))]);
        lines.chain([vec![field(name, &b"a, ".repeat(42)); size / 128]])
    };
    for (kind, name) in ASKED {
        let make = move |size| values(name, size).map(|fields| exchange(kind, fields, vec![])).collect();
        case(format!("{name} of a request, {kind:?}"), Box::new(make));
    }
    for (kind, name) in ANSWERED {
        let make = move |size| values(name, size).map(|fields| exchange(kind, vec![], fields)).collect();
        case(format!("{name} of an answer, {kind:?}"), Box::new(make));
    }
    // What is read of one field for each of the others.
    let many = |size: usize| (0..size / 16).map(|i| field(&format!("x-{i:04}"), b"a"));
    for name in ["connection", "vary"] {
        let names = move |size| field(name, &list(size, |i| format!("x-{i:04},")));
        let make = move |size| {
            let answered = many(size).chain([names(size)]).collect();
            vec![exchange(Read, many(size).collect(), answered)]
        };
        case(format!("many fields, and {name} that names them"), Box::new(make));
    }
    for kind in [Read, Written] {
        let make = move |size| {
            let paths = ["a".repeat(size), "a/".repeat(size / 2), "/".repeat(size), "../".repeat(size / 3)];
            let queries = ["?a=b".repeat(size / 4)];
            let of_path = |path: String| {
                let locations = [("location", &b"../".repeat(size / 3)[..]), ("content-location", b"?x")];
                let (mut request, answer) =
                    exchange(kind, vec![], locations.map(|(name, text)| field(name, text)).into());
                *request.uri_mut() = format!("/{path}").parse().unwrap();
                (request, answer)
            };
            paths.into_iter().chain(queries).map(of_path).collect()
        };
        case(format!("a long path, {kind:?}"), Box::new(make));
    }
    all
}

/// Has all layers read them.
fn run(runtime: &Runtime, calls: Vec<Call>) {
    let mut stack = runtime.block_on(Stack::start());
    let mut ready = Vec::new();
    for (request, answer) in calls {
        // An open circuit would read nothing more.
        if answer.0.is_server_error() {
            stack = runtime.block_on(Stack::start());
        }
        ready.push((stack.clone(), request, answer));
    }
    counted_call(&mut || {
        for (Stack { service, answer }, request, next) in ready.drain(..) {
            *answer.lock().unwrap() = next;
            runtime
                .block_on(async { _ = service.oneshot(request).await.unwrap().into_body().collect().await.unwrap() });
        }
    });
}

/// All layers around a service that answers as it is told, with an answer that is stored.
#[derive(Clone)]
struct Stack {
    service: BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>,
    answer: Arc<Mutex<Answer>>,
}

impl Stack {
    async fn start() -> Self {
        let known = LastKnownGoodLayer::new(name!("known"));
        let handle = known.handle();
        let chain = FallbackChain::builder("chain")
            .provider(Provider::head(name!("cached"), move |head| handle.answer(head)).only_reads())
            .provider(Provider::handler(name!("usual"), || async { "the usual" }))
            .build()
            .unwrap();
        let stored = [("content-encoding", &b"gzip"[..]), ("content-language", b"en"), ("vary", b"x-other")];
        let stored = stored.map(|(name, value)| field(name, value)).to_vec();
        let answer = Arc::new(Mutex::new((StatusCode::OK, stored)));
        let answers = Arc::clone(&answer);
        let service = service_fn(move |_: Request<Body>| {
            let (status, fields) = &*answers.lock().unwrap();
            let mut response = Response::new(Body::from("hello"));
            *response.status_mut() = *status;
            for (name, value) in fields {
                response.headers_mut().append(name, value.clone());
            }
            async move { Ok::<_, Infallible>(response) }
        });
        let trusted = DeadlineHeader::EnvoyExpectedRqTimeoutMs;
        let stack = ServiceBuilder::new()
            .layer(DegradationHeaderLayer::new())
            .layer(DeadlineLayer::builder("edge").trust(trusted.clone()).build().unwrap())
            .layer(FallbackLayer::new(name!("primary"), chain))
            .layer(known)
            .layer(standard(name!("primary")))
            .layer(PropagateDeadlineLayer::builder("next").send(trusted).build().unwrap())
            .service(service);
        let (request, _) = exchange(Read, vec![], vec![]);
        stack.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap();
        Self { service: BoxCloneSyncService::new(stack), answer }
    }
}

#[test]
fn reading_what_comes_from_outside_takes_linear_time() {
    let cases = cases();
    if env::var_os(COUNTED).is_some() {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        // What is made once is made by then.
        run(&runtime, (cases[0].make)(SIZE));
        for case in &cases {
            [1, 2, 4].into_iter().for_each(|times| run(&runtime, (case.make)(times * SIZE)));
        }
        return;
    }
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !valgrind.is_ok_and(|status| status.success()) {
        println!("skipped: valgrind, which counts instructions, isn't on the PATH");
        return;
    }
    let counts = count();
    // Before them comes what is made once.
    assert_eq!(counts.len(), 1 + 3 * cases.len(), "each call is counted");
    let mut slow = Vec::new();
    for (case, counts) in cases.iter().zip(counts[1..].chunks(3)) {
        // Twice as much between the second and the third as between the first and the second; if quadratic, four times.
        let (once, twice) = (counts[1].saturating_sub(counts[0]), counts[2].saturating_sub(counts[1]));
        if twice > 3 * once + NOISE {
            slow.push(format!("{}: {counts:?}", case.name));
        }
    }
    assert!(slow.is_empty(), "instructions at 1, 2 and 4 times {SIZE} bytes:\n{}", slow.join("\n"));
}

/// The instructions of each counted call, in order.
fn count() -> Vec<u64> {
    let counted = concat!(module_path!(), "::counted_call");
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("counts-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let run = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--toggle-collect={counted}"))
        .arg(format!("--dump-after={counted}"))
        .arg("--dump-line=no")
        .arg(format!("--callgrind-out-file={}", dir.join("count").display()))
        .arg(env::current_exe().unwrap())
        .args(["--exact", "reading_what_comes_from_outside_takes_linear_time", "--nocapture", "--test-threads=1"])
        .env(COUNTED, "1")
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let summary = |number: usize| {
        let text = fs::read_to_string(dir.join(format!("count.{number}"))).ok()?;
        text.lines().find_map(|line| line.strip_prefix("summary: ")?.parse().ok())
    };
    let counts = (1..).map_while(summary).collect();
    fs::remove_dir_all(&dir).unwrap();
    counts
}
