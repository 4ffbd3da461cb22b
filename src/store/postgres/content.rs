//! Raw messages and documents: short ones in a row, long ones in chunks, read in ranges.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;

use super::columns;
use crate::command::{AttemptId, CommandId, MessageId};
use crate::store::{Result, StoreError, damaged};

/// A longer message has its bytes in chunks.
pub(super) const INLINE_MAX: usize = 32 << 10;
const CHUNK: usize = 256 << 10;

/// Columns of chunks that are to be written.
#[derive(Default)]
pub(super) struct Chunks<'a> {
    pub(super) of: Vec<i64>,
    pub(super) numbers: Vec<i64>,
    pub(super) positions: Vec<i32>,
    pub(super) bytes: Vec<&'a [u8]>,
}

impl<'a> Chunks<'a> {
    /// An empty document is one empty chunk, so that it exists.
    pub(super) fn add(&mut self, message: i64, number: i64, content: &'a [u8]) {
        let chunks = content.chunks(CHUNK).chain(content.is_empty().then_some(&[][..]));
        for (position, chunk) in (0..).zip(chunks) {
            self.of.push(message);
            self.numbers.push(number);
            self.positions.push(position);
            self.bytes.push(chunk);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}

pub(super) async fn read_message(client: &ClientWrapper, message: MessageId, range: Range<u64>) -> Result<Bytes> {
    let find = client.prepare_cached("SELECT number, size, raw IS NOT NULL FROM message WHERE id = $1").await?;
    let found = client.query_opt(&find, &[&message.0]).await?.ok_or(StoreError::NotFound)?;
    let (number, is_inline): (i64, bool) = (found.try_get(0)?, found.try_get(2)?);
    let range = clip(range, columns::count(&found, 1)?);
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    if is_inline {
        let read = client.prepare_cached("SELECT substring(raw FROM $2 FOR $3) FROM message WHERE number = $1").await?;
        let (from, length) = (small(range.start + 1)?, small(range.end - range.start)?);
        let raw: Vec<u8> = client.query_one(&read, &[&number, &from, &length]).await?.try_get(0)?;
        return Ok(raw.into());
    }
    let chunks = chunks(&range)?;
    let read = client
        .prepare_cached(
            "SELECT position, bytes FROM message_chunk
             WHERE message = $1 AND position BETWEEN $2 AND $3 ORDER BY position",
        )
        .await?;
    join(&client.query(&read, &[&number, &chunks.start, &chunks.end]).await?, &range)
}

pub(super) async fn read_document(
    client: &ClientWrapper,
    message: MessageId,
    number: u32,
    range: Range<u64>,
) -> Result<Bytes> {
    let number = i64::from(number);
    let find = client
        .prepare_cached(
            "SELECT d.message, sum(length(d.bytes))::bigint FROM document d JOIN message m ON m.number = d.message
             WHERE m.id = $1 AND d.number = $2 GROUP BY d.message",
        )
        .await?;
    let found = client.query_opt(&find, &[&message.0, &number]).await?.ok_or(StoreError::NotFound)?;
    let of: i64 = found.try_get(0)?;
    let range = clip(range, columns::count(&found, 1)?);
    let chunks = chunks(&range)?;
    let read = client
        .prepare_cached(
            "SELECT position, bytes FROM document
             WHERE message = $1 AND number = $2 AND position BETWEEN $3 AND $4 ORDER BY position",
        )
        .await?;
    join(&client.query(&read, &[&of, &number, &chunks.start, &chunks.end]).await?, &range)
}

pub(super) async fn keep_fetched(
    client: &ClientWrapper,
    (command, attempt): (CommandId, AttemptId),
    position: u32,
    chunk: &[u8],
) -> Result<()> {
    let position = i32::try_from(position).map_err(|_| damaged("a document has too many chunks"))?;
    let keep = client
        .prepare_cached(
            "INSERT INTO fetched (command, attempt, position, bytes)
             SELECT number, $2, $3, $4 FROM command WHERE id = $1
             ON CONFLICT (command, attempt, position) DO UPDATE SET bytes = fetched.bytes",
        )
        .await?;
    match client.execute(&keep, &[&command.0, &attempt.0, &position, &chunk]).await? {
        0 => Err(StoreError::NotFound),
        _ => Ok(()),
    }
}

pub(super) async fn fetched(
    client: &ClientWrapper,
    (command, attempt): (CommandId, AttemptId),
    position: u32,
) -> Result<Option<Bytes>> {
    let position = i32::try_from(position).map_err(|_| damaged("a document has too many chunks"))?;
    let read = client
        .prepare_cached(
            "SELECT f.bytes FROM fetched f JOIN command c ON c.number = f.command
             WHERE c.id = $1 AND f.attempt = $2 AND f.position = $3",
        )
        .await?;
    let row = client.query_opt(&read, &[&command.0, &attempt.0, &position]).await?;
    row.map(|row| Ok(Bytes::from(row.try_get::<_, Vec<u8>>(0)?))).transpose()
}

fn clip(range: Range<u64>, size: u64) -> Range<u64> {
    let start = range.start.min(size);
    start..range.end.clamp(start, size)
}

fn small(number: u64) -> Result<i32> {
    i32::try_from(number).map_err(|_| damaged("content is larger than it can be"))
}

/// First and last chunk of a range.
fn chunks(range: &Range<u64>) -> Result<Range<i32>> {
    let chunk = CHUNK as u64;
    Ok(small(range.start / chunk)?..small(range.end.saturating_sub(1) / chunk)?)
}

/// Puts the chunks of a range together. Only what lies in the range is kept in memory.
fn join(rows: &[Row], range: &Range<u64>) -> Result<Bytes> {
    let mut joined = BytesMut::new();
    for row in rows {
        let position = u64::try_from(row.try_get::<_, i32>(0)?).map_err(|_| damaged("a chunk before the first"))?;
        let start = position * CHUNK as u64;
        let bytes: &[u8] = row.try_get(1)?;
        let wanted = clip(range.start.saturating_sub(start)..range.end.saturating_sub(start), bytes.len() as u64);
        let wanted = usize::try_from(wanted.start).unwrap_or(0)..usize::try_from(wanted.end).unwrap_or(0);
        joined.extend_from_slice(&bytes[wanted]);
    }
    if joined.len() as u64 != range.end - range.start {
        return Err(damaged("a chunk is missing"));
    }
    Ok(joined.freeze())
}
