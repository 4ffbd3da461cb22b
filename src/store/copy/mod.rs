//! A store into another: from SQLite to PostgreSQL, or back, while no gateway has either.
//!
//! Enters: where from, where to. Leaves: a store that answers as the first one does, with the same events at the same
//! positions. Guarantees: nothing is taken away from the first; a copy that was stopped in the middle, however, goes
//! on where it was, and no gateway opens it before it is whole; it is whole only when every row was read back from
//! both and found to be the same. Rows are copied in batches, each with its progress in one transaction.
//!
//! What instances know of each other is not copied: their signs of life, duties, quotas, and which set they use.

mod cell;
mod postgres;
mod sqlite;
mod tables;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use self::cell::{Cell, Row, TableDigest};
use self::postgres::PostgresEnd;
use self::sqlite::SqliteEnd;
use self::tables::{TABLES, Table};
use super::StoreError;
use super::postgres::{Address, AddressError};
use crate::config::StoreUrl;
use crate::environment::Environment;

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{place}: {source}")]
    Store { place: String, source: StoreError },
    #[error("store: {0}")]
    Address(#[from] AddressError),
    #[error("there is no store at {0}")]
    Nothing(String),
    #[error("{0} is both where to copy from and where to")]
    Same(String),
    #[error("{place} is not empty: it has rows in table {table}")]
    NotEmpty { place: String, table: &'static str },
    #[error("{place} is an unfinished copy of {of}: go on with that, or remove it")]
    OfAnother { place: String, of: String },
    #[error(
        "table {table} differs: {from} rows to be copied, {to} rows in the copy. The copy stays unfinished: remove it \
         and begin again"
    )]
    Differs { table: &'static str, from: u64, to: u64 },
}

/// Of one batch, which is in memory and in one transaction. A row may be larger.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rows: usize,
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows: 2_000, bytes: 8 << 20 }
    }
}

/// What is being done, for whoever watches. `rows` are those of a phase, out of `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Copying { rows: u64, all: u64 },
    Verifying { rows: u64, all: u64 },
}

/// A table that is the same in both.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CopiedTable {
    pub table: &'static str,
    pub rows: u64,
    pub digest: String,
}

/// How far a copy is: whole tables, the key of the last row in the next one, rows of all.
#[derive(Clone, Debug, Default)]
struct Place {
    tables: i64,
    key: Option<String>,
    rows: i64,
}

/// The highest numbers given, though their rows may be gone.
#[derive(Clone, Copy, Debug)]
struct Highest {
    messages: i64,
    events: i64,
    acts: i64,
}

#[derive(Default)]
struct Batch {
    rows: Vec<Row>,
    last: Option<Row>,
    bytes: usize,
}

impl Batch {
    /// `cells`: those of the key as its store has it, and then the row.
    fn add(&mut self, keys: usize, cells: Row) {
        let mut cells: VecDeque<Cell> = cells.into();
        self.last = Some(cells.drain(..keys).collect());
        self.bytes += cells.iter().map(Cell::size).sum::<usize>();
        self.rows.push(cells.into());
    }
}

/// One of the two stores.
enum End {
    Sqlite(SqliteEnd),
    Postgres(PostgresEnd),
}

macro_rules! either {
    ($end:expr, $this:ident => $answer:expr) => {
        match $end {
            End::Sqlite($this) => $answer.await,
            End::Postgres($this) => $answer.await,
        }
    };
}

struct Opened {
    end: End,
    /// For people.
    place: String,
}

impl Opened {
    async fn new(url: &StoreUrl, make: bool, environment: &Environment) -> std::result::Result<Self, CopyError> {
        if let Some(path) = url.sqlite_path() {
            let place = path.display().to_string();
            if !make && !path.is_file() {
                return Err(CopyError::Nothing(place));
            }
            return match SqliteEnd::open(&path, make, environment).await {
                Ok(end) => {
                    let place = path.canonicalize().map_or(place, |path| path.display().to_string());
                    Ok(Self { end: End::Sqlite(end), place })
                }
                Err(source) => Err(CopyError::Store { place, source }),
            };
        }
        let address = Address::parse(url.as_text())?;
        let place = address.place();
        let opened = async {
            let end = PostgresEnd::open(&address, make, environment).await?;
            let schema = end.schema().await?;
            Ok((end, schema))
        };
        match opened.await {
            Ok((end, schema)) => Ok(Self { end: End::Postgres(end), place: format!("{place}, schema {schema}") }),
            Err(source) => Err(CopyError::Store { place, source }),
        }
    }

