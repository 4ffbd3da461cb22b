//! AES-256-GCM (NIST SP 800-38D), as everything at rest is sealed: a header in clear, a nonce, the ciphertext, a tag.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

pub const KEY_BYTES: usize = 32;
/// Section 8.2.2: a random nonce of 96 bits.
pub const NONCE_BYTES: usize = 12;
pub const TAG_BYTES: usize = 16;

/// One key, ready to be used.
pub struct Cipher(LessSafeKey);

impl Cipher {
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Header, nonce, ciphertext and tag. `about` is authenticated and not written down: whoever opens it knows it.
    pub fn seal(&self, header: &[u8], nonce: [u8; NONCE_BYTES], about: &[u8], clear: &[u8]) -> Vec<u8> {
        let begins = header.len() + NONCE_BYTES;
        let mut sealed = Vec::with_capacity(begins + clear.len() + TAG_BYTES);
        sealed.extend_from_slice(header);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(clear);
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(about), &mut sealed[begins..])
            .expect("AES-GCM fails only above 64 GiB of plaintext");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// What was sealed behind a header of so many bytes, if it is this key's and about the same.
    pub fn open(&self, header: usize, about: &[u8], mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let begins = header + NONCE_BYTES;
        let nonce = sealed.get(header..begins)?.try_into().ok()?;
        let rest = sealed.get_mut(begins..)?;
        let size = self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(about), rest).ok()?.len();
        sealed.copy_within(begins..begins + size, 0);
        sealed.truncate(size);
        Some(sealed)
    }
}
