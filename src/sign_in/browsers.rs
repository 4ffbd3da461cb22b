//! Which browser is whose: a cookie that a person got when they came back, and that no other sign-in gives again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::begun::digest;
use super::people::People;
use super::person::Person;
use crate::store::StoreError;

const BROWSER: &str = "browser";

#[derive(Serialize, Deserialize)]
struct Browser {
    user: String,
    sign_in: Uuid,
    until: Timestamp,
}

impl People {
    /// From now on this cookie is the person's.
    pub(super) async fn note_browser(&self, cookie: &str, person: &Person) -> Result<(), StoreError> {
        let browser = Browser { user: person.user.clone(), sign_in: person.sign_in, until: person.until };
        self.save(&person.connection, format!("{BROWSER}/{}", digest(cookie)), &browser, None).await
    }

    /// Whose a browser is now.
    pub async fn of_browser(&self, cookie: &str) -> Result<Option<Person>, StoreError> {
        let kind = format!("{BROWSER}/{}", digest(cookie));
        for connection in &self.connections {
            let Some(kept) = self.load::<Browser>(&connection.name, &kind).await? else { continue };
            let person = self.find(&connection.name, &kept.value.user).await?;
            return Ok(person.filter(|person| person.sign_in == kept.value.sign_in));
        }
        Ok(None)
    }

    pub(super) async fn forget_browser(&self, cookie: &str) -> Result<(), StoreError> {
        let kind = format!("{BROWSER}/{}", digest(cookie));
        for connection in &self.connections {
            if let Some(held) = self.store.load_secret(&connection.name, &kind).await? {
                self.remove(&connection.name, &kind, held.version).await?;
            }
        }
        Ok(())
    }

    /// Forgets people whose sessions are over, and what opened them.
    pub(super) async fn forget_gone(&self) -> Result<(), StoreError> {
        let now = self.environment.now();
        for connection in &self.connections {
            for secret in self.store.secrets(&connection.name, &format!("{BROWSER}/")).await? {
                if self.open::<Browser>(&secret).is_ok_and(|browser| browser.until <= now) {
                    self.remove(&connection.name, &secret.kind, secret.version).await?;
                }
            }
            for secret in self.store.secrets(&connection.name, "person/").await? {
                if let Ok(person) = self.open::<Person>(&secret)
                    && !person.is_here(now)
                {
                    self.end(&person).await?;
                }
            }
        }
        Ok(())
    }
}
