//! What a person does to a command: a transition and a row of the audit log in one commit.

use super::books::Books;
use crate::command::{CommandId, Happened, State};
use crate::store::{Act, Result, StoreError};

impl Books {
    /// A failed command goes back to the queue. Its plan stays, so what is known done is skipped; its age
    /// limit goes, for a person has decided that it is to be sent.
    pub(super) fn replay(&mut self, command: CommandId, act: &Act) -> Result<()> {
        let number = self.act_on(command, Happened::Replayed, "replay", act)?;
        self.connection
            .prepare_cached("UPDATE command SET not_after = NULL, deferrals = 0 WHERE number = ?1")?
            .execute([number])?;
        Ok(())
    }

    pub(super) fn discard(&mut self, command: CommandId, act: &Act) -> Result<()> {
        self.act_on(command, Happened::Discarded, "discard", act).map(drop)
    }

    pub(super) fn release(&mut self, command: CommandId, act: &Act) -> Result<()> {
        self.act_on(command, Happened::Released, "release", act).map(drop)
    }

    fn act_on(&mut self, command: CommandId, happened: Happened, name: &str, act: &Act) -> Result<i64> {
        let row = self.command_row(command)?;
        let from = row.state.name();
        let to: State = row
            .state
            .clone()
            .after(happened)
            .map_err(|_| StoreError::Outdated(format!("command {command} is {from}, so {name} is not possible")))?;
        self.raise_fence(row.placed.number)?;
        self.change(&row, &to, act.at, &act.why, &act.by)?;
        self.note_act(name, &format!("command {command}"), act)?;
        Ok(row.placed.number)
    }
}
