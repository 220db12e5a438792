//! Who may use the routes: attacks by pages, by strangers, and by requests that parties read differently. Over real sockets.

use axum::{Router, routing::get};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, WWW_AUTHENTICATE,
};

use super::common::{ADA, BEN, Part, Server, builder};

const HOST: &str = "Host: localhost";
const JSON: &str = "Content-Type: application/json";
const TOKEN: &str = "Authorization: Bearer 0123456789abcdef0123456789abcdef";
const CLEAR: &str = r#"{"operation":"clear","reason":"a test"}"#;

async fn server() -> (Part, Server) {
    let part = Part::new("circuit-breaker", "ml");
    let server = Server::start(&builder(&[&part]).build().unwrap()).await;
    (part, server)
}

/// Whether the guard lets a well-formed action with these lines instead of its own through.
async fn act(server: &Server, lines: &[&str]) -> u16 {
    let answer = server.send("POST /circuits/ml", lines, CLEAR).await;
    if answer.status != 200 {
        answer.problem(answer.status.as_u16());
    }
    for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_HEADERS] {
        assert!(!answer.headers.contains_key(&name), "{answer:?}");
    }
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.headers[name], value, "{answer:?}");
    }
    answer.status.as_u16()
}

#[tokio::test]
async fn a_name_that_was_made_to_point_here_is_refused() {
    let (part, server) = server().await;
    let port = server.address.port();
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example.localhost",
        "192.0.2.1",
        "[2001:db8::1]",
        "0x7f000001",
        "2130706433",
        "127.1",
        "localhost.",
        "admin.internal",
    ] {
        for host in [format!("Host: {host}"), format!("Host: {host}:{port}")] {
            assert_eq!(act(&server, &[&host, JSON, TOKEN]).await, 403, "{host}");
            // Reading is refused, too.
            server.send("GET /circuits", &[&host, TOKEN], "").await.problem(403);
        }
    }
    assert!(part.ran().is_empty());
}

#[tokio::test]
async fn loopback_has_many_names_and_others_can_be_configured() {
    let part = Part::new("circuit-breaker", "ml");
    let server = Server::start(&builder(&[&part]).host("Admin.internal").build().unwrap()).await;
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "admin.INTERNAL"] {
        for host in [format!("Host: {host}"), format!("Host: {host}:{}", server.address.port())] {
            assert_eq!(act(&server, &[&host, JSON, TOKEN]).await, 200, "{host}");
        }
    }
}

#[tokio::test]
async fn a_host_that_is_missing_malformed_or_there_twice_is_refused() {
    let (part, server) = server().await;
    for lines in [
        &[][..],
        &["Host: localhost", "Host: evil.example"],
        &["Host: localhost", "Host: localhost"],
        &["Host: user@localhost"],
        &["Host: a b"],
        &["Host: localhost/x"],
        &["Host:"],
        &["Host: localhost,evil.example"],
    ] {
        let lines: Vec<_> = lines.iter().copied().chain([JSON, TOKEN]).collect();
        let answer = server.send("POST /circuits/ml", &lines, CLEAR).await;
        assert!([400, 403].contains(&answer.status.as_u16()), "{lines:?}: {answer:?}");
    }
    // A target with an authority takes precedence. A proxy may have used the other.
    for (target, host) in [
        ("http://evil.example/circuits/ml", "Host: localhost"),
        ("http://localhost/circuits/ml", "Host: evil.example"),
        ("http://user@localhost/circuits/ml", "Host: localhost"),
    ] {
        server.send(&format!("POST {target}"), &[host, JSON, TOKEN], CLEAR).await.problem(403);
    }
    assert!(part.ran().is_empty());
    server.send("POST http://localhost/circuits/ml", &[HOST, JSON, TOKEN], CLEAR).await.ok();
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let (part, server) = server().await;
    let port = server.address.port();
    let host = format!("Host: 127.0.0.1:{port}");
    for line in [
        "Origin: http://evil.example".to_owned(),
        "Origin: null".to_owned(),
        "Origin:".to_owned(),
        "Origin: http://127.0.0.1".to_owned(),
        "Origin: http://127.0.0.1:1".to_owned(),
        format!("Origin: http://localhost:{port}"),
        format!("Origin: ftp://127.0.0.1:{port}"),
        format!("Origin: http://user@127.0.0.1:{port}"),
        format!("Origin: http://127.0.0.1:{port}/"),
        format!("Origin: http://127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}"),
        "Sec-Fetch-Site: cross-site".to_owned(),
        "Sec-Fetch-Site: same-site".to_owned(),
        "Sec-Fetch-Site: other".to_owned(),
        "Sec-Fetch-Site: none\r\nSec-Fetch-Site: none".to_owned(),
    ] {
        assert_eq!(act(&server, &[&host, &line, JSON, TOKEN]).await, 403, "{line}");
        server.send("GET /circuits", &[&host, &line, TOKEN], "").await.problem(403);
    }
    assert!(part.ran().is_empty());
    for line in [
        format!("Origin: http://127.0.0.1:{port}"),
        format!("Origin: https://127.0.0.1:{port}"),
        "Sec-Fetch-Site: same-origin".to_owned(),
        "Sec-Fetch-Site: none".to_owned(),
    ] {
        assert_eq!(act(&server, &[&host, &line, JSON, TOKEN]).await, 200, "{line}");
    }
}

