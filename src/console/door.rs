//! Who may open pages: passwords, sessions, and forms that nobody else's page can send.
//!
//! Enters: a name and a password, or the cookie of a session. Leaves: a session, or nobody. Guarantees: a session is sealed
//! with the gateway's key and kept nowhere else, so that every instance knows it; it ends after an hour without a request,
//! after twelve hours, when its account changes, and when its person signs out of this instance; whoever guesses passwords
//! is locked out, and learns nothing of which names there are.

use std::collections::HashMap;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::provider::LetIn;
use crate::config::{Account, Person, PersonRole};
use crate::environment::Environment;
use crate::inbound::http::Known;
use crate::keys::Keys;

/// Without a request.
pub const IDLE_MAX: Duration = Duration::from_secs(3_600);
/// From the sign-in.
pub const SESSION_MAX: Duration = Duration::from_secs(12 * 3_600);
/// A cookie is made anew after this, so that not every answer sets one.
const RENEW_AFTER: Duration = Duration::from_secs(60);
/// Wrong passwords for a name before it is locked.
const TRIES_MAX: u32 = 5;
/// For so long, and counted within so long. A name that is tried all the time stays locked: so does a name that is guessed.
const LOCKED_FOR: Duration = Duration::from_secs(15 * 60);
/// Names that are counted; a flood of others pushes the oldest out.
const COUNTED_MAX: usize = 10_000;
/// Each takes 19 MiB for some tens of milliseconds.
const CHECKS_AT_ONCE: usize = 2;
/// Whoever waits longer is told to come again.
const CHECK_WAIT_MAX: Duration = Duration::from_secs(5);
const CONTEXT: &str = "console session";
const COOKIE_BYTES_MAX: usize = 2_048;
/// Checked where there is no such account, so that this takes as long: the digest of nothing that anybody knows.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm8gYWNjb3VudCBoZXJl$J5tyxxUhOGdxjlVvyaVxsOEqKSbvX1IVCBXzF0m4WHg";

/// Somebody who is signed in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    id: Uuid,
    pub person: String,
    /// Of the account as it was: another password, or other rights, end the session.
    account: String,
    /// What the identity provider let them in as; `None`: the account of that name says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    granted: Option<Granted>,
    /// Stands in every form of this session.
    pub form: Uuid,
    since: Timestamp,
    seen: Timestamp,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Granted {
    role: PersonRole,
    content: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// Wrong name or password: it is not said which.
    Wrong,
    /// Too many wrong ones for this name.
    Locked,
    /// Too many passwords are looked at already.
    Busy,
}

struct Tries {
    count: u32,
    last: Timestamp,
}

pub struct Door {
    keys: Keys,
    tries: Mutex<HashMap<String, Tries>>,
    /// Sessions that were ended before their time.
    ended: Mutex<HashMap<Uuid, Timestamp>>,
    checks: Semaphore,
}

impl Session {
    /// Came in by the identity provider, where somebody may be signed in still.
    pub fn is_by_provider(&self) -> bool {
        self.granted.is_some()
    }
}

impl Door {
    pub fn new(keys: Keys) -> Self {
        Self { keys, tries: Mutex::default(), ended: Mutex::default(), checks: Semaphore::new(CHECKS_AT_ONCE) }
    }

    /// A session for who knows the password.
    pub async fn sign_in(
        &self,
        known: &Known,
        name: &str,
        password: String,
        environment: &Environment,
    ) -> Result<Session, Refused> {
        let now = environment.now();
        if self.is_locked(name, now) {
            return Err(Refused::Locked);
        }
        let place = tokio::time::timeout(CHECK_WAIT_MAX, self.checks.acquire()).await;
        let _place = place.map_err(|_| Refused::Busy)?;
        // Others may have tried meanwhile.
        if self.is_locked(name, now) {
            return Err(Refused::Locked);
        }
        let person = known.person(name).cloned();
        let digest = person.as_ref().map_or(NOBODYS, |person| person.password.as_str()).to_owned();
        let is_right = tokio::task::spawn_blocking(move || matches(&password, &digest)).await.unwrap_or(false);
        match person.filter(|_| is_right) {
            Some(person) => {
                self.tries.lock().remove(name);
                Ok(begun(mark(&person), person.name, None, environment))
            }
            None => {
                self.count(name, now);
                Err(Refused::Wrong)
            }
        }
    }

