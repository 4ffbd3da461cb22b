//! Claims: due heads of threads are leased to this instance; what others left running is taken back.
//!
//! Several instances claim at once. Each looks at the heads without a lock, locks the threads of those that it
//! chooses (what another has locked is left to it), and reads the commands again under these locks.

use std::sync::Arc;

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use parking_lot::RwLock;
use serde_json::{Value, json};

use super::clock::Offset;
use super::columns;
use super::failure::Failed;
use super::flight::{BEGIN_BY_KEYS, Flight};
use super::read;
use super::sources::Sources;
use super::workspace::{Lease, Workspace};
use super::write::{Signature, write_and_commit};
use crate::command::{CommandId, MessageId, State};
use crate::environment::Environment;
use crate::store::standing::Standing;
use crate::store::urgency::{CLAIM_MAX, Candidate, choose};
use crate::store::vault::{Column, Vault};
use crate::store::{Claim, ClaimedCommand, GATEWAY, Recovered, Result, StoreError, told_in_doubt};

/// Instances that claim at the same time see the same heads: more are looked at than wanted.
const LOOK_BEYOND: usize = 2;
/// How often a claim looks again after others took all that it had chosen.
const LOOKS_MAX: u32 = 3;

/// The first of each place. What is skipped from one place to the next costs one probe of the index, however much
/// waits there. `$1`: how many of each; `$2`: now; `$3`: numbers of paused sources.
const CANDIDATES: &str = "WITH RECURSIVE place (class, source) AS (
       (SELECT class, source FROM command WHERE standing = 0 AND standing <> 7 ORDER BY class, source LIMIT 1)
       UNION ALL
       SELECT next.class, next.source FROM place CROSS JOIN LATERAL (
         SELECT class, source FROM command
         WHERE standing = 0 AND standing <> 7 AND (class, source) > (place.class, place.source)
         ORDER BY class, source LIMIT 1
       ) next
     ), due_place (class, source) AS (
       (SELECT class, source FROM command WHERE due IS NOT NULL ORDER BY class, source LIMIT 1)
       UNION ALL
       SELECT next.class, next.source FROM due_place CROSS JOIN LATERAL (
         SELECT class, source FROM command
         WHERE due IS NOT NULL AND (class, source) > (due_place.class, due_place.source)
         ORDER BY class, source LIMIT 1
       ) next
     )
     SELECT head.number, place.class, head.thread FROM place CROSS JOIN LATERAL (
       SELECT number, thread FROM command
       WHERE standing = 0 AND standing <> 7 AND class = place.class AND source = place.source
       ORDER BY number LIMIT $1
     ) head WHERE place.source <> ALL ($3)
     UNION ALL
     SELECT head.number, due_place.class, head.thread FROM due_place CROSS JOIN LATERAL (
       SELECT number, thread FROM command
       WHERE due IS NOT NULL AND due <= $2 AND class = due_place.class AND source = due_place.source
       ORDER BY due LIMIT $1
     ) head WHERE due_place.source <> ALL ($3)";

const BODIES: &str =
    "SELECT number, received_at, not_after, mapping_set, body, plan FROM command WHERE number = ANY ($1)";

/// What runs: of this instance (`$1`), or with a lease that ended before `$2`.
const RUNNING: &str = "SELECT DISTINCT thread FROM command
     WHERE standing IN (2, 5) AND standing <> 7 AND (owner = $1 OR lease_until < $2)";

const UNANSWERED: &str =
    "SELECT c.number, a.step, a.call, a.started_at, command.plan, command.id FROM unnest($1::bigint[]) AS c (number)
     JOIN command USING (number) CROSS JOIN LATERAL (
       SELECT step, call, started_at FROM attempt
       WHERE command = c.number AND attempt.fence = command.fence AND is_write AND finished_at IS NULL
       ORDER BY attempt.number DESC LIMIT 1
     ) a";

pub(super) struct Claims {
    pub(super) vault: Vault,
    pub(super) environment: Environment,
    pub(super) sources: Arc<RwLock<Sources>>,
    pub(super) desk: i32,
    /// Which claim takes the oldest instead of the most urgent.
    pub(super) turns: u32,
}

impl Claims {
    fn workspace(&self) -> Workspace {
        Workspace::new(&self.sources, &self.vault)
    }

    /// The claim itself need not survive a crash of the database: what is lost with it is queued as before, and the
    /// fence refuses whoever believes to have it. So it does not wait for the disk.
    fn signature(&self) -> Signature {
        Signature { desk: self.desk, group: None }
    }

    /// Leases what is due. With the workspace that was written, for its bells.
    pub(super) async fn claim(
        &mut self,
        client: &ClientWrapper,
        claim: &Claim,
    ) -> std::result::Result<(Vec<ClaimedCommand>, Workspace), Failed> {
        let max = claim.max.min(CLAIM_MAX);
        let paused: Vec<i32> = {
            let sources = self.sources.read();
            claim.paused.iter().filter_map(|name| sources.number(name)).collect()
        };
        for look in 1..=LOOKS_MAX {
            let (claimed, chosen, workspace) = self.look_and_lease(client, claim, max, &paused).await?;
            if !claimed.is_empty() || chosen == 0 || look == LOOKS_MAX {
                return Ok((claimed, workspace));
            }
        }
        Ok((Vec::new(), self.workspace()))
    }

