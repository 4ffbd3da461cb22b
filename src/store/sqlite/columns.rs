//! How values stand in columns: identifiers as 16 bytes, times as microseconds, JSON as text.

use jiff::Timestamp;
use rusqlite::Row;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::command::{Class, State, Verdict};
use crate::store::damaged;
use crate::store::unreadable::read_json;
use crate::store::{Result, Transport};

pub(super) fn uuid(row: &Row<'_>, column: usize) -> Result<Uuid> {
    Ok(Uuid::from_bytes(row.get(column)?))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    timestamp(row.get(column)?)
}

pub(super) fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?.map(timestamp).transpose()
}

pub(super) fn timestamp(micros: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(|_| damaged("a time is out of range"))
}

/// A number that is never negative.
pub(super) fn count(row: &Row<'_>, column: usize) -> Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| damaged("a number is negative"))
}

/// `NULL` for JSON null.
pub(super) fn json(row: &Row<'_>, column: usize) -> Result<Value> {
    match row.get_ref(column)?.as_str_or_null().map_err(|_| damaged("a JSON column holds no text"))? {
        None => Ok(Value::Null),
        Some(text) => serde_json::from_str(text).map_err(|_| damaged("a JSON column cannot be read")),
    }
}

/// Text as it stands in the file, or that it is damaged: SQLite keeps whatever bytes a disk makes of it.
pub(super) fn stored_text(row: &Row<'_>, column: usize) -> Result<Option<String>> {
    let text = row.get_ref(column)?.as_str_or_null().map_err(|_| damaged("a column holds no text"))?;
    Ok(text.map(str::to_owned))
}

pub(super) fn text_that_is_there(row: &Row<'_>, column: usize) -> Result<String> {
    stored_text(row, column)?.ok_or_else(|| damaged("a column is empty"))
}

/// Of a column that was opened with `opened_json`; `NULL` for JSON null.
pub(super) fn sealed_json(row: &Row<'_>, column: usize) -> Result<Value> {
    match row.get_ref(column)?.as_str_or_null().map_err(|_| damaged("a JSON column holds no text"))? {
        None => Ok(Value::Null),
        Some(text) => read_json(Ok(text.into())),
    }
}

/// Text of a value for a column that is `NULL` for JSON null.
pub(super) fn optional_text(value: &Value) -> Option<String> {
    if value.is_null() { None } else { Some(value.to_string()) }
}

/// Text of a value whose serialisation cannot fail: only strings, numbers and times in it.
pub(super) fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data has a JSON form")
}

pub(super) fn state(row: &Row<'_>, column: usize) -> Result<State> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|_| damaged("the state of a command cannot be read"))
}

pub(super) fn class(row: &Row<'_>, column: usize) -> Result<Class> {
    Class::from_rank(row.get(column)?).ok_or_else(|| damaged("an unknown class"))
}

pub(super) fn verdict(row: &Row<'_>, column: usize) -> Result<Verdict> {
    let name: String = row.get(column)?;
    Verdict::ALL.into_iter().find(|verdict| verdict.name() == name).ok_or_else(|| damaged("an unknown verdict"))
}

pub(super) fn transport(row: &Row<'_>, column: usize) -> Result<Transport> {
    let name: String = row.get(column)?;
    [Transport::Mllp, Transport::Http, Transport::Amqp, Transport::Poll, Transport::Replay]
        .into_iter()
        .find(|transport| transport.name() == name)
        .ok_or_else(|| damaged("an unknown transport"))
}

/// SQLite's integers are signed; ours that count things never come near the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
