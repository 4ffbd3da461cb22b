//! The outside world in, answers out.
//!
//! Enters: bytes from sockets and queues. Leaves: raw messages for [`crate::intake`], and its answers in
//! the shape of each transport. Guarantees: limits on everything that comes in; no transport decides
//! anything about a message.

pub mod amqp;
pub mod content_type;
pub mod http;
pub mod mllp;
pub mod poll;
