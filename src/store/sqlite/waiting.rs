//! What waits for a person to sign in, and what a person says of it.

use rusqlite::Connection;

use super::books::Books;
use super::columns;
use super::search::{COMMAND_COLUMNS, command_view};
use crate::command::{CommandId, ThreadId};
use crate::store::{Act, CommandView, Noted, OpenCommand, Result, StoreError, Word};

pub(super) fn waiting(connection: &Connection, max: usize) -> Result<Vec<CommandView>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COMMAND_COLUMNS} FROM command c JOIN thread t ON t.number = c.thread
         WHERE c.number IN (
           SELECT h.number FROM command h INDEXED BY command_queue WHERE h.standing = 4 AND h.standing <> 7
           UNION
           SELECT f.number FROM command h INDEXED BY command_queue
           JOIN command f INDEXED BY command_thread ON f.thread = h.thread AND f.standing = 1 AND f.number > h.number
           WHERE h.standing = 4 AND h.standing <> 7
         )
         ORDER BY c.number LIMIT ?1"
    ))?;
    let mut rows = statement.query([columns::signed(max as u64)])?;
    let mut views = Vec::new();
    while let Some(row) = rows.next()? {
        views.push(command_view(connection, row)?);
    }
    Ok(views)
}

pub(super) fn behind(connection: &Connection, command: CommandId) -> Result<Vec<OpenCommand>> {
    let mut statement = connection.prepare_cached(
        "SELECT f.id, t.id, f.name FROM command c
         JOIN command f ON f.thread = c.thread AND f.standing < 7 AND f.number > c.number
         JOIN thread t ON t.number = f.thread
         WHERE c.id = ?1 ORDER BY f.number",
    )?;
    let mut rows = statement.query([command.0.into_bytes()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(OpenCommand {
            id: CommandId(columns::uuid(row, 0)?),
            thread: ThreadId(columns::uuid(row, 1)?),
            name: row.get(2)?,
        });
    }
    Ok(found)
}

impl Books {
    pub(super) fn say(&mut self, command: CommandId, word: &Word, act: &Act) -> Result<()> {
        let row = self.command_row(command)?;
        let to = word.after(&row.state).ok_or_else(|| {
            let (from, name) = (row.state.name(), word.act());
            StoreError::Outdated(format!("command {command} is {from}, so {name} is not possible"))
        })?;
        let number = row.placed.number;
        let plan = self
            .connection
            .prepare_cached("SELECT opened_json('command.plan', id, plan) FROM command WHERE number = ?1")?
            .query_row([number], |row| Ok(columns::sealed_json(row, 0)))??;
        self.raise_fence(number)?;
        self.keep_plan(number, command, plan, |plan| word.noted_in(plan, act.at))?;
        let why = word.in_words(&act.why);
        if to != row.state {
            self.change(&row, &to, act.at, &why, &act.by)?;
        }
        self.note_act(&Noted { act: word.act(), subject: format!("command {command}"), by: Act { why, ..act.clone() } })
    }
}
