//! `ers-gateway simulate`: e-RS in a box, for trying things out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::exit::{CliError, Done};
use super::{busy_runtime, stop};
use crate::environment::Environment;
use crate::simulator::{self, Quota, SimulatorConfig, SimulatorHandle, demonstration};

/// Serve an e-RS that behaves as its specification says, with invented patients and services.
///
/// Token endpoint, A004, A005, A010, A011, A012, A016, A020, A029, A030, A042. Faults, locks, the clock and the
/// ledger are at the control address; see the documentation of the simulator.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ers-gateway simulate                           then, in another terminal: ers-gateway serve
  ers-gateway simulate --quota --known-only      as strict as the production platform
  curl http://127.0.0.1:8480/_simulator/ledger   what it has done so far")]
pub struct Simulate {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8480")]
    pub listen: SocketAddr,

    /// Enforce the limits of the production platform: 600 requests a minute, and never two within 83 ms.
    #[arg(long)]
    pub quota: bool,

    /// Seconds until an uploaded file has been scanned and can be read.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub scan_delay: u64,

    /// Threads that serve connections.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub workers: usize,

    /// Refuse services, patients, clinicians and codes that are not in the built-in lists.
    #[arg(long)]
    pub known_only: bool,

    /// Write the private key of the application-restricted clients here first. It is worth nothing elsewhere.
    #[arg(long, value_name = "FILE")]
    pub write_key: Option<PathBuf>,
}

impl Simulate {
    fn config(&self) -> SimulatorConfig {
        let anything = !self.known_only;
        SimulatorConfig {
            listen: self.listen,
            workers: self.workers,
            quota: self.quota.then_some(Quota::PRODUCTION),
            scan_delay: Duration::from_secs(self.scan_delay),
            any_service: anything,
            any_patient: anything,
            any_clinician: anything,
            any_reference_code: anything,
            ..SimulatorConfig::default()
        }
    }

    /// Serves until Ctrl-C or SIGTERM.
    pub fn run(self) -> Done {
        if let Some(file) = &self.write_key {
            std::fs::write(file, demonstration::PRIVATE_KEY_PEM)
                .map_err(|error| CliError::unavailable(file.display(), error))?;
        }
        busy_runtime()?.block_on(async {
            let environment = Environment::system();
            let shutdown = environment.shutdown().clone();
            let mut asked = stop::Asked::listen()?;
            environment.spawn(async move {
                asked.stop().await;
                shutdown.cancel();
            });
            simulator::run(self.config(), environment, announce).await.map_err(|error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                CliError::Unavailable(format!("{error}{cause}"))
            })
        })
    }
}

fn announce(handle: &SimulatorHandle) {
    println!("e-RS simulator");
    println!("  base URL   {}", handle.base_url());
    println!("  token URL  {}", handle.token_url());
    println!("  control    {}", handle.control_url());
    println!();
    println!("User-restricted application, for {}", demonstration::ORGANISATIONS.join(", "));
    println!("  client id      {}", demonstration::USER_CLIENT_ID);
    println!("  client secret  {}", demonstration::USER_CLIENT_SECRET);
    println!("  refresh token  {}  (works once)", demonstration::REFRESH_TOKEN);
    println!("Application-restricted, provider context");
    println!("  client id      {}", demonstration::PROVIDER_CLIENT_ID);
    println!("  key id         {}  (write the private key to a file with --write-key)", demonstration::KEY_ID);
}
