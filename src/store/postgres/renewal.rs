//! What is in clear, or sealed with a data key that is to go, sealed anew: a few rows at a time, table after table.
//!
//! Guarantees: a column that changed meanwhile stays as it is, for who changed it sealed it; a crash repeats at most one step,
//! which then finds nothing to do.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::keyring;
use crate::store::encryption::{RENEWED_AT_ONCE, Renewed, is_due};
use crate::store::unreadable::if_whole;
use crate::store::vault::form::{Column, name_digest};
use crate::store::vault::{Place, Vault};
use crate::store::{Result, StoreError, damaged};

/// Content of a row may be a chunk of 256 KiB.
const CHUNKS_AT_ONCE: usize = 8;

/// A table with sealed columns, walked in the order of its key.
struct Walk {
    table: &'static str,
    /// Columns of its key with their types.
    key: &'static [(&'static str, &'static str)],
    id: Id,
    chunk: Option<(&'static str, &'static str)>,
    texts: &'static [(&'static str, Column)],
    bytes: &'static [(&'static str, Column)],
}

/// Of what a value is.
#[derive(Clone, Copy)]
enum Id {
    /// An expression.
    Uuid(&'static str),
    /// The two columns of the key.
    Names,
}

const NUMBER: &[(&str, &str)] = &[("number", "bigint")];

const fn walk(table: &'static str) -> Walk {
    Walk { table, key: NUMBER, id: Id::Uuid("t.id"), chunk: None, texts: &[], bytes: &[] }
}

const OF_MESSAGE: Id = Id::Uuid("(SELECT id FROM message m WHERE m.number = t.message)");

const WALKS: [Walk; 11] = [
    Walk {
        bytes: &[("raw", Column::MessageRaw), ("acknowledgement", Column::MessageAcknowledgement)],
        ..walk("message")
    },
    Walk {
        key: &[("message", "bigint"), ("position", "integer")],
        id: OF_MESSAGE,
        chunk: Some(("0::bigint", "t.position")),
        bytes: &[("bytes", Column::MessageChunk)],
        ..walk("message_chunk")
    },
    Walk {
        key: &[("message", "bigint"), ("number", "bigint"), ("position", "integer")],
        id: OF_MESSAGE,
        chunk: Some(("t.number", "t.position")),
        bytes: &[("bytes", Column::Document)],
        ..walk("document")
    },
    Walk { texts: &[("known", Column::ThreadKnown)], ..walk("thread") },
    Walk {
        texts: &[("body", Column::CommandBody), ("plan", Column::CommandPlan), ("local_id", Column::CommandLocalId)],
        ..walk("command")
    },
    Walk {
        key: &[("command", "bigint"), ("id", "uuid")],
        texts: &[("request", Column::AttemptRequest), ("response", Column::AttemptResponse)],
        ..walk("attempt")
    },
    Walk {
        key: &[("command", "bigint"), ("attempt", "uuid"), ("position", "integer")],
        id: Id::Uuid("t.attempt"),
        chunk: Some(("0::bigint", "t.position")),
        bytes: &[("bytes", Column::Fetched)],
        ..walk("fetched")
    },
    Walk { key: &[("position", "bigint")], texts: &[("data", Column::EventData)], ..walk("outbox") },
    Walk { bytes: &[("content", Column::DispatchContent)], ..walk("dispatch") },
    Walk {
        key: &[("watch", "text"), ("service", "text")],
        id: Id::Names,
        bytes: &[("content", Column::Snapshot)],
        ..walk("snapshot")
    },
    Walk {
        key: &[("connection", "text"), ("kind", "text")],
        id: Id::Names,
        bytes: &[("sealed", Column::Secret)],
        ..walk("secret")
    },
];

pub(super) async fn renew(client: &ClientWrapper, vault: &Vault) -> Result<Option<Renewed>> {
    let Some(current) = vault.current() else { return Ok(None) };
    let keys = keyring::rows(&**client).await?;
    // A key that was just made is used in a moment: what is sealed until then would have to be sealed again.
    let newest = keys.iter().map(|key| key.number).max();
    if !is_due(&keys, keyring::renewed(&**client).await?) || newest != Some(current) {
        return Ok(None);
    }
    client.batch_execute("BEGIN").await?;
    let step = step(client, vault, current).await;
    client.batch_execute(if step.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    step.map(Some)
}

async fn step(client: &ClientWrapper, vault: &Vault, current: u32) -> Result<Renewed> {
    // Locked: two instances that both think to have the duty take turns.
    client.batch_execute("LOCK TABLE renewal IN EXCLUSIVE MODE").await?;
    // Walked for another data key, everything is looked at anew.
    let key = "INSERT INTO meta (name, value) VALUES ('renewal_key', $1)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE meta.value <> excluded.value";
    if client.execute(key, &[&i64::from(current)]).await? > 0 {
        client.execute("DELETE FROM renewal", &[]).await?;
    }
    let place = client.query_opt("SELECT walk, row FROM renewal", &[]).await?;
    let (number, after): (i32, Option<String>) = match place {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => (0, None),
    };
    let mut renewed = Renewed::default();
    let walk = usize::try_from(number).ok().and_then(|number| WALKS.get(number));
    let Some(walk) = walk else {
        keyring::note_renewed(&**client, current).await?;
        client.execute("DELETE FROM renewal", &[]).await?;
        return Ok(Renewed { ended: true, ..renewed });
    };
    let next = match rows(client, vault, walk, after, &mut renewed).await? {
        Some(row) => (number, Some(row)),
        None => (number + 1, None),
    };
    client.execute("DELETE FROM renewal", &[]).await?;
    client.execute("INSERT INTO renewal (walk, row) VALUES ($1, $2)", &[&next.0, &next.1]).await?;
    Ok(renewed)
}

/// Returns the key of the last row that was looked at; `None` behind the last of the table.
async fn rows(
    client: &ClientWrapper,
    vault: &Vault,
    walk: &Walk,
    after: Option<String>,
    renewed: &mut Renewed,
) -> Result<Option<String>> {
    let unreadable = |_| damaged("where the renewal was cannot be read");
    let after: Option<Vec<String>> = after.map(|row| serde_json::from_str(&row)).transpose().map_err(unreadable)?;
    let select = client.prepare_cached(&walk.select(after.is_some())).await?;
    let update = client.prepare_cached(&walk.update()).await?;
    let bound: Vec<&(dyn ToSql + Sync)> = after.iter().flatten().map(|value| value as &(dyn ToSql + Sync)).collect();
    let found = client.query(&select, &bound).await?;
    let mut last = None;
    for row in &found {
        let key = walk.key_of(row)?;
        renewed.rows += 1;
        let changed = anew(row, walk, &key, vault)?;
        if changed.count > 0 {
            let mut bound: Vec<&(dyn ToSql + Sync)> = key.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
            for (old, new) in &changed.texts {
                bound.extend([old as &(dyn ToSql + Sync), new]);
            }
            for (old, new) in &changed.bytes {
                bound.extend([old as &(dyn ToSql + Sync), new]);
            }
            if client.execute(&update, &bound).await? > 0 {
                renewed.values += changed.count;
            }
        }
        last = Some(key);
    }
    Ok(last.map(|key| serde_json::to_string(&key).expect("texts have a JSON form")))
}

/// Opens everything that is sealed.
pub(super) async fn prove(client: &ClientWrapper, vault: &Vault) -> Result<()> {
    for walk in &WALKS {
        let mut after: Option<Vec<String>> = None;
        loop {
            let select = client.prepare_cached(&walk.select(after.is_some())).await?;
            let bound: Vec<&(dyn ToSql + Sync)> =
                after.iter().flatten().map(|value| value as &(dyn ToSql + Sync)).collect();
            let found = client.query(&select, &bound).await?;
            for row in &found {
                let key = walk.key_of(row)?;
                open(row, walk, &key, vault).map_err(|error| match error {
                    StoreError::Damaged(why) => StoreError::Damaged(format!("table {}: {why}", walk.table)),
                    error => error,
                })?;
                after = Some(key);
            }
            if found.is_empty() {
                break;
            }
        }
    }
    Ok(())
}

fn open(row: &Row, walk: &Walk, key: &[String], vault: &Vault) -> Result<()> {
    let (mut at, place) = walk.places(row, key)?;
    for (_, column) in walk.texts {
        if let Some(text) = row.try_get::<_, Option<&str>>(at)? {
            vault.open_text(place(*column), text)?;
        }
        at += 1;
    }
    for (_, column) in walk.bytes {
        if let Some(bytes) = row.try_get(at)? {
            vault.open(place(*column), bytes)?;
        }
        at += 1;
    }
    Ok(())
}

/// A value as it was and as it is to be.
type OldAndNew<T> = (Option<T>, Option<T>);

#[derive(Default)]
struct Changed {
    texts: Vec<OldAndNew<String>>,
    bytes: Vec<OldAndNew<Vec<u8>>>,
    count: u64,
}

fn anew(row: &Row, walk: &Walk, key: &[String], vault: &Vault) -> Result<Changed> {
    let (mut at, place) = walk.places(row, key)?;
    let mut changed = Changed::default();
    for (_, column) in walk.texts {
        let old: Option<String> = row.try_get(at)?;
        // What does not open stays as it is, for `prove` to find.
        let new = old.as_deref().map(|old| if_whole(vault.renewed_text(place(*column), old))).transpose()?;
        let new = new.flatten().flatten();
        changed.count += u64::from(new.is_some());
        changed.texts.push((old.clone(), new.or(old)));
        at += 1;
    }
    for (_, column) in walk.bytes {
        let old: Option<Vec<u8>> = row.try_get(at)?;
        let new = old.as_deref().map(|old| if_whole(vault.renewed(place(*column), old))).transpose()?;
        let new = new.flatten().flatten();
        changed.count += u64::from(new.is_some());
        changed.bytes.push((old.clone(), new.or(old)));
        at += 1;
    }
    Ok(changed)
}

impl Walk {
    fn key_of(&self, row: &Row) -> Result<Vec<String>> {
        (0..self.key.len()).map(|at| Ok(row.try_get(at)?)).collect()
    }

    /// Where the values of a row begin, and whose they are.
    fn places(&self, row: &Row, key: &[String]) -> Result<(usize, impl Fn(Column) -> Place)> {
        let mut at = self.key.len();
        let id = match self.id {
            Id::Names => name_digest([&key[0], &key[1]]),
            Id::Uuid(_) => {
                at += 1;
                let id: Option<Uuid> = row.try_get(at - 1)?;
                id.ok_or_else(|| damaged("content of a message that is missing"))?.into_bytes()
            }
        };
        let (mut part, mut position) = (0, 0);
        if self.chunk.is_some() {
            let small = |_| damaged("a chunk has a number that it cannot have");
            part = u32::try_from(row.try_get::<_, i64>(at)?).map_err(small)?;
            position = u32::try_from(row.try_get::<_, i32>(at + 1)?).map_err(small)?;
            at += 2;
        }
        Ok((at, move |column: Column| column.chunk(id, part, position)))
    }

    /// `after`: from behind a key, which is bound as texts.
    fn select(&self, after: bool) -> String {
        let mut values: Vec<String> = self.key.iter().map(|(name, _)| format!("t.{name}::text")).collect();
        if let Id::Uuid(id) = self.id {
            values.push(id.to_owned());
        }
        if let Some((part, position)) = self.chunk {
            values.extend([part.to_owned(), position.to_owned()]);
        }
        values.extend(self.texts.iter().chain(self.bytes).map(|(name, _)| format!("t.{name}")));
        let keys: Vec<String> = self.key.iter().map(|(name, _)| format!("t.{name}")).collect();
        let keys = keys.join(", ");
        let beyond = if after { format!("WHERE ({keys}) > ({})", self.bound().join(", ")) } else { String::new() };
        let limit = if self.chunk.is_some() { CHUNKS_AT_ONCE } else { RENEWED_AT_ONCE };
        format!("SELECT {} FROM {} t {beyond} ORDER BY {keys} LIMIT {limit}", values.join(", "), self.table)
    }

    fn bound(&self) -> Vec<String> {
        (1..).zip(self.key).map(|(at, (_, kind))| format!("${at}::text::{kind}")).collect()
    }

    /// Each column that is as it was read; who changed another meanwhile sealed it.
    fn update(&self) -> String {
        let (mut set, mut at) = (Vec::new(), self.key.len());
        for (name, _) in self.texts.iter().chain(self.bytes) {
            let (old, new) = (at + 1, at + 2);
            set.push(format!("{name} = CASE WHEN {name} IS NOT DISTINCT FROM ${old} THEN ${new} ELSE {name} END"));
            at += 2;
        }
        let key = self.key.iter().zip(self.bound()).map(|((name, _), bound)| format!("{name} = {bound}"));
        format!("UPDATE {} SET {} WHERE {}", self.table, set.join(", "), key.collect::<Vec<_>>().join(" AND "))
    }
}
