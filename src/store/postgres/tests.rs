//! The shared suite on PostgreSQL, and what only a server can do: be shared, go away, come back.

#[path = "../../../tests/it/support/postgres.rs"]
#[expect(dead_code, reason = "integration tests use more of it")]
pub(in crate::store) mod server;

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use self::server::Postgres;
use super::{Address, PostgresStore};
use crate::environment::Environment;
use crate::store::Store;
use crate::store::suite::{Home, every_store};

/// A schema of a private server, and who has it open.
struct Schema {
    /// Runs as long as somebody holds it.
    _server: Arc<Postgres>,
    url: String,
    environment: Mutex<Environment>,
}

impl Schema {
    fn new() -> Self {
        let server = Postgres::shared();
        let url = server.new_schema();
        Self { _server: server, url, environment: Mutex::new(Environment::system()) }
    }

    async fn store(&self) -> PostgresStore {
        self.store_of("gateway-1").await
    }

    async fn store_of(&self, instance: &str) -> PostgresStore {
        let environment = self.environment.lock().clone();
        let address = Address::parse(&self.url).expect("a URL");
        PostgresStore::open(&address, instance, &environment).await.expect("opened")
    }
}

#[async_trait]
impl Home for Schema {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store().await)
    }

    async fn prove(&self) {
        self.store().await.verify().await.expect("whole");
    }
}

every_store!(Schema::new());
