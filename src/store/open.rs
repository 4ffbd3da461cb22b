//! A store by its URL.

use std::sync::Arc;

use super::postgres::{Address, AddressError, PostgresStore};
use super::sqlite::SqliteStore;
use super::{Store, StoreError};
use crate::config::StoreUrl;
use crate::environment::Environment;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the store {place} cannot be opened: {source}")]
    Store { place: String, source: StoreError },
    #[error("store: {0}")]
    Address(#[from] AddressError),
    #[error("there is no store at {0}")]
    Nothing(String),
}

/// Which store, and by which instance it is opened.
#[derive(Clone, Copy)]
pub struct StorePlace<'a> {
    pub url: &'a StoreUrl,
    pub instance: &'a str,
    /// Kept free on the disk of a file; a database looks after its own.
    pub reserve_bytes: u64,
}

/// Opens or makes the store, for a gateway.
pub async fn open(place: StorePlace<'_>, environment: &Environment) -> Result<Arc<dyn Store>, OpenError> {
    let failed = |place: String| move |source| OpenError::Store { place, source };
    if let Some(path) = place.url.sqlite_path() {
        let store = SqliteStore::open(&path, environment).await.map_err(failed(path.display().to_string()))?;
        return Ok(Arc::new(store.reserving(place.reserve_bytes)));
    }
    let address = Address::parse(place.url.as_text())?;
    let store = PostgresStore::open(&address, place.instance, environment).await.map_err(failed(address.place()))?;
    Ok(Arc::new(store))
}

/// Opens a store that is there, for a person: a file that no gateway has, or a database that gateways may be using.
pub async fn open_to_act(url: &StoreUrl, environment: &Environment) -> Result<Arc<dyn Store>, OpenError> {
    let failed = |place: String| move |source| OpenError::Store { place, source };
    if let Some(path) = url.sqlite_path() {
        if !path.is_file() {
            return Err(OpenError::Nothing(path.display().to_string()));
        }
        let store = SqliteStore::open(&path, environment).await.map_err(failed(path.display().to_string()))?;
        return Ok(Arc::new(store));
    }
    let address = Address::parse(url.as_text())?;
    let store = PostgresStore::open_to_look(&address, environment).await.map_err(failed(address.place()))?;
    Ok(Arc::new(store))
}
