//! Rows of a PostgreSQL store written past its lanes, by `COPY`: a million in some minutes. A portion is one
//! transaction.

use std::collections::BTreeMap;
use std::ops::Range;
use std::pin::pin;

use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

use super::super::super::exit::CliError;
use super::super::ground::{Filled, RAW, Row, SOURCES};
use super::{Schema, failed};
use crate::command::Class;

/// Between the numbers of two messages (`0001_first_tables.expand.sql`).
const APART: i64 = 4096;

pub(in crate::cli::bench) async fn write(schema: &Schema, numbers: Range<u64>, filled: Filled) -> Result<(), CliError> {
    let mut client = schema.connect().await?;
    let transaction = client.transaction().await.map_err(failed)?;
    let sources = sources(&transaction).await?;
    let portion = Portion { transaction: &transaction, numbers: numbers.clone(), filled, sources: &sources };
    portion.write_messages().await?;
    portion.write_commands().await?;
    if filled == Filled::Finished {
        portion.write_deliveries().await?;
    }
    portion.count().await?;
    // As if they had been drawn.
    let last = i64::try_from(numbers.end).unwrap_or(i64::MAX / APART);
    let drawn = "SELECT setval('message_number', $1), setval('thread_number', $2)";
    transaction.execute(drawn, &[&(last * APART), &last]).await.map_err(failed)?;
    if filled == Filled::Finished {
        transaction.execute("SELECT setval('outbox_position', $1)", &[&last]).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

async fn sources(transaction: &Transaction<'_>) -> Result<Vec<i32>, CliError> {
    let mut numbers = Vec::new();
    for name in SOURCES {
        let sql = "INSERT INTO source (name) VALUES ($1) ON CONFLICT DO NOTHING";
        transaction.execute(sql, &[&name]).await.map_err(failed)?;
        let row = transaction.query_one("SELECT number FROM source WHERE name = $1", &[&name]).await;
        numbers.push(row.map_err(failed)?.get(0));
    }
    Ok(numbers)
}

/// Rows of one transaction.
struct Portion<'p> {
    transaction: &'p Transaction<'p>,
    numbers: Range<u64>,
    filled: Filled,
    sources: &'p [i32],
}

/// What a row has in several tables.
struct Keys {
    row: Row,
    /// From 1.
    number: i64,
    message: i64,
    command: i64,
    source: i32,
    at: i64,
    digest: Vec<u8>,
}

impl Portion<'_> {
    fn keys(&self) -> impl Iterator<Item = Keys> {
        self.numbers.clone().map(|number| {
            let row = Row::of(number);
            let number = i64::try_from(number).unwrap_or(i64::MAX / APART - 1) + 1;
            Keys {
                number,
                message: number * APART,
                command: number * APART + 1,
                source: self.sources[row.source],
                at: row.received_at.as_microsecond(),
                digest: row.digest().to_vec(),
                row,
            }
        })
    }

    async fn copy_in(&self, table: &str, columns: &str, types: &[Type]) -> Result<BinaryCopyInWriter, CliError> {
        let copy = format!("COPY {table} ({columns}) FROM STDIN BINARY");
        let sink = self.transaction.copy_in(&copy).await.map_err(failed)?;
        Ok(BinaryCopyInWriter::new(sink, types))
    }

    async fn write_messages(&self) -> Result<(), CliError> {
        let types = [Type::INT4, Type::TEXT, Type::BYTEA, Type::UUID];
        let mut writer = pin!(self.copy_in("dedup", "source, control_id, sha256, message", &types).await?);
        for keys in self.keys() {
            let row: [&(dyn ToSql + Sync); 4] =
                [&keys.source, &keys.row.control_id(), &keys.digest, &keys.row.message().0];
            writer.as_mut().write(&row).await.map_err(failed)?;
        }
        writer.finish().await.map_err(failed)?;

        let columns = "number, id, source, transport, control_id, kind, charset, received_at, verdict, size, sha256, \
                       commands, acknowledgement, raw";
        let types = [
            Type::INT8,
            Type::UUID,
            Type::INT4,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::INT8,
            Type::TEXT,
            Type::INT8,
            Type::BYTEA,
            Type::INT4,
            Type::BYTEA,
            Type::BYTEA,
        ];
        let mut writer = pin!(self.copy_in("message", columns, &types).await?);
        let raw = vec![b'x'; RAW];
        for keys in self.keys() {
            let control_id = keys.row.control_id();
            let row: [&(dyn ToSql + Sync); 14] = [
                &keys.message,
                &keys.row.message().0,
                &keys.source,
                &"mllp",
                &control_id,
                &"REF^I12",
                &"UTF-8",
                &keys.at,
                &"accepted",
                &(RAW as i64),
                &keys.digest,
                &1_i32,
                &keys.row.acknowledgement().into_bytes(),
                &raw,
            ];
            writer.as_mut().write(&row).await.map_err(failed)?;
        }
        writer.finish().await.map_err(failed)?;

        let mut writer = pin!(self.copy_in("acknowledged", "message, at", &[Type::INT8, Type::INT8]).await?);
        for keys in self.keys() {
            let row: [&(dyn ToSql + Sync); 2] = [&keys.message, &keys.at];
            writer.as_mut().write(&row).await.map_err(failed)?;
        }
        writer.finish().await.map(drop).map_err(failed)
    }

    async fn write_commands(&self) -> Result<(), CliError> {
        let is_finished = self.filled == Filled::Finished;
        let columns = "number, id, sequence, created_by, created_by_id, created_by_digest, known";
        let types = [Type::INT8, Type::UUID, Type::INT8, Type::INT8, Type::UUID, Type::BYTEA, Type::TEXT];
        let mut writer = pin!(self.copy_in("thread", columns, &types).await?);
        let known = is_finished.then_some(Row::KNOWN);
        for keys in self.keys() {
            let id = keys.row.command().0;
            let row: [&(dyn ToSql + Sync); 7] = [&keys.number, &id, &1_i64, &keys.command, &id, &keys.digest, &known];
            writer.as_mut().write(&row).await.map_err(failed)?;
        }
        writer.finish().await.map_err(failed)?;

        let types = [Type::BYTEA, Type::INT2, Type::INT8];
        let mut writer = pin!(self.copy_in("alias", "digest, kind, thread", &types).await?);
        for keys in self.keys() {
            let row: [&(dyn ToSql + Sync); 3] = [&keys.digest, &1_i16, &keys.number];
            writer.as_mut().write(&row).await.map_err(failed)?;
        }
        writer.finish().await.map_err(failed)?;

        let columns = "number, id, message, source, thread, name, class, standing, state, received_at, changed_at, \
                       due, deferrals, changes, fence, creates, local_id, mapping_set, body, plan";
        let types = [
            Type::INT8,
            Type::UUID,
            Type::UUID,
            Type::INT4,
            Type::INT8,
            Type::TEXT,
            Type::INT2,
            Type::INT2,
            Type::TEXT,
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::INT4,
            Type::INT4,
            Type::INT8,
            Type::BYTEA,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
        ];
        let mut writer = pin!(self.copy_in("command", columns, &types).await?);
        let body = Row::body().to_string();
        let plan = is_finished.then_some(Row::PLAN);
        for keys in self.keys() {
            let standing = keys.row.standing(self.filled);
            let (state, due) = Row::state(standing);
            let row: [&(dyn ToSql + Sync); 20] = [
                &keys.command,
                &keys.row.command().0,
                &keys.row.message().0,
                &keys.source,
                &keys.number,
                &"CreateReferral",
                &class(keys.row.class),
                &standing,
                &state,
                &keys.at,
                &keys.at,
                &due,
                &0_i32,
                &2_i32,
                &1_i64,
                &keys.digest,
                &"EV",
                &"set",
                &body,
                &plan,
            ];
            writer.as_mut().write(&row).await.map_err(failed)?;
        }
        writer.finish().await.map(drop).map_err(failed)
    }

    /// What a command leaves that was carried out.
    async fn write_deliveries(&self) -> Result<(), CliError> {
        let columns = "command, number, at, from_state, to_state, why, by";
        let types = [Type::INT8, Type::INT4, Type::INT8, Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT];
        let mut writer = pin!(self.copy_in("transition", columns, &types).await?);
        for keys in self.keys() {
            for (number, from, to, why) in
                [(1_i32, "queued", "running", "claimed"), (2, "running", "completed", "done")]
            {
                let row: [&(dyn ToSql + Sync); 7] = [&keys.command, &number, &keys.at, &from, &to, &why, &"bench"];
                writer.as_mut().write(&row).await.map_err(failed)?;
            }
        }
        writer.finish().await.map_err(failed)?;

        let columns = "id, command, fence, step, call, is_write, correlation_id, started_at, finished_at, status, \
                       outcome, duration_ms, request, response";
        let types = [
            Type::UUID,
            Type::INT8,
            Type::INT8,
            Type::TEXT,
            Type::TEXT,
            Type::BOOL,
            Type::TEXT,
            Type::INT8,
            Type::INT8,
            Type::INT4,
            Type::TEXT,
            Type::INT8,
            Type::TEXT,
            Type::TEXT,
        ];
        let mut writer = pin!(self.copy_in("attempt", columns, &types).await?);
        let exchange = Row::exchange().to_string();
        for keys in self.keys() {
            let row: [&(dyn ToSql + Sync); 14] = [
                &keys.row.attempt(),
                &keys.command,
                &1_i64,
                &"create",
                &"A011",
                &true,
                &"correlation",
                &keys.at,
                &keys.at,
                &201_i32,
                &"ok",
                &80_i64,
                &exchange,
                &exchange,
            ];
            writer.as_mut().write(&row).await.map_err(failed)?;
        }
        writer.finish().await.map_err(failed)?;

        let columns = "position, id, name, at, source, subject, thread, sequence, confirmed_at, data";
        let types = [
            Type::INT8,
            Type::UUID,
            Type::TEXT,
            Type::INT8,
            Type::TEXT,
            Type::TEXT,
            Type::UUID,
            Type::INT8,
            Type::INT8,
            Type::TEXT,
        ];
        let mut writer = pin!(self.copy_in("outbox", columns, &types).await?);
        for keys in self.keys() {
            let command = keys.row.command();
            let row: [&(dyn ToSql + Sync); 10] = [
                &keys.number,
                &keys.row.event(),
                &"ReferralCreated",
                &keys.at,
                &SOURCES[keys.row.source],
                &command.to_string(),
                &command.0,
                &1_i64,
                &keys.at,
                &keys.row.event_data().to_string(),
            ];
            writer.as_mut().write(&row).await.map_err(failed)?;
        }
        writer.finish().await.map(drop).map_err(failed)
    }

    async fn count(&self) -> Result<(), CliError> {
        let mut tally = BTreeMap::new();
        for keys in self.keys() {
            *tally.entry((keys.row.standing(self.filled), class(keys.row.class), keys.source)).or_insert(0_i64) += 1;
        }
        for ((standing, class, source), count) in tally {
            let sql = "INSERT INTO tally VALUES (0, $1, $2, $3, $4)
                       ON CONFLICT (desk, standing, class, source) DO UPDATE SET count = tally.count + excluded.count";
            self.transaction.execute(sql, &[&standing, &class, &source, &count]).await.map_err(failed)?;
        }
        Ok(())
    }
}

fn class(class: Class) -> i16 {
    i16::from(class.rank())
}
