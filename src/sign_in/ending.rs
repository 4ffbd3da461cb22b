//! Sessions come to an end: announced ahead, forgotten afterwards, and told by metrics.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use prometheus::{IntGaugeVec, Opts};
use serde_json::json;
use uuid::Uuid;

use super::people::People;
use super::person::Person;
use crate::config::Access;
use crate::metrics::Registry;
use crate::store::{Admission, IntakeStore, StoreError};

const LOOK_EVERY: Duration = Duration::from_secs(15);

/// What looks after sessions while the gateway runs.
pub struct Ending {
    people: Arc<People>,
    store: Arc<dyn IntakeStore>,
    here: IntGaugeVec,
    first_end: IntGaugeVec,
    told: HashSet<Uuid>,
}

impl Ending {
    pub fn register(
        people: Arc<People>,
        store: Arc<dyn IntakeStore>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["connection"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let here = gauge("gateway_user_sessions", "People who are signed in, by connection")?;
        let help = "Seconds until the first of them must sign in again, by connection; 0: nobody is signed in";
        let first_end = gauge("gateway_user_session_first_end_seconds", help)?;
        Ok(Self { people, store, here, first_end, told: HashSet::new() })
    }

    pub fn start(mut self) {
        if self.people.connections.is_empty() {
            return;
        }
        let environment = self.people.environment.clone();
        environment.clone().spawn(async move {
            let shutdown = environment.shutdown().clone();
            loop {
                if let Err(error) = self.look().await {
                    tracing::warn!(%error, "sessions cannot be looked after now");
                }
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    () = environment.sleep(LOOK_EVERY) => {}
                }
            }
        });
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let people = self.people.all().await?;
        let now = self.people.environment.now();
        for connection in &self.people.connections {
            let name = connection.name.as_str();
            let mut here = people.iter().filter(|person| person.connection == name).peekable();
            let left = here.peek().map_or(0, |first| first.until.duration_since(now).as_secs());
            self.first_end.with_label_values(&[name]).set(left);
            self.here.with_label_values(&[name]).set(i64::try_from(here.count()).unwrap_or(i64::MAX));
        }
        for person in people {
            if self.is_to_be_told(&person) && self.told.insert(person.sign_in) {
                self.tell(&person).await?;
            }
        }
        self.people.forget_begun().await?;
        self.people.forget_gone().await
    }

    fn is_to_be_told(&self, person: &Person) -> bool {
        let Some(connection) = self.people.connection(&person.connection) else { return false };
        let Access::SignIn(sign_in) = &connection.access else { return false };
        let ahead = SignedDuration::try_from(sign_in.announce_end).unwrap_or_default();
        person.until.duration_since(self.people.environment.now()) <= ahead
    }

    /// Once a sign-in, whichever instance comes first: the store knows the others' as resends.
    async fn tell(&self, person: &Person) -> Result<(), StoreError> {
        let data = json!({
            "connection": person.connection,
            "user": person.user,
            "since": person.since.to_string(),
            "endsAt": person.until.to_string(),
        });
        let control_id = format!("session-ending:{}", person.sign_in);
        let event = Admission::own_event(
            (&self.people.environment, &self.people.keys),
            (&person.connection, control_id),
            "SessionEnding",
            data,
        );
        self.store.admit(event).await.map(drop)
    }
}
