//! Opening and closing one connection to one of the broker's nodes.

use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};

use crate::environment::Environment;

/// TCP, TLS and the AMQP handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Channels, exchanges, queues and consumers of a new connection together.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Seconds between two signs of life; after two without one the connection is given up. The broker would
/// take 60, and a node that lost its power would be missed for two minutes. `?heartbeat=` in a URL wins.
const HEARTBEAT_SECONDS: u16 = 10;

/// Why none of the URLs led to a broker: one reason each.
#[derive(Debug, thiserror::Error)]
#[error("no broker reached ({})", .reasons.join("; "))]
pub struct ConnectError {
    pub reasons: Vec<String>,
}

/// A connection, and the node at its other end.
pub struct Connected {
    pub connection: Connection,
    /// `host:port`, for the log.
    pub node: String,
}

/// The nodes of one broker, by their URLs, and whose turn it is.
///
/// The first turn is drawn by lot, so that the connections of many gateways spread over a cluster. Whoever
/// lost a node goes on with the next one: the one that was lost is asked again after all others.
pub struct Nodes {
    urls: Vec<String>,
    turn: usize,
}

impl Nodes {
    pub fn new(urls: &[String], environment: &Environment) -> Self {
        let mut lot = [0; 4];
        environment.fill_random(&mut lot);
        Self { urls: urls.to_vec(), turn: u32::from_le_bytes(lot) as usize }
    }

    /// Asks each node once, in turn, and keeps the first that answers. `name` is what the broker's pages show.
    pub async fn connect(&mut self, name: &str) -> Result<Connected, ConnectError> {
        let mut reasons = Vec::new();
        for _ in 0..self.urls.len() {
            match open(self.next(), name).await {
                Ok(connected) => {
                    for reason in reasons {
                        tracing::warn!(link = name, reason, "a node of the broker was not reached");
                    }
                    return Ok(connected);
                }
                Err(reason) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            reasons.push("no broker URL is configured".to_owned());
        }
        Err(ConnectError { reasons })
    }

    fn next(&mut self) -> &str {
        let index = self.turn % self.urls.len();
        self.turn = index + 1;
        &self.urls[index]
    }
}

async fn open(url: &str, name: &str) -> Result<Connected, String> {
    // The parser's message repeats the URL, password included.
    let unreadable = |_| "a broker URL cannot be read; it is like amqp://user:password@host:5672/%2f".to_owned();
    let mut uri: AMQPUri = url.parse().map_err(unreadable)?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    let node = format!("{}:{}", uri.authority.host, uri.authority.port);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    match tokio::time::timeout(CONNECT_TIMEOUT, Connection::connect_uri(uri, properties)).await {
        Ok(Ok(connection)) => Ok(Connected { connection, node }),
        Ok(Err(error)) => Err(format!("{node}: {error}")),
        Err(_) => Err(format!("{node}: no answer within {} s", CONNECT_TIMEOUT.as_secs())),
    }
}

/// A channel on which the broker confirms or refuses each publish.
///
/// Not for ever: RabbitMQ 3.10 refuses all that a channel publishes to a quorum queue if the queue had just lost
/// its leader when the channel first wrote to it, also when there is a new leader. So a publisher that was
/// refused goes on over a new one.
pub async fn confirming_channel(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// Returns when the connection is gone. lapin tells whoever waits for an answer; this is for the cases where
/// nobody does, or nobody is told.
pub async fn lost(connection: &Connection, environment: &Environment) {
    while connection.status().connected() {
        environment.sleep(LOOK_EVERY).await;
    }
}

/// Says goodbye, so that the broker does not log an abrupt end; never waits long for it.
pub async fn close(connection: &Connection) {
    if connection.status().connected() {
        // The connection is given up in any case: nothing follows from a goodbye that fails.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, connection.close(200, "OK".into())).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn three(seed: u64) -> Nodes {
        let urls = ["one", "two", "three"].map(str::to_owned);
        Nodes::new(&urls, &Environment::simulated(seed, jiff::Timestamp::UNIX_EPOCH))
    }

    #[tokio::test]
    async fn a_lost_node_is_asked_again_after_all_others() {
        let mut nodes = three(1);
        let first = nodes.next().to_owned();
        let others: BTreeSet<_> = [nodes.next().to_owned(), nodes.next().to_owned()].into();
        assert!(!others.contains(&first));
        assert_eq!(others.len(), 2);
        assert_eq!(nodes.next(), first);
    }

    #[tokio::test]
    async fn gateways_begin_at_different_nodes() {
        let firsts: BTreeSet<_> = (0..32).map(|seed| three(seed).next().to_owned()).collect();
        assert_eq!(firsts.len(), 3, "{firsts:?}");
    }

    #[tokio::test]
    async fn reasons_name_every_node_and_no_password() {
        let urls =
            ["amqp://gateway:s3cret@127.0.0.1:1/%2f", "amqp://gateway:s3cret@[::", "amqp://u:s3cret@127.0.0.1:2"];
        let environment = Environment::simulated(1, jiff::Timestamp::UNIX_EPOCH);
        let mut nodes = Nodes::new(&urls.map(str::to_owned), &environment);
        let Err(error) = nodes.connect("a test").await else { panic!("nobody listens there") };
        let text = error.to_string();
        assert_eq!(error.reasons.len(), 3, "{text}");
        assert!(text.contains("127.0.0.1:1: ") && text.contains("127.0.0.1:2: "), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[tokio::test]
    async fn no_url_is_a_reason_too() {
        let environment = Environment::simulated(1, jiff::Timestamp::UNIX_EPOCH);
        let Err(error) = Nodes::new(&[], &environment).connect("a test").await else { panic!("there is no node") };
        assert_eq!(error.to_string(), "no broker reached (no broker URL is configured)");
    }
}
