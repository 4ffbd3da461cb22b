//! Raw messages and documents: short ones in a row, long ones in chunks, read in ranges.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use rusqlite::{Connection, OptionalExtension, Rows};

use super::columns;
use crate::command::{AttemptId, CommandId, MessageId};
use crate::store::damaged;
use crate::store::pieces::{CHUNK, Document};
use crate::store::{Result, StoreError};

pub(super) fn store_chunks(connection: &Connection, message: i64, chunks: &[Bytes]) -> Result<()> {
    let mut statement =
        connection.prepare_cached("INSERT INTO message_chunk (message, position, bytes) VALUES (?1, ?2, ?3)")?;
    for (position, chunk) in (0_i64..).zip(chunks) {
        statement.execute((message, position, &chunk[..]))?;
    }
    Ok(())
}

pub(super) fn store_documents(connection: &Connection, message: i64, documents: &[Document]) -> Result<()> {
    if documents.is_empty() {
        return Ok(());
    }
    let mut statement =
        connection.prepare_cached("INSERT INTO document (message, number, position, bytes) VALUES (?1, ?2, ?3, ?4)")?;
    for document in documents {
        for (position, chunk) in (0_i64..).zip(&document.chunks) {
            statement.execute((message, document.number, position, &chunk[..]))?;
        }
    }
    Ok(())
}

pub(super) fn read_message(connection: &Connection, message: MessageId, range: Range<u64>) -> Result<Bytes> {
    let (number, size, is_inline): (i64, i64, bool) = connection
        .prepare_cached("SELECT number, size, raw IS NOT NULL FROM message WHERE id = ?1")?
        .query_row([message.0.into_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?
        .ok_or(StoreError::NotFound)?;
    let range = clip(range, u64::try_from(size).map_err(|_| damaged("a message of negative size"))?);
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    if is_inline {
        let raw: Vec<u8> = connection
            .prepare_cached("SELECT opened('message.raw', id, raw) FROM message WHERE number = ?1")?
            .query_row([number], |row| row.get(0))?;
        let wanted = within(&range, raw.len()).ok_or_else(|| damaged("a message is shorter than it says"))?;
        return Ok(Bytes::from(raw).slice(wanted));
    }
    let chunks = chunks(&range);
    let mut statement = connection.prepare_cached(
        "SELECT position, opened('message_chunk.bytes', ?4, bytes, 0, position) FROM message_chunk
         WHERE message = ?1 AND position BETWEEN ?2 AND ?3 ORDER BY position",
    )?;
    join(statement.query((number, chunks.start, chunks.end, message.0.into_bytes()))?, range)
}

pub(super) fn read_document(
    connection: &Connection,
    message: MessageId,
    number: u32,
    range: Range<u64>,
) -> Result<Bytes> {
    let known: Option<(i64, i64)> = connection
        .prepare_cached(
            "SELECT d.message, sum(opened_size(d.bytes)) FROM document d JOIN message m ON m.number = d.message
             WHERE m.id = ?1 AND d.number = ?2 GROUP BY d.message",
        )?
        .query_row((message.0.into_bytes(), number), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (of, size) = known.ok_or(StoreError::NotFound)?;
    let range = clip(range, u64::try_from(size).map_err(|_| damaged("a document of negative size"))?);
    let chunks = chunks(&range);
    let mut statement = connection.prepare_cached(
        "SELECT position, opened('document.bytes', ?5, bytes, number, position) FROM document
         WHERE message = ?1 AND number = ?2 AND position BETWEEN ?3 AND ?4 ORDER BY position",
    )?;
    join(statement.query((of, number, chunks.start, chunks.end, message.0.into_bytes()))?, range)
}

pub(super) fn keep_fetched(
    connection: &Connection,
    (command, attempt): (CommandId, AttemptId),
    position: u32,
    chunk: &[u8],
) -> Result<()> {
    let number: Option<i64> = connection
        .prepare_cached("SELECT number FROM command WHERE id = ?1")?
        .query_row([command.0.into_bytes()], |row| row.get(0))
        .optional()?;
    connection
        .prepare_cached(
            "INSERT INTO fetched (command, attempt, position, bytes) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?
        .execute((number.ok_or(StoreError::NotFound)?, attempt.0.into_bytes(), position, chunk))?;
    Ok(())
}

pub(super) fn fetched(
    connection: &Connection,
    (command, attempt): (CommandId, AttemptId),
    position: u32,
) -> Result<Option<Bytes>> {
    let chunk: Option<Vec<u8>> = connection
        .prepare_cached(
            "SELECT opened('fetched.bytes', f.attempt, f.bytes, 0, f.position) FROM fetched f JOIN command c ON c.number = f.command
             WHERE c.id = ?1 AND f.attempt = ?2 AND f.position = ?3",
        )?
        .query_row((command.0.into_bytes(), attempt.0.into_bytes(), position), |row| row.get(0))
        .optional()?;
    Ok(chunk.map(Bytes::from))
}

fn clip(range: Range<u64>, size: u64) -> Range<u64> {
    let start = range.start.min(size);
    start..range.end.clamp(start, size)
}

/// Where a range lies in so many bytes.
fn within(range: &Range<u64>, size: usize) -> Option<Range<usize>> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (end <= size).then_some(start..end)
}

/// First and last chunk of a range.
fn chunks(range: &Range<u64>) -> Range<i64> {
    let chunk = CHUNK as u64;
    columns::signed(range.start / chunk)..columns::signed(range.end.saturating_sub(1) / chunk)
}

/// Puts the chunks of a range together. Only what lies in the range is kept in memory.
fn join(mut rows: Rows<'_>, range: Range<u64>) -> Result<Bytes> {
    let mut joined = BytesMut::new();
    while let Some(row) = rows.next()? {
        let start = columns::count(row, 0)? * CHUNK as u64;
        let bytes = row.get_ref(1)?.as_blob().map_err(|_| damaged("a chunk is not a blob"))?;
        let wanted = clip(range.start.saturating_sub(start)..range.end.saturating_sub(start), bytes.len() as u64);
        let wanted = usize::try_from(wanted.start).unwrap_or(0)..usize::try_from(wanted.end).unwrap_or(0);
        joined.extend_from_slice(&bytes[wanted]);
    }
    if joined.len() as u64 != range.end - range.start {
        return Err(damaged("a chunk is missing"));
    }
    Ok(joined.freeze())
}
