//! Refresh tokens: each works once, and its successor lives only as long as was left.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::Denied;
use crate::simulator::applications::{Access, Application, Role, TestPerson, TooLow};

#[derive(Clone)]
struct SignedIn {
    client_id: String,
    user: String,
    roles: Vec<Role>,
    too_low: Option<TooLow>,
    expires: Timestamp,
    count: u32,
    /// The token that the session began with.
    first: String,
}

pub struct Renewed {
    pub user: String,
    pub roles: Vec<Role>,
    pub too_low: Option<TooLow>,
    /// Counts from the login.
    pub remaining: SignedDuration,
    pub count: u32,
}

pub struct Sessions {
    /// By the one refresh token that works now.
    live: Mutex<HashMap<String, SignedIn>>,
    lifetime: SignedDuration,
}

impl Sessions {
    pub fn new(applications: &[Application], lifetime: SignedDuration, now: Timestamp) -> Self {
        let sessions = Self { live: Mutex::default(), lifetime };
        sessions.reset(applications, now);
        sessions
    }

    /// Back to the sessions of the registration, signed in at `now`.
    pub fn reset(&self, applications: &[Application], now: Timestamp) {
        let expires = now.checked_add(self.lifetime).unwrap_or(Timestamp::MAX);
        let mut live = self.live.lock();
        live.clear();
        for application in applications {
            let Access::UserRestricted { sessions, .. } = &application.access else { continue };
            for session in sessions {
                let signed_in = SignedIn {
                    client_id: application.client_id.clone(),
                    user: session.user.clone(),
                    roles: session.roles.clone(),
                    too_low: None,
                    expires,
                    count: 0,
                    first: session.refresh_token.clone(),
                };
                live.insert(session.refresh_token.clone(), signed_in);
            }
        }
    }

    /// Of somebody who has just signed in.
    pub fn begin(&self, client_id: &str, person: &TestPerson, refresh_token: String, now: Timestamp) -> SignedDuration {
        let signed_in = SignedIn {
            client_id: client_id.to_owned(),
            user: person.user.clone(),
            roles: person.roles.clone(),
            too_low: person.too_low(),
            expires: now.checked_add(self.lifetime).unwrap_or(Timestamp::MAX),
            count: 0,
            first: refresh_token.clone(),
        };
        self.live.lock().insert(refresh_token, signed_in);
        self.lifetime
    }

    /// However often it was refreshed since.
    pub fn end_what_began_with(&self, refresh_token: &str) {
        self.live.lock().retain(|_, session| session.first != refresh_token);
    }

    pub fn renew(
        &self,
        client_id: &str,
        presented: &str,
        successor: String,
        now: Timestamp,
    ) -> Result<Renewed, Denied> {
        let denied = || Denied::new(401, "invalid_grant", "refresh token is invalid, used or expired");
        let mut live = self.live.lock();
        let belongs = live.get(presented).is_some_and(|session| session.client_id == client_id);
        if !belongs {
            return Err(denied());
        }
        let mut session = live.remove(presented).ok_or_else(denied)?;
        if session.expires <= now {
            return Err(denied());
        }
        session.count += 1;
        let renewed = Renewed {
            user: session.user.clone(),
            roles: session.roles.clone(),
            too_low: session.too_low,
            remaining: session.expires.duration_since(now),
            count: session.count,
        };
        live.insert(successor, session);
        Ok(renewed)
    }
}
