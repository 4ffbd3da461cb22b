//! Claims: due heads of threads are leased, the most urgent first, the oldest of all now and then.

use std::collections::BTreeSet;

use rusqlite::params;

use super::books::Books;
use super::columns;
use super::standing::{Place, Standing};
use super::threads;
use crate::command::{Class, State};
use crate::store::{Claim, ClaimedCommand, Result, StoreError};

/// Every so many claimed commands one is taken by age alone, whatever its class: so none starves.
const OLDEST_EVERY: u32 = 8;
/// Commands in one claim.
const CLAIM_MAX: usize = 256;

/// What may be claimed. The order of its number is the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    class: Class,
    number: i64,
}

/// A claimed command whose JSON is still text: reading it is the caller's work, not the one writer's.
pub(super) struct Claimed {
    command: ClaimedCommand,
    body: String,
    plan: Option<String>,
}

impl Claimed {
    pub(super) fn read(self) -> Result<ClaimedCommand> {
        let unreadable = |_| StoreError::Damaged(format!("command {} cannot be read", self.command.id));
        Ok(ClaimedCommand {
            body: serde_json::from_str(&self.body).map_err(unreadable)?,
            plan: self.plan.as_deref().map_or(Ok(serde_json::Value::Null), serde_json::from_str).map_err(unreadable)?,
            ..self.command
        })
    }
}

impl Books {
    pub(super) fn claim(&mut self, claim: &Claim) -> Result<Vec<Claimed>> {
        self.expire_leases(claim.now)?;
        let max = claim.max.min(CLAIM_MAX);
        let paused: BTreeSet<i64> = claim.paused.iter().filter_map(|name| self.known_source(name)).collect();
        let places: Vec<Place> = self
            .taken_places()
            .filter(|place| matches!(place.standing, Standing::Ready | Standing::Waiting))
            .filter(|place| !paused.contains(&place.source))
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
        let step = match &row.state {
            State::Waiting { step, .. } => step.clone(),
            _ => String::new(),
        };
        let state = State::Running { step };
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
                Standing::Running.code(),
                columns::text(&state),
                claim.now.as_microsecond(),
                claim.owner,
                claim.lease_until.as_microsecond(),
                lease,
            ])?;
            let leased = rows.next()?.ok_or(StoreError::NotFound)?;
            let command = ClaimedCommand {
                id: row.id,
                message: row.message,
                source: self.source_name(row.placed.source)?.to_owned(),
                name: row.name,
                body: serde_json::Value::Null,
                class: row.placed.class,
                thread: threads::view(&self.connection, row.placed.thread)?,
                received_at: columns::time(leased, 0)?,
                not_after: columns::optional_time(leased, 1)?,
                mapping_set: leased.get(2)?,
                plan: serde_json::Value::Null,
                deferrals: leased.get(3)?,
                fence: columns::count(leased, 4)?,
            };
            (Claimed { command, body: leased.get(6)?, plan: leased.get(7)? }, leased.get(5)?)
        };
        self.note_transition(
            number,
            change,
            claim.now,
            Some(row.placed.standing.state_name()),
            Standing::Running.state_name(),
            "claimed",
            &claim.owner,
        )?;
        self.leave(row.placed.place());
        self.enter(row.placed.at(Standing::Running));
        Ok(claimed)
    }
}

/// The most urgent first, the oldest first within a class; but every `OLDEST_EVERY`th is the oldest of all.
fn choose(candidates: Vec<Candidate>, max: usize, turns: &mut u32) -> Vec<Candidate> {
    let mut by_urgency: BTreeSet<Candidate> = candidates.into_iter().collect();
    let mut by_age: BTreeSet<(i64, Class)> = by_urgency.iter().map(|c| (c.number, c.class)).collect();
    let mut chosen = Vec::with_capacity(max.min(by_urgency.len()));
    while chosen.len() < max {
        let next = if turns.wrapping_add(1).is_multiple_of(OLDEST_EVERY) {
            by_age.first().map(|(number, class)| Candidate { class: *class, number: *number })
        } else {
            by_urgency.first().copied()
        };
        let Some(next) = next else { break };
        *turns = turns.wrapping_add(1);
        by_urgency.remove(&next);
        by_age.remove(&(next.number, next.class));
        chosen.push(next);
    }
    chosen
}

/// The earliest time at which a waiting command is due.
pub(super) fn next_due(connection: &rusqlite::Connection) -> Result<Option<jiff::Timestamp>> {
    let mut statement = connection.prepare_cached(
        "SELECT min((
           SELECT due FROM command INDEXED BY command_due
           WHERE class = tally.class AND source = tally.source AND due IS NOT NULL ORDER BY due LIMIT 1
         )) FROM tally WHERE standing = ?1 AND count > 0",
    )?;
    let mut rows = statement.query([Standing::Waiting.code()])?;
    rows.next()?.map_or(Ok(None), |row| columns::optional_time(row, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_goes_first_and_nobody_waits_for_ever() {
        let mut candidates: Vec<_> = (100..200).map(|number| Candidate { class: Class::TwoWeekWait, number }).collect();
        candidates.push(Candidate { class: Class::Bulk, number: 3 });
        candidates.push(Candidate { class: Class::Interactive, number: 500 });
        let mut turns = 0;
        let chosen = choose(candidates, 10, &mut turns);
        assert_eq!(chosen.len(), 10);
        assert_eq!(chosen[0].class, Class::Interactive);
        assert_eq!(chosen[1], Candidate { class: Class::TwoWeekWait, number: 100 });
        assert_eq!(chosen[7], Candidate { class: Class::Bulk, number: 3 });
        assert!(chosen[8].class == Class::TwoWeekWait && chosen[9].class == Class::TwoWeekWait);
    }

    #[test]
    fn claiming_one_at_a_time_lets_the_oldest_through_as_well() {
        let mut turns = 0;
        let bulk = Candidate { class: Class::Bulk, number: 1 };
        let urgent = (2..).map(|number| Candidate { class: Class::Urgent, number });
        let claims: Vec<_> = urgent.take(8).map(|urgent| choose(vec![bulk, urgent], 1, &mut turns)[0]).collect();
        assert_eq!(claims.iter().filter(|claim| **claim == bulk).count(), 1);
    }
}
