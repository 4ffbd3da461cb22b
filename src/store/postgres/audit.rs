//! The audit log: rows chained by their hashes, so that none can be changed or taken out unseen.
//!
//! Enters: what people did, inside of the transaction that does it. Leaves: its rows, for that transaction's last flight.
//! Guarantees: one chain, however many instances write: nobody else adds to it before this transaction ends.

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::columns::{self, micros, storable};
use super::failure::Failed;
use super::flight::Flight;
use crate::environment::Environment;
use crate::store::audit_chain::{self, Chain, ChainBroken, FORGET_REASONS, hex, unhex};
use crate::store::{Act, AuditEntry, AuditHead, Noted, Result, StoreError};

/// The audit log's lock; the other half of the key is the schema.
const AUDIT_LOCK: i32 = 0x6572_7303;
/// Entries in one answer.
const ENTRIES_MAX: usize = 10_000;

macro_rules! entry_columns {
    () => {
        "number, at, by, kind, place, act, subject, why, why_salt, why_digest, hash"
    };
}

/// With how many there ever were, beside them.
pub(super) const NOTE: &str = concat!(
    "WITH noted AS (INSERT INTO audit (",
    entry_columns!(),
    ") SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                            $8::text[], $9::text[], $10::text[], $11::bytea[]) RETURNING number)
     INSERT INTO meta (name, value) SELECT 'audit_entries', max(number) FROM noted HAVING max(number) IS NOT NULL
     ON CONFLICT (name) DO UPDATE SET value = greatest(meta.value, excluded.value)"
);

/// Parameters of [`NOTE`].
#[derive(Default)]
pub(super) struct Rows {
    numbers: Vec<i64>,
    ats: Vec<i64>,
    bys: Vec<String>,
    kinds: Vec<Option<String>>,
    places: Vec<Option<String>>,
    acts: Vec<String>,
    subjects: Vec<String>,
    whys: Vec<Option<String>>,
    salts: Vec<Option<String>>,
    digests: Vec<Option<String>>,
    hashes: Vec<Vec<u8>>,
}

impl Rows {
    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 11] {
        [
            &self.numbers,
            &self.ats,
            &self.bys,
            &self.kinds,
            &self.places,
            &self.acts,
            &self.subjects,
            &self.whys,
            &self.salts,
            &self.digests,
            &self.hashes,
        ]
    }

    fn add(&mut self, entry: AuditEntry) {
        self.numbers.push(columns::signed(entry.number));
        self.ats.push(micros(entry.at));
        self.bys.push(entry.by);
        self.kinds.push(entry.kind);
        self.places.push(entry.place);
        self.acts.push(entry.act);
        self.subjects.push(entry.subject);
        self.whys.push(entry.why);
        self.salts.push(entry.why_salt);
        self.digests.push(entry.why_digest);
        self.hashes.push(unhex(&entry.hash));
    }
}

/// The rows that follow the newest. The log is locked from here to the end of the transaction, threads come before it;
/// where nothing was done, nothing is asked.
pub(super) async fn following(
    client: &ClientWrapper,
    noted: &[Noted],
    environment: &Environment,
) -> std::result::Result<Rows, Failed> {
    let mut rows = Rows::default();
    if noted.is_empty() {
        return Ok(rows);
    }
    let mut head = head(client).await?;
    for one in noted {
        let by = Act {
            by: storable(&one.by.by).into_owned(),
            why: storable(&one.by.why).into_owned(),
            place: storable(&one.by.place).into_owned(),
            ..one.by.clone()
        };
        let entry = audit_chain::following(&head, &Noted { by, ..one.clone() }, environment.random_id());
        head = AuditHead { number: entry.number, hash: entry.hash.clone() };
        rows.add(entry);
    }
    Ok(rows)
}

/// Where the log ends, which nobody can follow before this transaction ends.
async fn head(client: &ClientWrapper) -> std::result::Result<AuditHead, Failed> {
    let lock = format!("SELECT pg_advisory_xact_lock({AUDIT_LOCK}, hashtext(current_schema()))");
    let lock = client.prepare_cached(&lock).await?;
    let last = client.prepare_cached("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1").await?;
    let mut flight = Flight::of(client);
    flight.send(&lock, []);
    flight.send(&last, []);
    let [_, rows] = flight.land_all().await?;
    let row = rows.first();
    let Some(row) = row else { return Ok(AuditHead::start()) };
    Ok(AuditHead { number: columns::count(row, 0)?, hash: hex(row.try_get(1)?) })
}

