//! A store by its URL.

use std::sync::Arc;

use super::postgres::{Address, AddressError, PostgresStore};
use super::sqlite::SqliteStore;
use super::{Sealing, Store, StoreError};
use crate::config::StoreUrl;
use crate::environment::Environment;
use crate::keys::Keys;

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
    /// Its master key, and whether what is written is sealed.
    pub sealing: Option<&'a Sealing>,
}

/// Opens or makes the store, for a gateway.
pub async fn open(place: StorePlace<'_>, environment: &Environment) -> Result<Arc<dyn Store>, OpenError> {
    let failed = |place: String| move |source| OpenError::Store { place, source };
    if let Some(path) = place.url.sqlite_path() {
        let opened = SqliteStore::open_with(&path, place.sealing.cloned(), environment).await;
        let store = opened.map_err(failed(path.display().to_string()))?;
        return Ok(Arc::new(store.reserving(place.reserve_bytes)));
    }
    let address = Address::parse(place.url.as_text())?;
    let opened = PostgresStore::open_with(&address, place.instance, place.sealing.cloned(), environment).await;
    let store = opened.map_err(failed(address.place()))?;
    Ok(Arc::new(store))
}

/// Opens a store that is there, for a person: a file that no gateway has, or a database that gateways may be using.
/// With its master key, if it is encrypted.
pub async fn open_to_act(
    url: &StoreUrl,
    keys: Option<&Keys>,
    environment: &Environment,
) -> Result<Arc<dyn Store>, OpenError> {
    let failed = |place: String| move |source| OpenError::Store { place, source };
    if let Some(path) = url.sqlite_path() {
        if !path.is_file() {
            return Err(OpenError::Nothing(path.display().to_string()));
        }
        let opened = SqliteStore::open_with(&path, keys.cloned().map(Sealing::to_act), environment).await;
        return Ok(Arc::new(opened.map_err(failed(path.display().to_string()))?));
    }
    let address = Address::parse(url.as_text())?;
    let store = PostgresStore::open_to_look(&address, keys, environment).await.map_err(failed(address.place()))?;
    Ok(Arc::new(store))
}

/// Opens a store that gateways may be using, a file too, to look at it or at its keys.
pub async fn open_beside(
    url: &StoreUrl,
    keys: Option<&Keys>,
    environment: &Environment,
) -> Result<Arc<dyn Store>, OpenError> {
    let Some(path) = url.sqlite_path() else { return open_to_act(url, keys, environment).await };
    if !path.is_file() {
        return Err(OpenError::Nothing(path.display().to_string()));
    }
    let failed = |source| OpenError::Store { place: path.display().to_string(), source };
    Ok(Arc::new(SqliteStore::open_to_read(&path, keys, environment).await.map_err(failed)?))
}
