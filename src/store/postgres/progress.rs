//! What one step of each command of a group changes, in one commit.
//!
//! A lease is looked at when its write is about to be sent: one that ended is not renewed by that, for another
//! instance may be about to take over. Everything else is refused by the fence alone.

use std::sync::Arc;

use deadpool_postgres::ClientWrapper;
use parking_lot::RwLock;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::clock::Offset;
use super::columns::{self, micros};
use super::failure::Failed;
use super::flight::Flight;
use super::intake::{MESSAGE_STEP, lock};
use super::lane::{Batch, Decided};
use super::patient::{MENTION, Mentions};
use super::read;
use super::sources::Sources;
use super::workspace::{EventText, Workspace};
use super::write::{Signature, write_and_commit};
use crate::command::State;
use crate::environment::Environment;
use crate::store::vault::{Column, Vault};
use crate::store::{GATEWAY, Progress, Result, StoreError};

const INSERT_ATTEMPTS: &str =
    "INSERT INTO attempt (id, command, fence, step, call, is_write, correlation_id, started_at, request)
     SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::boolean[], $7::text[],
       $8::bigint[], $9::text[])
     ON CONFLICT DO NOTHING";

/// Fails if one of them was never begun.
const FINISH_ATTEMPTS: &str = "WITH finished AS (
       UPDATE attempt a SET finished_at = u.finished_at, status = u.status, outcome = u.outcome,
              duration_ms = u.duration_ms, response = u.response
       FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::integer[], $5::text[], $6::bigint[], $7::text[])
            AS u (id, command, finished_at, status, outcome, duration_ms, response)
       WHERE a.command = u.command AND a.id = u.id RETURNING 1
     ) SELECT 1 / (count(*) = cardinality($1))::int FROM finished";

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
}

pub(super) struct Steps {
    pub(super) vault: Vault,
    pub(super) environment: Environment,
    pub(super) sources: Arc<RwLock<Sources>>,
}

/// What is to be written of a group.
pub(super) struct Changes {
    workspace: Workspace,
    /// Of each item that goes through: the number of its command.
    commands: Vec<(usize, i64)>,
}

impl Batch for Steps {
    type Item = Prepared;
    type Outcome = ();
    type Changes = Changes;

    fn weight(item: &Prepared) -> usize {
        item.request.len() + item.response.as_ref().map_or(0, String::len) + item.plan.as_ref().map_or(0, String::len)
    }

    async fn decide(&self, client: &ClientWrapper, items: &[&Prepared]) -> std::result::Result<Decided<Self>, Failed> {
        let mut workspace = Workspace::new(&self.sources, &self.vault);
        let offset = self.read(client, items, &mut workspace).await?;
        let mut commands = Vec::with_capacity(items.len());
        let mut outcomes = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match permitted(&workspace, item, offset) {
                Ok(number) => {
                    record(&mut workspace, item, number, offset)?;
                    commands.push((index, number));
                    outcomes.push(Ok(()));
                }
                Err(refused) => outcomes.push(Err(refused)),
            }
        }
        let bells = std::mem::take(&mut workspace.bells);
        Ok(Decided { outcomes, changes: Changes { workspace, commands }, bells })
    }

    async fn commit(
        &self,
        client: &ClientWrapper,
        items: &[&Prepared],
        changes: &Changes,
        signature: Signature,
    ) -> std::result::Result<(), Failed> {
        let insert_attempts = client.prepare_cached(INSERT_ATTEMPTS).await?;
        let finish_attempts = client.prepare_cached(FINISH_ATTEMPTS).await?;
        let mention = client.prepare_cached(MENTION).await?;
        let (started, finished) = (Started::of(items, changes), Finished::of(items, changes));
        let mentions = mentions(items, changes);
        // In this order, for a read's start is recorded together with its end.
        let mut flight = Flight::of(client);
        flight.send_if(!started.ids.is_empty(), &insert_attempts, started.parameters());
        flight.send_if(!finished.ids.is_empty(), &finish_attempts, finished.parameters());
        flight.send_if(!mentions.is_empty(), &mention, mentions.parameters());
        write_and_commit(client, &changes.workspace, signature, flight).await
    }
}

impl Steps {
    async fn read(
        &self,
        client: &ClientWrapper,
        items: &[&Prepared],
        workspace: &mut Workspace,
    ) -> std::result::Result<Offset, Failed> {
        let lock_threads = client.prepare_cached(read::LOCK_THREADS_OF).await?;
        let commands_and_theirs = client.prepare_cached(read::COMMANDS_AND_THEIRS).await?;
        let find_aliases = client.prepare_cached(read::ALIASES).await?;
        let clock = client.prepare_cached(read::CLOCK).await?;
        let mut ids: Vec<Uuid> = items.iter().map(|item| item.progress.command.0).collect();
        ids.sort_unstable();
        ids.dedup();
        let (digests, kinds) = read::alias_keys(items.iter().flat_map(|item| &item.progress.aliases));
        let mut flight = Flight::of(client);
        flight.run("BEGIN");
        flight.send_if(!digests.is_empty(), &find_aliases, [&digests, &kinds]);
        flight.send(&lock_threads, [&ids]);
        flight.send(&commands_and_theirs, [&ids]);
        flight.send(&clock, []);
        let [_, found, threads, commands, clock] = flight.land_all().await?;
        let offset = Offset::measured(&clock, &self.environment)?;
        let mut missing = workspace.take_rows(&threads, &commands)?;
        missing.extend(self.take_aliases(workspace, &found)?);
        if !missing.is_empty() {
            lock(client, workspace, missing).await?;
        }
        Ok(offset)
    }

