//! Shows an outage: `cargo run -p greeter`. With `RUST_LOG=backstop=debug` it logs each decision.

use std::{error::Error, io, time::Duration};

use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("backstop=warn"));
    tracing_subscriber::fmt().without_time().with_writer(io::stderr).with_env_filter(filter).init();
    greeter::outage::run(Duration::from_millis(700), &mut io::stdout()).await
}
