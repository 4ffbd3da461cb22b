//! Connections to RabbitMQ, and how they come back.
//!
//! Enters: the URLs of the broker's nodes. Leaves: one connection at a time, the exchanges and queues behind it.
//! Guarantees: the gateway supervises each connection itself (new connection, topology, consumers); lapin's own
//! recovery is young and stays off. Passwords in URLs never reach a log.

mod connect;
mod link;
mod partitions;
mod queue;
mod topology;

pub use connect::{ConnectError, Connected, Nodes, OPEN_TIMEOUT, close, confirming_channel, lost};
pub use link::{BrokerLink, BrokerLinks};
pub use partitions::{THREAD_HEADER, ensure_partitions};
pub use queue::Queue;
pub use topology::{TopologyError, ensure_dead_letter_queue, ensure_exchange, ensure_queue};

use lapin::types::ShortString;

/// AMQP's short strings hold at most 255 bytes; lapin panics on more.
const SHORT_STRING_BYTES_MAX: usize = 255;

/// The delivery mode of messages that survive the broker.
pub const PERSISTENT: u8 = 2;

/// `text` as an AMQP short string, cut at a character if it is too long.
pub fn short(text: &str) -> ShortString {
    ShortString::from(&text[..text.floor_char_boundary(SHORT_STRING_BYTES_MAX)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_becomes_a_short_string(text in "\\PC{0,300}") {
            let short = short(&text);
            prop_assert!(short.as_str().len() <= 255);
            prop_assert!(text.starts_with(short.as_str()));
        }
    }
}
