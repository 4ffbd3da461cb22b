//! What must be remembered between two messages of a sender: pieces that wait for their continuation, and the sequence
//! number that comes next.

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::columns::{self, storable};
use crate::command::MessageId;
use crate::store::{HeldPiece, Result, damaged};

fn piece(row: &Row) -> Result<HeldPiece> {
    let pointer: Vec<u8> = row.try_get(1)?;
    Ok(HeldPiece {
        source: row.try_get(0)?,
        pointer: pointer.try_into().map_err(|_| damaged("a pointer of another length"))?,
        message: MessageId(row.try_get(2)?),
        at: columns::time(row, 3)?,
    })
}

pub(super) async fn hold_piece(client: &ClientWrapper, piece: &HeldPiece) -> Result<()> {
    client
        .execute(
            "INSERT INTO held_piece (source, pointer, message, at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (source, pointer) DO UPDATE SET message = excluded.message, at = excluded.at",
            &[&storable(&piece.source), &&piece.pointer[..], &piece.message.0, &piece.at.as_microsecond()],
        )
        .await?;
    Ok(())
}

pub(super) async fn held_piece(client: &ClientWrapper, source: &str, pointer: [u8; 32]) -> Result<Option<HeldPiece>> {
    let statement = client
        .prepare_cached("SELECT source, pointer, message, at FROM held_piece WHERE source = $1 AND pointer = $2")
        .await?;
    let row = client.query_opt(&statement, &[&storable(source), &&pointer[..]]).await?;
    row.as_ref().map(piece).transpose()
}

pub(super) async fn held_pieces(client: &ClientWrapper, max: usize) -> Result<Vec<HeldPiece>> {
    let rows = client
        .query(
            "SELECT source, pointer, message, at FROM held_piece ORDER BY at LIMIT $1",
            &[&columns::signed(max as u64)],
        )
        .await?;
    rows.iter().map(piece).collect()
}

pub(super) async fn let_go_of_pieces(client: &ClientWrapper, pieces: &[HeldPiece]) -> Result<()> {
    for piece in pieces {
        client
            .execute(
                "DELETE FROM held_piece WHERE source = $1 AND pointer = $2 AND message = $3",
                &[&storable(&piece.source), &&piece.pointer[..], &piece.message.0],
            )
            .await?;
    }
    Ok(())
}

pub(super) async fn expected_number(client: &ClientWrapper, source: &str) -> Result<Option<u64>> {
    let statement = client.prepare_cached("SELECT next FROM link_number WHERE source = $1").await?;
    let row = client.query_opt(&statement, &[&storable(source)]).await?;
    let next = row.map(|row| row.try_get::<_, i64>(0)).transpose()?;
    next.map(|next| u64::try_from(next).map_err(|_| damaged("a negative sequence number"))).transpose()
}

pub(super) async fn expect_number(
    client: &ClientWrapper,
    source: &str,
    known: Option<u64>,
    next: u64,
    at: Timestamp,
) -> Result<bool> {
    let (source, next, at) = (storable(source), columns::signed(next), at.as_microsecond());
    let changed = match known {
        None => {
            client
                .execute(
                    "INSERT INTO link_number (source, next, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                    &[&source, &next, &at],
                )
                .await?
        }
        Some(known) => {
            client
                .execute(
                    "UPDATE link_number SET next = $2, at = $3 WHERE source = $1 AND next = $4",
                    &[&source, &next, &at, &columns::signed(known)],
                )
                .await?
        }
    };
    Ok(changed == 1)
}
