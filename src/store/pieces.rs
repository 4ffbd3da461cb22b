//! Raw messages and documents as both stores write them: short ones whole, long ones in chunks, each sealed on its own.

use bytes::Bytes;

use super::NewDocument;
use super::vault::{Column, Sealer};
use crate::command::MessageId;

/// A longer message has its bytes in chunks.
pub(in crate::store) const INLINE_MAX: usize = 32 << 10;
pub(in crate::store) const CHUNK: usize = 256 << 10;

/// The bytes of a message as they are written.
pub(in crate::store) enum Raw {
    Inline(Bytes),
    Chunks(Vec<Bytes>),
}

pub(in crate::store) fn sealed_raw(message: MessageId, raw: Bytes, sealer: &Sealer<'_>) -> Raw {
    let id = message.0.into_bytes();
    if raw.len() <= INLINE_MAX {
        return Raw::Inline(sealer.shared(Column::MessageRaw.of(id), raw));
    }
    let sealed = (0..).zip(pieces(&raw)).map(|(at, piece)| sealer.shared(Column::MessageChunk.chunk(id, 0, at), piece));
    Raw::Chunks(sealed.collect())
}

/// A document as it is written.
pub(in crate::store) struct Document {
    pub(in crate::store) number: u32,
    pub(in crate::store) chunks: Vec<Bytes>,
}

impl Document {
    pub(in crate::store) fn sealed(message: MessageId, document: NewDocument, sealer: &Sealer<'_>) -> Self {
        let (id, number) = (message.0.into_bytes(), document.number);
        let sealed = (0..).zip(pieces(&document.content));
        let chunks = sealed.map(|(at, piece)| sealer.shared(Column::Document.chunk(id, number, at), piece)).collect();
        Self { number, chunks }
    }

    pub(in crate::store) fn size(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }
}

/// What is empty is one empty piece, so that it exists.
fn pieces(content: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    let count = content.len().div_ceil(CHUNK).max(1);
    (0..count).map(|piece| content.slice(piece * CHUNK..content.len().min((piece + 1) * CHUNK)))
}
