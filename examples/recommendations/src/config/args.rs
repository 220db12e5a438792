//! The command line. Each option can also be set in the environment.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use backstop::{DeadlineHeader, Name};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};

use super::values::{self, BaseUrl, ValueError};
use super::{Config, LogFormat, StoreUrl};
use crate::drill::DrillConfig;

/// A recommendation service that still answers when its dependencies fail, and says so in its headers.
///
/// It simulates its dependencies, `ml`, `catalog`, `payment` and `mail`, by HTTP servers on free loopback ports. The admin listener breaks and
/// repairs them.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    /// Address of the app
    #[arg(long, env = "RECOMMENDATIONS_LISTEN", value_name = "IP:PORT", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,

    /// Address of the admin listener, for faults and circuits
    #[arg(long, env = "RECOMMENDATIONS_ADMIN", value_name = "IP:PORT", default_value = "127.0.0.1:3001")]
    admin: SocketAddr,

    /// A real ML service, called at URL/v1/recommendations/{user} [default: simulated]
    #[arg(long, env = "RECOMMENDATIONS_ML_URL", value_name = "URL")]
    ml_url: Option<BaseUrl>,

    /// A real catalog, called at URL/v1/popular and URL/v1/count [default: simulated]
    #[arg(long, env = "RECOMMENDATIONS_CATALOG_URL", value_name = "URL")]
    catalog_url: Option<BaseUrl>,

    /// How long an open circuit refuses calls before it allows a probe: 500ms, 5s, 1m
    #[arg(long, env = "RECOMMENDATIONS_CIRCUIT_WAIT", value_name = "TIME", default_value = "5s", value_parser = values::wait, global = true)]
    circuit_wait: Duration,

    /// How long the app still serves once it was asked to stop, so that balancers see that it isn't ready. A second signal ends it
    /// at once
    #[arg(long, env = "RECOMMENDATIONS_DRAIN", value_name = "TIME", default_value = "10s", value_parser = values::wait)]
    drain: Duration,

    /// An existing directory for the files of queued jobs, which then outlive the process [default: in memory]
    #[arg(long, env = "RECOMMENDATIONS_JOBS_DIR", value_name = "DIR")]
    jobs_dir: Option<PathBuf>,

    /// A NATS server with JetStream that keeps queued jobs for all instances [default: each instance keeps its own]
    #[arg(
        long,
        env = "RECOMMENDATIONS_NATS_URL",
        value_name = "URL",
        hide_env_values = true,
        conflicts_with = "jobs_dir"
    )]
    // Parsed below, like `admin_token`: it may contain a password.
    nats_url: Option<String>,

    /// A Redis server by which instances share flags and views of health [default: each instance has its own]
    #[arg(long, env = "RECOMMENDATIONS_REDIS_URL", value_name = "URL", hide_env_values = true, global = true)]
    redis_url: Option<String>,

    /// How many connections the app accepts at the same time; it refuses others with a 503 [default: three quarters of the limit
    /// of open files, at most 10000]
    #[arg(long, env = "RECOMMENDATIONS_MAX_CONNECTIONS", value_name = "NUMBER", value_parser = values::connections)]
    max_connections: Option<usize>,

    /// The name of this instance in what it shares, such as its pod's name [default: made up]
    #[arg(long, env = "RECOMMENDATIONS_INSTANCE", value_name = "NAME", value_parser = values::instance)]
    instance: Option<Name>,

    /// How the log on standard error is written. `RUST_LOG` chooses what is in it
    #[arg(long, env = "RECOMMENDATIONS_LOG", value_name = "FORMAT", default_value = "human")]
    log: LogFormat,

    /// Take the caller's deadline from `x-envoy-expected-rq-timeout-ms`. Only behind a proxy that sets this header, or removes
    /// it from requests
    #[arg(long, env = "RECOMMENDATIONS_TRUST_EXPECTED_TIMEOUT")]
    trust_expected_timeout: bool,

    /// Token that admin requests must carry as `Authorization: Bearer <TOKEN>`. Required if the admin address isn't loopback.
    /// Set it in the environment: other users of the machine can see the command line
    #[arg(long, env = "RECOMMENDATIONS_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    // Parsed below, since clap's message would show an invalid token, which may end up in a log.
    admin_token: Option<String>,

    #[command(subcommand)]
    subcommand: Option<Subcommand>,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    /// Take the app through outages under load, and report what its users got
    ///
    /// The app listens on free ports and simulates its upstreams. With --redis-url, one of the outages is Redis's. The exit code is
    /// 1 if a request wasn't answered in time and with the right label, or the app didn't recover.
    Drill(Drill),
}

#[derive(Debug, clap::Args)]
struct Drill {
    /// Requests a second, whatever becomes of those before
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    rate: NonZeroU32,

    /// How long each outage lasts: 10s, 1m. A circuit opens after as many failures as there were successes in the last 10 s
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::wait)]
    phase: Duration,

    /// Where the report goes as JSON
    #[arg(long, value_name = "FILE", default_value = "drill.json")]
    json: PathBuf,

    /// Where the chart of sources and latencies goes
    #[arg(long, value_name = "FILE", default_value = "drill.svg")]
    svg: PathBuf,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Serve.
    Serve(Config),
    /// Drill.
    Drill(DrillConfig),
}

impl Args {
    /// Reads the configuration from a command line, whose first word is the program, and from the environment.
    ///
    /// # Errors
    ///
    /// The message for the operator, and the exit code: 2 for an invalid option, 0 for `--help` and `--version`.
    pub fn parse<I, T>(command_line: I) -> Result<Command, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let mut args = Self::try_parse_from(command_line)?;
        let subcommand = args.subcommand.take();
        let app = args.config()?;
        Ok(match subcommand {
            None => Command::Serve(app),
            Some(Subcommand::Drill(Drill { rate, phase, json, svg })) => {
                Command::Drill(DrillConfig { app, rate, phase, json, svg })
            }
        })
    }

    fn config(self) -> Result<Config, clap::Error> {
        let args = self;
        let wrong = |kind, error: &dyn Display| Self::command().error(kind, error);
        let invalid = |option: &'static str| {
            move |error: ValueError| {
                wrong(ErrorKind::ValueValidation, &format!("invalid value for '{option}': {error}"))
            }
        };
        let admin_token = args.admin_token.map(|token| token.parse()).transpose();
        let admin_token = admin_token.map_err(invalid("--admin-token <TOKEN>"))?;
        let redis_url = args.redis_url.as_deref().map(StoreUrl::redis).transpose();
        let redis_url = redis_url.map_err(invalid("--redis-url <URL>"))?;
        let nats_url = args.nats_url.as_deref().map(StoreUrl::nats).transpose();
        let nats_url = nats_url.map_err(invalid("--nats-url <URL>"))?;
        let config = Config {
            listen: args.listen,
            admin: args.admin,
            ml_url: args.ml_url,
            catalog_url: args.catalog_url,
            circuit_wait: args.circuit_wait,
            ml_recovery: Config::default().ml_recovery,
            drain: args.drain,
            jobs_dir: args.jobs_dir,
            nats_url,
            redis_url,
            max_connections: args.max_connections,
            instance: args.instance,
            trusted_deadline: args.trust_expected_timeout.then_some(DeadlineHeader::EnvoyExpectedRqTimeoutMs),
            admin_token,
            log_format: args.log,
        };
        config.check().map_err(|error| wrong(ErrorKind::MissingRequiredArgument, &error))?;
        Ok(config)
    }
}
