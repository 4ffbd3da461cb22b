//! HL7 v2 over MLLP: one listener for each configured address.
//!
//! Enters: connections. Leaves: framed answers, in the order of the frames. Guarantees: a connection holds at
//! most one frame of the allowed size and waits for nothing longer than its limits; a message is noted as
//! acknowledged only after its answer was written; a shutdown lets the message in hand be answered.

mod connection;
mod listener;
mod metrics;
#[cfg(test)]
mod tests;

pub use listener::{MllpError, MllpServer};
pub use metrics::MllpMetrics;
