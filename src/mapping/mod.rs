//! Declarative mappings: messages to commands, commands to e-RS calls, results to replies.
//!
//! Enters: the files under `mappings/`, checked as one set; then a parsed message, or a command with what
//! is known so far. Leaves: commands (or every problem found, in the sender's terms, with the place), and
//! the next call of a plan. Guarantees: pure functions of their inputs; nothing of a sending system and no
//! A-number is in Rust; a populated field is used, named as ignored, or reported as unused.
//!
//! Knows nothing of the gateway: no sockets, no store, no clock.

mod operations;
mod plan;
mod problem;
mod set;

pub use operations::{Effect, Operation};
pub use plan::{CallBody, Letter, LetterContent, NextCall, PlanEvent, PlanState, PreparedCall, Reply};
pub use problem::{Location, Problem};
pub use set::{Absorbed, MappingSet, MappingSets, PlanContext, PlanProblem};
