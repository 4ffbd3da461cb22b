//! Room on the disk: messages are refused while there is still enough for everything that was acknowledged to be carried
//! out, told and copied back into the file.
//!
//! Enters: the store's path, and how much is kept free. Leaves: whether a message may be taken. Guarantees: a full disk is
//! met by those who can send again, not by the results of what was sent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::time::Instant;

use super::super::{Result, StoreError};

/// A look takes some microseconds; a busy minute's messages share one.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) struct Room {
    file: PathBuf,
    reserve: u64,
    last: Mutex<Option<(Instant, bool)>>,
    left: IntGauge,
}

impl Room {
    pub(super) fn new(file: &Path, reserve: u64) -> Self {
        let left = IntGauge::new(
            "gateway_store_room_bytes",
            "With a store in a file: room on its disk until messages are refused",
        );
        Self {
            file: file.to_path_buf(),
            reserve,
            last: Mutex::default(),
            left: left.expect("a name that Prometheus takes"),
        }
    }

    pub(super) fn gauge(&self) -> IntGauge {
        self.left.clone()
    }

    /// `Unavailable` while there is too little. `log`: by how much the file has yet to grow.
    pub(super) fn require(&self, now: Instant, log: u64) -> Result<()> {
        let mut last = self.last.lock();
        let is_left = match *last {
            Some((at, is_left)) if now.saturating_duration_since(at) < LOOK_EVERY => is_left,
            _ => self.look(log),
        };
        *last = Some((now, is_left));
        if is_left {
            return Ok(());
        }
        Err(StoreError::Unavailable("the disk is nearly full, and what is left is for messages that were taken".into()))
    }

    fn look(&self, log: u64) -> bool {
        // Whoever cannot look finds out by writing.
        let Ok(disk) = rustix::fs::statvfs(&self.file) else { return true };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let taken = self.reserve.saturating_add(log);
        self.left.set(i64::try_from(free.saturating_sub(taken)).unwrap_or(i64::MAX));
        free > taken
    }
}
