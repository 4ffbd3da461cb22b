//! What SQLite's errors mean to a caller.

use rusqlite::{Error, ErrorCode};

use super::sealed;
use crate::store::StoreError;

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match &error {
            Error::SqliteFailure(failure, text) => {
                let text = text.clone().unwrap_or_else(|| failure.to_string());
                match failure.code {
                    ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::CannotOpen
                    | ErrorCode::ReadOnly
                    | ErrorCode::PermissionDenied
                    | ErrorCode::OutOfMemory
                    | ErrorCode::OperationInterrupted
                    | ErrorCode::OperationAborted
                    | ErrorCode::FileLockingProtocolFailed => Self::Unavailable(text),
                    ErrorCode::ConstraintViolation => {
                        Self::Outdated(format!("a row contradicts one that exists: {text}"))
                    }
                    ErrorCode::TooBig => Self::Outdated(format!("larger than a row can be: {text}")),
                    _ => sealed::error_in(&text).unwrap_or(Self::Damaged(text)),
                }
            }
            Error::QueryReturnedNoRows => Self::NotFound,
            _ => Self::Damaged(error.to_string()),
        }
    }
}
