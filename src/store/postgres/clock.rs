//! The database's clock, by which leases are kept: the clocks of machines need not agree, and may jump.

use jiff::Timestamp;
use tokio_postgres::Row;

use crate::environment::Environment;
use crate::store::{Result, damaged};

/// What is to be added to a time of this process to have that of the database. Measured anew in every transaction
/// that needs it, so a clock that jumped is noticed before it does harm.
#[derive(Clone, Copy)]
pub(super) struct Offset {
    micros: i64,
}

impl Offset {
    /// `clock`: the answer to `read::CLOCK`, just come.
    pub(super) fn measured(clock: &[Row], environment: &Environment) -> Result<Self> {
        let row = clock.first().ok_or_else(|| damaged("the database told no time"))?;
        Ok(Self { micros: row.try_get::<_, i64>(0)? - environment.now().as_microsecond() })
    }

    /// A time of this process by the clock of the database.
    pub(super) fn of(self, at: Timestamp) -> i64 {
        at.as_microsecond() + self.micros
    }
}
