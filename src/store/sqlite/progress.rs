//! What one step of a command changes, in one commit.

use super::books::Books;
use super::columns;
use super::outbox::EventText;
use crate::command::State;
use crate::store::vault::{Column, Vault};
use crate::store::{FinishedAttempt, GATEWAY, NewAttempt, Progress, Result, StoreError};

/// A progress with its JSON already written out and sealed.
pub(super) struct Prepared {
    progress: Progress,
    plan: Option<String>,
    request: String,
    response: Option<String>,
    events: Vec<EventText>,
}

impl Prepared {
    pub(super) fn new(progress: Progress, vault: &Vault) -> Self {
        let sealer = vault.sealer();
        let plan = progress.plan.as_ref().and_then(columns::optional_text);
        let request = progress
            .started
            .as_ref()
            .map(|started| sealer.text(Column::AttemptRequest.of_id(started.id.0), started.request.to_string()));
        let response = progress.finished.as_ref().and_then(|finished| {
            let text = columns::optional_text(&finished.response)?;
            Some(sealer.text(Column::AttemptResponse.of_id(finished.id.0), text))
        });
        Self {
            plan: plan.map(|plan| sealer.text(Column::CommandPlan.of_id(progress.command.0), plan)),
            request: request.unwrap_or_default(),
            response,
            events: progress.events.iter().map(|event| EventText::of(event, &sealer)).collect(),
            progress,
        }
    }

    /// Bytes of content that it writes.
    pub(super) fn weight(&self) -> usize {
        self.request.len() + self.response.as_ref().map_or(0, String::len) + self.plan.as_ref().map_or(0, String::len)
    }
}

impl Books {
    pub(super) fn record(&mut self, prepared: &Prepared) -> Result<()> {
        let progress = &prepared.progress;
        let row = self.command_row(progress.command)?;
        if row.fence != progress.fence {
            return Err(StoreError::Outdated(format!("command {} was taken over or changed by a person", row.id)));
        }
        if row.placed.standing.is_final() {
            return Err(StoreError::Outdated(format!("command {} is already {}", row.id, row.state.name())));
        }
        let number = row.placed.number;
        // In this order, for a read's start is recorded together with its end.
        if let Some(started) = &progress.started {
            self.start_attempt(number, started, prepared)?;
        }
        if let Some(finished) = &progress.finished {
            self.finish_attempt(number, finished, prepared)?;
            self.mention_of_command(number, &finished.patients)?;
        }
        // A step that ended well ends a row of deferrals. One that is only planned or begun does not.
        let deferred = matches!(progress.state, Some((State::Waiting { .. }, _)));
        let done = progress.finished.is_some() && progress.plan.is_some() && !deferred;
        self.connection
            .prepare_cached(
                "UPDATE command SET lease_until = ?2 + lease, plan = iif(?3, ?4, plan),
                   deferrals = iif(?5, 0, deferrals)
                 WHERE number = ?1",
            )?
            .execute((number, progress.at.as_microsecond(), progress.plan.is_some(), &prepared.plan, done))?;
        let thread = if progress.aliases.is_empty() {
            row.placed.thread
        } else {
            self.add_aliases(row.placed.thread, &progress.aliases)?
        };
        if let Some(known) = &progress.known {
            self.learn(thread, known)?;
        }
        for (event, text) in progress.events.iter().zip(&prepared.events) {
            self.publish(thread, event, text)?;
        }
        if let Some((state, why)) = &progress.state {
            // A merge may have raised its class or moved it to another thread.
            let row = self.command_row_at(number)?;
            self.change(&row, state, progress.at, why, row.owner.as_deref().unwrap_or(GATEWAY))?;
        }
        Ok(())
    }

    fn start_attempt(&self, command: i64, attempt: &NewAttempt, prepared: &Prepared) -> Result<()> {
        let progress = &prepared.progress;
        self.connection
            .prepare_cached(
                "INSERT INTO attempt (id, command, fence, step, call, is_write, correlation_id, started_at, request)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute((
                attempt.id.0.into_bytes(),
                command,
                columns::signed(progress.fence),
                &attempt.step,
                &attempt.call,
                attempt.is_write,
                &attempt.correlation_id,
                progress.at.as_microsecond(),
                &prepared.request,
            ))?;
        Ok(())
    }

    fn finish_attempt(&self, command: i64, attempt: &FinishedAttempt, prepared: &Prepared) -> Result<()> {
        let finished = self
            .connection
            .prepare_cached(
                "UPDATE attempt SET finished_at = ?3, status = ?4, outcome = ?5, duration_ms = ?6, response = ?7
                 WHERE command = ?1 AND id = ?2",
            )?
            .execute((
                command,
                attempt.id.0.into_bytes(),
                prepared.progress.at.as_microsecond(),
                attempt.status,
                &attempt.outcome,
                columns::signed(attempt.duration_ms),
                &prepared.response,
            ))?;
        if finished == 0 {
            return Err(StoreError::Outdated(format!("attempt {} was never begun", attempt.id)));
        }
        Ok(())
    }
}
