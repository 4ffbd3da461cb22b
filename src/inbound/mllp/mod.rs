//! HL7 v2 over MLLP: one listener for each configured address, and a client.
//!
//! Enters: connections. Leaves: framed answers, in the order of the frames. Guarantees: a connection holds at
//! most one frame of the allowed size and waits for nothing longer than its limits; a message is noted as
//! acknowledged only after its answer was written; a shutdown lets the message in hand be answered.

mod client;
mod connection;
mod listener;
mod metrics;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::Duration;

pub use client::{MllpClient, MllpClientError};
pub use listener::{MllpError, MllpServer};
pub use metrics::MllpMetrics;

use crate::environment::Environment;

/// What `work` gives, if it is done within `limit`.
async fn within<F: Future>(environment: &Environment, limit: Duration, work: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = environment.sleep(limit) => None,
    }
}
