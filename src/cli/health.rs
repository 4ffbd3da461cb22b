//! `health`: whether a running gateway takes messages; for container health checks.

use clap::Args;

use super::api::Api;
use super::exit::Done;
use super::runtime;

/// Ask a running gateway whether it takes messages
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway health                                      0 if it takes messages
  ers-gateway health --api https://gateway.example:8444

Exit codes: 0 ready, 3 not there or not ready.")]
pub struct Health {
    /// Address of the gateway
    #[arg(long, value_name = "URL", env = "ERS_GATEWAY_API", default_value = "http://127.0.0.1:8080")]
    api: String,
}

impl Health {
    pub fn run(self) -> Done {
        runtime()?.block_on(async {
            let answer = Api::new(&self.api, None)?.get("health/ready", &[]).await?;
            println!("{}", answer["status"].as_str().unwrap_or("ready"));
            Ok(())
        })
    }
}