    /// A session for whom the identity provider let in.
    pub fn let_in(&self, known: &Known, who: LetIn, environment: &Environment) -> Option<Session> {
        let LetIn { name, role, content } = who;
        let account = provider_mark(known)?;
        Some(begun(account, name, Some(Granted { role, content }), environment))
    }

    fn is_locked(&self, name: &str, now: Timestamp) -> bool {
        let tries = self.tries.lock();
        tries.get(name).is_some_and(|tries| tries.count >= TRIES_MAX && tries.last + LOCKED_FOR > now)
    }

    fn count(&self, name: &str, now: Timestamp) {
        let mut tries = self.tries.lock();
        if tries.len() >= COUNTED_MAX {
            tries.retain(|_, tries| tries.last + LOCKED_FOR > now);
        }
        if tries.len() >= COUNTED_MAX {
            let oldest = tries.iter().filter(|(_, tries)| tries.count < TRIES_MAX).min_by_key(|(_, tries)| tries.last);
            let oldest = oldest.map(|(name, _)| name.clone());
            match oldest {
                Some(name) => drop(tries.remove(&name)),
                None => tries.clear(),
            }
        }
        let tries = tries.entry(name.to_owned()).or_insert(Tries { count: 0, last: now });
        if tries.last + LOCKED_FOR <= now {
            tries.count = 0;
        }
        tries.count += 1;
        tries.last = now;
    }

    /// As it stands in the cookie.
    pub fn seal(&self, session: &Session) -> String {
        let plain = serde_json::to_vec(session).expect("a session has only string keys");
        URL_SAFE_NO_PAD.encode(self.keys.seal(CONTEXT, &plain))
    }

    /// Who the cookie is of, if it still counts.
    pub fn open(&self, cookie: &str, known: &Known, now: Timestamp) -> Option<(Session, Account)> {
        if cookie.len() > COOKIE_BYTES_MAX {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let plain = self.keys.open(CONTEXT, &sealed).ok()?;
        let session: Session = serde_json::from_slice(plain.expose_secret()).ok()?;
        let (account, current) = match session.granted {
            None => {
                let person = known.person(&session.person)?;
                (person.account(), mark(person))
            }
            Some(Granted { role, content }) => {
                (Account { name: session.person.clone(), role, content }, provider_mark(known)?)
            }
        };
        let counts = session.account == current
            && session.since + SESSION_MAX > now
            && session.seen + IDLE_MAX > now
            && !self.ended.lock().contains_key(&session.id);
        counts.then_some((session, account))
    }

    /// The same session, seen now; `None` while its cookie is new enough.
    pub fn renewed(&self, session: &Session, now: Timestamp) -> Option<Session> {
        (session.seen + RENEW_AFTER <= now).then(|| Session { seen: now, ..session.clone() })
    }

    /// From now on its cookie opens nothing here.
    pub fn end(&self, session: &Session, now: Timestamp) {
        let mut ended = self.ended.lock();
        ended.retain(|_, since| *since + SESSION_MAX > now);
        ended.insert(session.id, session.since);
    }
}

fn begun(account: String, person: String, granted: Option<Granted>, environment: &Environment) -> Session {
    let now = environment.now();
    Session {
        id: environment.random_id(),
        person,
        account,
        granted,
        form: environment.random_id(),
        since: now,
        seen: now,
    }
}

/// Changes with what the settings say of the identity provider.
fn provider_mark(known: &Known) -> Option<String> {
    Some(format!("provider {}", URL_SAFE_NO_PAD.encode(known.provider()?.settings.mark())))
}

fn matches(password: &str, digest: &str) -> bool {
    let Ok(digest) = PasswordHash::new(digest) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &digest).is_ok()
}

