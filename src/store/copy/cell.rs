//! A value as both stores keep it, and the digest of rows of them.

use std::error::Error;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

type Fault = Box<dyn Error + Sync + Send>;

/// Identifiers are bytes, truth is 0 or 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

pub type Row = Vec<Cell>;

impl Cell {
    /// PostgreSQL keeps no NUL in text, so it stands as U+FFFD everywhere.
    pub fn text(text: &str) -> Self {
        Self::Text(if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() })
    }

    pub fn size(&self) -> usize {
        match self {
            Self::Null | Self::Int(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// A letter for its kind and, where it has one, its length: no two rows are written alike.
    fn digest_into(&self, digest: &mut Sha256) {
        let (kind, bytes) = match self {
            Self::Null => return digest.update(b"n"),
            Self::Int(number) => {
                digest.update(b"i");
                return digest.update(number.to_be_bytes());
            }
            Self::Text(text) => (b"t", text.as_bytes()),
            Self::Bytes(bytes) => (b"b", &bytes[..]),
        };
        digest.update(kind);
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    }
}

/// Digest of a table: the sum of the SHA-256 of its rows. The sum does not depend on the order of rows, for the two
/// stores sort text differently; rows are told apart by their keys, which are in what is digested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableDigest {
    pub rows: u64,
    sums: [u64; 4],
}

impl TableDigest {
    pub fn add(&mut self, row: &[Cell]) {
        let mut digest = Sha256::new();
        for cell in row {
            cell.digest_into(&mut digest);
        }
        let digest = digest.finalize();
        for (sum, part) in self.sums.iter_mut().zip(digest.chunks_exact(8)) {
            let part = part.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            *sum = sum.wrapping_add(part);
        }
        self.rows += 1;
    }

    pub fn as_hex(&self) -> String {
        self.sums.iter().map(|sum| format!("{sum:016x}")).collect()
    }
}

impl ToSql for Cell {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        match (self, of) {
            (Self::Null, _) => return Ok(IsNull::Yes),
            (Self::Int(number), &Type::BOOL) => (*number != 0).to_sql(of, out)?,
            (Self::Int(number), &Type::INT2) => i16::try_from(*number)?.to_sql(of, out)?,
            (Self::Int(number), &Type::INT4) => i32::try_from(*number)?.to_sql(of, out)?,
            (Self::Int(number), &Type::INT8) => number.to_sql(of, out)?,
            (Self::Text(text), &Type::TEXT) => text.to_sql(of, out)?,
            (Self::Bytes(bytes), &Type::BYTEA) => bytes.to_sql(of, out)?,
            (Self::Bytes(bytes), &Type::UUID) => uuid::Uuid::from_slice(bytes)?.to_sql(of, out)?,
            _ => return Err(format!("a value does not fit a column of type {of}").into()),
        };
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        is_kept(of)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Cell {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        Ok(match *of {
            Type::BOOL => Self::Int(bool::from_sql(of, raw)?.into()),
            Type::INT2 => Self::Int(i16::from_sql(of, raw)?.into()),
            Type::INT4 => Self::Int(i32::from_sql(of, raw)?.into()),
            Type::INT8 => Self::Int(i64::from_sql(of, raw)?),
            Type::TEXT => Self::text(<&str>::from_sql(of, raw)?),
            Type::BYTEA | Type::UUID => Self::Bytes(raw.to_vec()),
            _ => return Err(format!("a column is of type {of}").into()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Fault> {
        Ok(Self::Null)
    }

    fn accepts(of: &Type) -> bool {
        is_kept(of)
    }
}

fn is_kept(of: &Type) -> bool {
    [Type::BOOL, Type::INT2, Type::INT4, Type::INT8, Type::TEXT, Type::BYTEA, Type::UUID].contains(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_rows_apart_and_not_their_order() {
        let digest = |rows: &[Row]| {
            let mut digest = TableDigest::default();
            rows.iter().for_each(|row| digest.add(row));
            digest
        };
        let (one, other) = (vec![Cell::Int(1), Cell::text("ab")], vec![Cell::Int(2), Cell::text("c")]);
        assert_eq!(digest(&[one.clone(), other.clone()]), digest(&[other.clone(), one.clone()]));
        for different in [
            vec![Cell::Int(1), Cell::text("abc")],
            vec![Cell::Int(1), Cell::Bytes(b"ab".to_vec())],
            vec![Cell::Int(1), Cell::text("a"), Cell::text("b")],
            vec![Cell::Int(1), Cell::Null],
        ] {
            assert_ne!(digest(std::slice::from_ref(&one)), digest(std::slice::from_ref(&different)), "{different:?}");
        }
    }
}
