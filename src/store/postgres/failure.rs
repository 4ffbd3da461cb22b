//! What PostgreSQL's errors mean to a caller, and whether a transaction may have been committed all the same.

use deadpool_postgres::PoolError;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::store::StoreError;

/// Why a transaction did not go through.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing was committed.
    Not(StoreError),
    /// Nothing was committed, for another transaction was in the way: the same again may succeed.
    Again(StoreError),
    /// The connection is gone, or the server ended it. Whether a commit that was asked for happened is not known.
    Lost(String),
}

impl Failed {
    /// As an error of somebody who tries once.
    pub(super) fn once(self) -> StoreError {
        match self {
            Self::Not(error) | Self::Again(error) => error,
            Self::Lost(why) => StoreError::Unavailable(why),
        }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Not(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let Some(database) = error.as_db_error() else { return Self::Lost(words(&error)) };
        // A fatal one ends the connection, perhaps while a commit waits for a standby: it is then committed here.
        if !matches!(database.parsed_severity(), Some(Severity::Error)) {
            return Self::Lost(words(&error));
        }
        let code = database.code();
        let in_the_way = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
            // A guard (see `write`).
            SqlState::DIVISION_BY_ZERO,
        ];
        if in_the_way.contains(code) {
            return Self::Again(StoreError::Unavailable(words(&error)));
        }
        Self::Not(meaning(database, &error))
    }
}

impl From<PoolError> for Failed {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::from(error),
            // Nothing was asked yet.
            other => Self::Not(StoreError::Unavailable(other.to_string())),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Failed::from(error).once()
    }
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::from(error),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// By the class of the SQLSTATE (PostgreSQL manual, appendix A).
fn meaning(database: &DbError, error: &Error) -> StoreError {
    let code = database.code().code();
    let text = words(error);
    match &code[..code.len().min(2)] {
        // Connection, transaction state (25006: a standby), resources, operators, the system itself.
        "08" | "25" | "40" | "53" | "55" | "57" | "58" | "28" | "3D" => StoreError::Unavailable(text),
        "23" => StoreError::Outdated(format!("a row contradicts one that exists: {text}")),
        "22" | "54" => StoreError::Outdated(format!("a value cannot be stored: {text}")),
        _ => StoreError::Damaged(text),
    }
}

/// The message alone: details of a row may hold values.
fn words(error: &Error) -> String {
    match error.as_db_error() {
        Some(database) => format!("{} (SQLSTATE {})", database.message(), database.code().code()),
        None => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        }
    }
}
