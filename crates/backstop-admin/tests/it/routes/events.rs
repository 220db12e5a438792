//! `/events` over real sockets: order, gaps, resuming, and clients that don't read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::Value as Json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::Instant,
};

use super::common::{ADA, Part, Server, builder};

const BUFFERED: u64 = 256;

/// A client that reads events.
struct Client {
    stream: TcpStream,
    read: String,
}

#[derive(Debug)]
struct Event {
    id: String,
    name: String,
    data: Json,
}

impl Event {
    fn boot_and_seq(&self) -> (&str, u64) {
        let (boot, seq) = self.id.rsplit_once('-').unwrap();
        (boot, seq.parse().unwrap())
    }

    fn seq(&self) -> u64 {
        self.boot_and_seq().1
    }
}

impl Client {
    /// Connects, and reads the head of the answer and the first comment or events.
    async fn connect(server: &Server, last_id: Option<&str>) -> (u16, Self) {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request(last_id).as_bytes()).await.unwrap();
        let mut client = Self { stream, read: String::new() };
        let head = client.until("\r\n\r\n").await.unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status == 200 {
            assert!(head.to_lowercase().contains("content-type: text/event-stream\r\n"), "{head}");
        }
        (status, client)
    }

    /// Reads up to `end`, and `None` at the end of the connection.
    async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.read.find(end) {
                let rest = self.read.split_off(at + end.len());
                return Some(std::mem::replace(&mut self.read, rest));
            }
            let mut bytes = vec![0; 64 * 1024];
            match self.stream.read(&mut bytes).await.unwrap() {
                0 => return None,
                count => self.read.push_str(std::str::from_utf8(&bytes[..count]).unwrap()),
            }
        }
    }

    /// The next event, without the heartbeats before it.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.until("\n\n").await?;
            // HTTP/1.1's chunks have lines of their own.
            let line = |name: &str| {
                let found = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                found.map(str::to_owned)
            };
            if let (Some(id), Some(name), Some(data)) = (line("id"), line("event"), line("data")) {
                return Some(Event { id, name, data: serde_json::from_str(&data).unwrap() });
            }
        }
    }
}

fn request(last_id: Option<&str>) -> String {
    let last_id = last_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    format!(
        "GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {ADA}\r\n{last_id}\r\n"
    )
}

async fn server() -> (Part, Server) {
    let part = Part::new("circuit-breaker", "ml");
    let server = Server::start(&builder(&[&part]).build().unwrap()).await;
    (part, server)
}

