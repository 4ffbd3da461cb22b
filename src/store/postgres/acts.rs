//! What a person does to a command: a transition and a row of the audit log in one commit.

use deadpool_postgres::ClientWrapper;
use serde_json::json;

use super::columns::micros;
use super::failure::Failed;
use super::flight::Flight;
use super::read;
use super::workspace::Workspace;
use super::write::{Signature, write_and_commit};
use crate::command::{CommandId, Failure, Happened, State};
use crate::environment::Environment;
use crate::store::audit_chain::{Hash, chain};
use crate::store::{Act, AuditEntry, Result, StoreError, damaged};

/// The desk of what happens rarely, whoever does it.
pub(super) const COMMON_DESK: i32 = 0;
/// The audit log's lock; the other half of the key is the schema.
const AUDIT_LOCK: i32 = 0x6572_7303;
/// Entries in one answer.
const ENTRIES_MAX: usize = 10_000;

#[derive(Clone)]
pub(super) enum Deed {
    /// A failed command goes back to the queue. Its plan stays, so what is known done is skipped; its age limit
    /// goes, for a person has decided that it is to be sent.
    Replay,
    Discard,
    Release,
    /// Not before it has begun to be sent.
    Hold(Failure),
}

impl Deed {
    fn name(&self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
            Self::Release => "release",
            Self::Hold(_) => "hold",
        }
    }

    fn happened(&self) -> Happened {
        match self {
            Self::Replay => Happened::Replayed,
            Self::Discard => Happened::Discarded,
            Self::Release => Happened::Released,
            Self::Hold(why) => Happened::Refused { why: why.clone() },
        }
    }
}

/// Does it in a transaction of its own. With the workspace that was written, for its bells.
pub(super) async fn act_on(
    client: &ClientWrapper,
    mut workspace: Workspace,
    id: CommandId,
    deed: &Deed,
    act: &Act,
    environment: &Environment,
) -> std::result::Result<Workspace, Failed> {
    let lock_threads = client.prepare_cached(read::LOCK_THREADS_OF).await?;
    let commands_and_theirs = client.prepare_cached(read::COMMANDS_AND_THEIRS).await?;
    let note = client.prepare_cached(NOTE_ACT).await?;
    let ids = vec![id.0];
    let mut flight = Flight::of(client);
    flight.run("BEGIN");
    flight.send(&lock_threads, [&ids]);
    flight.send(&commands_and_theirs, [&ids]);
    let [_, threads, commands] = flight.land_all().await?;
    if !workspace.take_rows(&threads, &commands)?.is_empty() {
        // Its thread was merged in this instant.
        return Err(Failed::Again(StoreError::Unavailable("the command is being moved".into())));
    }
    decide(&mut workspace, id, deed, act, environment)?;
    let previous = last_entry(client).await?;
    let (last, hash) = previous.unwrap_or((0, [0; 32]));
    let (entry, at, subject) = (last + 1, micros(act.at), format!("command {id}"));
    let hash = chain(&hash, entry, at, [&act.by, deed.name(), &subject, &act.why]).to_vec();
    let (by, name, why) = (&act.by, deed.name(), &act.why);
    let mut flight = Flight::of(client);
    flight.send(&note, [&entry, &at, by, &name, &subject, why, &hash]);
    write_and_commit(client, &workspace, Signature { desk: COMMON_DESK, group: None }, flight).await?;
    Ok(workspace)
}

/// A row of the audit log, in the transaction that is open.
pub(super) async fn note(
    client: &ClientWrapper,
    name: &str,
    subject: &str,
    act: &Act,
) -> std::result::Result<(), Failed> {
    let note = client.prepare_cached(NOTE_ACT).await?;
    let (last, hash) = last_entry(client).await?.unwrap_or((0, [0; 32]));
    let (entry, at) = (last + 1, micros(act.at));
    let hash = chain(&hash, entry, at, [&act.by, name, subject, &act.why]).to_vec();
    client.execute(&note, &[&entry, &at, &act.by, &name, &subject, &act.why, &hash]).await?;
    Ok(())
}

const NOTE_ACT: &str =
    "INSERT INTO audit (number, at, by, act, subject, why, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)";

