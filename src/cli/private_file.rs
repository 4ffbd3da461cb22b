//! Files that only their owner may read: what leaves the house by hand.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use super::exit::CliError;

/// A new file; one that is there stays as it is.
pub fn create(path: &Path) -> Result<File, CliError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => CliError::No(format!("{} is there already, and stays", path.display())),
        _ => CliError::unavailable(path.display(), error),
    })
}
