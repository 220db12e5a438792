//! The program as a process: how tests start it, ask it, and end it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// A test that waits for longer fails. The program is a process of its own, which paused time doesn't reach.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The program, with a clean environment.
pub(crate) fn program(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recommendations"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("RECOMMENDATIONS_") {
            command.env_remove(variable);
        }
    }
    command.env("RECOMMENDATIONS_DRAIN", "1ms");
    command.args(options).stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub(crate) fn options_for_free_ports() -> [&'static str; 4] {
    ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
}

/// Runs it until it exits.
pub(crate) async fn output(mut program: Command) -> Output {
    timeout(PATIENCE, program.output()).await.expect("it goes on").unwrap()
}

/// The running program.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) app: String,
    pub(crate) admin: String,
    pub(crate) output: Lines<BufReader<ChildStdout>>,
}

impl Started {
    pub(crate) async fn start(options: &[&str]) -> Self {
        Self::of(program(&[&options_for_free_ports(), options].concat())).await
    }

    pub(crate) async fn of(mut program: Command) -> Self {
        let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = async |name: &str| {
            let line = timeout(PATIENCE, output.next_line()).await.expect("it prints nothing").unwrap().unwrap();
            let (printed, url) = line.split_once(' ').unwrap();
            assert_eq!(printed, name);
            url.trim().strip_prefix("http://").unwrap().to_owned()
        };
        let (app, admin) = (address("app").await, address("admin").await);
        Self { child, app, admin, output }
    }

    /// Breaks a simulated upstream, or mends it by the fault `none`.
    pub(crate) async fn set_fault(&self, upstream: &str, fault: &str) {
        let (admin, fault) = (&self.admin, format!("{{\"fault\":\"{fault}\"}}"));
        let request = format!(
            "PUT /chaos/{upstream} HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{fault}",
            fault.len()
        );
        assert!(ask(admin, &request).await.starts_with("HTTP/1.1 200 "));
    }

    #[cfg(unix)]
    pub(crate) async fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().await.unwrap().success());
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it goes on").unwrap()
    }
}

pub(crate) async fn get(address: &str, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await
}

pub(crate) async fn set_fault(admin: &str, upstream: &str, fault: &str) {
    let body = format!("{{\"fault\":\"{fault}\"}}");
    let request = format!(
        "PUT /chaos/{upstream} HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    assert!(ask(admin, &request).await.starts_with("HTTP/1.1 200 "));
}

pub(crate) async fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

/// Orders something. The head and body of the answer.
pub(crate) async fn order(app: &str, key: &str) -> String {
    let body = r#"{"user_id":"ada","product":"p001"}"#;
    let head = format!(
        "POST /api/orders HTTP/1.1\r\nHost: app\r\nContent-Type: application/json\r\nIdempotency-Key: \"{key}\"\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    ask(app, &format!("{head}{body}")).await
}
