//! How values stand in columns: times as microseconds, JSON as text, digests as bytes.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_postgres::Row;

use crate::command::{Class, Verdict};
use crate::store::standing::Standing;
use crate::store::unreadable::read_json;
use crate::store::vault::{Place, Vault};
use crate::store::{AliasKind, InstanceStanding, Result, Transport, damaged};

/// Text from outside: PostgreSQL keeps no NUL in text, so it stands as U+FFFD. The raw message is bytes and keeps it.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

pub(super) fn timestamp(micros: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(|_| damaged("a time is out of range"))
}

pub(super) fn time(row: &Row, column: usize) -> Result<Timestamp> {
    timestamp(row.try_get(column)?)
}

pub(super) fn optional_time(row: &Row, column: usize) -> Result<Option<Timestamp>> {
    row.try_get::<_, Option<i64>>(column)?.map(timestamp).transpose()
}

/// A number that is never negative.
pub(super) fn count(row: &Row, column: usize) -> Result<u64> {
    u64::try_from(row.try_get::<_, i64>(column)?).map_err(|_| damaged("a number is negative"))
}

/// PostgreSQL's integers are signed; ours that count things never come near the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// `NULL` for JSON null.
pub(super) fn json(row: &Row, column: usize) -> Result<Value> {
    row.try_get::<_, Option<&str>>(column)?.map_or(Ok(Value::Null), read)
}

pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| damaged("a JSON column cannot be read"))
}

/// Of a column that may be sealed, or what says why it cannot be read; `NULL` for JSON null.
pub(super) fn sealed_json(row: &Row, column: usize, vault: &Vault, place: Place) -> Result<Value> {
    match row.try_get::<_, Option<&str>>(column)? {
        None => Ok(Value::Null),
        Some(text) => read_json(vault.open_text(place, text)),
    }
}

pub(super) fn sealed_bytes(row: &Row, column: usize, vault: &Vault, place: Place) -> Result<Vec<u8>> {
    vault.open(place, row.try_get(column)?)
}

/// Text of a value for a column that is `NULL` for JSON null.
pub(super) fn optional_text(value: &Value) -> Option<String> {
    if value.is_null() { None } else { Some(value.to_string()) }
}

/// Text of a value whose serialisation cannot fail: only strings, numbers and times in it.
pub(super) fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data has a JSON form")
}

pub(super) fn class(row: &Row, column: usize) -> Result<Class> {
    let rank: i16 = row.try_get(column)?;
    u8::try_from(rank).ok().and_then(Class::from_rank).ok_or_else(|| damaged("an unknown class"))
}

pub(super) fn rank(class: Class) -> i16 {
    i16::from(class.rank())
}

pub(super) fn standing(row: &Row, column: usize) -> Result<Standing> {
    Standing::from_code(i64::from(row.try_get::<_, i16>(column)?))
}

pub(super) fn code(standing: Standing) -> i16 {
    i16::try_from(standing.code()).expect("ten of them")
}

pub(super) fn alias_kind(kind: AliasKind) -> i16 {
    match kind {
        AliasKind::LocalId => 1,
        AliasKind::Ubrn => 2,
        AliasKind::Appointment => 3,
        AliasKind::Document => 4,
        AliasKind::Command => 5,
    }
}

pub(super) fn digest(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| damaged("a digest is not of 32 bytes"))
}

pub(super) fn optional_digest(row: &Row, column: usize) -> Result<Option<[u8; 32]>> {
    row.try_get::<_, Option<&[u8]>>(column)?.map(digest).transpose()
}

pub(super) fn verdict(row: &Row, column: usize) -> Result<Verdict> {
    named(row, column, &Verdict::ALL, Verdict::name, "an unknown verdict")
}

pub(super) fn transport(row: &Row, column: usize) -> Result<Transport> {
    const ALL: [Transport; 5] = [Transport::Mllp, Transport::Http, Transport::Amqp, Transport::Poll, Transport::Replay];
    named(row, column, &ALL, Transport::name, "an unknown transport")
}

pub(super) fn instance_standing(row: &Row, column: usize) -> Result<InstanceStanding> {
    named(row, column, &InstanceStanding::ALL, InstanceStanding::name, "an unknown standing of an instance")
}

fn named<T: Copy>(row: &Row, column: usize, all: &[T], name: fn(T) -> &'static str, unknown: &str) -> Result<T> {
    let text: &str = row.try_get(column)?;
    all.iter().copied().find(|one| name(*one) == text).ok_or_else(|| damaged(unknown))
}
