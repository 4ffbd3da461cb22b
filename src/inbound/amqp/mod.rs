//! AMQP: messages and commands taken from queues.
//!
//! Enters: the deliveries of one queue. Leaves: inbound messages for intake; refused ones on the dead-letter
//! exchange, with the reasons in headers. Guarantees: a delivery is acknowledged only after intake's proof
//! of storage, or after the broker confirmed its copy on the dead-letter exchange; deliveries of a queue
//! are taken one after the other, so that a thread's messages keep their order.

mod content;
mod dead_letter;
mod input;
mod metrics;
mod session;

pub use input::{AmqpDeps, start};
pub use metrics::InputMetrics;
