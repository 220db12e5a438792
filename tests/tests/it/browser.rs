//! What a script of another origin can read of the headers, in a real browser, beside tower-http's `CorsLayer`.
//!
//! The browser is `chromium` or `google-chrome` from the PATH. Without one the test is skipped, or fails if the variable
//! `BACKSTOP_BROWSER` is `required`.
#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a helper of a test may fail it, or say that it is skipped"
)]

use std::{
    env, fs, io,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderName, HeaderValue},
    response::Html,
    routing::{get, post},
};
use backstop::{Degradation, DegradationHeaderLayer, Freshness, Reason, name, scope};
use backstop_tests::http::Server;
use tokio::sync::mpsc;
use tower_http::cors::{Any, CorsLayer};

/// Runs headless until this is dropped.
struct Browser {
    process: Child,
    profile: PathBuf,
}

impl Browser {
    /// Opens `url`. `None` if there is no browser.
    fn open(url: &str) -> Option<Self> {
        let profile = env::temp_dir().join(format!("backstop-browser-{}", std::process::id()));
        for program in ["chromium", "google-chrome"] {
            let process = Command::new(program)
                .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
                .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
                .args(["--disable-dev-shm-usage", "--remote-debugging-port=0"]) // stays until it is killed
                .arg(format!("--user-data-dir={}", profile.display()))
                .arg(url)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            match process {
                Ok(process) => return Some(Self { process, profile }),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound, "{program} doesn't start: {error}"),
            }
        }
        None
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
        _ = fs::remove_dir_all(&self.profile);
    }
}

const OTHER: HeaderName = HeaderName::from_static("x-request-id");

/// The headers that the script asks for.
const READ: [&str; 4] = ["x-fallback-source", "x-data-freshness", "age", "x-request-id"];
const ALL: &str = "cached|stale|40|7";
const LABELS: &str = "cached|stale|40|null";

/// An app at `path`, whose answer is a stored copy.
fn stale_at(path: &str) -> Router {
    Router::new().route(
        path,
        get(async || {
            let freshness = Freshness::stale(Duration::from_secs(40));
            scope::report(Degradation::new(name!("items"), name!("cached"), 1, Reason::TIMEOUT, freshness));
            [(OTHER, "7")]
        }),
    )
}

/// The other origin: one path for each arrangement of layers.
fn api(page: &str) -> Router {
    let allows = || CorsLayer::new().allow_origin(page.parse::<HeaderValue>().unwrap());
    let labels = || DegradationHeaderLayer::builder().expose_to_browsers().build().unwrap();
    let stars = axum::middleware::map_response(async |mut response: axum::response::Response| {
        response.headers_mut().insert("access-control-expose-headers", HeaderValue::from_static("*"));
        response
    });
    Router::new()
        .merge(stale_at("/hidden").layer(allows()).layer(DegradationHeaderLayer::new()))
        .merge(stale_at("/outside").layer(allows()).layer(labels()))
        .merge(stale_at("/inside").layer(labels()).layer(allows()))
        .merge(stale_at("/outside-a-list").layer(allows().expose_headers([OTHER])).layer(labels()))
        .merge(stale_at("/inside-a-list").layer(labels()).layer(allows().expose_headers([OTHER])))
        .merge(stale_at("/outside-any").layer(allows().expose_headers(Any)).layer(labels()))
        .merge(stale_at("/any-with-credentials").layer(allows().allow_credentials(true)).layer(stars).layer(labels()))
}

const SCRIPT: &str = r#"<script type="module">
const said = [];
try {
    for (const [path, credentials] of PATHS) {
        const answer = await fetch(`API${path}`, { credentials });
        said.push(`${path} ${READ.map(name => `${answer.headers.get(name)}`).join("|")}`);
    }
} catch (error) {
    said.push(`${error}`);
}
await fetch("/said", { method: "POST", body: said.join("\n") });
</script>"#;

#[tokio::test]
async fn a_script_of_another_origin_reads_the_labels_on_either_side_of_a_cors_layer() {
    let expected = [
        ("/hidden", "omit", "null|null|null|null"),
        ("/outside", "omit", LABELS),
        ("/inside", "omit", LABELS),
        ("/outside-a-list", "omit", ALL),
        // As documented: the list of the layer outside replaces ours.
        ("/inside-a-list", "omit", "null|null|null|7"),
        ("/outside-any", "omit", ALL),
        ("/any-with-credentials", "include", LABELS),
    ];
    let (say, mut said) = mpsc::channel(1);
    // The page needs the address of the API, and the API the origin of the page.
    let (tell_api, api_is) = tokio::sync::watch::channel(String::new());
    let paths: Vec<_> = expected.iter().map(|(path, credentials, _)| format!("['{path}', '{credentials}']")).collect();
    let script = SCRIPT.replace("PATHS", &format!("[{}]", paths.join(", "))).replace("READ", &format!("{READ:?}"));
    let page = Router::new()
        .route("/", get(async move || Html(script.replace("API", &api_is.borrow()))))
        .route("/said", post(async move |body: String| _ = say.send(body).await));
    let page = Server::start(page).await;
    let origin = format!("http://{}", page.address());
    let api = Server::start(api(&origin)).await;
    tell_api.send_replace(format!("http://{}", api.address()));

    let Some(_browser) = Browser::open(&origin) else {
        assert_ne!(env::var("BACKSTOP_BROWSER").as_deref(), Ok("required"), "there is no browser");
        eprintln!("skipped: neither chromium nor google-chrome is installed");
        return;
    };
    let said = tokio::time::timeout(Duration::from_secs(60), said.recv()).await.expect("the browser says nothing");
    let expected: Vec<_> = expected.iter().map(|(path, _, headers)| format!("{path} {headers}")).collect();
    assert_eq!(said.unwrap().lines().collect::<Vec<_>>(), expected);
}
