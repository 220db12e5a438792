//! The command line. Each option can come from the environment instead.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use backstop::DeadlineHeader;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};

use super::Config;
use super::values::{self, BaseUrl, ValueError};

/// A recommendation service that keeps answering while its dependencies fail, and says so.
///
/// It brings its two dependencies along: `ml` and `catalog` are simulated by HTTP servers on free loopback ports, and
/// the admin listener breaks and mends them.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    /// Address of the app
    #[arg(long, env = "RECOMMENDATIONS_LISTEN", value_name = "IP:PORT", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,

    /// Address of the admin listener: faults, circuits
    #[arg(long, env = "RECOMMENDATIONS_ADMIN", value_name = "IP:PORT", default_value = "127.0.0.1:3001")]
    admin: SocketAddr,

    /// A real ML service, called at URL/v1/recommendations/{user} [default: a simulated one]
    #[arg(long, env = "RECOMMENDATIONS_ML_URL", value_name = "URL")]
    ml_url: Option<BaseUrl>,

    /// A real catalog, called at URL/v1/popular [default: a simulated one]
    #[arg(long, env = "RECOMMENDATIONS_CATALOG_URL", value_name = "URL")]
    catalog_url: Option<BaseUrl>,

    /// How long a circuit that opened refuses calls before it lets a probe through: 500ms, 5s, 1m
    #[arg(long, env = "RECOMMENDATIONS_CIRCUIT_WAIT", value_name = "TIME", default_value = "5s", value_parser = values::wait)]
    circuit_wait: Duration,

    /// Believe `x-envoy-expected-rq-timeout-ms` for how long a caller waits. Only behind a proxy that sets it, or removes what
    /// its callers send
    #[arg(long, env = "RECOMMENDATIONS_TRUST_EXPECTED_TIMEOUT")]
    trust_expected_timeout: bool,

    /// What requests to the admin listener must carry as `Authorization: Bearer <TOKEN>`; needed when its address isn't
    /// loopback. Better given in the environment than on the command line, where other users of the machine see it
    #[arg(long, env = "RECOMMENDATIONS_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    // Parsed below: clap would repeat a wrong one in its message, and so in somebody's logs.
    admin_token: Option<String>,
}

impl Args {
    /// The configuration that a command line (its first word is the program) and the environment ask for.
    ///
    /// # Errors
    ///
    /// What to tell the operator, and the exit code: 2 for a mistake, 0 for `--help` and `--version`.
    pub fn parse_config<I, T>(command_line: I) -> Result<Config, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let args = Self::try_parse_from(command_line)?;
        let wrong = |kind, error: &dyn Display| Self::command().error(kind, error);
        let admin_token = args.admin_token.map(|token| token.parse()).transpose().map_err(|error: ValueError| {
            let message = format!("the value for '--admin-token <TOKEN>' can't be one: {error}");
            wrong(ErrorKind::ValueValidation, &message)
        })?;
        let config = Config {
            listen: args.listen,
            admin: args.admin,
            ml_url: args.ml_url,
            catalog_url: args.catalog_url,
            circuit_wait: args.circuit_wait,
            trusted_deadline: args.trust_expected_timeout.then_some(DeadlineHeader::EnvoyExpectedRqTimeoutMs),
            admin_token,
        };
        config.check().map_err(|error| wrong(ErrorKind::MissingRequiredArgument, &error))?;
        Ok(config)
    }
}
