//! Canonical commands: what a message asks of e-RS, independent of who asked and how.
//!
//! Enters: JSON made by a mapping or sent over HTTP/AMQP. Leaves: commands valid against
//! `schemas/commands/<Name>.json`, with their place in the queue and the states they pass through.
//! Guarantees: a `State` changes only through [`State::after`].

mod author;
mod class;
mod estimate;
mod identifiers;
mod mentions;
mod overtaken;
mod schema;
mod services;
mod state;

pub use author::author;
pub use class::Class;
pub use estimate::{Estimate, Unforeseen};
pub use identifiers::{AttemptId, CommandId, DispatchId, EventId, MessageId, NhsNumber, ThreadId, Ubrn};
pub use mentions::{MENTIONED_MAX, nhs_numbers_in};
pub use overtaken::Overtaken;
pub use schema::{CommandSchemas, SchemaError, SchemaProblem};
pub use services::services;
pub use state::{Failure, Happened, IllegalStep, State, Verdict, WaitReason};
