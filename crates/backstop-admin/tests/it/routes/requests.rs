//! Bodies: what is wrong is named, and nothing is run.

use axum::body::Body;
use http::Method;
use serde_json::json;

use super::common::{ADA, Answer, Local, Part, Server, builder};

const CLEAR: &str = r#"{"operation":"clear","reason":"a test"}"#;

fn part() -> Part {
    Part::new("circuit-breaker", "ml")
}

async fn post(admin: &Local, body: impl Into<Body>) -> Answer {
    admin.send(Method::POST, "/circuits/ml", body.into()).await
}

#[tokio::test]
async fn a_wrong_field_is_named_with_its_value_and_what_is_allowed() {
    let part = part();
    let admin = Local::new(&[&part]);
    for (body, field, allowed) in [
        (json!({ "operation": "explode", "reason": "x" }), "operation", "clear, pin, isolate, end, pause, resume"),
        (json!({ "operation": "clear", "reason": "" }), "reason", "text of one line, of 1 to 512 bytes"),
        (
            json!({ "operation": "clear", "reason": "x", "level": 1 }),
            "level",
            "only the fields operation, reason, until",
        ),
        (json!({ "operation": "pin", "reason": "x", "level": {} }), "level", "healthy or degraded"),
        (
            json!({ "operation": "pin", "reason": "x", "until": 600 }),
            "until",
            "a time such as \"10m\" or \"1h 30m\", from 1s to 24h; 1h if it is left out",
        ),
    ] {
        let problem = admin.post("/circuits/ml", body.clone()).await.problem(422);
        assert_eq!([&problem["field"], &problem["allowed"]], [field, allowed], "{body}");
        assert_eq!(problem["value"], body[field], "{body}");
    }
    let missing = admin.post("/circuits/ml", json!({ "operation": "clear" })).await.problem(422);
    assert_eq!((missing.get("field"), missing.get("value")), (Some(&json!("reason")), None));
    // A long value and a long name are cut.
    let long = "a".repeat(10_000);
    for body in [json!({ "operation": &long }), json!({ "operation": "clear", &*long: 1 })] {
        let answer = admin.post("/circuits/ml", body).await;
        answer.problem(422);
        assert!(answer.body.len() < 1_000, "{}", answer.body.len());
    }
    assert!(part.ran().is_empty());
}

#[tokio::test]
async fn an_unknown_name_or_path_is_a_404_that_names_those_there_are() {
    let (part, other) = (part(), Part::new("rate-limit", "search"));
    let admin = Local::new(&[&part, &other]);
    for (path, known) in [
        ("/circuits/other", "ml"),
        ("/rate-limit/ml", "search"),
        ("/jobs/ml", "circuits, rate-limit"),
        ("/x/y", "circuits"),
    ] {
        for problem in [admin.get(path).await, admin.send(Method::POST, path, CLEAR.into()).await] {
            let problem = problem.problem(404);
            assert!(problem["detail"].as_str().unwrap().contains(known), "{path}: {problem}");
        }
    }
    admin.get("/nothing").await.problem(404);
    admin.get("/circuits/ml/more").await.problem(404);
    assert_eq!(admin.get("/jobs").await.ok(), json!({ "jobs": [] }));
    // A kind that nobody here knows has the same routes.
    admin.send(Method::POST, "/rate-limit/search", CLEAR.into()).await.ok();
    assert_eq!((part.ran().len(), other.ran().len()), (0, 1));
}

