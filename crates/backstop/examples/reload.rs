//! Standard stacks whose settings come from a file, and change when the file does.
//!
//! ```sh
//! cargo run -p backstop --example reload --features axum,toml
//! ```
//!
//! It writes a file of its own, makes requests to a service that fails, and changes the file twice: first to a good
//! configuration, then to a wrong one, which is refused. A server does the same with the path of its own file: see `watch`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]
#![allow(clippy::disallowed_methods, reason = "the watcher is a task of the application")]

use std::{convert::Infallible, error::Error, fs, path::PathBuf, time::Duration};

use axum::body::Body;
use backstop::{Stacks, StacksError};
use http::{Request, Response, StatusCode};
use tokio::sync::mpsc;
use tower::{Layer, ServiceExt, service_fn};

const FILE: &str = r#"
[default]
timeout = "500ms"
retry.backoff_base = "1ms"

[ml_service]
retry.max_attempts = 3
"#;

/// Looks at the file every `interval`, and reloads the stacks when its text isn't the one that was loaded.
///
/// It compares the text and not the time of the change, which misses files that are swapped by a link, as Kubernetes does with
/// a `ConfigMap`. `report` gets the result of each reload. After an error the stacks keep their settings, and a half-written
/// file is read again when it has changed again.
async fn watch(
    stacks: Stacks,
    path: PathBuf,
    mut loaded: String,
    interval: Duration,
    report: impl Fn(Result<(), StacksError>),
) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        // So small a file is read at once; on a network's disk, use `tokio::fs`. If that fails, the next tick reads it.
        if let Ok(text) = fs::read_to_string(&path)
            && text != loaded
        {
            report(stacks.reload(&text));
            loaded = text;
        }
    }
}

async fn demo(path: PathBuf) -> Result<Vec<String>, Box<dyn Error>> {
    fs::write(&path, FILE)?;
    let text = fs::read_to_string(&path)?;
    let stacks = Stacks::from_toml(&text)?;

    let (reports, mut reported) = mpsc::unbounded_channel();
    let report = move |result| _ = reports.send(result);
    let watcher = tokio::spawn(watch(stacks.clone(), path.clone(), text, Duration::from_millis(20), report));

    // A client that was made before any reload, of a service that always fails.
    let (attempts, mut attempted) = mpsc::unbounded_channel();
    let service = service_fn(move |_: Request<Body>| {
        _ = attempts.send(());
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        async { Ok::<_, Infallible>(response) }
    });
    let client = stacks.get("ml_service")?.layer(service);
    let mut count = async || -> Result<usize, Box<dyn Error>> {
        client.clone().oneshot(Request::new(Body::empty())).await?;
        Ok(std::iter::from_fn(|| attempted.try_recv().ok()).count())
    };

    let mut said = vec![format!("{} attempts", count().await?)];

    fs::write(&path, FILE.replace("max_attempts = 3", "max_attempts = 1"))?;
    reported.recv().await.ok_or("the watcher has ended")??;
    said.push(format!("reloaded: {} attempt", count().await?));

    fs::write(&path, FILE.replace("max_attempts = 3", "max_attempts = 0"))?;
    if let Err(error) = reported.recv().await.ok_or("the watcher has ended")? {
        said.push(format!("refused: {error}"));
    }
    said.push(format!("as before: {} attempt", count().await?));

    watcher.abort();
    fs::remove_file(&path)?;
    Ok(said)
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("backstop-{name}-{}.toml", std::process::id()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    for line in demo(file("reload")).await? {
        println!("{line}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_changed_file_is_loaded_and_a_wrong_one_refused() {
        let said = demo(file("reload-test")).await.unwrap();
        assert_eq!(
            said,
            [
                "3 attempts",
                "reloaded: 1 attempt",
                "refused: ml_service.retry.max_attempts: retry.max_attempts is 0, allowed is: 1 to 1000",
                "as before: 1 attempt",
            ]
        );
    }
}
