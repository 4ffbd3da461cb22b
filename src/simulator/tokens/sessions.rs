//! Refresh tokens: each works once, and its successor lives only as long as was left.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::Denied;
use crate::simulator::applications::{Access, Application, Role};

#[derive(Clone)]
struct SignedIn {
    client_id: String,
    user: String,
    roles: Vec<Role>,
    expires: Timestamp,
    count: u32,
}

pub struct Renewed {
    pub user: String,
    pub roles: Vec<Role>,
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
                    expires,
                    count: 0,
                };
                live.insert(session.refresh_token.clone(), signed_in);
            }
        }
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
            remaining: session.expires.duration_since(now),
            count: session.count,
        };
        live.insert(successor, session);
        Ok(renewed)
    }
}