#[tokio::test]
async fn of_two_components_with_one_path_neither_can_be_acted_on() {
    let (one, two) = (part(), part());
    let admin = Local::new(&[&one, &two]);
    admin.send(Method::POST, "/circuits/ml", CLEAR.into()).await.problem(409);
    assert!(one.ran().is_empty() && two.ran().is_empty());
    assert_eq!(admin.get("/circuits").await.ok()["circuits"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_not_json_or_could_be_read_in_two_ways_is_a_400() {
    let part = part();
    let admin = Local::new(&[&part]);
    for body in [
        "".into(),
        "operation=clear".into(),
        "{\"operation\":\"clear\"".into(),
        format!("{CLEAR} x"),
        format!("{CLEAR}{CLEAR}"),
        format!("\u{feff}{CLEAR}"),
        "{'operation':'clear'}".into(),
        "{\"operation\":\"clear\",\"reason\":\"x\",}".into(),
        "{\"operation\":\"clear\",\"operation\":\"isolate\",\"reason\":\"x\"}".into(),
        "{\"operation\":\"clear\",\"reason\":\"x\",\"re\\u0061son\":\"y\"}".into(),
        "{\"operation\":\"clear\",\"reason\":[{\"a\":1,\"a\":1}]}".into(),
        "{\"operation\":\"clear\",\"reason\":\"\\ud800\"}".into(),
        "{\"operation\":\"pin\",\"reason\":\"x\",\"level\":1e999}".into(),
        "NaN".into(),
    ] {
        post(&admin, body.clone()).await.problem(400);
    }
    post(&admin, &b"{\"operation\":\"clear\",\"reason\":\"\xff\"}"[..]).await.problem(400);
    assert!(part.ran().is_empty());
}

#[tokio::test]
async fn a_bomb_of_json_is_refused() {
    let part = part();
    let admin = Local::new(&[&part]);
    const SIZE: usize = 16 * 1024;
    let member = |i: usize| format!("\"k{i}\":0,");
    for (body, status) in [
        ("[".repeat(SIZE), 400),
        ("{\"a\":".repeat(SIZE / 5), 400),
        (format!("{{\"operation\":\"pin\",\"reason\":\"x\",\"level\":{}1{}}}", "[".repeat(120), "]".repeat(120)), 422),
        ("9".repeat(SIZE), 400),
        (format!("{{\"operation\":{}}}", "9".repeat(300)), 422),
        (format!("{{{}\"z\":0}}", (0..1_000).map(member).collect::<String>()), 422),
        (format!("{{\"operation\":\"pin\",\"reason\":\"x\",\"level\":[{}[0]]}}", "0,".repeat(SIZE / 4)), 422),
        (format!("{CLEAR}{}", " ".repeat(SIZE)), 413),
    ] {
        post(&admin, body).await.problem(status);
    }
    assert!(part.ran().is_empty());
    post(&admin, format!("{CLEAR}{}", " ".repeat(SIZE - CLEAR.len()))).await.ok();
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let part = part();
    let server = Server::start(&builder(&[&part]).build().unwrap()).await;
    let head = format!(
        "POST /circuits/ml HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {ADA}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let chunk = format!("400\r\n{}\r\n", " ".repeat(1_024));
    let answer = server.raw(format!("{head}{}0\r\n\r\n", chunk.repeat(17)).as_bytes()).await;
    answer.problem(413);
    let one = format!("{:x}\r\n{CLEAR}\r\n0\r\n\r\n", CLEAR.len());
    assert_eq!(server.raw(format!("{head}{one}").as_bytes()).await.status, 200);
    // A length and chunks at once: parties could disagree where the next request begins (RFC 9112 §6.1).
    let both = head.replace("Transfer-Encoding", "Content-Length: 5\r\nTransfer-Encoding");
    _ = server.raw(format!("{both}{one}POST /circuits/ml HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
    assert!(part.ran().len() <= 2, "{:?}", part.ran());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up_and_holds_up_nobody() {
    let part = part();
    let admin = Local::new(&[&part]);
    let never = Body::new(Never);
    let (late, now) = tokio::join!(post(&admin, never), post(&admin, CLEAR));
    late.problem(408);
    now.ok();
    assert_eq!(part.ran(), ["clear"]);
}

/// A body that never comes.
struct Never;

impl http_body::Body for Never {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}