#[tokio::test]
async fn no_preflight_is_ever_allowed() {
    let (_, server) = server().await;
    let own = format!("Origin: http://localhost:{}", server.address.port());
    let host = format!("Host: localhost:{}", server.address.port());
    for lines in [
        vec![&*host, "Origin: http://evil.example", "Access-Control-Request-Method: POST"],
        vec![&host, &own, "Access-Control-Request-Method: POST"],
        vec![&host, "Access-Control-Request-Method: POST", TOKEN, JSON],
    ] {
        let answer = server.send("OPTIONS /circuits/ml", &lines, "").await;
        assert!(answer.status.is_client_error(), "{answer:?}");
        assert!(!answer.headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{answer:?}");
        assert!(!answer.headers.contains_key(ACCESS_CONTROL_ALLOW_METHODS), "{answer:?}");
    }
}

#[tokio::test]
async fn what_a_page_may_send_without_asking_is_refused() {
    let (part, server) = server().await;
    for line in [
        "X: y",
        "Content-Type: text/plain",
        "Content-Type: text/plain;application/json",
        "Content-Type: text/plain; charset=application/json",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: multipart/form-data; boundary=x",
        "Content-Type: application/jsonp",
        "Content-Type: application/json+x",
        "Content-Type: application/json, text/plain",
        "Content-Type: application/json\r\nContent-Type: text/plain",
        "Content-Type:",
    ] {
        assert_eq!(act(&server, &[HOST, line, TOKEN]).await, 415, "{line}");
    }
    assert!(part.ran().is_empty());
    for line in ["Content-Type: application/json; charset=utf-8", "Content-Type: Application/JSON"] {
        assert_eq!(act(&server, &[HOST, line, TOKEN]).await, 200, "{line}");
    }
}

#[tokio::test]
async fn nothing_goes_without_a_token() {
    let (part, server) = server().await;
    for line in [
        "X: y".to_owned(),
        "Authorization:".to_owned(),
        "Authorization: Bearer".to_owned(),
        "Authorization: Bearer ".to_owned(),
        format!("Authorization: Bearer {}", &ADA[1..]),
        format!("Authorization: Bearer {ADA}0"),
        format!("Authorization: Bearer {}", ADA.to_uppercase()),
        format!("Authorization: Bearer {ADA}{BEN}"),
        format!("Authorization: Bearer {ADA}, Bearer {BEN}"),
        format!("Authorization: Basic {ADA}"),
        format!("Authorization: {ADA}"),
        format!("Authorization: Bearer\t{ADA}"),
        format!("Authorization: Bearer {ADA}\r\nAuthorization: Bearer {ADA}"),
        format!("Cookie: token={ADA}"),
        format!("X-Token: {ADA}"),
        format!("Proxy-Authorization: Bearer {ADA}"),
    ] {
        let answer = server.send("POST /circuits/ml", &[HOST, JSON, &line], CLEAR).await;
        answer.problem(401);
        assert_eq!(answer.headers[WWW_AUTHENTICATE], "Bearer", "{line}");
        // A stranger doesn't learn what there is.
        for start in ["GET /circuits", "GET /nothing", "HEAD /circuits", "DELETE /circuits/ml", "GET /events"] {
            assert_eq!(server.send(start, &[HOST, &line], "").await.status, 401, "{start} {line}");
        }
    }
    server.send(&format!("POST /circuits/ml?token={ADA}&access_token={ADA}"), &[HOST, JSON], CLEAR).await.problem(401);
    assert!(part.ran().is_empty());
    for line in [format!("Authorization: bearer {ADA}"), format!("Authorization: BEARER  {BEN}")] {
        assert_eq!(act(&server, &[HOST, JSON, &line]).await, 200, "{line}");
    }
}

#[tokio::test]
async fn who_acts_is_whose_token_it_is() {
    let (part, server) = server().await;
    for (token, who) in [(ADA, "ada"), (BEN, "ben")] {
        assert_eq!(act(&server, &[HOST, JSON, &format!("Authorization: Bearer {token}")]).await, 200);
        assert_eq!(part.last().who(), who);
    }
    let forged = r#"{"operation":"clear","reason":"a test","who":"ben"}"#;
    let problem = server.send("POST /circuits/ml", &[HOST, JSON, TOKEN], forged).await.problem(422);
    assert_eq!((&problem["field"], &problem["value"]), (&"who".into(), &"ben".into()));
}

#[tokio::test]
async fn open_reads_let_everybody_read_and_nobody_write() {
    let part = Part::new("circuit-breaker", "ml");
    let server = Server::start(&builder(&[&part]).open_reads().build().unwrap()).await;
    for path in ["/circuits", "/circuits/ml", "/dependencies", "/actions"] {
        server.send(&format!("GET {path}"), &[HOST], "").await.ok();
    }
    for start in ["POST /circuits/ml", "PUT /circuits/ml", "DELETE /circuits/ml", "GETX /circuits", "OPTIONS /circuits"]
    {
        server.send(start, &[HOST, JSON], CLEAR).await.problem(401);
    }
    server.send("GET /circuits", &["Host: evil.example"], "").await.problem(403);
    assert!(part.ran().is_empty());
}

#[tokio::test]
async fn a_method_is_what_the_request_line_says() {
    let (part, server) = server().await;
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method"] {
        let line = format!("{name}: POST");
        let answer = server.send("GET /circuits/ml?_method=POST", &[HOST, JSON, TOKEN, &line], CLEAR).await;
        assert_eq!(answer.ok()["name"], "ml", "it reads");
    }
    for method in ["OPTIONS", "TRACE", "PUT", "PATCH", "DELETE", "post", "Post", "PROPFIND"] {
        let answer = server.send(&format!("{method} /circuits/ml"), &[HOST, JSON, TOKEN], CLEAR).await;
        answer.problem(405);
        assert_eq!(answer.headers[ALLOW], "GET,HEAD,POST", "{method}");
    }
    for start in ["POST /circuits", "POST /dependencies", "POST /events", "DELETE /actions"] {
        server.send(start, &[HOST, JSON, TOKEN], CLEAR).await.problem(405);
    }
    let head = server.send("HEAD /circuits/ml", &[HOST, TOKEN], "").await;
    assert_eq!((head.status.as_u16(), &*head.body), (200, ""));
    assert!(part.ran().is_empty());
}

