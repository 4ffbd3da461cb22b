//! Raw messages and documents: short ones in a row, long ones in chunks, read in ranges.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;

use super::columns;
use crate::command::{AttemptId, CommandId, MessageId};
use crate::store::pieces::CHUNK;
use crate::store::vault::{Column, Vault};
use crate::store::{Result, StoreError, damaged};

/// How long a value is when it is open (`vault::form`): that it is sealed is told by its first eight bytes.
macro_rules! open_size {
    ($column:literal) => {
        concat!(
            "(length(",
            $column,
            ") - CASE WHEN substring(",
            $column,
            r" FROM 1 FOR 8) = '\xf5e55ea1ed0001ff'::bytea THEN 40 ELSE 0 END)"
        )
    };
}
pub(super) use open_size;

/// Columns of chunks that are to be written.
#[derive(Default)]
pub(super) struct Chunks<'a> {
    pub(super) of: Vec<i64>,
    pub(super) numbers: Vec<i64>,
    pub(super) positions: Vec<i32>,
    pub(super) bytes: Vec<&'a [u8]>,
}

impl<'a> Chunks<'a> {
    pub(super) fn add(&mut self, message: i64, number: i64, chunks: &'a [Bytes]) {
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

pub(super) async fn read_message(
    client: &ClientWrapper,
    vault: &Vault,
    message: MessageId,
    range: Range<u64>,
) -> Result<Bytes> {
    let find = client.prepare_cached("SELECT number, size, raw IS NOT NULL FROM message WHERE id = $1").await?;
    let found = client.query_opt(&find, &[&message.0]).await?.ok_or(StoreError::NotFound)?;
    let (number, is_inline): (i64, bool) = (found.try_get(0)?, found.try_get(2)?);
    let range = clip(range, columns::count(&found, 1)?);
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    if is_inline {
        let read = client.prepare_cached("SELECT raw FROM message WHERE number = $1").await?;
        let row = client.query_one(&read, &[&number]).await?;
        let raw = columns::sealed_bytes(&row, 0, vault, Column::MessageRaw.of_id(message.0))?;
        let wanted = within(&range, raw.len()).ok_or_else(|| damaged("a message is shorter than it says"))?;
        return Ok(Bytes::from(raw).slice(wanted));
    }
    let chunks = chunks(&range)?;
    let read = client
        .prepare_cached(
            "SELECT position, bytes FROM message_chunk
             WHERE message = $1 AND position BETWEEN $2 AND $3 ORDER BY position",
        )
        .await?;
    let rows = client.query(&read, &[&number, &chunks.start, &chunks.end]).await?;
    join(&rows, &range, |at, chunk| vault.open(Column::MessageChunk.chunk(message.0.into_bytes(), 0, at), chunk))
}

pub(super) async fn read_document(
    client: &ClientWrapper,
    vault: &Vault,
    message: MessageId,
    number: u32,
    range: Range<u64>,
) -> Result<Bytes> {
    let (of_message, part, number) = (message.0.into_bytes(), number, i64::from(number));
    let find = client
        .prepare_cached(concat!(
            "SELECT d.message, sum(",
            open_size!("d.bytes"),
            ")::bigint FROM document d JOIN message m ON m.number = d.message
                 WHERE m.id = $1 AND d.number = $2 GROUP BY d.message"
        ))
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
    let rows = client.query(&read, &[&of, &number, &chunks.start, &chunks.end]).await?;
    join(&rows, &range, |at, chunk| vault.open(Column::Document.chunk(of_message, part, at), chunk))
}

pub(super) async fn keep_fetched(
    client: &ClientWrapper,
    vault: &Vault,
    (command, attempt): (CommandId, AttemptId),
    position: u32,
    chunk: &[u8],
) -> Result<()> {
    let sealer = vault.sealer();
    let chunk = &*sealer.bytes(Column::Fetched.chunk(attempt.0.into_bytes(), 0, position), chunk);
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
    vault: &Vault,
    (command, attempt): (CommandId, AttemptId),
    position: u32,
) -> Result<Option<Bytes>> {
    let place = Column::Fetched.chunk(attempt.0.into_bytes(), 0, position);
    let position = i32::try_from(position).map_err(|_| damaged("a document has too many chunks"))?;
    let read = client
        .prepare_cached(
            "SELECT f.bytes FROM fetched f JOIN command c ON c.number = f.command
             WHERE c.id = $1 AND f.attempt = $2 AND f.position = $3",
        )
        .await?;
    let row = client.query_opt(&read, &[&command.0, &attempt.0, &position]).await?;
    row.map(|row| Ok(Bytes::from(columns::sealed_bytes(&row, 0, vault, place)?))).transpose()
}

fn clip(range: Range<u64>, size: u64) -> Range<u64> {
    let start = range.start.min(size);
    start..range.end.clamp(start, size)
}

fn small(number: u64) -> Result<i32> {
    i32::try_from(number).map_err(|_| damaged("content is larger than it can be"))
}

/// Where a range lies in so many bytes.
fn within(range: &Range<u64>, size: usize) -> Option<Range<usize>> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (end <= size).then_some(start..end)
}

/// First and last chunk of a range.
fn chunks(range: &Range<u64>) -> Result<Range<i32>> {
    let chunk = CHUNK as u64;
    Ok(small(range.start / chunk)?..small(range.end.saturating_sub(1) / chunk)?)
}

/// Puts the chunks of a range together. Only what lies in the range is kept in memory.
fn join(rows: &[Row], range: &Range<u64>, open: impl Fn(u32, Vec<u8>) -> Result<Vec<u8>>) -> Result<Bytes> {
    let mut joined = BytesMut::new();
    for row in rows {
        let position = u32::try_from(row.try_get::<_, i32>(0)?).map_err(|_| damaged("a chunk before the first"))?;
        let start = u64::from(position) * CHUNK as u64;
        let bytes = open(position, row.try_get(1)?)?;
        let wanted = clip(range.start.saturating_sub(start)..range.end.saturating_sub(start), bytes.len() as u64);
        let wanted = usize::try_from(wanted.start).unwrap_or(0)..usize::try_from(wanted.end).unwrap_or(0);
        joined.extend_from_slice(&bytes[wanted]);
    }
    if joined.len() as u64 != range.end - range.start {
        return Err(damaged("a chunk is missing"));
    }
    Ok(joined.freeze())
}
