//! Sealed values in statements.
//!
//! `opened(column, id, value)` is a value as it was before it was sealed, `opened(column, id, value, part, position)` one
//! of content in chunks, `opened_size(value)` how long that is, and `named(one, other)` the identifier of a row that has
//! names for its key. Where one damaged value must not spoil a list, `opened_json` says in its place why it cannot be read, and
//! `opened_if_whole` is `NULL`. In a file that is opened by another tool these are missing, as are the keys.

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Error};

use crate::store::vault::form::{self, Column};
use crate::store::vault::{Place, Vault};
use crate::store::{Result, StoreError, damaged, unreadable};

const LOCKED: &str = "[locked] ";
const UNAVAILABLE: &str = "[unavailable] ";

pub(super) fn teach(connection: &Connection, vault: &Vault) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    for arguments in [3, 5] {
        let vault = vault.clone();
        connection
            .create_scalar_function("opened", arguments, flags, move |context| as_call(opened(&vault, context)))?;
    }
    for (name, stand_in) in [("opened_json", in_json as fn(&str) -> Value), ("opened_if_whole", nothing)] {
        let vault = vault.clone();
        connection.create_scalar_function(name, 3, flags, move |context| {
            as_call(opened(&vault, context).or_else(|error| match error {
                StoreError::Damaged(why) => Ok(stand_in(&why)),
                error => Err(error),
            }))
        })?;
    }
    connection.create_scalar_function("opened_size", 1, flags, |context| {
        Ok(match context.get_raw(0) {
            ValueRef::Blob(stored) => Some(form::open_size(stored) as i64),
            _ => None,
        })
    })?;
    connection.create_scalar_function("named", 2, flags, |context| {
        let names: [String; 2] = [context.get(0)?, context.get(1)?];
        Ok(form::name_digest([&names[0], &names[1]]).to_vec())
    })?;
    Ok(())
}

fn in_json(why: &str) -> Value {
    Value::Text(unreadable::stand_in(why).to_string())
}

fn nothing(_: &str) -> Value {
    Value::Null
}

fn opened(vault: &Vault, context: &Context<'_>) -> Result<Value> {
    let value = match context.get_raw(2) {
        ValueRef::Null => return Ok(Value::Null),
        ValueRef::Text(stored) => {
            let text = std::str::from_utf8(stored).map_err(|_| damaged("a text is not UTF-8"))?;
            Value::Text(vault.open_text(place(context)?, text)?.into_owned())
        }
        ValueRef::Blob(stored) => Value::Blob(vault.open(place(context)?, stored.to_vec())?),
        _ => return Err(damaged("a sealed column holds a number")),
    };
    Ok(value)
}

fn place(context: &Context<'_>) -> Result<Place> {
    let unknown = || damaged("no column that is sealed");
    let column = context.get_raw(0).as_str().ok().and_then(Column::by_name).ok_or_else(unknown)?;
    let id: [u8; 16] = context.get(1)?;
    if context.len() == 3 {
        return Ok(column.of(id));
    }
    Ok(column.chunk(id, context.get(3)?, context.get(4)?))
}

/// SQLite carries only the text of an error out of a function.
fn as_call(opened: Result<Value>) -> rusqlite::Result<Value> {
    opened.map_err(|error| {
        let text = match error {
            StoreError::Locked(text) => format!("{LOCKED}{text}"),
            StoreError::Unavailable(text) => format!("{UNAVAILABLE}{text}"),
            StoreError::Damaged(text) => text,
            other => other.to_string(),
        };
        Error::UserFunctionError(text.into())
    })
}

/// What such a text said, if it was one.
pub(super) fn error_in(text: &str) -> Option<StoreError> {
    if let Some(text) = text.strip_prefix(LOCKED) {
        return Some(StoreError::Locked(text.to_owned()));
    }
    text.strip_prefix(UNAVAILABLE).map(|text| StoreError::Unavailable(text.to_owned()))
}
