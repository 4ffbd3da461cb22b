//! What must be remembered between two messages of a sender: pieces that wait for their continuation, and the sequence
//! number that comes next.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use super::books::Books;
use super::columns;
use crate::command::MessageId;
use crate::store::{HeldPiece, Result, damaged};

const COLUMNS: &str = "source, pointer, message, at";

type PieceRow = (String, [u8; 32], [u8; 16], i64);

fn row(row: &Row<'_>) -> rusqlite::Result<PieceRow> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn piece((source, pointer, message, at): PieceRow) -> Result<HeldPiece> {
    let message = MessageId(Uuid::from_bytes(message));
    Ok(HeldPiece { source, pointer, message, at: columns::timestamp(at)? })
}

pub(super) fn held_piece(connection: &Connection, source: &str, pointer: [u8; 32]) -> Result<Option<HeldPiece>> {
    let found = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM held_piece WHERE source = ?1 AND pointer = ?2"))?
        .query_row((source, pointer), row)
        .optional()?;
    found.map(piece).transpose()
}

pub(super) fn held_pieces(connection: &Connection, max: usize) -> Result<Vec<HeldPiece>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM held_piece ORDER BY at LIMIT ?1"))?;
    let rows = statement.query_map([columns::signed(max as u64)], row)?;
    rows.map(|found| piece(found?)).collect()
}

pub(super) fn expected_number(connection: &Connection, source: &str) -> Result<Option<u64>> {
    let next: Option<i64> = connection
        .prepare_cached("SELECT next FROM link_number WHERE source = ?1")?
        .query_row([source], |row| row.get(0))
        .optional()?;
    next.map(|next| u64::try_from(next).map_err(|_| damaged("a negative sequence number"))).transpose()
}

impl Books {
    pub(super) fn hold_piece(&mut self, piece: &HeldPiece) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO held_piece (source, pointer, message, at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (source, pointer) DO UPDATE SET message = excluded.message, at = excluded.at",
            )?
            .execute((&piece.source, piece.pointer, piece.message.0.into_bytes(), piece.at.as_microsecond()))?;
        Ok(())
    }

    pub(super) fn let_go_of_pieces(&mut self, pieces: &[HeldPiece]) -> Result<()> {
        let mut delete = self
            .connection
            .prepare_cached("DELETE FROM held_piece WHERE source = ?1 AND pointer = ?2 AND message = ?3")?;
        for piece in pieces {
            delete.execute((&piece.source, piece.pointer, piece.message.0.into_bytes()))?;
        }
        Ok(())
    }

    pub(super) fn expect_number(&mut self, source: &str, known: Option<u64>, next: u64, at: Timestamp) -> Result<bool> {
        let (next, at) = (columns::signed(next), at.as_microsecond());
        let changed = match known {
            None => self
                .connection
                .prepare_cached(
                    "INSERT INTO link_number (source, next, at) VALUES (?1, ?2, ?3) ON CONFLICT (source) DO NOTHING",
                )?
                .execute((source, next, at))?,
            Some(known) => self
                .connection
                .prepare_cached("UPDATE link_number SET next = ?2, at = ?3 WHERE source = ?1 AND next = ?4")?
                .execute((source, next, at, columns::signed(known)))?,
        };
        Ok(changed == 1)
    }
}