/// Changes with anything about the account.
fn mark(person: &Person) -> String {
    let account = format!("{}\n{}\n{}\n{}", person.name, person.password.as_str(), person.role.name(), person.content);
    URL_SAFE_NO_PAD.encode(&Sha256::digest(account)[..12])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Config, PersonRole};

    /// Cheap, of "correct horse".
    fn digest(password: &str) -> String {
        use argon2::password_hash::PasswordHasher as _;
        let cheap = Argon2::new(
            argon2::Algorithm::Argon2id,
            argon2::Version::V0x13,
            argon2::Params::new(8, 1, 1, None).expect("costs"),
        );
        cheap.hash_password_with_salt(password.as_bytes(), b"salt salt").expect("a digest").to_string()
    }

    fn known(change: impl FnOnce(&mut Person)) -> Known {
        let mut person: Person =
            serde_json::from_value(json!({"name": "jo", "password": digest("correct horse"), "role": "viewer"}))
                .expect("a person");
        change(&mut person);
        Known::of(&Config { people: vec![person], ..Config::default() })
    }

    fn door() -> (Door, Environment, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let environment = Environment::simulated(7, Timestamp::UNIX_EPOCH);
        let keys = Keys::load_or_create(&folder.path().join("key"), &environment).expect("keys");
        (Door::new(keys), environment, folder)
    }

    async fn sign_in(door: &Door, environment: &Environment, name: &str, password: &str) -> Result<Session, Refused> {
        door.sign_in(&known(|_| {}), name, password.into(), environment).await
    }

    #[tokio::test]
    async fn a_session_is_for_who_knows_the_password_and_counts_until_its_end() {
        let (door, environment, _folder) = door();
        assert_eq!(sign_in(&door, &environment, "jo", "wrong").await.expect_err("refused"), Refused::Wrong);
        assert_eq!(sign_in(&door, &environment, "nobody", "correct horse").await.expect_err("refused"), Refused::Wrong);
        let session = sign_in(&door, &environment, "jo", "correct horse").await.expect("a session");
        let (cookie, now) = (door.seal(&session), environment.now());
        let second = Duration::from_secs(1);
        let opens = |known: &Known, at| door.open(&cookie, known, at).is_some();
        let as_before = known(|_| {});
        assert!(opens(&as_before, now) && opens(&as_before, now + IDLE_MAX - second));
        assert!(!opens(&as_before, now + IDLE_MAX), "nobody was there for an hour");
        assert!(!opens(&known(|person| person.role = PersonRole::Operator), now), "other rights");
        assert!(!opens(&known(|person| person.content = true), now), "other rights");
        assert!(!opens(&Known::of(&Config::default()), now), "no account any more");
        assert!(door.open("AAAA", &as_before, now).is_none() && door.open("", &as_before, now).is_none());
        let renewed = door.renewed(&session, now + IDLE_MAX - second).expect("old enough");
        let cookie = door.seal(&renewed);
        assert!(door.open(&cookie, &as_before, now + IDLE_MAX + second).is_some(), "somebody was there");
        let late = Session { seen: now + SESSION_MAX - second, ..session.clone() };
        assert!(door.open(&door.seal(&late), &as_before, now + SESSION_MAX - second).is_some());
        assert!(door.open(&door.seal(&late), &as_before, now + SESSION_MAX).is_none(), "twelve hours");
        door.end(&session, now);
        assert!(door.open(&cookie, &as_before, now).is_none(), "signed out");
    }

    #[tokio::test]
    async fn who_guesses_is_locked_out_and_only_for_a_while() {
        let (door, environment, _folder) = door();
        for _ in 0..TRIES_MAX {
            assert_eq!(sign_in(&door, &environment, "jo", "wrong").await.expect_err("refused"), Refused::Wrong);
        }
        assert_eq!(sign_in(&door, &environment, "jo", "correct horse").await.expect_err("locked"), Refused::Locked);
        assert!(!door.is_locked("sam", environment.now()), "others are not");
        assert!(!door.is_locked("jo", environment.now() + LOCKED_FOR));
        door.count("jo", environment.now() + LOCKED_FOR);
        assert!(!door.is_locked("jo", environment.now() + LOCKED_FOR), "it begins anew");
    }

    #[test]
    fn the_digest_of_nobody_is_one_that_costs_what_others_cost() {
        let digest = PasswordHash::new(NOBODYS).expect("a digest");
        let params = argon2::Params::try_from(&digest).expect("costs");
        assert_eq!(
            (params.m_cost(), params.t_cost()),
            (Argon2::default().params().m_cost(), Argon2::default().params().t_cost())
        );
        assert!(!matches("", NOBODYS));
    }
}
