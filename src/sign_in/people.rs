//! Who is signed in, found by whoever needs them: delivery, pages, the API.
//!
//! Enters: a connection and an NHS user id. Leaves: the person, and a client that acts in their name. Guarantees: a person's
//! rows open for them alone; nobody is here whose session is over, who signed out, or who has not chosen as whom they act.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::person::Person;
use super::vault::SealedSession;
use crate::config::{Access, Connection};
use crate::environment::Environment;
use crate::ers::{Client, Role, Session, SessionVault as _, VaultError, Ways};
use crate::keys::Keys;
use crate::store::{SealedSecret, SessionStore, StoreError};

const PERSON: &str = "person";
/// In memory; beyond, some get another token than they have.
const CLIENTS_MAX: usize = 10_000;

pub struct People {
    pub(super) connections: Vec<Connection>,
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) keys: Keys,
    pub(super) ways: Ways,
    pub(super) environment: Environment,
    clients: Mutex<HashMap<(String, String), Acting>>,
}

/// A client with the sign-in and the role that it was made for.
struct Acting {
    sign_in: Uuid,
    role: Role,
    client: Arc<Client>,
}

/// A value of its own kind and key, with the version under which it is replaced.
pub(super) struct Kept<T> {
    pub value: T,
    pub version: u64,
}

impl People {
    /// Those of `connections` where people sign in.
    pub fn new(
        connections: &[Connection],
        store: Arc<dyn SessionStore>,
        keys: Keys,
        ways: Ways,
        environment: Environment,
    ) -> Self {
        let sign_in = |connection: &&Connection| matches!(connection.access, Access::SignIn(_));
        let connections = connections.iter().filter(sign_in).cloned().collect();
        Self { connections, store, keys, ways, environment, clients: Mutex::default() }
    }

    /// Whether people sign in there.
    pub fn sign_in_at(&self, connection: &str) -> bool {
        self.connection(connection).is_some()
    }

