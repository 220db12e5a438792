//! A server in a process of its own, to be broken in a test.

use std::{
    env, fs,
    io::{self, BufRead, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// The ports that are tried. They are below those that the system gives to outgoing connections, so nobody takes the port
/// while the server is down: not even a client that tries to connect to it.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What kind of server it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Looked for in the PATH.
    pub(crate) program: &'static str,
    /// The environment variable that makes a missing program fail the test, with the value `required`.
    pub(crate) required_by: &'static str,
    /// What its log on standard output says when it accepts connections.
    pub(crate) is_ready: &'static str,
    /// What it says if somebody else has the port, in lower case.
    pub(crate) port_is_taken: &'static str,
}

/// A server on a free port of 127.0.0.1, with its data in a temporary directory.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    options: Vec<String>,
    /// Makes the command line out of options, port and directory, which exists.
    arguments: fn(&[String], u16, &Path) -> Vec<String>,
    // `None` while it is down.
    process: Option<Child>,
    port: u16,
    dir: PathBuf,
}

impl Server {
    /// `None` without the program.
    pub(crate) fn start(
        kind: Kind,
        options: Vec<String>,
        arguments: fn(&[String], u16, &Path) -> Vec<String>,
    ) -> Option<Self> {
        let mut server = Self { kind, options, arguments, process: None, port: 0, dir: PathBuf::new() };
        for _ in PORTS {
            let port = next_port();
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
                continue;
            }
            server.port = port;
            remove(&server.dir);
            server.dir = env::temp_dir().join(format!("backstop-{}-{}-{port}", kind.program, std::process::id()));
            server.empty();
            match server.run() {
                Ok(Ok(())) => return Some(server),
                // Somebody else has just taken the port.
                Ok(Err(log)) if log.to_lowercase().contains(kind.port_is_taken) => {}
                Ok(Err(log)) => panic!("{} doesn't start: {log}", kind.program),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    skip(kind);
                    return None;
                }
                Err(error) => panic!("{} doesn't start: {error}", kind.program),
            }
        }
        panic!("no port of {PORTS:?} is free")
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn stop(&mut self) {
        if self.process.is_some() {
            self.signal("TERM");
            // It may be paused.
            self.signal("CONT");
            self.wait();
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            // Fails only if it has ended.
            _ = process.kill();
            self.wait();
        }
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        match self.run() {
            Ok(Ok(())) => {}
            Ok(Err(log)) => panic!("{} doesn't start: {log}", self.kind.program),
            Err(error) => panic!("{} doesn't start: {error}", self.kind.program),
        }
    }

    pub(crate) fn restart_empty(&mut self) {
        self.kill();
        self.empty();
        self.restart();
    }

    /// Runs the server until it accepts connections. Its log, if it ends before.
    fn run(&mut self) -> io::Result<Result<(), String>> {
        let mut process = Command::new(self.kind.program)
            .args((self.arguments)(&self.options, self.port, &self.dir))
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut log = String::new();
        // Closed when the server is ready. It runs without a log then.
        let mut output = BufReader::new(process.stdout.take().expect("its output is piped"));
        while output.read_line(&mut log)? > 0 {
            if log.contains(self.kind.is_ready) {
                self.process = Some(process);
                return Ok(Ok(()));
            }
        }
        process.wait()?;
        Ok(Err(log))
    }

    fn empty(&self) {
        remove(&self.dir);
        fs::create_dir_all(&self.dir).expect("the temporary directory is writable");
    }

    /// Sends a signal by the shell, which every system has.
    pub(crate) fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("the server is up");
        let kill = format!("kill -{signal} {}", process.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.is_ok_and(|status| status.success()), "`{kill}` fails");
    }

    fn wait(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.wait().expect("a child can be waited for");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        remove(&self.dir);
    }
}

/// A port that this process hasn't tried before: another server may be down on that, and come back.
fn next_port() -> u16 {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let ports = u32::from(PORTS.end - PORTS.start);
    // Begins elsewhere in each process, so that two of them rarely try the same one.
    let first = std::process::id().wrapping_mul(97) % ports;
    let next = (first + TRIED.fetch_add(1, Ordering::Relaxed) % ports) % ports;
    PORTS.start + next as u16
}

fn remove(dir: &Path) {
    // It may not exist.
    _ = fs::remove_dir_all(dir);
}

#[expect(clippy::print_stderr, reason = "says that a test is skipped")]
fn skip(kind: Kind) {
    let Kind { program, required_by, .. } = kind;
    assert_ne!(env::var(required_by).as_deref(), Ok("required"), "there is no {program} in the PATH");
    eprintln!("skipped: there is no {program} in the PATH");
}
