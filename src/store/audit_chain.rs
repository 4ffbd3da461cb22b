//! How rows of the audit log hang together, so that none can be changed or taken out unseen.

use sha2::{Digest, Sha256};

pub(super) type Hash = [u8; 32];

/// SHA-256 over the previous hash and this row; lengths keep one column from running into the next.
pub(super) fn chain(previous: &Hash, number: i64, at: i64, texts: [&str; 4]) -> Hash {
    let mut digest = Sha256::new();
    digest.update(previous);
    digest.update(number.to_be_bytes());
    digest.update(at.to_be_bytes());
    for text in texts {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text.as_bytes());
    }
    digest.finalize().into()
}
