//! The audit log: rows chained by their hashes, so that none can be changed or taken out unseen.
//!
//! Enters: what people did, inside of the transaction that does it. Leaves: its rows, for that transaction's last flight.
//! Guarantees: one chain, however many instances write: nobody else adds to it before this transaction ends.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::ToSql;

use super::columns::{self, micros, storable};
use super::failure::Failed;
use super::flight::Flight;
use crate::store::audit_chain::{Hash, chain};
use crate::store::{Act, AuditEntry, Result, damaged};

/// The audit log's lock; the other half of the key is the schema.
const AUDIT_LOCK: i32 = 0x6572_7303;
/// Entries in one answer.
const ENTRIES_MAX: usize = 10_000;

pub(super) const NOTE: &str = "INSERT INTO audit (number, at, by, act, subject, why, hash)
     SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[])";

/// One act, and what it is done to.
pub(super) struct Noted<'a> {
    pub(super) act: &'static str,
    pub(super) subject: String,
    pub(super) by: &'a Act,
}

/// Parameters of [`NOTE`].
#[derive(Default)]
pub(super) struct Rows {
    numbers: Vec<i64>,
    ats: Vec<i64>,
    bys: Vec<String>,
    acts: Vec<&'static str>,
    subjects: Vec<String>,
    whys: Vec<String>,
    hashes: Vec<Vec<u8>>,
}

impl Rows {
    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 7] {
        [&self.numbers, &self.ats, &self.bys, &self.acts, &self.subjects, &self.whys, &self.hashes]
    }
}

/// The rows that follow the newest. The log is locked from here to the end of the transaction, threads come before it;
/// where nothing was done, nothing is asked.
pub(super) async fn following(client: &ClientWrapper, noted: &[Noted<'_>]) -> std::result::Result<Rows, Failed> {
    let mut rows = Rows::default();
    if noted.is_empty() {
        return Ok(rows);
    }
    let (mut last, mut previous) = last_entry(client).await?.unwrap_or((0, [0; 32]));
    for Noted { act, subject, by } in noted {
        let (who, why) = (storable(&by.by).into_owned(), storable(&by.why).into_owned());
        last += 1;
        let at = micros(by.at);
        previous = chain(&previous, last, at, [&who, act, subject, &why]);
        rows.numbers.push(last);
        rows.ats.push(at);
        rows.bys.push(who);
        rows.acts.push(act);
        rows.subjects.push(subject.clone());
        rows.whys.push(why);
        rows.hashes.push(previous.to_vec());
    }
    Ok(rows)
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
    Ok(Some((row.try_get(0)?, columns::digest(row.try_get(1)?)?)))
}

pub(super) async fn entries(client: &ClientWrapper, after: u64, max: usize) -> Result<Vec<AuditEntry>> {
    let statement = client
        .prepare_cached(
            "SELECT number, at, by, act, subject, why, hash FROM audit WHERE number > $1 ORDER BY number LIMIT $2",
        )
        .await?;
    let limit = columns::signed(max.min(ENTRIES_MAX) as u64);
    let rows = client.query(&statement, &[&columns::signed(after), &limit]).await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &tokio_postgres::Row) -> Result<AuditEntry> {
    let hash: &[u8] = row.try_get(6)?;
    Ok(AuditEntry {
        number: columns::count(row, 0)?,
        at: columns::time(row, 1)?,
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
            if number != last + 1 || hash != columns::digest(row.try_get(6)?)? {
                return Err(damaged(&format!("the audit log was changed at or before entry {number}")));
            }
            (previous, last) = (hash, number);
        }
    }
}
