//! Sealed values in statements.
//!
//! `opened(column, id, value)` is a value as it was before it was sealed, `opened(column, id, value, part, position)` one
//! of content in chunks, `opened_size(value)` how long that is, and `named(one, other)` the identifier of a row that has
//! names for its key. In a file that is opened by another tool these are missing, as are the keys.

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Error};

use crate::store::vault::form::{self, Column};
use crate::store::vault::{Place, Vault};
use crate::store::{Result, StoreError};

/// SQLite carries only the text of an error out of a function.
const LOCKED: &str = "[locked] ";
const UNAVAILABLE: &str = "[unavailable] ";

pub(super) fn teach(connection: &Connection, vault: &Vault) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    for arguments in [3, 5] {
        let vault = vault.clone();
        connection.create_scalar_function("opened", arguments, flags, move |context| opened(&vault, context))?;
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

fn opened(vault: &Vault, context: &Context<'_>) -> rusqlite::Result<Value> {
    let value = match context.get_raw(2) {
        ValueRef::Null => return Ok(Value::Null),
        ValueRef::Text(stored) => {
            let text = std::str::from_utf8(stored).map_err(|error| Error::Utf8Error(2, error))?;
            Value::Text(vault.open_text(place(context)?, text).map_err(out_of_a_function)?.into_owned())
        }
        ValueRef::Blob(stored) => Value::Blob(vault.open(place(context)?, stored.to_vec()).map_err(out_of_a_function)?),
        _ => return Err(Error::InvalidFunctionParameterType(2, context.get_raw(2).data_type())),
    };
    Ok(value)
}

fn place(context: &Context<'_>) -> rusqlite::Result<Place> {
    let unknown = || Error::UserFunctionError("no column that is sealed".into());
    let column = context.get_raw(0).as_str().ok().and_then(Column::by_name).ok_or_else(unknown)?;
    let id: [u8; 16] = context.get(1)?;
    if context.len() == 3 {
        return Ok(column.of(id));
    }
    Ok(column.chunk(id, context.get(3)?, context.get(4)?))
}

fn out_of_a_function(error: StoreError) -> Error {
    let text = match error {
        StoreError::Locked(text) => format!("{LOCKED}{text}"),
        StoreError::Unavailable(text) => format!("{UNAVAILABLE}{text}"),
        StoreError::Damaged(text) => text,
        other => other.to_string(),
    };
    Error::UserFunctionError(text.into())
}

/// What such a text said, if it was one.
pub(super) fn error_in(text: &str) -> Option<StoreError> {
    if let Some(text) = text.strip_prefix(LOCKED) {
        return Some(StoreError::Locked(text.to_owned()));
    }
    text.strip_prefix(UNAVAILABLE).map(|text| StoreError::Unavailable(text.to_owned()))
}