    fn failed(&self) -> impl Fn(StoreError) -> CopyError + '_ {
        |source| CopyError::Store { place: self.place.clone(), source }
    }

    async fn count(&self, table: &'static Table) -> std::result::Result<u64, CopyError> {
        either!(&self.end, end => end.count(table)).map_err(self.failed())
    }

    async fn read(
        &self,
        table: &'static Table,
        after: Option<Row>,
        limits: Limits,
    ) -> std::result::Result<Batch, CopyError> {
        either!(&self.end, end => end.read(table, after, limits)).map_err(self.failed())
    }

    async fn ready_to_read(&self) -> std::result::Result<(), CopyError> {
        match &self.end {
            End::Sqlite(end) => end.ready_to_read().await.map_err(self.failed()),
            End::Postgres(_) => Ok(()),
        }
    }

    async fn digest(&self, table: &'static Table, limits: Limits) -> std::result::Result<TableDigest, CopyError> {
        let (mut digest, mut after) = (TableDigest::default(), None);
        loop {
            let batch = self.read(table, after, limits).await?;
            if batch.rows.is_empty() {
                return Ok(digest);
            }
            batch.rows.iter().for_each(|row| digest.add(row));
            after = batch.last;
        }
    }

    /// Begins a copy in an empty store, or finds where it was.
    async fn begin(&self, of: &str) -> std::result::Result<Place, CopyError> {
        let begun = either!(&self.end, end => end.begun()).map_err(self.failed())?;
        if let Some((source, place)) = begun {
            if source != of {
                return Err(CopyError::OfAnother { place: self.place.clone(), of: source });
            }
            return Ok(place);
        }
        for table in &TABLES {
            if self.count(table).await? > 0 {
                return Err(CopyError::NotEmpty { place: self.place.clone(), table: table.name });
            }
        }
        either!(&self.end, end => end.begin(of.to_owned())).map_err(self.failed())?;
        Ok(Place::default())
    }
}

/// Copies a store, or goes on with a copy of it. `told`: after every batch, and after every table that was verified.
pub async fn copy(
    from: &StoreUrl,
    to: &StoreUrl,
    limits: Limits,
    environment: &Environment,
    mut told: impl FnMut(Step),
) -> std::result::Result<Vec<CopiedTable>, CopyError> {
    if from.as_text() == to.as_text() {
        return Err(CopyError::Same(from.place()));
    }
    let from = Opened::new(from, false, environment).await?;
    if let Some((of, _)) = either!(&from.end, end => end.begun()).map_err(from.failed())? {
        return Err(CopyError::OfAnother { place: from.place.clone(), of });
    }
    let to = Opened::new(to, true, environment).await?;
    let mut all = 0;
    for table in &TABLES {
        all += from.count(table).await?;
    }
    from.ready_to_read().await?;
    let place = to.begin(&from.place).await?;
    copy_rows(&from, &to, place, limits, |rows| told(Step::Copying { rows, all })).await?;
    let highest = either!(&from.end, end => end.highest()).map_err(from.failed())?;
    either!(&to.end, end => end.conclude(highest)).map_err(to.failed())?;
    told(Step::Verifying { rows: 0, all });
    let copied = verify(&from, &to, limits, |rows| told(Step::Verifying { rows, all })).await?;
    either!(&to.end, end => end.prove()).map_err(to.failed())?;
    either!(&to.end, end => end.end()).map_err(to.failed())?;
    Ok(copied)
}

async fn copy_rows(
    from: &Opened,
    to: &Opened,
    mut place: Place,
    limits: Limits,
    mut told: impl FnMut(u64),
) -> std::result::Result<(), CopyError> {
    told(place.rows.unsigned_abs());
    let unreadable = |_| to.failed()(super::damaged("where the copy was cannot be read"));
    for (table, done) in TABLES.iter().zip(1_i64..) {
        if place.tables >= done {
            continue;
        }
        let mut after: Option<Row> =
            place.key.take().map(|key| serde_json::from_str(&key)).transpose().map_err(unreadable)?;
        loop {
            let batch = from.read(table, after, limits).await?;
            let ended = batch.rows.is_empty();
            place.key = batch.last.as_ref().map(|key| serde_json::to_string(key).expect("cells have a JSON form"));
            place.rows += i64::try_from(batch.rows.len()).expect("a batch is small");
            if ended {
                place.tables = done;
            }
            either!(&to.end, end => end.write(table, batch.rows, place.clone())).map_err(to.failed())?;
            told(place.rows.unsigned_abs());
            if ended {
                break;
            }
            after = batch.last;
        }
    }
    Ok(())
}

/// Reads everything again, from both.
async fn verify(
    from: &Opened,
    to: &Opened,
    limits: Limits,
    mut told: impl FnMut(u64),
) -> std::result::Result<Vec<CopiedTable>, CopyError> {
    to.ready_to_read().await?;
    let (mut copied, mut rows) = (Vec::with_capacity(TABLES.len()), 0);
    for table in &TABLES {
        let (one, other) = tokio::join!(from.digest(table, limits), to.digest(table, limits));
        let (one, other) = (one?, other?);
        if one != other {
            return Err(CopyError::Differs { table: table.name, from: one.rows, to: other.rows });
        }
        rows += one.rows;
        told(rows);
        copied.push(CopiedTable { table: table.name, rows: one.rows, digest: one.as_hex() });
    }
    Ok(copied)
}