    async fn look_and_lease(
        &mut self,
        client: &ClientWrapper,
        claim: &Claim,
        max: usize,
        paused: &Vec<i32>,
    ) -> std::result::Result<(Vec<ClaimedCommand>, usize, Workspace), Failed> {
        let candidates = client.prepare_cached(CANDIDATES).await?;
        let clock = client.prepare_cached(read::CLOCK).await?;
        let limit = columns::signed((max * LOOK_BEYOND) as u64);
        let now = claim.now.as_microsecond();
        let mut flight = Flight::of(client);
        flight.run(BEGIN_BY_KEYS);
        flight.send(&candidates, [&limit, &now, paused]);
        flight.send(&clock, []);
        let [_, rows, clock] = flight.land_all().await?;
        let offset = Offset::measured(&clock, &self.environment)?;
        let mut found = Vec::with_capacity(rows.len());
        let mut threads = std::collections::HashMap::new();
        for row in &rows {
            let number: i64 = row.try_get(0)?;
            found.push(Candidate { class: columns::class(row, 1)?, number });
            threads.insert(number, row.try_get::<_, i64>(2)?);
        }
        let mut workspace = self.workspace();
        // Beyond what is wanted, in their order: some may be another's by now.
        let chosen = choose(found, max * LOOK_BEYOND, &mut self.turns);
        if chosen.is_empty() {
            client.batch_execute("COMMIT").await?;
            return Ok((Vec::new(), 0, workspace));
        }
        let mut wanted: Vec<i64> = Vec::new();
        let mut order = Vec::new();
        for candidate in &chosen {
            wanted.push(threads[&candidate.number]);
            order.push(candidate.number);
        }
        wanted.sort_unstable();
        wanted.dedup();
        let leased = self.lease(client, claim, &mut workspace, (&wanted, &order, max), offset).await?;
        let claimed = self.read(client, &workspace, &leased).await?;
        write_and_commit(client, &workspace, self.signature(), Flight::of(client)).await?;
        Ok((claimed, chosen.len(), workspace))
    }

    /// Locks what is free of `wanted`, and leases up to `max` of `order` that are still claimable.
    async fn lease(
        &self,
        client: &ClientWrapper,
        claim: &Claim,
        workspace: &mut Workspace,
        (wanted, order, max): (&Vec<i64>, &[i64], usize),
        offset: Offset,
    ) -> std::result::Result<Vec<i64>, Failed> {
        let lock_free = client.prepare_cached(read::LOCK_FREE_THREADS).await?;
        let unfinished = client.prepare_cached(read::UNFINISHED).await?;
        let mut flight = Flight::of(client);
        flight.send(&lock_free, [wanted]);
        flight.send(&unfinished, [wanted]);
        let [threads, commands] = flight.land_all().await?;
        workspace.take_locked(&threads, &commands)?;
        workspace.know_sources()?;
        let lease = Lease {
            owner: &claim.owner,
            at: claim.now,
            from: offset.of(claim.now),
            micros: claim.lease_until.as_microsecond() - claim.now.as_microsecond(),
        };
        let mut leased = Vec::new();
        for number in order {
            if leased.len() == max {
                break;
            }
            let claimable = workspace.commands.get(number).is_some_and(|row| match row.standing {
                Standing::Ready => true,
                Standing::Waiting | Standing::InDoubt => row.due.is_some_and(|due| due <= claim.now),
                _ => false,
            });
            if claimable {
                workspace.lease(*number, lease)?;
                leased.push(*number);
            }
        }
        Ok(leased)
    }

    async fn read(
        &self,
        client: &ClientWrapper,
        workspace: &Workspace,
        leased: &Vec<i64>,
    ) -> std::result::Result<Vec<ClaimedCommand>, Failed> {
        let bodies = client.prepare_cached(BODIES).await?;
        let rows = client.query(&bodies, &[leased]).await?;
        let mut claimed = Vec::with_capacity(rows.len());
        for number in leased {
            let stored = rows.iter().find(|stored| stored.try_get::<_, i64>(0).is_ok_and(|one| one == *number));
            let (Some(row), Some(stored)) = (workspace.commands.get(number), stored) else {
                return Err(StoreError::NotFound.into());
            };
            claimed.push(ClaimedCommand {
                id: CommandId(row.id),
                message: MessageId(row.message),
                source: workspace.source_name(row.source)?.to_owned(),
                name: row.name.clone(),
                body: columns::sealed_json(stored, 4, &self.vault, Column::CommandBody.of_id(row.id))?,
                class: row.class,
                thread: workspace.thread(row.thread)?.view(&self.vault)?,
                received_at: columns::time(stored, 1)?,
                not_after: columns::optional_time(stored, 2)?,
                mapping_set: stored.try_get(3).map_err(Failed::from)?,
                plan: columns::sealed_json(stored, 5, &self.vault, Column::CommandPlan.of_id(row.id))?,
                state: row.state.clone(),
                deferrals: u32::try_from(row.deferrals).unwrap_or(0),
                fence: u64::try_from(row.fence).unwrap_or(0),
            });
        }
        Ok(claimed)
    }

