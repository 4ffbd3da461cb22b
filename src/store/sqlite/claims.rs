//! Claims: due heads of threads are leased, the most urgent first, the oldest of all now and then.

use std::collections::BTreeSet;

use rusqlite::params;
use serde_json::Value;

use super::books::Books;
use super::columns;
use super::threads;
use crate::store::standing::{Place, Standing};
use crate::store::unreadable::read_json;
use crate::store::urgency::{CLAIM_MAX, Candidate, choose};
use crate::store::vault::{Column, Vault};
use crate::store::{Claim, ClaimedCommand, Result, StoreError, leased};

/// A claimed command whose JSON is still text, and sealed: reading it is the caller's work, not the one writer's.
pub(super) struct Claimed {
    command: ClaimedCommand,
    body: Result<String>,
    plan: Option<Result<String>>,
}

impl Claimed {
    pub(super) fn read(self, vault: &Vault) -> Result<ClaimedCommand> {
        let id = self.command.id.0;
        let open = |column: Column, stored: Result<String>| -> Result<Value> {
            read_json(stored.and_then(|stored| Ok(vault.open_text(column.of_id(id), &stored)?.into_owned().into())))
        };
        let body = open(Column::CommandBody, self.body)?;
        let plan = self.plan.map_or(Ok(Value::Null), |plan| open(Column::CommandPlan, plan))?;
        Ok(ClaimedCommand { body, plan, ..self.command })
    }
}

impl Books {
    pub(super) fn claim(&mut self, claim: &Claim) -> Result<Vec<Claimed>> {
        self.expire_leases(claim.now)?;
        let max = claim.max.min(CLAIM_MAX);
        let paused: BTreeSet<i64> = claim.paused.iter().filter_map(|name| self.known_source(name)).collect();
        // What waits for a time is one list, whether it is to be tried again or looked at.
        let places: BTreeSet<Place> = self
            .taken_places()
            .filter(|place| !paused.contains(&place.source))
            .filter_map(|place| match place.standing {
                Standing::Ready | Standing::Waiting => Some(place),
                Standing::InDoubt => Some(Place { standing: Standing::Waiting, ..place }),
                _ => None,
            })
            .collect();
        let mut candidates = Vec::new();
        for place in places {
            self.add_candidates(place, claim, max, &mut candidates)?;
        }
        let mut claimed = Vec::new();
        for candidate in choose(candidates, max, &mut self.turns) {
            claimed.push(self.lease(candidate.number, claim)?);
        }
        Ok(claimed)
    }

    fn add_candidates(&self, place: Place, claim: &Claim, max: usize, candidates: &mut Vec<Candidate>) -> Result<()> {
        // A partial index is only used where its condition stands in the query.
        let sql = match place.standing {
            Standing::Waiting => {
                "SELECT number FROM command INDEXED BY command_due
                 WHERE class = ?1 AND source = ?2 AND due <= ?3 ORDER BY due LIMIT ?4"
            }
            _ => {
                "SELECT number FROM command INDEXED BY command_queue
                 WHERE standing = 0 AND standing <> 7 AND class = ?1 AND source = ?2 AND ?3 IS NOT NULL
                 ORDER BY number LIMIT ?4"
            }
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((
            place.class.rank(),
            place.source,
            claim.now.as_microsecond(),
            columns::signed(max as u64),
        ))?;
        while let Some(row) = rows.next()? {
            candidates.push(Candidate { class: place.class, number: row.get(0)? });
        }
        Ok(())
    }

    fn lease(&mut self, number: i64, claim: &Claim) -> Result<Claimed> {
        let row = self.command_row_at(number)?;
        let state = leased(&row.state);
        let standing = Standing::of(&state);
        let lease = claim.lease_until.as_microsecond() - claim.now.as_microsecond();
        let (claimed, change) = {
            let mut statement = self.connection.prepare_cached(
                "UPDATE command SET standing = ?2, state = ?3, changed_at = ?4, due = NULL, changes = changes + 1,
                   fence = fence + 1, owner = ?5, lease_until = ?6, lease = ?7
                 WHERE number = ?1
                 RETURNING received_at, not_after, mapping_set, deferrals, fence, changes, body, plan",
            )?;
            let mut rows = statement.query(params![
                number,
                standing.code(),
                columns::text(&state),
                claim.now.as_microsecond(),
                claim.owner,
                claim.lease_until.as_microsecond(),
                lease,
            ])?;
            let stored = rows.next()?.ok_or(StoreError::NotFound)?;
            let command = ClaimedCommand {
                id: row.id,
                message: row.message,
                source: self.source_name(row.placed.source)?.to_owned(),
                name: row.name,
                body: Value::Null,
                class: row.placed.class,
                thread: threads::view(&self.connection, row.placed.thread)?,
                received_at: columns::time(stored, 0)?,
                not_after: columns::optional_time(stored, 1)?,
                mapping_set: stored.get(2)?,
                plan: Value::Null,
                state: state.clone(),
                deferrals: stored.get(3)?,
                fence: columns::count(stored, 4)?,
            };
            let plan = columns::stored_text(stored, 7).transpose();
            (Claimed { command, body: columns::text_that_is_there(stored, 6), plan }, stored.get(5)?)
        };
        let from = Some(row.placed.standing.state_name());
        self.note_transition(number, change, claim.now, from, standing.state_name(), "claimed", &claim.owner)?;
        self.leave(row.placed.place());
        self.enter(row.placed.at(standing));
        Ok(claimed)
    }
}

/// The earliest time at which a waiting command is due.
pub(super) fn next_due(connection: &rusqlite::Connection) -> Result<Option<jiff::Timestamp>> {
    let mut statement = connection.prepare_cached(
        "SELECT min((
           SELECT due FROM command INDEXED BY command_due
           WHERE class = tally.class AND source = tally.source AND due IS NOT NULL ORDER BY due LIMIT 1
         )) FROM tally WHERE standing IN (?1, ?2) AND count > 0",
    )?;
    let mut rows = statement.query([Standing::Waiting.code(), Standing::InDoubt.code()])?;
    rows.next()?.map_or(Ok(None), |row| columns::optional_time(row, 0))
}