fn decide(workspace: &mut Workspace, id: CommandId, deed: &Deed, act: &Act, environment: &Environment) -> Result<()> {
    let row = workspace.commands.values().find(|row| row.id == id.0).ok_or(StoreError::NotFound)?;
    let (number, from) = (row.number, row.state.name());
    if let Deed::Replay = deed {
        refuse_second(workspace, number, id)?;
    }
    let state: State = workspace.commands[&number].state.clone();
    if let (Deed::Hold(_), State::Running { .. } | State::InDoubt { .. }) = (deed, &state) {
        return Err(StoreError::Outdated(format!("command {id} is on its way, so it cannot be held")));
    }
    let to = state
        .after(deed.happened())
        .map_err(|_| StoreError::Outdated(format!("command {id} is {from}, so {} is not possible", deed.name())))?;
    workspace.raise_fence(number)?;
    workspace.change(number, &to, act.at, &act.why, &act.by)?;
    if let Deed::Hold(why) = deed {
        let more = json!({ "code": why.code, "text": why.text });
        workspace.publish_about(number, "CommandFailed", act.at, more, environment)?;
    }
    if let (Deed::Replay, Some(row)) = (deed, workspace.commands.get_mut(&number)) {
        row.ageless = true;
        row.deferrals = 0;
    }
    Ok(())
}

/// Refused while another command of its thread makes (or made) the same referral: it would be made twice.
fn refuse_second(workspace: &Workspace, number: i64, id: CommandId) -> Result<()> {
    let row = workspace.commands.get(&number).ok_or(StoreError::NotFound)?;
    let maker = workspace.thread(row.thread)?.creator.filter(|maker| maker.command != number);
    match (row.creates, maker) {
        (Some(_), Some(maker)) => {
            let maker = CommandId(maker.id);
            Err(StoreError::Outdated(format!(
                "command {maker} makes the same referral, so replaying {id} would make a second one: discard it, or \
                 first the other one if that did not reach e-RS"
            )))
        }
        _ => Ok(()),
    }
}

/// The newest entry, which nobody can follow before this transaction ends.
async fn last_entry(client: &ClientWrapper) -> std::result::Result<Option<(i64, Hash)>, Failed> {
    let lock = format!("SELECT pg_advisory_xact_lock({AUDIT_LOCK}, hashtext(current_schema()))");
    let lock = client.prepare_cached(&lock).await?;
    let last = client.prepare_cached("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1").await?;
    let mut flight = Flight::of(client);
    flight.send(&lock, []);
    flight.send(&last, []);
    let [_, rows] = flight.land_all().await?;
    let row = rows.first();
    let Some(row) = row else { return Ok(None) };
    Ok(Some((row.try_get(0)?, super::columns::digest(row.try_get(1)?)?)))
}

pub(super) async fn entries(client: &ClientWrapper, after: u64, max: usize) -> Result<Vec<AuditEntry>> {
    let statement = client
        .prepare_cached(
            "SELECT number, at, by, act, subject, why, hash FROM audit WHERE number > $1 ORDER BY number LIMIT $2",
        )
        .await?;
    let limit = super::columns::signed(max.min(ENTRIES_MAX) as u64);
    let rows = client.query(&statement, &[&super::columns::signed(after), &limit]).await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &tokio_postgres::Row) -> Result<AuditEntry> {
    let hash: &[u8] = row.try_get(6)?;
    Ok(AuditEntry {
        number: super::columns::count(row, 0)?,
        at: super::columns::time(row, 1)?,
        by: row.try_get(2)?,
        act: row.try_get(3)?,
        subject: row.try_get(4)?,
        why: row.try_get(5)?,
        hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// Walks the chain from its first row.
pub(super) async fn verify(client: &ClientWrapper) -> Result<()> {
    const PAGE: i64 = 10_000;
    let statement = client
        .prepare_cached(
            "SELECT number, at, by, act, subject, why, hash FROM audit WHERE number > $1 ORDER BY number LIMIT $2",
        )
        .await?;
    let mut previous: Hash = [0; 32];
    let mut last: i64 = 0;
    loop {
        let rows = client.query(&statement, &[&last, &PAGE]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            let number: i64 = row.try_get(0)?;
            let texts: [String; 4] = [row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?];
            let hash = chain(&previous, number, row.try_get(1)?, texts.each_ref().map(String::as_str));
            if number != last + 1 || hash != super::columns::digest(row.try_get(6)?)? {
                return Err(damaged(&format!("the audit log was changed at or before entry {number}")));
            }
            (previous, last) = (hash, number);
        }
    }
}
