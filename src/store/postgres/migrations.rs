//! Numbered migrations in two phases, so that gateways of two versions can share a store while one follows the other.
//!
//! *Expand* only adds what older versions can live with, and runs when the first gateway of the new version starts.
//! *Contract* takes away what only older versions need, and runs once none of them is alive. Each phase runs once,
//! in one transaction with its row in `migration`, under a lock that one gateway has at a time. A store that was
//! contracted past what a version knows is refused by it.

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::Client;

use crate::environment::Environment;
use crate::store::{Result, StoreError};

struct Migration {
    number: i32,
    name: &'static str,
    expand: Expansion,
    /// Empty where nothing is to be taken away.
    contract: &'static str,
}

enum Expansion {
    /// In one transaction with its row in `migration`.
    Whole(&'static str),
    /// Statement by statement, for indexes that are built while others write (`CONCURRENTLY`). Each may be repeated.
    Beside(&'static str),
}

const MIGRATIONS: [Migration; 15] = [
    Migration {
        number: 1,
        name: "first_tables",
        expand: Expansion::Whole(include_str!("migrations/0001_first_tables.expand.sql")),
        contract: "",
    },
    Migration {
        number: 2,
        name: "places",
        expand: Expansion::Beside(include_str!("migrations/0002_places.expand.sql")),
        contract: include_str!("migrations/0002_places.contract.sql"),
    },
    Migration {
        number: 3,
        name: "plans_that_read_again",
        expand: Expansion::Whole(include_str!("migrations/0003_plans_that_read_again.expand.sql")),
        contract: "",
    },
    Migration {
        number: 4,
        name: "links",
        expand: Expansion::Whole(include_str!("migrations/0004_links.expand.sql")),
        contract: "",
    },
    Migration {
        number: 5,
        name: "dispatches",
        expand: Expansion::Whole(include_str!("migrations/0005_dispatches.expand.sql")),
        contract: "",
    },
    Migration {
        number: 6,
        name: "watches",
        expand: Expansion::Whole(include_str!("migrations/0006_watches.expand.sql")),
        contract: "",
    },
    Migration {
        number: 7,
        name: "told",
        expand: Expansion::Beside(include_str!("migrations/0007_told.expand.sql")),
        contract: "",
    },
    Migration {
        number: 8,
        name: "fetched",
        expand: Expansion::Whole(include_str!("migrations/0008_fetched.expand.sql")),
        contract: "",
    },
    Migration {
        number: 9,
        name: "acts",
        expand: Expansion::Beside(include_str!("migrations/0009_acts.expand.sql")),
        contract: "",
    },
    Migration {
        number: 10,
        name: "patients",
        expand: Expansion::Beside(include_str!("migrations/0010_patients.expand.sql")),
        contract: include_str!("migrations/0010_patients.contract.sql"),
    },
    Migration {
        number: 11,
        name: "problems",
        expand: Expansion::Beside(include_str!("migrations/0011_problems.expand.sql")),
        contract: "",
    },
    Migration {
        number: 12,
        name: "replays",
        expand: Expansion::Whole(include_str!("migrations/0012_replays.expand.sql")),
        contract: "",
    },
    Migration {
        number: 13,
        name: "reports",
        expand: Expansion::Whole(include_str!("migrations/0013_reports.expand.sql")),
        contract: "",
    },
    Migration {
        number: 14,
        name: "modes",
        expand: Expansion::Whole(include_str!("migrations/0014_modes.expand.sql")),
        contract: "",
    },
    Migration {
        number: DATA_KEYS,
        name: "data_keys",
        expand: Expansion::Whole(include_str!("migrations/0015_data_keys.expand.sql")),
        contract: "",
    },
];

/// Older versions cannot read what is sealed.
const DATA_KEYS: i32 = 15;

/// The newest migration that this version knows.
pub(super) const NEWEST: i32 = MIGRATIONS[MIGRATIONS.len() - 1].number;

/// A number that nobody else uses as an advisory lock; the other half of the key is the schema.
const LOCK: i32 = 0x6572_7301;
const LOCK_RETRY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Expand,
    Contract,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Contract => "contract",
        }
    }
}

/// What was done to the store.
struct Applied {
    /// The newest migration that was expanded, by any version.
    expanded: i32,
    /// The newest that was contracted: versions that don't know it can't use the store.
    contracted: i32,
}

/// Brings the store up to date, as far as versions that are alive allow.
pub(super) async fn expand(client: &Client, environment: &Environment) -> Result<()> {
    let now = environment.now();
    // Asked again and again: a session that waits for the lock in a statement would hold up an index that the one
    // who has the lock builds beside the others.
    let lock = format!("SELECT pg_try_advisory_lock({LOCK}, hashtext(current_schema()))");
    while !client.query_one(&lock, &[]).await?.try_get::<_, bool>(0)? {
        tokio::select! {
            () = environment.sleep(LOCK_RETRY) => {}
            () = environment.shutdown().cancelled() => {
                return Err(StoreError::Unavailable("another gateway migrates the store".into()));
            }
        }
    }
    let done = expand_locked(client, now).await;
    // The lock ends with the connection in any case.
    client.query_one(&format!("SELECT pg_advisory_unlock({LOCK}, hashtext(current_schema()))"), &[]).await?;
    done
}

