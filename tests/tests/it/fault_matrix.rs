//! Every fault × every place in a chain of four × with and without circuit breakers, over real sockets.
//!
//! Whatever fails: each request is answered within the chain's total, by the first provider that works, and the headers name
//! that provider. If all fail, the rejection comes within the total, too.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    fmt,
    net::SocketAddr,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, error_handling::HandleError, http::StatusCode};
use backstop::{
    CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, Commit, DegradationHeaderLayer, FallbackChain,
    FallbackLayer, Freshness, Name, Provider, circuit_breaker::UntilBodyEnd, name,
};
use backstop_tests::{
    faults::{Fault, FaultyServer},
    http::{Server, client, header},
    http1::Http1Server,
};
use hyper_util::client::legacy::Error;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tower::{ServiceBuilder, util::option_layer};

/// So long that its shares are long enough on a busy machine.
const TOTAL: Duration = Duration::from_secs(2);

/// For the way to the chain and back.
const SLACK: Duration = Duration::from_millis(50);

static CHAIN: [Name; 4] = [name!("primary"), name!("replica"), name!("cached"), name!("bestsellers")];

/// The freshness of each provider's answer, and its header. The primary's own answer has no label.
const FRESHNESS: [(Freshness, Option<&str>); 4] = [
    (Freshness::Fresh, None),
    (Freshness::Fresh, Some("fresh")),
    (Freshness::Stale { age: None }, Some("stale")),
    (Freshness::Degraded, Some("degraded")),
];

const FAILURES_TO_OPEN: u32 = 2;

/// So many that the first requests meet the fault, and the later ones an open circuit.
const REQUESTS: u32 = FAILURES_TO_OPEN + 1;

/// How many cells run at once. They mostly wait.
const AT_ONCE: usize = 16;

/// Which of the four providers have the fault. Those before refuse at once, those after work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    At(usize),
    Everywhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breakers {
    With,
    Without,
}

/// One cell of the matrix.
#[derive(Clone, Copy)]
struct Cell {
    fault: Fault,
    place: Place,
    breakers: Breakers,
}

impl Cell {
    fn all() -> impl Iterator<Item = Self> {
        let places = [Place::At(0), Place::At(1), Place::At(2), Place::At(3), Place::Everywhere];
        Fault::ALL.into_iter().flat_map(move |fault| {
            places.into_iter().flat_map(move |place| {
                [Breakers::With, Breakers::Without].map(|breakers| Self { fault, place, breakers })
            })
        })
    }

    /// The first provider that works, if any.
    fn answers(self) -> Option<usize> {
        match self.place {
            Place::At(place) => (place < 3).then_some(place + 1),
            Place::Everywhere => None,
        }
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {:?} breakers", self.fault, self.place, self.breakers)
    }
}

/// All servers that any cell needs.
struct Upstreams {
    well: [Http1Server; 4],
    refusing: Http1Server,
    faulty: Vec<(Fault, FaultyServer)>,
}

impl Upstreams {
    async fn start() -> Self {
        let mut faulty = Vec::new();
        for fault in Fault::ALL {
            faulty.push((fault, fault.start().await));
        }
        let well = |i: usize| answering(200, CHAIN[i].as_str().to_owned());
        let well = [well(0).await, well(1).await, well(2).await, well(3).await];
        Self { well, refusing: answering(503, String::new()).await, faulty }
    }

    /// The addresses of this cell's four providers.
    fn of(&self, cell: Cell) -> [SocketAddr; 4] {
        let (_, faulty) = self.faulty.iter().find(|(fault, _)| *fault == cell.fault).unwrap();
        std::array::from_fn(|i| match cell.place {
            Place::At(place) if i < place => self.refusing.address(),
            Place::At(place) if i > place => self.well[i].address(),
            _ => faulty.address(),
        })
    }
}

async fn answering(status: u16, body: String) -> Http1Server {
    Http1Server::start(move |mut connection| {
        let body = body.clone();
        async move {
            while connection.head().await.is_some() {
                connection.answer(status, &body).await;
            }
        }
    })
    .await
}

/// A gateway with the chain of a cell, and its circuits.
struct Gateway {
    server: Server,
    circuits: Vec<CircuitBreakerHandle>,
}

impl Gateway {
    async fn start(addresses: [SocketAddr; 4], breakers: Breakers) -> Self {
        let mut circuits = Vec::new();
        let mut service = |i: usize| {
            let breaker = (breakers == Breakers::With).then(|| {
                let breaker = CircuitBreakerLayer::builder(CHAIN[i].clone()).consecutive_failures(FAILURES_TO_OPEN);
                let breaker = breaker.observe(UntilBodyEnd).build().unwrap();
                circuits.push(breaker.handle());
                breaker
            });
            ServiceBuilder::new().layer(option_layer(breaker)).service(client(addresses[i]))
        };
        let primary = service(0);
        let mut provider = |i: usize| Provider::service(CHAIN[i].clone(), service(i)).freshness(FRESHNESS[i].0);
        let chain = FallbackChain::builder("recommendations")
            .total(TOTAL)
            .commit_on(Commit::Complete { max_bytes: 1 << 16 })
            .provider(provider(1))
            .provider(provider(2))
            .provider(provider(3))
            .build()
            .unwrap();
        let stack = ServiceBuilder::new()
            .layer(DegradationHeaderLayer::new())
            .layer(FallbackLayer::new(CHAIN[0].clone(), chain))
            .service(primary);
        let app = Router::new().fallback_service(HandleError::new(stack, async |_: Error| StatusCode::BAD_GATEWAY));
        Self { server: Server::start(app).await, circuits }
    }
}

