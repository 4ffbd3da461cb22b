//! `--config`, for every subcommand that needs settings.

use std::path::PathBuf;

use clap::Args;

use super::exit::CliError;
use crate::config::{Config, ConfigError};

#[derive(Args)]
pub struct Settings {
    /// Settings file; without it, the built-in demonstration (five imaginary hospitals and the simulator)
    #[arg(long, short, value_name = "FILE", env = "ERS_GATEWAY_CONFIG")]
    pub config: Option<PathBuf>,
}

impl Settings {
    /// The settings, or every problem that they have.
    pub fn load(&self) -> Result<Config, CliError> {
        match &self.config {
            None => Ok(Config::demonstration()),
            Some(file) if !file.is_file() => Err(CliError::Unavailable(format!(
                "there are no settings at {}; `ers-gateway check --example` prints some to start from",
                file.display()
            ))),
            Some(file) => Config::load(file).map_err(problems),
        }
    }

    /// How the settings are named to people.
    pub fn name(&self) -> String {
        match &self.config {
            None => "the built-in demonstration".to_owned(),
            Some(file) => file.display().to_string(),
        }
    }
}

/// Every problem on a line of its own, and how many.
pub fn problems(error: ConfigError) -> CliError {
    let count = error.0.len();
    CliError::No(format!("{error}\n{count} problem{} in the settings", if count == 1 { "" } else { "s" }))
}
