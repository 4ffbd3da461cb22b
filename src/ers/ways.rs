//! The way to e-RS of each connection: the common one, or one of its own by a proxy or with CAs of its own.

use std::collections::HashMap;
use std::sync::Arc;

use super::reqwest_transport::ReqwestTransport;
use super::transport::{Transport, TransportError};
use crate::config::Connection;

#[derive(Clone)]
pub struct Ways {
    common: Arc<dyn Transport>,
    own: HashMap<String, Arc<dyn Transport>>,
}

impl Ways {
    /// Reads the CAs that connections name; reaches nothing.
    pub fn of(connections: &[Connection], common: Arc<dyn Transport>) -> Result<Self, TransportError> {
        let mut own: HashMap<String, Arc<dyn Transport>> = HashMap::new();
        for connection in connections.iter().filter(|one| one.proxy.is_some() || one.ca.is_some()) {
            let transport = ReqwestTransport::by(connection.proxy.as_ref(), connection.ca.as_deref())?;
            own.insert(connection.name.clone(), Arc::new(transport));
        }
        Ok(Self { common, own })
    }

    /// Of a connection by its name.
    pub fn to(&self, connection: &str) -> Arc<dyn Transport> {
        self.own.get(connection).unwrap_or(&self.common).clone()
    }
}
