//! `simulate`: e-RS in a box, for trying things out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::exit::{CliError, Done};
use super::runtime;
use crate::environment::Environment;
use crate::simulator::{self, Quota, SimulatorConfig, SimulatorHandle, demonstration};

/// Serve an e-RS that behaves as its specification says, with invented patients and services
///
/// Served are the token endpoint, what a referrer calls of the e-RS API (`docs/coverage.md`), and patients of the
/// Personal Demographics Service. Faults, locks, the clock, the quota and the ledger are at the control address.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway simulate                                    on 127.0.0.1:8480, as fast as it goes
  ers-gateway simulate --quota --scan-delay 300           as slow as the real one
  ers-gateway simulate --listen 127.0.0.1:0 --known-only  a free port, and only built-in services and patients
  curl -X POST 127.0.0.1:8480/_simulator/faults -d \\
    '{\"operation\": \"A011\", \"times\": 2, \"action\": {\"do\": \"answer\", \"status\": 429}}'")]
pub struct Simulate {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8480")]
    listen: SocketAddr,
    /// Enforce the limits of the production platform: 600 requests a minute, never two within 83 ms
    #[arg(long)]
    quota: bool,
    /// Seconds until an uploaded file has been scanned and can be read
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    scan_delay: u64,
    /// Threads that serve connections
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Refuse services, patients, clinicians and codes that are not in the built-in lists
    #[arg(long)]
    known_only: bool,
    /// Write the private key of the application-restricted clients here first; it is worth nothing elsewhere
    #[arg(long, value_name = "FILE")]
    write_key: Option<PathBuf>,
}

impl Simulate {
    pub fn run(self) -> Done {
        if let Some(file) = &self.write_key {
            std::fs::write(file, demonstration::PRIVATE_KEY_PEM)
                .map_err(|error| CliError::unavailable(file.display(), error))?;
        }
        runtime()?.block_on(self.serve(Environment::system()))
    }

    async fn serve(&self, environment: Environment) -> Done {
        let stopper = environment.shutdown().clone();
        environment.spawn(async move {
            // Without a signal to wait for, the process ends the hard way, which the simulator does not mind.
            if tokio::signal::ctrl_c().await.is_ok() {
                stopper.cancel();
            }
        });
        simulator::run(self.config(), environment, announce).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            CliError::unavailable(&error, cause)
        })
    }

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
}

fn announce(handle: &SimulatorHandle) {
    println!("e-RS simulator, everything in it invented");
    println!("  base URL       {}", handle.base_url());
    println!("  token URL      {}", handle.token_url());
    println!("  control        {}", handle.control_url());
    println!("User-restricted application, for users of {}", demonstration::ORGANISATIONS.join(", "));
    println!("  client id      {}", demonstration::USER_CLIENT_ID);
    println!("  client secret  {}", demonstration::USER_CLIENT_SECRET);
    println!("  refresh token  {} (works once)", demonstration::REFRESH_TOKEN);
    println!("Application-restricted client at R69, as provider");
    println!("  client id      {}", demonstration::PROVIDER_CLIENT_ID);
    println!("  key id         {} (--write-key FILE gives the private key)", demonstration::KEY_ID);
}
