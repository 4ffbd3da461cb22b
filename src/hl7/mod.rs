//! HL7 v2 and nothing else: frames, characters, structure, escapes, acknowledgements, batches, times.
//!
//! Enters: bytes of a connection or a file. Leaves: messages whose parts know their place, and the bytes of
//! answers. Guarantees: no input panics, costs more than linear time, or loses a character in silence.
//!
//! Usable on its own: knows nothing of the gateway.

mod delimiters;
mod escape;
mod field;
mod message;

pub use delimiters::{DelimiterError, Delimiters};
pub use escape::{escape, is_null, unescape};
pub use field::{Component, Field, Repetition, Subcomponent};
pub use message::{Message, Segment, StructureError};
