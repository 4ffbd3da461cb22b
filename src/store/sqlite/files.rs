//! The store's files: readable by their owner alone, written by one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::{Result, StoreError};

/// How long a start waits for the process before it to let go of the file.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Creates the file, if it is not there, with access for its owner only: it holds patient data.
pub(super) fn create_private(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path).map_err(|error| unavailable(path, &error))
}

/// Holds `PATH.lock` until dropped (or the process ends, however it ends). The writer keeps counts and
/// numbers in memory; a second writer would contradict them.
pub(super) fn lock(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let file = create_private(&path)?;
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(unavailable(&path, &error)),
            Err(TryLockError::WouldBlock) if waited < LOCK_PATIENCE => {
                // A blocking thread, waiting for another process: no business of a simulated clock.
                std::thread::sleep(LOCK_RETRY);
                waited += LOCK_RETRY;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Unavailable(format!("another gateway holds {}", path.display())));
            }
        }
    }
}

pub(super) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| unavailable(path, &error))
}

fn unavailable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}
