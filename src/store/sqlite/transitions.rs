//! A command changes its state: the row, its transition, the counts, and the order of its thread.

use jiff::Timestamp;

use super::books::{Books, Placed};
use super::columns;
use crate::command::{CommandId, MessageId, State};
use crate::store::standing::Standing;
use crate::store::{Cause, Result, Settled, StoreError, due};

/// What is needed of a command to change it.
pub(super) struct CommandRow {
    pub(super) placed: Placed,
    pub(super) id: CommandId,
    pub(super) message: MessageId,
    pub(super) name: String,
    pub(super) state: State,
    pub(super) fence: u64,
    /// The instance that runs it.
    pub(super) owner: Option<String>,
}

impl Books {
    pub(super) fn command_row(&self, id: CommandId) -> Result<CommandRow> {
        let number = self
            .connection
            .prepare_cached("SELECT number FROM command WHERE id = ?1")?
            .query_row([id.0.into_bytes()], |row| row.get(0))?;
        self.command_row_at(number)
    }

    pub(super) fn command_row_at(&self, number: i64) -> Result<CommandRow> {
        let mut statement = self.connection.prepare_cached(
            "SELECT number, thread, standing, class, source, id, message, name, state, fence, owner
             FROM command WHERE number = ?1",
        )?;
        let mut rows = statement.query([number])?;
        let row = rows.next()?.ok_or(StoreError::NotFound)?;
        Ok(CommandRow {
            placed: Placed::of(row)?,
            id: CommandId(columns::uuid(row, 5)?),
            message: MessageId(columns::uuid(row, 6)?),
            name: row.get(7)?,
            state: columns::state(row, 8)?,
            fence: columns::count(row, 9)?,
            owner: row.get(10)?,
        })
    }

    /// Takes a command to another state. `by`: the gateway or a person.
    pub(super) fn change(&mut self, row: &CommandRow, to: &State, at: Timestamp, why: &str, by: &str) -> Result<()> {
        let Placed { number, thread, standing: from, .. } = row.placed;
        let standing = Standing::of(to);
        if standing == Standing::Running && from == Standing::Running {
            // The next step of the same run: told by its attempts, not a transition.
            self.connection
                .prepare_cached("UPDATE command SET state = ?2, changed_at = ?3 WHERE number = ?1")?
                .execute((number, columns::text(to), at.as_microsecond()))?;
            return Ok(());
        }
        let due = due(to).map(Timestamp::as_microsecond);
        let deferrals = i64::from(standing == Standing::Waiting);
        let cause = match Cause::of_command(self.source_name(row.placed.source)?, &row.name, to) {
            Some(cause) => Some(self.note_cause(&cause, at)?),
            None => None,
        };
        let change: i64 = self
            .connection
            .prepare_cached(
                "UPDATE command SET standing = ?2, state = ?3, changed_at = ?4, due = ?5, deferrals = deferrals + ?6,
                   changes = changes + 1, owner = NULL, lease_until = NULL, lease = NULL, cause = ?7
                 WHERE number = ?1 RETURNING changes",
            )?
            .query_row(
                (number, standing.code(), columns::text(to), at.as_microsecond(), due, deferrals, cause),
                |row| row.get(0),
            )?;
        self.note_transition(number, change, at, Some(from.state_name()), standing.state_name(), why, by)?;
        self.leave(row.placed.place());
        self.enter(row.placed.at(standing));
        if matches!(standing, Standing::Discarded | Standing::Shadowed) {
            self.find_creator(thread)?;
        }
        if standing.is_at_rest() {
            self.settled(Settled { message: row.message, command: row.id });
        }
        self.arrange(thread)
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of one row")]
    pub(super) fn note_transition(
        &self,
        command: i64,
        number: i64,
        at: Timestamp,
        from: Option<&str>,
        to: &str,
        why: &str,
        by: &str,
    ) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO transition (command, number, at, from_state, to_state, why, by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((command, number, at.as_microsecond(), from, to, why, by))?;
        Ok(())
    }
}