#[tokio::test]
async fn a_name_is_known_only_as_it_is_written() {
    let (part, server) = server().await;
    for path in [
        "/circuits/%6dl",
        "/circuits/ml%00",
        "/circuits/ml%2F",
        "/circuits/%2e%2e%2fml",
        "/circuits/%256dl",
        "/circuits/ml%FF",
        "/circuits/ml;x",
        "/circuits/ml/",
        "/circuits//ml",
        "//circuits/ml",
        "/circuits/../circuits/ml",
        "/circuits/./ml",
        "/circuits/ML",
        "/Circuits/ml",
        "/%63ircuits/ml",
        "/circuits%2fml",
        "/circuit-breaker/ml",
        "/circuits/",
        "/circuits/ml\\",
    ] {
        let answer = server.send(&format!("POST {path}"), &[HOST, JSON, TOKEN], CLEAR).await;
        assert!([400, 404, 405].contains(&answer.status.as_u16()), "{path}: {answer:?}");
    }
    assert!(part.ran().is_empty());
    server.send("POST /circuits/ml?x=%2F", &[HOST, JSON, TOKEN], CLEAR).await.ok();
}

#[tokio::test]
async fn the_guard_stands_before_the_routes_of_others_too() {
    let part = Part::new("circuit-breaker", "ml");
    let admin = builder(&[&part]).build().unwrap();
    let others = Router::new().route("/chaos", get(|| async { "theirs" }).put(|| async { "changed" }));
    let server = Server::with(&admin, admin.router_with(others)).await;
    server.send("GET /chaos", &[HOST], "").await.problem(401);
    server.send("PUT /chaos", &[HOST, JSON], "").await.problem(401);
    server.send("PUT /chaos", &[HOST, TOKEN], "").await.problem(415);
    server.send("PUT /chaos", &["Host: evil.example", TOKEN, JSON], "").await.problem(403);
    assert_eq!(server.send("GET /chaos", &[HOST, TOKEN], "").await.body, "theirs");
    assert_eq!(server.send("PUT /chaos", &[HOST, TOKEN, JSON], "").await.body, "changed");
    server.send("GET /circuits/ml", &[HOST, TOKEN], "").await.ok();
    server.send("GET /nothing", &[HOST, TOKEN], "").await.problem(404);
}

