//! What waits for a person to sign in, and what came after it.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;

use super::columns;
use super::search::{command_columns, command_view};
use crate::command::{CommandId, ThreadId};
use crate::store::vault::Vault;
use crate::store::{CommandView, OpenCommand, Result};

pub(super) async fn waiting(client: &ClientWrapper, vault: &Vault, max: usize) -> Result<Vec<CommandView>> {
    let statement = client
        .prepare_cached(concat!(
            "SELECT ",
            command_columns!(),
            " FROM command c JOIN thread t ON t.number = c.thread
             WHERE c.number IN (
               SELECT number FROM command WHERE standing = 4 AND standing <> 7
               UNION
               SELECT f.number FROM command h
               JOIN command f ON f.thread = h.thread AND f.standing = 1 AND f.number > h.number
               WHERE h.standing = 4 AND h.standing <> 7
             )
             ORDER BY c.number LIMIT $1"
        ))
        .await?;
    let rows = client.query(&statement, &[&columns::signed(max as u64)]).await?;
    rows.iter().map(|row| command_view(row, vault)).collect()
}

pub(super) async fn behind(client: &ClientWrapper, command: CommandId) -> Result<Vec<OpenCommand>> {
    let statement = client
        .prepare_cached(
            "SELECT f.id, t.id, f.name FROM command c
             JOIN command f ON f.thread = c.thread AND f.standing < 7 AND f.number > c.number
             JOIN thread t ON t.number = f.thread
             WHERE c.id = $1 ORDER BY f.number",
        )
        .await?;
    let rows = client.query(&statement, &[&command.0]).await?;
    let open = |row: &Row| {
        Ok(OpenCommand { id: CommandId(row.try_get(0)?), thread: ThreadId(row.try_get(1)?), name: row.try_get(2)? })
    };
    rows.iter().map(open).collect()
}
