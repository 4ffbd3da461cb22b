//! How a subcommand ends: the exit codes that scripts may rely on.

use std::process::ExitCode;

pub const HELP: &str = "\
Exit codes:
  0  done
  1  done, and the answer is no: problems were found, a message was refused, a scene went wrong
  2  the command line is not right
  3  something needed is not there: a file, an address, the store, the gateway
  4  no message, command or event with that identifier

Every subcommand explains itself: ers-gateway help SUBCOMMAND";

#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The work was done and its outcome is bad; details were printed already.
    #[error("{0}")]
    No(String),
    /// What was given on the command line does not fit together.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    NotFound(String),
}

impl CliError {
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::No(_) => 1,
            Self::Usage(_) => 2,
            Self::Unavailable(_) => 3,
            Self::NotFound(_) => 4,
        })
    }

    pub fn unavailable(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self::Unavailable(format!("{what}: {error}"))
    }
}

pub type Done = Result<(), CliError>;