async fn expand_locked(client: &Client, now: Timestamp) -> Result<()> {
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS migration (
               number integer NOT NULL, phase text NOT NULL, name text NOT NULL, applied_at bigint NOT NULL,
               PRIMARY KEY (number, phase)
             )",
        )
        .await?;
    let applied = applied(client).await?;
    require_usable(&applied)?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.number > applied.expanded) {
        match migration.expand {
            Expansion::Whole(sql) => apply(client, migration, Phase::Expand, sql, now).await?,
            Expansion::Beside(sql) => {
                build_beside(client, sql).await?;
                apply(client, migration, Phase::Expand, "", now).await?;
            }
        }
    }
    Ok(())
}

/// Builds what is to be built while other gateways write. What an attempt that was stopped left half built is
/// dropped first.
async fn build_beside(client: &Client, sql: &str) -> Result<()> {
    client.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0;").await?;
    let half_built = client
        .query(
            "SELECT c.oid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
             WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::regnamespace",
            &[],
        )
        .await?;
    for row in half_built {
        client.batch_execute(&format!("DROP INDEX {}", row.try_get::<_, String>(0)?)).await?;
    }
    let without_comments: String = sql.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    for statement in without_comments.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        client.batch_execute(statement).await?;
    }
    Ok(())
}

/// Takes away what only versions need that are not alive any more. `oldest`: the newest migration that the oldest
/// living instance knows.
pub(super) async fn contract(client: &Client, oldest: i32, now: Timestamp) -> Result<()> {
    if applied(client).await?.contracted >= oldest.min(NEWEST) {
        return Ok(());
    }
    let lock = format!("SELECT pg_try_advisory_lock({LOCK}, hashtext(current_schema()))");
    if !client.query_one(&lock, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(());
    }
    let done = contract_locked(client, oldest, now).await;
    client.query_one(&format!("SELECT pg_advisory_unlock({LOCK}, hashtext(current_schema()))"), &[]).await?;
    done
}

async fn contract_locked(client: &Client, oldest: i32, now: Timestamp) -> Result<()> {
    let applied = applied(client).await?;
    for migration in MIGRATIONS.iter().filter(|one| one.number > applied.contracted && one.number <= oldest) {
        apply(client, migration, Phase::Contract, migration.contract, now).await?;
        tracing::info!(migration = migration.name, "the store was contracted: no older version is alive");
    }
    Ok(())
}

async fn applied(client: &Client) -> Result<Applied> {
    let row = client
        .query_one(
            "SELECT coalesce(max(number) FILTER (WHERE phase = 'expand'), 0),
                    coalesce(max(number) FILTER (WHERE phase = 'contract'), 0) FROM migration",
            &[],
        )
        .await?;
    Ok(Applied { expanded: row.try_get(0)?, contracted: row.try_get(1)? })
}

/// True once no version can come back that could not read what is sealed.
pub(super) async fn may_seal(client: &impl tokio_postgres::GenericClient) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM migration WHERE phase = 'contract' AND number >= $1)";
    Ok(client.query_one(sql, &[&DATA_KEYS]).await?.try_get(0)?)
}

fn require_usable(applied: &Applied) -> Result<()> {
    if applied.contracted > NEWEST {
        return Err(StoreError::Damaged(format!(
            "the store was contracted to schema {}, this version knows {NEWEST}: use a newer version",
            applied.contracted
        )));
    }
    Ok(())
}

/// For who only looks: a store that this version can't read is refused, not changed.
pub(super) async fn require_readable(client: &Client) -> Result<()> {
    let exists: bool = client.query_one("SELECT to_regclass('migration') IS NOT NULL", &[]).await?.try_get(0)?;
    if !exists {
        return Err(StoreError::Unavailable("there is no store of a gateway in this database".into()));
    }
    let applied = applied(client).await?;
    require_usable(&applied)?;
    if applied.expanded < NEWEST {
        return Err(StoreError::Damaged(format!(
            "the store has schema {}, this version needs {NEWEST}: start a gateway of this version first",
            applied.expanded
        )));
    }
    Ok(())
}

async fn apply(client: &Client, migration: &Migration, phase: Phase, sql: &str, now: Timestamp) -> Result<()> {
    let done = async {
        // A migration may take longer than any other statement, and waits for whoever reads a table.
        client.batch_execute("BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;").await?;
        client.batch_execute(sql).await?;
        client
            .execute(
                "INSERT INTO migration (number, phase, name, applied_at) VALUES ($1, $2, $3, $4)",
                &[&migration.number, &phase.name(), &migration.name, &now.as_microsecond()],
            )
            .await?;
        client.batch_execute("COMMIT").await
    };
    if let Err(error) = done.await {
        client.batch_execute("ROLLBACK").await?;
        return Err(error.into());
    }
    Ok(())
}
