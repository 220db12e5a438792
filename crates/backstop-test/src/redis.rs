//! A real Redis server, to be broken in a test.

use std::{
    env, fs,
    io::{self, BufRead, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

const PROGRAM: &str = "redis-server";

/// The ports that are tried. They are below those that the system gives to outgoing connections, so nobody takes the port
/// while the server is down: not even a client that tries to connect to it.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A `redis-server` from the PATH, on a free port of 127.0.0.1, with its data in a temporary directory.
///
/// It is stopped, killed, paused and restarted by methods, and keeps its port and [`url`](Self::url) throughout. Dropping it
/// kills the server, and removes its data. Methods block until they have had their effect, for some milliseconds.
///
/// ```
/// use backstop_test::RedisServer;
///
/// # fn main() {
/// // `None` on a machine without Redis.
/// let Some(mut redis) = RedisServer::start() else { return };
/// // … connect to `redis.url()`, and use it …
/// redis.kill();
/// // … it is down …
/// redis.restart();
/// // … it is up, with all that it confirmed …
/// # }
/// ```
#[derive(Debug)]
pub struct RedisServer {
    // `None` while it is down.
    process: Option<Child>,
    port: u16,
    dir: PathBuf,
    options: Vec<String>,
}

impl RedisServer {
    /// Starts an empty server.
    ///
    /// Without a `redis-server` in the PATH it is `None`, and standard error says that the test is skipped.
    ///
    /// # Panics
    /// If the server doesn't start. Without a `redis-server`, if the environment variable `BACKSTOP_REDIS` is `required`.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts an empty server with further options, such as `["--maxmemory", "1mb"]`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(options: &[&str]) -> Option<Self> {
        let options = options.iter().map(ToString::to_string).collect();
        let mut redis = Self { process: None, port: 0, dir: PathBuf::new(), options };
        for _ in PORTS {
            let port = next_port();
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
                continue;
            }
            redis.port = port;
            remove(&redis.dir);
            redis.dir = env::temp_dir().join(format!("backstop-redis-{}-{port}", std::process::id()));
            redis.empty();
            match redis.run() {
                Ok(Ok(())) => return Some(redis),
                // Somebody else has just taken the port.
                Ok(Err(log)) if log.contains("Address already in use") => {}
                Ok(Err(log)) => panic!("{PROGRAM} doesn't start: {log}"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    skip();
                    return None;
                }
                Err(error) => panic!("{PROGRAM} doesn't start: {error}"),
            }
        }
        panic!("no port of {PORTS:?} is free")
    }

    /// The server's URL, `redis://127.0.0.1:port/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The server's port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Shuts the server down in order (SIGTERM). No effect if it is down.
    ///
    /// # Panics
    /// If the signal can't be sent.
    pub fn stop(&mut self) {
        if self.process.is_some() {
            self.signal("TERM");
            // It may be paused.
            self.signal("CONT");
            self.wait();
        }
    }

    /// Kills the server (SIGKILL). What it confirmed is kept for [`restart`](Self::restart). No effect if it is down.
    pub fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            // Fails only if it has ended.
            _ = process.kill();
            self.wait();
        }
    }

    /// Pauses the server (SIGSTOP): connections stay open, new ones are made, and nothing is answered.
    ///
    /// # Panics
    /// If the server is down.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a paused server go on (SIGCONT).
    ///
    /// # Panics
    /// If the server is down.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Starts the server again, on the same port, with its data. Kills it first if it runs.
    ///
    /// # Panics
    /// If the server doesn't start.
    pub fn restart(&mut self) {
        self.kill();
        match self.run() {
            Ok(Ok(())) => {}
            Ok(Err(log)) => panic!("{PROGRAM} doesn't start: {log}"),
            Err(error) => panic!("{PROGRAM} doesn't start: {error}"),
        }
    }

    /// Starts the server again, on the same port, without its data. Kills it first if it runs.
    ///
    /// # Panics
    /// If the server doesn't start.
    pub fn restart_empty(&mut self) {
        self.kill();
        self.empty();
        self.restart();
    }

    /// Runs the server until it accepts connections. Its log, if it ends before.
    fn run(&mut self) -> io::Result<Result<(), String>> {
        let mut process = Command::new(PROGRAM)
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"])
            .arg(&self.dir)
            // Every write is in a file before it is confirmed, so that it outlives a kill.
            .args(["--save", "", "--appendonly", "yes", "--appendfsync", "no"])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut log = String::new();
        // Closed when the server is ready. It runs without a log then.
        let mut output = BufReader::new(process.stdout.take().expect("its output is piped"));
        while output.read_line(&mut log)? > 0 {
            if log.contains("Ready to accept connections") {
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
    fn signal(&self, signal: &str) {
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

impl Drop for RedisServer {
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
fn skip() {
    assert_ne!(env::var("BACKSTOP_REDIS").as_deref(), Ok("required"), "there is no {PROGRAM} in the PATH");
    eprintln!("skipped: there is no {PROGRAM} in the PATH");
}
