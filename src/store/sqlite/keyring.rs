//! Data keys: rows of the file, read and written.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use super::books::Books;
use super::columns;
use crate::keys::{Fingerprint, Keys};
use crate::store::encryption::is_due;
use crate::store::vault::ring::{self, ROOT};
use crate::store::vault::{Sealing, Vault, WrappedKey, locked};
use crate::store::{Result, StoreError};

/// Everything is sealed with this data key or a later one.
const RENEWED: &str = "renewed_to_key";

pub(super) fn rows(connection: &Connection) -> Result<Vec<WrappedKey>> {
    let mut statement = connection.prepare_cached(
        "SELECT number, master, wrapped, made_at, used_from, retired, seals FROM data_key ORDER BY number",
    )?;
    let mut rows = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(WrappedKey {
            number: row.get(0)?,
            master: row.get::<_, [u8; 8]>(1)?,
            wrapped: row.get(2)?,
            made_at: columns::time(row, 3)?,
            used_from: columns::time(row, 4)?,
            retired: row.get(5)?,
            seals: columns::count(row, 6)?,
        });
    }
    Ok(keys)
}

fn insert(connection: &Connection, keys: &[WrappedKey]) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO data_key (number, master, wrapped, made_at, used_from, retired, seals)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for key in keys {
        statement.execute((
            key.number,
            key.master,
            &key.wrapped[..],
            key.made_at.as_microsecond(),
            key.used_from.as_microsecond(),
            key.retired,
            columns::signed(key.seals),
        ))?;
    }
    Ok(())
}

/// Unlocks a file that was just opened, for who writes: a new one gets its first keys. Returns the keys of its digests.
pub(super) fn unlock(
    connection: &mut Connection,
    vault: &Vault,
    sealing: Option<&Sealing>,
    now: Timestamp,
) -> Result<Option<Keys>> {
    let Some(Sealing { keys, encrypt, begins }) = sealing else {
        return if rows(connection)?.is_empty() { Ok(None) } else { Err(locked()) };
    };
    if rows(connection)?.is_empty() {
        if !begins {
            return Ok(Some(keys.clone()));
        }
        let transaction = connection.transaction()?;
        let first = ring::first(keys, now);
        insert(&transaction, &first)?;
        if is_new(&transaction)? {
            // Nothing in it is to be sealed anew, so nobody walks behind what comes in.
            let newest = first.iter().map(|key| key.number).max();
            transaction.execute("INSERT INTO meta (name, value) VALUES (?1, ?2)", (RENEWED, newest))?;
        }
        transaction.commit()?;
    }
    let opened = take(connection, vault, keys)?;
    if !encrypt {
        // What is written in clear from now on is sealed once that is wanted again.
        connection.execute("DELETE FROM meta WHERE name = ?1", [RENEWED])?;
    }
    vault.seal_from_now_on(*encrypt);
    Ok(opened)
}

/// Nothing has come in yet, and nobody has signed in.
fn is_new(connection: &Connection) -> Result<bool> {
    let any = "SELECT EXISTS (SELECT 1 FROM message) OR EXISTS (SELECT 1 FROM thread) OR EXISTS (SELECT 1 FROM secret)
                 OR EXISTS (SELECT 1 FROM snapshot) OR EXISTS (SELECT 1 FROM dispatch) OR EXISTS (SELECT 1 FROM outbox)";
    Ok(!connection.query_row(any, [], |row| row.get::<_, bool>(0))?)
}

/// Takes what the file has by now. `None`: it has no keys yet.
pub(super) fn take(connection: &Connection, vault: &Vault, keys: &Keys) -> Result<Option<Keys>> {
    let Some((ring, keys)) = ring::open(&rows(connection)?, keys)? else { return Ok(None) };
    vault.take(ring);
    Ok(Some(keys))
}

pub(super) fn renewed(connection: &Connection) -> Result<u32> {
    let renewed: Option<u32> = connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([RENEWED], |row| row.get(0))
        .optional()?;
    Ok(renewed.unwrap_or(0))
}

impl Books {
    /// Counts what was sealed, and makes the next key when one has served.
    pub(super) fn look_at_keys(&mut self, keys: &Keys, sealed: u64, now: Timestamp) -> Result<()> {
        if let Some(current) = self.vault.current().filter(|_| sealed > 0) {
            self.connection
                .prepare_cached("UPDATE data_key SET seals = seals + ?2 WHERE number = ?1")?
                .execute((current, columns::signed(sealed)))?;
        }
        let rows = rows(&self.connection)?;
        // While two master keys open the store, one of which is not known here, nobody makes another.
        let alone = rows.iter().all(|row| row.master == keys.fingerprint());
        if alone && self.vault.is_sealing() && ring::is_worn(&rows, now) {
            insert(&self.connection, &ring::next(&rows, &[keys], now))?;
        }
        Ok(())
    }

    pub(super) fn note_renewed(&self, number: u32) -> Result<()> {
        self.note(RENEWED, number.into())
    }
}

/// Another master key opens the file as well, and a new data key takes over from those that there are.
pub(super) fn add_master(connection: &mut Connection, keys: &Keys, next: &Keys, now: Timestamp) -> Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let before = rows(&transaction)?;
    if before.iter().any(|row| row.master == next.fingerprint()) {
        return Ok(());
    }
    ring::refuse_second_change(&before, keys)?;
    let mut all = before.clone();
    let more = ring::rewrapped(&before, keys, next)?;
    // The root as well, under the key that is to go: so it is known which one that is.
    transaction.execute("UPDATE data_key SET retired = 1", [])?;
    let retired = more.into_iter().map(|row| WrappedKey { retired: row.number != ROOT, ..row });
    all.extend(retired.clone());
    insert(&transaction, &retired.collect::<Vec<_>>())?;
    insert(&transaction, &ring::next(&all, &[keys, next], now))?;
    transaction.commit()?;
    Ok(())
}

/// Lets go of all other master keys. Data keys stay: whatever names one still opens.
pub(super) fn keep_only(connection: &mut Connection, master: Fingerprint) -> Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let rows = rows(&transaction)?;
    let renewed = renewed(&transaction)?;
    if is_due(&rows, renewed) {
        return Err(StoreError::Outdated("not everything is sealed with the new data key yet".into()));
    }
    ring::refuse_to_keep_the_old(&rows, master)?;
    transaction.execute("DELETE FROM data_key WHERE master <> ?1", [master])?;
    transaction.commit()?;
    Ok(())
}
