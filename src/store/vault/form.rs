//! How sealed values stand in columns, and what each is bound to.
//!
//! Bytes: eight that nothing in clear begins with, the number of the data key, nonce, ciphertext, tag. Text: `sealed:` and
//! the same in base64, without those eight. So a column says of itself whether it is sealed, rows from before stand beside
//! rows from after, and no schema changes. A value in clear that begins so is written with number 0, which is no key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::keys::{NONCE_BYTES, TAG_BYTES};

/// No text in UTF-8, Windows-1252 or HL7 v2, and no file format known, begins so.
pub(super) const MARK: [u8; 8] = [0xf5, 0xe5, 0x5e, 0xa1, 0xed, 0x00, 0x01, 0xff];
pub(super) const TEXT_MARK: &str = "sealed:";
/// Mark and number.
pub(super) const HEADER: usize = MARK.len() + 4;
/// How much longer a value is when it is sealed.
pub(in crate::store) const OVERHEAD: usize = HEADER + NONCE_BYTES + TAG_BYTES;
/// Of what is in clear and only looks as if it were sealed.
pub(super) const CLEAR: u32 = 0;

/// A column that is sealed. The numbers are written into what is sealed, so they stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Column {
    MessageRaw = 1,
    MessageAcknowledgement = 2,
    MessageChunk = 3,
    Document = 4,
    CommandBody = 5,
    CommandPlan = 6,
    CommandLocalId = 7,
    ThreadKnown = 8,
    AttemptRequest = 9,
    AttemptResponse = 10,
    EventData = 11,
    Fetched = 12,
    DispatchContent = 13,
    Snapshot = 14,
    Secret = 15,
}

impl Column {
    pub(in crate::store) const ALL: [(Self, &str); 15] = [
        (Self::MessageRaw, "message.raw"),
        (Self::MessageAcknowledgement, "message.acknowledgement"),
        (Self::MessageChunk, "message_chunk.bytes"),
        (Self::Document, "document.bytes"),
        (Self::CommandBody, "command.body"),
        (Self::CommandPlan, "command.plan"),
        (Self::CommandLocalId, "command.local_id"),
        (Self::ThreadKnown, "thread.known"),
        (Self::AttemptRequest, "attempt.request"),
        (Self::AttemptResponse, "attempt.response"),
        (Self::EventData, "outbox.data"),
        (Self::Fetched, "fetched.bytes"),
        (Self::DispatchContent, "dispatch.content"),
        (Self::Snapshot, "snapshot.content"),
        (Self::Secret, "secret.sealed"),
    ];

    /// By table and column, as statements name it.
    pub(in crate::store) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(column, _)| *column)
    }

    pub(in crate::store) fn of(self, id: [u8; 16]) -> Place {
        Place { column: self, id, part: 0, position: 0 }
    }

    pub(in crate::store) fn of_id(self, id: Uuid) -> Place {
        self.of(id.into_bytes())
    }

    /// Of a row that has names for its key.
    pub(in crate::store) fn named(self, names: [&str; 2]) -> Place {
        self.of(name_digest(names))
    }

    /// A chunk of content.
    pub(in crate::store) fn chunk(self, id: [u8; 16], part: u32, position: u32) -> Place {
        Place { column: self, id, part, position }
    }
}

/// Names instead of an identifier, kept apart by their lengths.
pub(in crate::store) fn name_digest(names: [&str; 2]) -> [u8; 16] {
    let mut digest = Sha256::new();
    for name in names {
        digest.update((name.len() as u64).to_be_bytes());
        digest.update(name.as_bytes());
    }
    let mut id = [0; 16];
    id.copy_from_slice(&digest.finalize()[..16]);
    id
}

/// Whose value it is: a sealed one opens nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Place {
    column: Column,
    id: [u8; 16],
    part: u32,
    position: u32,
}

impl Place {
    pub(super) fn as_bytes(&self) -> [u8; 25] {
        let mut bytes = [0; 25];
        bytes[0] = self.column as u8;
        bytes[1..17].copy_from_slice(&self.id);
        bytes[17..21].copy_from_slice(&self.part.to_be_bytes());
        bytes[21..].copy_from_slice(&self.position.to_be_bytes());
        bytes
    }
}

pub(super) fn header(number: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..MARK.len()].copy_from_slice(&MARK);
    header[MARK.len()..].copy_from_slice(&number.to_be_bytes());
    header
}

/// The data key of a value; `None` if it is in clear.
pub(in crate::store) fn number_of(stored: &[u8]) -> Option<u32> {
    let number = stored.strip_prefix(&MARK[..])?.get(..4)?;
    Some(u32::from_be_bytes(number.try_into().ok()?))
}

/// The same of a text.
pub(in crate::store) fn number_of_text(stored: &str) -> Option<u32> {
    // Eight digits are the first six bytes.
    let digits = stored.strip_prefix(TEXT_MARK)?.get(..8)?;
    let bytes = STANDARD_NO_PAD.decode(digits).ok()?;
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// What a value is long when it is open.
pub(in crate::store) fn open_size(stored: &[u8]) -> usize {
    if number_of(stored).is_some() { stored.len().saturating_sub(OVERHEAD) } else { stored.len() }
}

pub(super) fn as_text(sealed: &[u8]) -> String {
    let mut text = String::with_capacity(TEXT_MARK.len() + sealed.len() * 4 / 3 + 4);
    text.push_str(TEXT_MARK);
    STANDARD_NO_PAD.encode_string(&sealed[MARK.len()..], &mut text);
    text
}

/// As bytes again, if it is a sealed text.
pub(super) fn from_text(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix(TEXT_MARK)?;
    let mut sealed = Vec::with_capacity(MARK.len() + text.len() * 3 / 4 + 3);
    sealed.extend_from_slice(&MARK);
    STANDARD_NO_PAD.decode_vec(text, &mut sealed).ok()?;
    Some(sealed)
}

/// In clear, written so that nobody takes it for sealed: as long as if it were.
pub(super) fn clear_beside(clear: &[u8]) -> Vec<u8> {
    [&header(CLEAR), &[0; NONCE_BYTES][..], clear, &[0; TAG_BYTES]].concat()
}

/// `None` for what was sealed once: its nonce and tag are not empty.
pub(super) fn out_of_clear(stored: &[u8]) -> Option<Vec<u8>> {
    let (_, rest) = stored.split_at_checked(HEADER)?;
    let (nonce, rest) = rest.split_at_checked(NONCE_BYTES)?;
    let (clear, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
    (nonce == [0; NONCE_BYTES] && tag == [0; TAG_BYTES]).then(|| clear.to_vec())
}
