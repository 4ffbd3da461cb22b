//! HL7 v2 and nothing else: frames, characters, structure, escapes, acknowledgements, batches, times.
//!
//! Enters: bytes of a connection or a file. Leaves: messages whose parts know their place, and the bytes of
//! answers. Guarantees: no input panics, costs more than linear time, or loses a character in silence.
//!
//! Usable on its own: knows nothing of the gateway.

pub mod acknowledgement;
mod answers;
pub mod batch;
pub mod charset;
pub mod continuation;
mod delimiters;
mod escape;
mod field;
pub mod framing;
mod header;
mod message;
mod receipt;
#[cfg(test)]
pub(crate) mod samples;
pub mod timestamp;
mod version;
mod writing;

pub use acknowledgement::{AckCode, AckError, ErrorLocation, Stamp, acknowledge};
pub use answers::{AnswersWanted, Condition, Phase};
pub use batch::Batch;
pub use charset::{CharsetError, Declared, Decoded, Undecodable};
pub use delimiters::{DelimiterError, Delimiters};
pub use escape::{escape, is_null, unescape};
pub use field::{Component, Field, Repetition, Subcomponent};
pub use header::{Header, Unreadable};
pub use message::{Message, Segment, StructureError};
pub use receipt::Receipt;
pub use timestamp::{Dtm, Zones};
pub use version::Version;
pub use writing::{OwnCharset, OwnHeader};
