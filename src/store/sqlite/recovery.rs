//! What an earlier process, or a task that went away, left running.

use jiff::Timestamp;
use rusqlite::OptionalExtension;
use serde_json::{Value, json};

use super::books::Books;
use super::columns;
use super::transitions::CommandRow;
use crate::command::State;
use crate::store::{GATEWAY, Recovered, Result, told_in_doubt};

/// How often claims look for leases that ended, in microseconds.
const LEASES_CHECKED_EVERY: i64 = 1_000_000;

/// A write that was about to be sent and has no outcome.
struct Unanswered {
    step: String,
    call: String,
    since: Timestamp,
    plan: Value,
}

impl Books {
    /// At a start nothing runs; whatever says so was left by a process that is gone.
    pub(super) fn recover(&mut self, now: Timestamp) -> Result<Recovered> {
        self.put_back_looks(None)?;
        let left = self.running(None)?;
        let mut recovered = Recovered::default();
        for number in left {
            if self.give_up(number, now, "the gateway was restarted")? {
                recovered.in_doubt += 1;
            } else {
                recovered.requeued += 1;
            }
        }
        Ok(recovered)
    }

    /// Takes back what was leased and not renewed: its task is gone, or will be refused by the fence.
    pub(super) fn expire_leases(&mut self, now: Timestamp) -> Result<()> {
        if now.as_microsecond() - self.leases_checked.as_microsecond() < LEASES_CHECKED_EVERY {
            return Ok(());
        }
        self.leases_checked = now;
        for number in self.running(Some(now))? {
            self.give_up(number, now, "its lease ended")?;
        }
        self.put_back_looks(Some(now))
    }

    /// What is in doubt and was being looked at, by a task that is gone: it is looked at again.
    fn put_back_looks(&mut self, leased_until: Option<Timestamp>) -> Result<()> {
        let left: Vec<(i64, i64)> = {
            let mut statement = self.connection.prepare_cached(
                "SELECT number, thread FROM command INDEXED BY command_queue
                 WHERE standing = 5 AND standing <> 7 AND lease_until IS NOT NULL AND (?1 IS NULL OR lease_until < ?1)",
            )?;
            let rows = statement
                .query_map([leased_until.map(Timestamp::as_microsecond)], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        for (number, thread) in left {
            self.raise_fence(number)?;
            self.connection
                .prepare_cached("UPDATE command SET owner = NULL, lease_until = NULL, lease = NULL WHERE number = ?1")?
                .execute([number])?;
            self.arrange(thread)?;
        }
        Ok(())
    }

    /// What runs, or only that whose lease ended before a time.
    fn running(&self, leased_until: Option<Timestamp>) -> Result<Vec<i64>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT number FROM command INDEXED BY command_queue
             WHERE standing = 2 AND standing <> 7 AND (?1 IS NULL OR lease_until < ?1) ORDER BY number",
        )?;
        let numbers = statement.query_map([leased_until.map(Timestamp::as_microsecond)], |row| row.get(0))?;
        Ok(numbers.collect::<rusqlite::Result<_>>()?)
    }

    /// True if a write may have reached e-RS: then the command is in doubt, else queued again.
    fn give_up(&mut self, number: i64, now: Timestamp, why: &str) -> Result<bool> {
        let row = self.command_row_at(number)?;
        self.raise_fence(number)?;
        let Some(unanswered) = self.unanswered(&row)? else {
            self.change(&row, &State::Queued, now, why, GATEWAY)?;
            return Ok(false);
        };
        let why = format!("{why}; {} was about to be sent or sent", unanswered.call);
        for (name, data) in told_in_doubt(&unanswered.plan) {
            self.publish_of(number, name, now, data.clone())?;
        }
        let more = json!({ "call": unanswered.call, "step": unanswered.step, "since": unanswered.since });
        self.publish_about(number, "CommandInDoubt", now, more)?;
        let state = State::InDoubt { step: unanswered.step, since: unanswered.since, look_at: Some(now) };
        self.change(&row, &state, now, &why, GATEWAY)?;
        Ok(true)
    }

    /// Whoever holds the old fence is refused from now on.
    pub(super) fn raise_fence(&self, number: i64) -> Result<()> {
        self.connection.prepare_cached("UPDATE command SET fence = fence + 1 WHERE number = ?1")?.execute([number])?;
        Ok(())
    }

    fn unanswered(&self, row: &CommandRow) -> Result<Option<Unanswered>> {
        let unanswered = self
            .connection
            .prepare_cached(
                "SELECT a.step, a.call, a.started_at, opened_json('command.plan', c.id, c.plan) FROM attempt a JOIN command c ON c.number = a.command
                 WHERE a.command = ?1 AND a.fence = ?2 AND a.is_write AND a.finished_at IS NULL
                 ORDER BY a.number DESC LIMIT 1",
            )?
            .query_row((row.placed.number, columns::signed(row.fence)), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?, columns::sealed_json(row, 3)))
            })
            .optional()?;
        unanswered
            .map(|(step, call, since, plan)| {
                Ok(Unanswered { step, call, since: columns::timestamp(since)?, plan: plan? })
            })
            .transpose()
    }
}