pub(super) async fn note(
    client: &ClientWrapper,
    noted: Noted,
    environment: &Environment,
) -> std::result::Result<(), Failed> {
    client.batch_execute("BEGIN").await?;
    add(client, noted, environment).await?;
    Ok(client.batch_execute("COMMIT").await?)
}

/// In a transaction that is open.
pub(super) async fn add(
    client: &ClientWrapper,
    noted: Noted,
    environment: &Environment,
) -> std::result::Result<(), Failed> {
    let rows = following(client, &[noted], environment).await?;
    let note = client.prepare_cached(NOTE).await?;
    client.execute(&note, &rows.parameters()).await?;
    Ok(())
}

pub(super) async fn forget_reasons(
    client: &ClientWrapper,
    before: Timestamp,
    max: usize,
    act: Act,
    environment: &Environment,
) -> std::result::Result<u64, Failed> {
    client.batch_execute("BEGIN").await?;
    let forget = client
        .prepare_cached(
            "UPDATE audit SET why = '', why_salt = NULL WHERE number IN (
               SELECT number FROM audit WHERE why_salt IS NOT NULL AND at < $1 ORDER BY at LIMIT $2
             )",
        )
        .await?;
    let forgotten = client.execute(&forget, &[&micros(before), &columns::signed(max as u64)]).await?;
    let subject = audit_chain::forgotten_before(before);
    if forgotten > 0 && last_noted(client, FORGET_REASONS, &act.by).await?.is_none_or(|last| last.subject != subject) {
        add(client, Noted { act: FORGET_REASONS, subject, by: act }, environment).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(forgotten)
}

pub(super) async fn entries(client: &ClientWrapper, after: u64, max: usize) -> Result<Vec<AuditEntry>> {
    let statement = client
        .prepare_cached(concat!("SELECT ", entry_columns!(), " FROM audit WHERE number > $1 ORDER BY number LIMIT $2"))
        .await?;
    let limit = columns::signed(max.min(ENTRIES_MAX) as u64);
    let rows = client.query(&statement, &[&columns::signed(after), &limit]).await?;
    rows.iter().map(entry).collect()
}

pub(super) async fn last_noted(client: &ClientWrapper, act: &str, by: &str) -> Result<Option<AuditEntry>> {
    let statement = client
        .prepare_cached(concat!(
            "SELECT ",
            entry_columns!(),
            " FROM audit WHERE act = $1 AND by = $2 ORDER BY number DESC LIMIT 1"
        ))
        .await?;
    client.query_opt(&statement, &[&act, &by]).await?.as_ref().map(entry).transpose()
}

pub(super) async fn written(client: &ClientWrapper) -> Result<u64> {
    let row = client.query_opt("SELECT value FROM meta WHERE name = 'audit_entries'", &[]).await?;
    row.map_or(Ok(0), |row| columns::count(&row, 0))
}

fn entry(row: &Row) -> Result<AuditEntry> {
    let (why, why_salt, why_digest): (String, Option<String>, Option<String>) =
        (row.try_get(7)?, row.try_get(8)?, row.try_get(9)?);
    Ok(AuditEntry {
        number: columns::count(row, 0)?,
        at: columns::time(row, 1)?,
        by: row.try_get(2)?,
        kind: row.try_get(3)?,
        place: row.try_get(4)?,
        act: row.try_get(5)?,
        subject: row.try_get(6)?,
        why: Some(why).filter(|_| why_salt.is_some() || why_digest.is_none()),
        why_salt,
        why_digest,
        hash: hex(row.try_get(10)?),
    })
}

/// Walks the chain from its first row.
pub(super) async fn verify(client: &ClientWrapper) -> Result<()> {
    let damaged = |broken: ChainBroken| StoreError::Damaged(broken.to_string());
    let written = written(client).await?;
    let mut chain = Chain::new(None);
    loop {
        let page = entries(client, chain.head().number, ENTRIES_MAX).await?;
        if page.is_empty() {
            return chain.end(written).map_err(damaged);
        }
        page.iter().try_for_each(|entry| chain.take(entry)).map_err(damaged)?;
    }
}