/// When a timer was due, and when its task ran. So long the machine delays the chain, too.
#[derive(Clone, Default)]
struct Stalls(Arc<Mutex<Vec<Range<Instant>>>>);

impl Stalls {
    async fn watch(self) {
        loop {
            let due = Instant::now() + Duration::from_millis(5);
            sleep_until(due).await;
            self.0.lock().unwrap().push(due..Instant::now());
        }
    }

    /// The longest delay during `request`.
    fn longest_in(&self, request: &Range<Instant>) -> Duration {
        let stalls = self.0.lock().unwrap();
        let met = stalls.iter().filter(|stall| stall.start < request.end && request.start < stall.end);
        met.map(|stall| stall.end - stall.start).max().unwrap_or_default()
    }
}

/// The errors in a cell, and when each of its requests began and ended.
async fn run(cell: Cell, upstreams: &Upstreams) -> (Vec<String>, Vec<Range<Instant>>) {
    let gateway = Gateway::start(upstreams.of(cell), cell.breakers).await;
    let (mut wrong, mut requests) = (Vec::new(), Vec::new());
    for number in 1..=REQUESTS {
        let begun = Instant::now();
        let (head, body) = gateway.server.get("/").await;
        requests.push(begun..Instant::now());
        let labels = ["x-fallback-source", "x-data-freshness"].map(|name| header(&head, name));
        let is_right = match cell.answers() {
            Some(i) => {
                let source = FRESHNESS[i].1.map(|_| CHAIN[i].as_str());
                head.status == StatusCode::OK && body == CHAIN[i].as_str() && labels == [source, FRESHNESS[i].1]
            }
            None => head.status.is_server_error() && labels == [None, None],
        };
        if !is_right {
            wrong.push(format!("{cell:?}, request {number}: {} {body:?}, labelled {labels:?}", head.status));
        }
    }
    // The circuits of failing providers are open, and all others are closed.
    for (i, circuit) in gateway.circuits.iter().enumerate() {
        let is_well = cell.answers().is_some_and(|first| i >= first);
        let expected = if is_well { CircuitState::Closed } else { CircuitState::Open };
        if circuit.state() != expected {
            wrong.push(format!("{cell:?}: the circuit of {} is {}", CHAIN[i], circuit.state()));
        }
    }
    (wrong, requests)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_wherever_each_request_is_answered_in_time_and_labelled_right() {
    let stalls = Stalls::default();
    let mut watching = JoinSet::new();
    watching.spawn(stalls.clone().watch());
    let upstreams = Arc::new(Upstreams::start().await);

    let mut cells = JoinSet::new();
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    for cell in Cell::all() {
        let turn = Arc::clone(&turns).acquire_owned().await.unwrap();
        let upstreams = Arc::clone(&upstreams);
        cells.spawn(async move {
            let _turn = turn;
            (cell, run(cell, &upstreams).await)
        });
    }
    let mut wrong = Vec::new();
    let (mut slowest, mut calm, mut all) = (Duration::ZERO, 0, 0);
    for (cell, (what, requests)) in cells.join_all().await {
        wrong.extend(what);
        for request in requests {
            let (took, stall) = (request.end - request.start, stalls.longest_in(&request));
            (slowest, calm, all) = (slowest.max(took), calm + usize::from(3 * stall < SLACK), all + 1);
            // A request may be delayed three times: at the chain's timer, at the answer's writer, and at its reader.
            let allowed = TOTAL + SLACK + 3 * stall;
            if took > allowed {
                wrong.push(format!("{cell:?}: took {took:?}, allowed were {allowed:?}"));
            }
        }
    }
    println!("the slowest of {all} took {slowest:?}; to {calm} of them the machine added less than {SLACK:?}");
    assert!(wrong.is_empty(), "{} of the cells:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn where_nothing_fails_nothing_is_labelled() {
    let upstreams = Upstreams::start().await;
    let addresses = std::array::from_fn(|i| upstreams.well[i].address());
    for breakers in [Breakers::With, Breakers::Without] {
        let (head, body) = Gateway::start(addresses, breakers).await.server.get("/").await;
        assert_eq!((head.status, body.as_str()), (StatusCode::OK, "primary"));
        assert_eq!(["x-fallback-source", "x-data-freshness"].map(|name| header(&head, name)), [None, None]);
    }
}