#[test]
fn what_would_let_strangers_in_cannot_be_built() {
    let open = "0.0.0.0:9000".parse().unwrap();
    let admin = || backstop_admin::Admin::builder(backstop_admin::Inventory::new());
    for (builder, field) in [
        (admin(), "token"),
        (admin().token("ada", "s3cret"), "token"),
        (admin().token("ada", &ADA[1..]), "token"),
        (admin().token("ada", &"a".repeat(513)), "token"),
        (admin().token("ada", &"=".repeat(32)), "token"),
        (admin().token("ada", &format!("{ADA} x")), "token"),
        (admin().token("a b", ADA), "token.name"),
        (admin().token("ada", "s3cret").token("ben", BEN), "token"),
        (admin().token("ada", ADA).open_reads().address(open), "address"),
        (admin().token("ada", ADA).host("admin.internal:80"), "host"),
        (admin().token("ada", ADA).host(""), "host"),
        (admin().token("ada", ADA).host("a/b"), "host"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.field, field, "{error}");
        assert!(!error.to_string().contains("s3cret") && !error.to_string().contains(ADA), "{error}");
    }
    admin().token("ada", ADA).address(open).build().unwrap();
    for loopback in ["127.0.0.2:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        admin().open_reads().address(loopback.parse().unwrap()).build().unwrap();
    }
    let built = format!("{:?} {:?}", admin().token("ada", ADA), admin().token("ada", ADA).build());
    assert!(!built.contains(ADA), "{built}");
}

/// A comparison that stops at the first difference tells a stranger how much of a guess is right.
#[test]
fn tokens_are_compared_by_their_hashes_and_in_constant_time() {
    let source = include_str!("../../../src/guard/token.rs");
    assert!(source.contains("token.hash.ct_eq(&hash)") && source.contains("conditional_select"));
    let code = source.split_once("pub(super) fn owner").unwrap().1;
    for early in ["==", "!=", "return", "break", ".find(", ".any(", ".position("] {
        assert!(!code.contains(early), "{early}");
    }
}
