//! The thread of an event as consumers see it.

use sha2::{Digest, Sha256};

/// A thread's name outside: it groups events and leads to nothing.
pub(super) fn partition_key(thread: [u8; 16]) -> String {
    let digest = Sha256::digest(thread);
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
