//! What the store has of one patient: found, counted, and written out for a subject access request.
//!
//! Enters: an NHS number, or the digest that the store knows a patient by. Leaves: messages with all that came of them.
//! Guarantees: the number is kept and told nowhere; the command line and the HTTP API ask the same.

mod export;
mod mentions;

pub use export::{Export, ExportError, TakesExport};
pub use mentions::{messages_of, read_unread};
