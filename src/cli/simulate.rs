//! `ers-gateway simulate`: e-RS in a box, for trying things out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::environment::Environment;
use crate::simulator::{self, Quota, SimulatorConfig, SimulatorHandle, demonstration};

/// Serve an e-RS that behaves as its specification says, with invented patients and services.
///
/// Token endpoint, A004, A005, A010, A011, A012, A016, A020, A029, A030, A042. Faults, locks, the clock and the
/// ledger are at the control address; see the documentation of the simulator.
#[derive(Debug, Args)]
pub struct SimulateArgs {
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

impl SimulateArgs {
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

/// Serves until the environment is asked to shut down.
pub async fn simulate(args: SimulateArgs, environment: Environment) -> ExitCode {
    if let Some(file) = &args.write_key
        && let Err(error) = std::fs::write(file, demonstration::PRIVATE_KEY_PEM)
    {
        eprintln!("cannot write the key to {}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    match simulator::run(args.config(), environment, announce).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            if let Some(cause) = std::error::Error::source(&error) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
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
