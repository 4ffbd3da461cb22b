//! Opening and closing one connection.

use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};

use crate::environment::Environment;

/// TCP, TLS and the AMQP handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Channels, exchanges, queues and consumers of a new connection together.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why none of the URLs led to a broker: one reason each.
#[derive(Debug, thiserror::Error)]
#[error("no broker reached ({})", .reasons.join("; "))]
pub struct ConnectError {
    pub reasons: Vec<String>,
}

/// Tries the URLs in turn. `name` is what the broker's pages show.
pub async fn connect(urls: &[String], name: &str) -> Result<Connection, ConnectError> {
    let mut reasons = Vec::new();
    for url in urls {
        let uri: AMQPUri = match url.parse() {
            Ok(uri) => uri,
            Err(_) => {
                // The parser's message repeats the URL, password included.
                reasons.push("a broker URL cannot be read; it is like amqp://user:password@host:5672/%2f".to_owned());
                continue;
            }
        };
        let place = format!("{}:{}", uri.authority.host, uri.authority.port);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        match tokio::time::timeout(CONNECT_TIMEOUT, Connection::connect_uri(uri, properties)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => reasons.push(format!("{place}: {error}")),
            Err(_) => reasons.push(format!("{place}: no answer within {} s", CONNECT_TIMEOUT.as_secs())),
        }
    }
    if reasons.is_empty() {
        reasons.push("no broker URL is configured".to_owned());
    }
    Err(ConnectError { reasons })
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
