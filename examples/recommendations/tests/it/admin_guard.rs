//! Who may use the admin listener: no pages of other origins, and with a token only those who send it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use std::net::SocketAddr;

use crate::common::{Answer, App, body};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderName, Method, Request};
use recommendations::{Config, ConfigError, StartError, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Tries to make `ml` hang, with these headers.
async fn hang_ml(app: &App, headers: &[(HeaderName, &str)]) -> Answer {
    let mut request =
        Request::put(format!("http://{}/chaos/ml", app.running.admin())).header(CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    app.send(request.body(body("{\"fault\":\"hang\"}")).unwrap()).await
}

async fn assert_untouched(app: &App) {
    app.recommend("ada").await.assert_from("ml_service");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_made_to_point_here_is_refused() {
    let app = App::start().await;
    let port = app.running.admin().port();
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "192.0.2.1", "[2001:db8::1]"] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            hang_ml(&app, &[(HOST, &host)]).await.assert_problem(403);
        }
    }
    // Reading is refused, too.
    for path in ["/chaos", "/circuits", "/nothing"] {
        let request = Request::get(format!("http://{}{path}", app.running.admin())).header(HOST, "evil.example");
        app.send(request.body(body("")).unwrap()).await.assert_problem(403);
    }
    assert_untouched(&app).await;
}

#[tokio::test(start_paused = true)]
async fn loopback_has_many_names() {
    let app = App::start().await;
    let port = app.running.admin().port();
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]"] {
        let answer = hang_ml(&app, &[(HOST, &format!("{host}:{port}"))]).await;
        assert_eq!(answer.status, 200, "{host}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_missing_or_there_twice_is_refused() {
    let app = App::start().await;
    for hosts in ["", "Host: localhost\r\nHost: evil.example\r\n", "Host: user@localhost\r\n", "Host: a b\r\n"] {
        let mut stream = TcpStream::connect(app.running.admin()).await.unwrap();
        let request = format!("GET /chaos HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let refused = answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 403 ");
        assert!(refused && !answer.contains("upstreams"), "{hosts:?}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_other_origins_are_refused() {
    let app = App::start().await;
    let app_port = app.running.app().port();
    for origin in [
        "http://evil.example".to_owned(),
        format!("http://evil.example:{app_port}"),
        "null".to_owned(),
        "http://127.0.0.1".to_owned(),
        format!("https://127.0.0.1:{app_port}"),
        "http://127.0.0.1:1".to_owned(),
        format!("http://user@127.0.0.1:{app_port}"),
        String::new(),
    ] {
        let answer = hang_ml(&app, &[(ORIGIN, &origin)]).await;
        answer.assert_problem(403);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
        let preflight = preflight(&app, &origin).await;
        preflight.assert_problem(403);
        assert_eq!(preflight.header("access-control-allow-origin"), None, "{origin}");
    }
    assert_untouched(&app).await;
}

async fn preflight(app: &App, origin: &str) -> Answer {
    let request = Request::options(format!("http://{}/chaos/ml", app.running.admin()))
        .header(ORIGIN, origin)
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "content-type");
    app.send(request.body(body("")).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn the_apps_own_pages_may_use_it() {
    let app = App::start().await;
    let port = app.running.app().port();
    for origin in [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")] {
        let asked = preflight(&app, &origin).await;
        assert_eq!(asked.status, 204);
        assert_eq!(asked.header("access-control-allow-origin"), Some(origin.as_str()));
        assert!(asked.header("access-control-allow-methods").unwrap().contains("PUT"));
        assert!(asked.header("access-control-allow-headers").unwrap().contains("content-type"));

        let answer = hang_ml(&app, &[(ORIGIN, &origin)]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin.as_str()));
        assert_eq!(answer.header("vary"), Some("origin"));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_no_page_gets_no_cors_headers() {
    let app = App::start().await;
    let answer = app.admin(Method::GET, "/chaos", None).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    // Neither does a preflight without an origin.
    let answer = app.admin(Method::OPTIONS, "/chaos", None).await;
    answer.assert_problem(405);
}

#[tokio::test(start_paused = true)]
async fn the_app_itself_gives_other_origins_nothing() {
    let app = App::start().await;
    let request = Request::get(format!("http://{}/api/recommendations/ada", app.running.app()));
    let answer = app.send(request.header(ORIGIN, "http://evil.example").body(body("")).unwrap()).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test(start_paused = true)]
async fn with_a_token_nothing_goes_without_it() {
    let config = Config { admin_token: Some("s3cret".parse().unwrap()), ..Config::on_free_ports() };
    let app = App::with(config).await;
    for wrong in ["", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crets", "Bearer S3CRET", "Basic s3cret", "s3cret"]
    {
        let answer = hang_ml(&app, &[(AUTHORIZATION, wrong)]).await;
        answer.assert_problem(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    hang_ml(&app, &[(AUTHORIZATION, "Bearer s3cret"), (AUTHORIZATION, "Bearer s3cret")]).await.assert_problem(401);
    for path in ["/chaos", "/circuits", "/nothing"] {
        app.admin(Method::GET, path, None).await.assert_problem(401);
    }
    assert_untouched(&app).await;
    // A preflight can't carry the token.
    let origin = format!("http://{}", app.running.app());
    assert_eq!(preflight(&app, &origin).await.status, 204);
    for right in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret"] {
        assert_eq!(hang_ml(&app, &[(AUTHORIZATION, right)]).await.status, 200, "{right}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_admin_listener_that_others_reach_needs_a_token() {
    for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let admin: SocketAddr = open.parse().unwrap();
        let error = start(Config { admin, ..Config::on_free_ports() }).await.unwrap_err();
        assert!(matches!(error, StartError::Config(ConfigError::OpenAdmin(at)) if at == admin), "{error}");
        assert!(error.to_string().contains("--admin-token"), "{error}");
    }
    for closed in ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        let config = Config { admin: closed.parse().unwrap(), ..Config::on_free_ports() };
        assert_eq!(config.check(), Ok(()), "{closed}");
    }
    let token = Some("s3cret".parse().unwrap());
    let config = Config { admin: "0.0.0.0:0".parse().unwrap(), admin_token: token, ..Config::on_free_ports() };
    assert_eq!(config.check(), Ok(()));
}

/// A page in a browser that knows the token is refused by its `Host`.
#[tokio::test(start_paused = true)]
async fn a_listener_on_every_address_is_reached_by_address_and_never_by_a_foreign_name() {
    let token = Some("s3cret".parse().unwrap());
    let config = Config { admin: "0.0.0.0:0".parse().unwrap(), admin_token: token, ..Config::on_free_ports() };
    let running = start(config).await.unwrap();
    let app = App::of(running);
    let port = app.running.admin().port();
    let bearer = (AUTHORIZATION, "Bearer s3cret");
    for (host, status) in
        [("192.0.2.1", 200), ("localhost", 200), ("127.0.0.1", 200), ("evil.example", 403), ("0x7f000001", 403)]
    {
        let host = format!("{host}:{port}");
        let answer = hang_ml(&app, &[bearer.clone(), (HOST, &host)]).await;
        assert_eq!(answer.status, status, "{host}");
    }
}