#[tokio::test]
async fn changes_come_in_order_with_ids_from_which_a_client_goes_on() {
    let (part, server) = server().await;
    part.change(2);
    let (status, mut client) = Client::connect(&server, None).await;
    assert_eq!(status, 200);
    let first = client.next().await.unwrap();
    assert_eq!((first.seq(), &*first.name), (1, "change"));
    assert_eq!(
        [&first.data["kind"], &first.data["name"], &first.data["fields"]["to"]],
        ["circuit-breaker", "ml", "open"]
    );
    assert!(first.data["at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(client.next().await.unwrap().seq(), 2);
    part.change(1);
    assert_eq!(client.next().await.unwrap().seq(), 3);
    drop(client);

    part.change(2);
    let (_, mut client) = Client::connect(&server, Some(&first.id)).await;
    for expected in 2..=5 {
        let event = client.next().await.unwrap();
        assert_eq!((event.boot_and_seq(), &*event.name), ((first.boot_and_seq().0, expected), "change"));
    }
}

#[tokio::test]
async fn actions_are_among_the_events() {
    let (_, server) = server().await;
    let token = format!("Authorization: Bearer {ADA}");
    let lines = ["Host: localhost", "Content-Type: application/json", &token];
    server.send("POST /circuits/ml", &lines, r#"{"operation":"clear","reason":"a test"}"#).await.ok();
    let (_, mut client) = Client::connect(&server, None).await;
    let fields = client.next().await.unwrap().data["fields"].clone();
    let expected = serde_json::json!({ "action": "clear", "who": "ada", "reason": "a test", "result": "done" });
    assert_eq!(fields, expected);
}

#[tokio::test]
async fn a_client_that_has_missed_events_is_told_how_many() {
    let (part, server) = server().await;
    part.change(1);
    let (_, mut client) = Client::connect(&server, None).await;
    let first = client.next().await.unwrap();
    drop(client);
    part.change(300);
    let (_, mut client) = Client::connect(&server, Some(&first.id)).await;
    let gap = client.next().await.unwrap();
    assert_eq!((&*gap.name, &gap.data["missed"], gap.seq()), ("gap", &(300 - BUFFERED).into(), 301 - BUFFERED));
    let next = client.next().await.unwrap();
    assert_eq!((&*next.name, next.seq()), ("change", 302 - BUFFERED));
    drop(client);
    // A client that goes on from the gap misses nothing, and isn't told so again.
    let (_, mut client) = Client::connect(&server, Some(&gap.id)).await;
    assert_eq!(client.next().await.unwrap().id, next.id);
}

#[tokio::test]
async fn a_client_of_an_earlier_process_is_told_that_it_may_have_missed_events() {
    let (part, earlier) = server().await;
    part.change(3);
    let (_, mut client) = Client::connect(&earlier, None).await;
    let last = client.next().await.unwrap();
    let (part, later) = server().await;
    part.change(1);
    let (_, mut client) = Client::connect(&later, Some(&last.id)).await;
    let gap = client.next().await.unwrap();
    assert_eq!((&*gap.name, &gap.data["missed"]), ("gap", &Json::Null));
    assert_eq!(client.next().await.unwrap().seq(), 1);

    for wrong in ["7", "x", "-", "a-b"] {
        let lines = ["Host: localhost", &format!("Authorization: Bearer {ADA}"), &format!("Last-Event-ID: {wrong}")];
        let problem = later.send("GET /events", &lines, "").await.problem(422);
        assert_eq!(problem["field"], "Last-Event-ID");
    }
}

#[tokio::test]
async fn sixteen_clients_read_and_the_next_is_refused_until_one_goes() {
    let (part, server) = server().await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        let (status, client) = Client::connect(&server, None).await;
        assert_eq!(status, 200);
        clients.push(client);
    }
    let token = format!("Authorization: Bearer {ADA}");
    let refused = server.send("GET /events", &["Host: localhost", &token], "").await;
    assert!(refused.problem(503)["detail"].as_str().unwrap().contains("16 clients"));
    // Neither does asking for the head take a place for longer than that, nor do other routes need one.
    server.send("GET /circuits/ml", &["Host: localhost", &token], "").await.ok();
    part.change(1);
    for client in &mut clients {
        assert_eq!(client.next().await.unwrap().seq(), 1);
    }
    drop(clients.pop());
    let began = Instant::now();
    while clients.len() < 16 {
        assert!(began.elapsed() < Duration::from_secs(10), "the place is free again");
        let (status, client) = Client::connect(&server, None).await;
        clients.extend((status == 200).then_some(client));
    }
    for _ in 0..20 {
        assert_eq!(server.send("HEAD /events", &["Host: localhost", &token], "").await.status, 503);
    }
}

#[tokio::test]
async fn streams_end_when_the_service_drains() {
    let part = Part::new("circuit-breaker", "ml");
    let drains = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&drains);
    let admin = builder(&[&part]).end_events_when(move || asked.load(SeqCst)).build().unwrap();
    let server = Server::start(&admin).await;
    let (_, mut client) = Client::connect(&server, None).await;
    part.change(1);
    assert!(client.next().await.is_some());
    drains.store(true, SeqCst);
    while client.next().await.is_some() {}
    let (status, mut client) = Client::connect(&server, None).await;
    assert_eq!((status, client.next().await.is_none()), (200, true));
}

/// They connect with the smallest buffers, send their request, and read nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clients_that_never_read_hold_nothing_up() {
    let (part, server) = server().await;
    let mut stuck = Vec::new();
    for _ in 0..100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2_048).unwrap();
        let mut stream = socket.connect(server.address).await.unwrap();
        stream.write_all(request(None).as_bytes()).await.unwrap();
        stuck.push(stream);
    }
    let token = format!("Authorization: Bearer {ADA}");
    let lines = ["Host: localhost", "Content-Type: application/json", &token];
    let began = Instant::now();
    for _ in 0..100 {
        // More than any of them takes, and more than the log holds.
        part.change(500);
        server.send("POST /circuits/ml", &lines, r#"{"operation":"clear","reason":"a test"}"#).await.ok();
        server.send("GET /circuits/ml", &lines, "").await.ok();
    }
    assert_eq!(part.ran().len(), 100);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    // Those that begin to read get what is there, in order, with gaps that add up.
    let mut read = 0;
    for stream in stuck {
        let mut client = Client { stream, read: String::new() };
        let head = client.until("\r\n\r\n").await.unwrap();
        if !head.starts_with("HTTP/1.1 200") {
            assert!(head.starts_with("HTTP/1.1 503"), "{head}");
            continue;
        }
        read += 1;
        let mut seen: Option<u64> = None;
        while seen != Some(50_100) {
            let event = client.next().await.unwrap();
            let expected = match (&*event.name, seen) {
                ("gap", Some(seen)) => seen + event.data["missed"].as_u64().unwrap(),
                (_, Some(seen)) => seen + 1,
                (_, None) => event.seq(),
            };
            assert_eq!(event.seq(), expected);
            seen = Some(event.seq());
        }
    }
    assert_eq!(read, 16);
}