    /// Where learnt aliases lead already; returns threads that are not locked yet.
    fn take_aliases(&self, workspace: &mut Workspace, found: &[Row]) -> Result<Vec<i64>> {
        let mut missing = Vec::new();
        for row in found {
            let (alias, thread) = read::alias(row)?;
            workspace.take_alias(alias, thread);
            if !workspace.threads.contains_key(&thread) {
                missing.push(thread);
            }
        }
        Ok(missing)
    }
}

/// The number of the command, if the step may be recorded. Changes nothing.
fn permitted(workspace: &Workspace, item: &Prepared, offset: Offset) -> Result<i64> {
    let progress = &item.progress;
    let row = workspace.commands.values().find(|row| row.id == progress.command.0).ok_or(StoreError::NotFound)?;
    let id = progress.command;
    if row.fence != columns::signed(progress.fence) {
        return Err(StoreError::Outdated(format!("command {id} was taken over or changed by a person")));
    }
    if row.standing.is_final() {
        return Err(StoreError::Outdated(format!("command {id} is already {}", row.state.name())));
    }
    let is_write = progress.started.as_ref().is_some_and(|attempt| attempt.is_write);
    if is_write && row.lease_until.is_some_and(|until| until < offset.of(progress.at)) {
        return Err(StoreError::Outdated(format!("the lease of command {id} ended before its call was to be sent")));
    }
    Ok(row.number)
}

fn record(workspace: &mut Workspace, item: &Prepared, number: i64, offset: Offset) -> Result<()> {
    let progress = &item.progress;
    // A step that ended well ends a row of deferrals. One that is only planned or begun does not.
    let deferred = matches!(progress.state, Some((State::Waiting { .. }, _)));
    let done = progress.finished.is_some() && progress.plan.is_some() && !deferred;
    let row = workspace.commands.get_mut(&number).ok_or(StoreError::NotFound)?;
    row.lease_until = row.lease.map(|lease| offset.of(progress.at) + lease);
    row.changed = true;
    if progress.plan.is_some() {
        row.plan = Some(item.plan.clone());
    }
    if done {
        row.deferrals = 0;
    }
    let (mut thread, owner) = (row.thread, row.owner.clone());
    if !progress.aliases.is_empty() {
        thread = workspace.add_aliases(thread, &progress.aliases)?;
    }
    if let Some(known) = &progress.known {
        workspace.learn(thread, known)?;
    }
    for (event, text) in progress.events.iter().zip(&item.events) {
        workspace.publish(thread, event, text)?;
    }
    if let Some((state, why)) = &progress.state {
        workspace.change(number, state, progress.at, why, owner.as_deref().unwrap_or(GATEWAY))?;
    }
    Ok(())
}

/// Whom answers mention, for the messages whose commands asked.
fn mentions(items: &[&Prepared], changes: &Changes) -> Mentions {
    let mut rows = Vec::new();
    for (index, number) in &changes.commands {
        let Some(finished) = &items[*index].progress.finished else { continue };
        let message = number - number % MESSAGE_STEP;
        rows.extend(finished.patients.iter().map(|patient| (message, patient.to_vec())));
    }
    Mentions::of(rows)
}

#[derive(Default)]
struct Started<'a> {
    ids: Vec<Uuid>,
    commands: Vec<i64>,
    fences: Vec<i64>,
    steps: Vec<&'a str>,
    calls: Vec<&'a str>,
    writes: Vec<bool>,
    correlation_ids: Vec<&'a str>,
    started_at: Vec<i64>,
    requests: Vec<&'a str>,
}

impl<'a> Started<'a> {
    fn of(items: &[&'a Prepared], changes: &Changes) -> Self {
        let mut columns = Self::default();
        for (index, number) in &changes.commands {
            let item = items[*index];
            let Some(attempt) = &item.progress.started else { continue };
            columns.ids.push(attempt.id.0);
            columns.commands.push(*number);
            columns.fences.push(columns::signed(item.progress.fence));
            columns.steps.push(&attempt.step);
            columns.calls.push(&attempt.call);
            columns.writes.push(attempt.is_write);
            columns.correlation_ids.push(&attempt.correlation_id);
            columns.started_at.push(micros(item.progress.at));
            columns.requests.push(&item.request);
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 9] {
        [
            &self.ids,
            &self.commands,
            &self.fences,
            &self.steps,
            &self.calls,
            &self.writes,
            &self.correlation_ids,
            &self.started_at,
            &self.requests,
        ]
    }
}

#[derive(Default)]
struct Finished<'a> {
    ids: Vec<Uuid>,
    commands: Vec<i64>,
    finished_at: Vec<i64>,
    statuses: Vec<Option<i32>>,
    outcomes: Vec<&'a str>,
    durations: Vec<i64>,
    responses: Vec<Option<&'a str>>,
}

impl<'a> Finished<'a> {
    fn of(items: &[&'a Prepared], changes: &Changes) -> Self {
        let mut columns = Self::default();
        for (index, number) in &changes.commands {
            let item = items[*index];
            let Some(attempt) = &item.progress.finished else { continue };
            columns.ids.push(attempt.id.0);
            columns.commands.push(*number);
            columns.finished_at.push(micros(item.progress.at));
            columns.statuses.push(attempt.status.map(i32::from));
            columns.outcomes.push(&attempt.outcome);
            columns.durations.push(columns::signed(attempt.duration_ms));
            columns.responses.push(item.response.as_deref());
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 7] {
        [&self.ids, &self.commands, &self.finished_at, &self.statuses, &self.outcomes, &self.durations, &self.responses]
    }
}