    /// Takes back what `owner` left running, and what was leased and not renewed: its task is gone, or will be
    /// refused by the fence. With the workspace that was written, for its bells.
    pub(super) async fn take_back(
        &self,
        client: &ClientWrapper,
        owner: Option<&str>,
        now: Timestamp,
    ) -> std::result::Result<(Recovered, Workspace), Failed> {
        let running = client.prepare_cached(RUNNING).await?;
        let clock = client.prepare_cached(read::CLOCK).await?;
        let lock_free = client.prepare_cached(read::LOCK_FREE_THREADS).await?;
        let unfinished = client.prepare_cached(read::UNFINISHED).await?;
        let offset = Offset::measured(&client.query(&clock, &[]).await?, &self.environment)?;
        let ended = offset.of(now);
        let rows = client.query(&running, &[&owner, &ended]).await?;
        let threads: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>()?;
        let mut workspace = self.workspace();
        let mut recovered = Recovered::default();
        if threads.is_empty() {
            return Ok((recovered, workspace));
        }
        let mut flight = Flight::of(client);
        flight.run("BEGIN");
        flight.send(&lock_free, [&threads]);
        flight.send(&unfinished, [&threads]);
        let [_, locked, commands] = flight.land_all().await?;
        workspace.take_locked(&locked, &commands)?;
        workspace.know_sources()?;
        let is_left = |row: &super::workspace::Command| {
            matches!(row.standing, Standing::Running | Standing::InDoubt)
                && (row.owner.is_some() && row.owner.as_deref() == owner
                    || row.lease_until.is_some_and(|until| until < ended))
        };
        let left: Vec<i64> = workspace.commands.values().filter(|row| is_left(row)).map(|row| row.number).collect();
        let unanswered = client.prepare_cached(UNANSWERED).await?;
        let unanswered = client.query(&unanswered, &[&left]).await?;
        for number in left {
            let ours = workspace.commands.get(&number).is_some_and(|row| row.owner.as_deref() == owner);
            let why = if ours { "the gateway was restarted" } else { "its lease ended" };
            let attempt = unanswered.iter().find(|row| row.try_get::<_, i64>(0).is_ok_and(|one| one == number));
            workspace.raise_fence(number)?;
            if workspace.put_back_look(number)? {
                continue;
            }
            match attempt {
                None => {
                    workspace.change(number, &State::Queued, now, why, GATEWAY)?;
                    recovered.requeued += 1;
                }
                Some(row) => {
                    self.doubt(&mut workspace, number, row, now, why)?;
                    recovered.in_doubt += 1;
                }
            }
        }
        write_and_commit(client, &workspace, self.signature(), Flight::of(client)).await?;
        Ok((recovered, workspace))
    }

    /// A write was about to be sent and has no outcome.
    fn doubt(
        &self,
        workspace: &mut Workspace,
        number: i64,
        attempt: &tokio_postgres::Row,
        now: Timestamp,
        why: &str,
    ) -> Result<()> {
        let (step, call): (String, String) = (attempt.try_get(1)?, attempt.try_get(2)?);
        let since = columns::time(attempt, 3)?;
        let why = format!("{why}; {call} was about to be sent or sent");
        let place = Column::CommandPlan.of_id(attempt.try_get(5)?);
        for (name, data) in told_in_doubt(&columns::sealed_json(attempt, 4, &self.vault, place)?) {
            workspace.publish_of(number, name, now, data.clone(), &self.environment)?;
        }
        let more: Value = json!({ "call": call, "step": step, "since": since });
        workspace.publish_about(number, "CommandInDoubt", now, more, &self.environment)?;
        workspace.change(number, &State::InDoubt { step, since, look_at: Some(now) }, now, &why, GATEWAY)
    }
}

/// When the earliest `waiting` head is due.
pub(super) async fn next_due(client: &ClientWrapper) -> Result<Option<Timestamp>> {
    const NEXT_DUE: &str = "WITH RECURSIVE place (class, source) AS (
           (SELECT class, source FROM command WHERE due IS NOT NULL ORDER BY class, source LIMIT 1)
           UNION ALL
           SELECT next.class, next.source FROM place CROSS JOIN LATERAL (
             SELECT class, source FROM command
             WHERE due IS NOT NULL AND (class, source) > (place.class, place.source)
             ORDER BY class, source LIMIT 1
           ) next
         )
         SELECT min(head.due) FROM place CROSS JOIN LATERAL (
           SELECT due FROM command WHERE due IS NOT NULL AND class = place.class AND source = place.source
           ORDER BY due LIMIT 1
         ) head";
    let statement = client.prepare_cached(NEXT_DUE).await?;
    columns::optional_time(&client.query_one(&statement, &[]).await?, 0)
}
