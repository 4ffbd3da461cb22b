//! `store`: proof that a store is whole, and a copy of it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::exit::{CliError, Done};
use super::runtime;
use super::settings::Settings;
use crate::environment::Environment;
use crate::store::sqlite::SqliteStore;

/// Prove a store whole, or copy it
#[derive(Subcommand)]
pub enum StoreCommand {
    Verify(Verify),
    Backup(Backup),
}

/// Check pages, references, counts and the audit chain
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway store verify --config /etc/ers-gateway/gateway.yaml
  ers-gateway store verify --store backup.db

Takes as long as the file is large. The gateway must not run: a store belongs to one process at a time.

Exit codes: 0 whole, 3 damaged, not there, or in use.")]
pub struct Verify {
    #[command(flatten)]
    place: Place,
}

/// Copy a store to a new file
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway store backup --config /etc/ers-gateway/gateway.yaml --to /backup/ers-gateway.db

The copy is one committed moment, and a store like any other. Keep the key file with it, but apart from it.
Of a running gateway: sqlite3 STORE '.backup FILE', or a snapshot of the file system.")]
pub struct Backup {
    #[command(flatten)]
    place: Place,
    /// The new file
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Args)]
struct Place {
    #[command(flatten)]
    settings: Settings,
    /// Store file; otherwise that of the settings
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
}

impl Place {
    async fn open(&self) -> Result<(PathBuf, SqliteStore), CliError> {
        let path = match &self.store {
            Some(path) => path.clone(),
            None => self.settings.load()?.store.sqlite_path().expect("the rules of the settings take sqlite:PATH only"),
        };
        let store = open(&path).await?;
        Ok((path, store))
    }
}

/// A store that is there: opening never makes one.
pub async fn open(path: &Path) -> Result<SqliteStore, CliError> {
    if !path.is_file() {
        return Err(CliError::Unavailable(format!("there is no store at {}", path.display())));
    }
    SqliteStore::open(path, &Environment::system()).await.map_err(|error| CliError::unavailable(path.display(), error))
}

impl StoreCommand {
    pub fn run(self) -> Done {
        runtime()?.block_on(async {
            match self {
                Self::Verify(verify) => {
                    let (path, store) = verify.place.open().await?;
                    store.verify().await?;
                    println!("{} is whole", path.display());
                }
                Self::Backup(backup) => {
                    let (path, store) = backup.place.open().await?;
                    if backup.to.exists() {
                        return Err(CliError::No(format!("{} is there already, and stays", backup.to.display())));
                    }
                    store.backup(&backup.to).await?;
                    println!("{} was copied to {}", path.display(), backup.to.display());
                }
            }
            Ok(())
        })
    }
}
