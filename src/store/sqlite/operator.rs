//! What a person does to a command: a transition and a row of the audit log in one commit.

use rusqlite::OptionalExtension as _;
use serde_json::{Value, json};

use super::books::Books;
use super::columns;
use crate::command::{CommandId, Failure, Happened, State};
use crate::store::vault::Column;
use crate::store::{
    Act, Finding, Noted, Result, StoreError, UNREADABLE_IS_DISCARDED, decided, why_unreadable, with_finding,
};

impl Books {
    /// A failed command goes back to the queue. Its plan stays, so what is known done is skipped; its age
    /// limit goes, for a person has decided that it is to be sent.
    ///
    /// Refused while another command of its thread makes (or made) the same referral: it would be made twice.
    pub(super) fn replay(&mut self, command: CommandId, act: &Act) -> Result<i64> {
        if let Some(maker) = self.other_maker(command)? {
            return Err(StoreError::Outdated(format!(
                "command {maker} makes the same referral, so replaying {command} would make a second one: discard it, \
                 or first the other one if that did not reach e-RS"
            )));
        }
        let number = self.act_on(command, Happened::Replayed, "replay", act)?;
        self.connection
            .prepare_cached("UPDATE command SET not_after = NULL, deferrals = 0 WHERE number = ?1")?
            .execute([number])?;
        Ok(number)
    }

    /// For a command that makes a referral: the other one that its thread has for that.
    fn other_maker(&self, command: CommandId) -> Result<Option<CommandId>> {
        let maker: Option<[u8; 16]> = self
            .connection
            .prepare_cached(
                "SELECT coalesce(maker.id, t.purged_creator_id) FROM command c JOIN thread t ON t.number = c.thread
                   LEFT JOIN command maker ON maker.number = t.created_by
                 WHERE c.id = ?1 AND c.creates IS NOT NULL AND t.created_by <> c.number",
            )?
            .query_row([command.0.into_bytes()], |row| row.get(0))
            .optional()?;
        Ok(maker.map(|id| CommandId(uuid::Uuid::from_bytes(id))))
    }

    pub(super) fn discard(&mut self, command: CommandId, act: &Act) -> Result<()> {
        self.act_on(command, Happened::Discarded, "discard", act).map(drop)
    }

    pub(super) fn release(&mut self, command: CommandId, act: &Act) -> Result<()> {
        self.act_on(command, Happened::Released, "release", act).map(drop)
    }

    pub(super) fn hold(&mut self, command: CommandId, why: &Failure, act: &Act) -> Result<()> {
        if let State::Running { .. } | State::InDoubt { .. } = self.command_row(command)?.state {
            return Err(StoreError::Outdated(format!("command {command} is on its way, so it cannot be held")));
        }
        let number = self.act_on(command, Happened::Refused { why: why.clone() }, "hold", act)?;
        self.publish_about(number, "CommandFailed", act.at, json!({ "code": why.code, "text": why.text }))
    }

    pub(super) fn decide(&mut self, command: CommandId, finding: &Finding, act: &Act) -> Result<()> {
        let row = self.command_row(command)?;
        let to = decided(&row.state, act.at).ok_or_else(|| {
            StoreError::Outdated(format!("command {command} is {}, so there is nothing to decide", row.state.name()))
        })?;
        let number = row.placed.number;
        let plan = self
            .connection
            .prepare_cached("SELECT opened_json('command.plan', id, plan) FROM command WHERE number = ?1")?
            .query_row([number], |row| Ok(columns::sealed_json(row, 0)))??;
        if why_unreadable(&plan).is_some() {
            return Err(StoreError::Outdated(format!("{UNREADABLE_IS_DISCARDED} ({command})")));
        }
        self.raise_fence(number)?;
        self.keep_plan(number, command, plan, |plan| with_finding(plan, finding))?;
        let why = format!("{}: {}", finding.in_words(), act.why);
        self.change(&row, &to, act.at, &why, &act.by)?;
        self.note_act(&Noted { act: "decide", subject: format!("command {command}"), by: Act { why, ..act.clone() } })
    }

    /// A plan that cannot be read stays as it is.
    pub(super) fn keep_plan(
        &self,
        number: i64,
        command: CommandId,
        plan: Value,
        noted: impl FnOnce(Value) -> Value,
    ) -> Result<()> {
        if why_unreadable(&plan).is_some() {
            return Ok(());
        }
        let plan = self.vault.seal_text(Column::CommandPlan.of_id(command.0), noted(plan).to_string());
        self.connection.prepare_cached("UPDATE command SET plan = ?2 WHERE number = ?1")?.execute((number, plan))?;
        Ok(())
    }

    fn act_on(&mut self, command: CommandId, happened: Happened, name: &'static str, act: &Act) -> Result<i64> {
        let row = self.command_row(command)?;
        let from = row.state.name();
        let to: State = row
            .state
            .clone()
            .after(happened)
            .map_err(|_| StoreError::Outdated(format!("command {command} is {from}, so {name} is not possible")))?;
        self.raise_fence(row.placed.number)?;
        self.change(&row, &to, act.at, &act.why, &act.by)?;
        self.note_act(&Noted { act: name, subject: format!("command {command}"), by: act.clone() })?;
        Ok(row.placed.number)
    }
}
