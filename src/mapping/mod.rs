//! Declarative mappings: messages to commands, commands to e-RS calls, results to replies.
//!
//! Enters: the files under `mappings/`, checked as one set; then a parsed message, or a command with what
//! is known so far. Leaves: commands (or every problem found, in the sender's terms, with the place), and
//! the next call of a plan. Guarantees: pure functions of their inputs; nothing of a sending system and no
//! A-number is in Rust; a populated field is used, named as ignored, or reported as unused.
//!
//! Knows nothing of the gateway: no sockets, no store, no clock.

mod clinical_text;
mod codes;
mod command_plan;
mod diagnostic;
mod dialect;
mod documentation;
mod explain;
mod expression;
mod fhir;
mod files;
mod filter;
mod halt;
mod inbound;
mod inheritance;
mod letter;
mod members;
mod normalise;
mod operations;
mod outbound;
mod plan;
mod predicate;
mod problem;
mod reply;
mod reply_body;
mod segments;
mod selector;
mod set;
mod sets;
mod source;
mod step_conditions;
mod template;
mod testing;
mod worklist;
mod yaml;

pub use command_plan::{CommandPlan, Proof, Settling};
pub use diagnostic::Diagnostic;
pub use dialect::Dialect;
pub use documentation::specification;
pub use explain::{Explained, explain};
pub use fhir::{FhirDocument, Json, JsonError};
pub use files::{FilesError, MappingFiles};
pub use halt::Halt;
pub use inbound::Outcome as InboundOutcome;
pub use letter::{
    Declared, LETTER_BYTES_MAX, LETTERS_MAX, LetterProblem, hex, inspect_base64, inspect_bytes, letter,
    make_names_differ, skippable,
};
pub use normalise::{Draft, Kind, Normalised, ThreadNames, Trace, TraceRow};
pub use operations::{Effect, Operation};
pub use outbound::{
    OutboundDialect, OutboundEntry, OutboundEvent, OutboundFacts, OutboundMapping, OutboundTest, event_schema,
};
pub use plan::{
    CHANGES, CallBody, Document, FollowUp, Letter, LetterContent, NextCall, PlanEnd, PlanEvent, PlanState,
    PreparedCall, Reply,
};
pub use problem::{Location, Problem};
pub use reply::{ReplyMapping, ReplyOutcome};
pub use reply_body::ReplyBody;
pub use segments::{CopiedSegments, Line, Piece};
pub use set::{Absorbed, DEFAULT_DIALECT, MappingSet, PlanContext, PlanProblem, command_schema, command_schemas};
pub use sets::MappingSets;
pub use source::Language;
pub use testing::{Expectation, MappingTest, Outcome as TestOutcome};
pub use worklist::{Change, Difference, Entries, FetchedList, Worklist};

#[cfg(test)]
pub(crate) mod tests;