    pub(super) fn connection(&self, name: &str) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.name == name)
    }

    /// The person, if they are signed in there now.
    pub async fn find(&self, connection: &str, user: &str) -> Result<Option<Person>, StoreError> {
        let kept: Option<Kept<Person>> = self.load(connection, &kind(user)).await?;
        Ok(kept.map(|kept| kept.value).filter(|person| person.is_here(self.environment.now())))
    }

    /// Everybody who is signed in, the first to leave first.
    pub async fn all(&self) -> Result<Vec<Person>, StoreError> {
        let mut people = Vec::new();
        for connection in &self.connections {
            for secret in self.store.secrets(&connection.name, &kind("")).await? {
                people.extend(self.open::<Person>(&secret).ok());
            }
        }
        let now = self.environment.now();
        people.retain(|person| person.is_here(now));
        people.sort_by(|one, other| one.until.cmp(&other.until).then_with(|| one.user.cmp(&other.user)));
        Ok(people)
    }

    /// Who acts in their name, as they chose; `None` before that.
    pub fn client_of(&self, person: &Person) -> Option<Arc<Client>> {
        let role = person.role.as_ref()?;
        let connection = self.connection(&person.connection)?;
        let key = (person.connection.clone(), person.user.clone());
        let mut clients = self.clients.lock();
        if let Some(known) = clients.get(&key)
            && known.sign_in == person.sign_in
            && known.role == *role
        {
            return Some(known.client.clone());
        }
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        let vault = Box::new(self.vault(&person.connection, &person.user));
        let made = Client::of_person(
            connection,
            (&person.user, role),
            self.ways.to(&connection.name),
            vault,
            &self.environment,
        )?;
        let client = Arc::new(made);
        clients.insert(key, Acting { sign_in: person.sign_in, role: role.clone(), client: client.clone() });
        Some(client)
    }

    /// In the place of somebody who is needed and is not there.
    pub fn nobody(&self, connection: &Connection, why: String) -> Client {
        Client::of_nobody(connection, why, self.ways.to(&connection.name), &self.environment)
    }

    pub(super) fn vault(&self, connection: &str, user: &str) -> SealedSession {
        SealedSession {
            connection: connection.to_owned(),
            user: Some(user.to_owned()),
            store: self.store.clone(),
            keys: self.keys.clone(),
            environment: self.environment.clone(),
        }
    }

    /// A new session in the place of whatever there was.
    pub(super) async fn begin(&self, person: &Person, session: Session) -> Result<(), StoreError> {
        let vault = self.vault(&person.connection, &person.user);
        let held = self.store.load_secret(&person.connection, &vault.kind()).await?.map(|secret| secret.version);
        vault.save(&session, held).await.map_err(|error| match error {
            VaultError::Outdated => StoreError::Outdated("the same person signs in twice at once".into()),
            VaultError::Unavailable(why) => StoreError::Unavailable(why),
            VaultError::Damaged(why) => StoreError::Damaged(why),
        })?;
        let held = self.store.load_secret(&person.connection, &kind(&person.user)).await?;
        self.save(&person.connection, kind(&person.user), person, held.map(|secret| secret.version)).await
    }

    /// Changes a person's row, if it is still that of this sign-in.
    pub(super) async fn change(
        &self,
        person: &Person,
        change: impl FnOnce(&mut Person),
    ) -> Result<Option<Person>, StoreError> {
        let kept: Option<Kept<Person>> = self.load(&person.connection, &kind(&person.user)).await?;
        let Some(Kept { mut value, version }) = kept.filter(|kept| kept.value.sign_in == person.sign_in) else {
            return Ok(None);
        };
        change(&mut value);
        self.save(&value.connection, kind(&value.user), &value, Some(version)).await?;
        Ok(Some(value))
    }

    /// Nothing is kept of the session, unless another began meanwhile.
    pub async fn end(&self, person: &Person) -> Result<(), StoreError> {
        let kept: Option<Kept<Person>> = self.load(&person.connection, &kind(&person.user)).await?;
        let Some(Kept { version, .. }) = kept.filter(|kept| kept.value.sign_in == person.sign_in) else {
            return Ok(());
        };
        self.remove(&person.connection, &kind(&person.user), version).await?;
        self.clients.lock().remove(&(person.connection.clone(), person.user.clone()));
        // Whoever refreshes in this instant replaces it once more: then it is removed once more.
        let session = self.vault(&person.connection, &person.user).kind();
        while let Some(held) = self.store.load_secret(&person.connection, &session).await? {
            self.remove(&person.connection, &session, held.version).await?;
        }
        Ok(())
    }

    pub(super) async fn remove(&self, connection: &str, kind: &str, version: u64) -> Result<(), StoreError> {
        match self.store.remove_secret(connection, kind, version).await {
            Ok(()) | Err(StoreError::Outdated(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn load<T: DeserializeOwned>(
        &self,
        connection: &str,
        kind: &str,
    ) -> Result<Option<Kept<T>>, StoreError> {
        let Some(secret) = self.store.load_secret(connection, kind).await? else { return Ok(None) };
        Ok(Some(Kept { value: self.open(&secret)?, version: secret.version }))
    }

    pub(super) fn open<T: DeserializeOwned>(&self, secret: &SealedSecret) -> Result<T, StoreError> {
        let context = format!("{}/{}", secret.connection, secret.kind);
        let opened =
            self.keys.open(&context, &secret.sealed).map_err(|error| StoreError::Damaged(error.to_string()))?;
        serde_json::from_slice(opened.expose_secret())
            .map_err(|_| StoreError::Damaged("a row of a sign-in was written by another version".into()))
    }

    pub(super) async fn save<T: Serialize>(
        &self,
        connection: &str,
        kind: String,
        value: &T,
        expected: Option<u64>,
    ) -> Result<(), StoreError> {
        let plain = serde_json::to_vec(value).map_err(|error| StoreError::Damaged(error.to_string()))?;
        let secret = SealedSecret {
            connection: connection.to_owned(),
            version: expected.unwrap_or(0) + 1,
            sealed: self.keys.seal(&format!("{connection}/{kind}"), &plain),
            at: self.environment.now(),
            kind,
        };
        self.store.save_secret(secret, expected).await
    }
}

fn kind(user: &str) -> String {
    format!("{PERSON}/{user}")
}
