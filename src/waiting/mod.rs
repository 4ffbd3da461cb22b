//! What waits for a person, and what the person says of it.
//!
//! Enters: who asks. Leaves: whom commands wait for, since when and how urgently; confirmed commands in the queue, in the order
//! of their threads. Guarantees: a person sees and confirms what is theirs, and nothing else; what is too old, was cancelled
//! or said anew meanwhile is confirmed only by who says so by name. Delivery looks again before it sends.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::command::{Class, CommandId, Overtaken, State};
use crate::config::is_nhs_user;
use crate::delivery::{Asker, PlanRecord, Sources};
use crate::environment::Environment;
use crate::sign_in::{People, Person, Whose, signed};
use crate::store::{Act, CommandView, SearchStore, StoreError, WaitingStore, Word};

/// Listed at once; the rest follows when these are seen to.
const LISTED_MAX: usize = 5_000;
pub const EXPIRED: &str = "EXPIRED";

/// The rooms that it stands on.
pub struct Waiting {
    pub store: Arc<dyn WaitingStore>,
    pub search: Arc<dyn SearchStore>,
    pub people: Arc<People>,
    /// Asks PDS once more.
    pub asker: Asker,
    pub sources: watch::Receiver<Arc<Sources>>,
    pub environment: Environment,
}

/// A command that cannot go on without somebody, or stands behind one that cannot.
pub struct Item {
    pub command: CommandView,
    pub whose: Whose,
    /// Where somebody must sign in, and why it waits; of what stands behind another, nothing yet.
    pub connection: Option<String>,
    pub why: Option<String>,
    pub since: Timestamp,
    pub too_old: bool,
}

/// What a person confirms.
pub enum Which {
    All,
    These(Vec<CommandId>),
}

/// What became of one command that was to be confirmed.
pub struct Outcome {
    pub command: CommandId,
    /// `CONFIRMED`, or why not.
    pub code: &'static str,
    pub text: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    #[error("a user is an NHS user id: 12 digits")]
    NotAUser,
    #[error("its message says whose it is, and nobody else's it becomes")]
    HasAuthor,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Waiting {
    /// Everything that waits for somebody, in the order in which it came.
    pub async fn all(&self) -> Result<Vec<Item>, StoreError> {
        let sources = self.sources.borrow().clone();
        let now = self.environment.now();
        let waiting = self.store.waiting(LISTED_MAX).await?;
        Ok(waiting.into_iter().map(|command| item(command, &sources, now)).collect())
    }

    /// What waits in a person's name.
    pub async fn of(&self, person: &Person) -> Result<Vec<Item>, StoreError> {
        let mut items = self.all().await?;
        items.retain(|item| item.whose.user() == Some(&person.user));
        Ok(items)
    }

    /// Sends a person's commands on their way. `although`: codes that they have read and do not mind.
    pub async fn confirm(
        &self,
        person: &Person,
        which: Which,
        although: &[String],
        place: &str,
    ) -> Result<Vec<Outcome>, StoreError> {
        let theirs = self.of(person).await?;
        let wanted = |item: &&Item| match &which {
            Which::All => true,
            Which::These(ids) => ids.contains(&item.command.id),
        };
        let mut outcomes = Vec::new();
        if let Which::These(ids) = &which {
            let not_theirs = ids.iter().filter(|id| !theirs.iter().any(|item| item.command.id == **id));
            outcomes.extend(not_theirs.map(|id| Outcome {
                command: *id,
                code: "NOT_WAITING",
                text: "nothing of this identifier waits in your name".into(),
            }));
        }
        // What stands behind others first, so that it is confirmed when its turn comes; then what goes, in order of arrival.
        let (behind, heads): (Vec<&Item>, Vec<&Item>) =
            theirs.iter().filter(wanted).partition(|item| item.command.held_by.is_some());
        for item in behind.into_iter().chain(heads) {
            outcomes.push(self.confirm_one(person, item, although, place).await?);
        }
        let place_of = |command| theirs.iter().position(|item| item.command.id == command).unwrap_or(usize::MAX);
        outcomes.sort_by_key(|outcome| place_of(outcome.command));
        Ok(outcomes)
    }

    async fn confirm_one(
        &self,
        person: &Person,
        item: &Item,
        although: &[String],
        place: &str,
    ) -> Result<Outcome, StoreError> {
        let id = item.command.id;
        let minds = |code: &str| !although.iter().any(|one| one == code);
        if item.too_old && minds(EXPIRED) {
            let text = "it is older than its class allows: decide whether it is still to be sent";
            return Ok(Outcome { command: id, code: EXPIRED, text: text.into() });
        }
        let behind = self.store.behind(id).await?;
        let overtaken = behind.iter().find_map(|later| Overtaken::by(&item.command.name, &later.name));
        if let Some(overtaken) = overtaken.filter(|overtaken| minds(overtaken.code())) {
            return Ok(Outcome { command: id, code: overtaken.code(), text: overtaken.text().into() });
        }
        let mut told = Vec::new();
        if let Some(hold) = self.asker.patient_of(&item.command).await {
            if hold.codes.is_empty() || hold.codes.iter().any(|code| minds(code)) {
                return Ok(Outcome { command: id, code: hold.code, text: hold.text });
            }
            told = hold.codes;
        }
        let (user, late, overtaken) = (person.user.clone(), item.too_old, overtaken.is_some());
        let word = Word::Confirms { user, late, overtaken, told };
        let act = Act::of_person(signed(person), place, "after signing in", self.environment.now());
        match self.store.say(id, word, act).await {
            Ok(()) => Ok(Outcome { command: id, code: "CONFIRMED", text: "it goes when its turn comes".into() }),
            Err(StoreError::Outdated(_) | StoreError::NotFound) => {
                Ok(Outcome { command: id, code: "CHANGED", text: "it is in another state by now: look again".into() })
            }
            Err(error) => Err(error),
        }
    }

    /// Makes somebody responsible for a command whose message names nobody.
    pub async fn assign(&self, command: CommandId, user: &str, act: Act) -> Result<(), AssignError> {
        if !is_nhs_user(user) {
            return Err(AssignError::NotAUser);
        }
        let view = self.search.command(command).await?.ok_or(StoreError::NotFound)?;
        let plan = PlanRecord::from_value(view.plan.clone()).unwrap_or_default();
        let sources = self.sources.borrow().clone();
        let named = Whose::of(sources.get(&view.source), (&view.name, &view.body), plan.author.as_deref(), None);
        if named != Whose::Nobodys {
            return Err(AssignError::HasAuthor);
        }
        Ok(self.store.say(command, Word::IsFor { user: user.to_owned() }, act).await?)
    }

    /// Whom everything waits for: each with how much, since when, how urgent, and whether they are here.
    pub async fn by_person(&self) -> Result<Value, StoreError> {
        let here = self.people.all().await?;
        Ok(grouped(&self.all().await?, &here))
    }
}

fn item(command: CommandView, sources: &Sources, now: Timestamp) -> Item {
    let plan = PlanRecord::from_value(command.plan.clone()).unwrap_or_default();
    let whose = Whose::of(
        sources.get(&command.source),
        (&command.name, &command.body),
        plan.author.as_deref(),
        plan.responsible.as_deref(),
    );
    let since = match &command.state {
        State::Unauthorised { since, .. } => *since,
        _ => command.received_at,
    };
    let needs = plan.needs.filter(|_| matches!(command.state, State::Unauthorised { .. }));
    let too_old = !plan.begun && !plan.overdue_told && command.not_after.is_some_and(|limit| now > limit);
    let (connection, why) = needs.map(|needs| (needs.connection, needs.why)).unzip();
    Item { command, whose, connection, why, since, too_old }
}

/// As the API shows it: nothing of the patient but the sender's own identifier of the referral.
pub fn shown(item: &Item) -> Value {
    let command = &item.command;
    let mut told = json!({
        "command": command.id,
        "message": command.message,
        "source": command.source,
        "name": command.name,
        "class": command.class,
        "state": command.state.name(),
        "receivedAt": command.received_at,
        "since": item.since,
        "notAfter": command.not_after,
        "tooOld": item.too_old,
        "behind": command.held_by,
        "connection": item.connection,
        "why": item.why,
    });
    match &item.whose {
        Whose::Theirs(user) => told["user"] = user.as_str().into(),
        Whose::Unknown(name) => told["unknownUser"] = name.as_str().into(),
        Whose::Nobodys => {}
    }
    for (name, value) in [("localId", command.body.get("localId")), ("ubrn", command.known.get("ubrn"))] {
        if let Some(value @ Value::String(_)) = value {
            told[name] = value.clone();
        }
    }
    told
}

fn grouped(items: &[Item], here: &[Person]) -> Value {
    let mut groups: BTreeMap<String, (Value, Vec<&Item>)> = BTreeMap::new();
    for item in items {
        let (key, who) = match &item.whose {
            Whose::Theirs(user) => {
                let person = here.iter().find(|person| person.user == *user);
                let name = person.and_then(|person| person.name.clone());
                (format!("0 {user}"), json!({"user": user, "name": name, "signedIn": person.is_some()}))
            }
            Whose::Unknown(name) => {
                let source = &item.command.source;
                (format!("1 {source} {name}"), json!({"unknownUser": name, "source": source}))
            }
            Whose::Nobodys => {
                let connection = item.connection.as_deref().unwrap_or_default();
                (format!("2 {connection}"), json!({"anybody": true, "connection": connection}))
            }
        };
        groups.entry(key).or_insert_with(|| (who, Vec::new())).1.push(item);
    }
    let mut told: Vec<(u8, Timestamp, Value)> = groups
        .into_values()
        .map(|(mut who, items)| {
            let most_urgent = items.iter().map(|item| item.command.class).min();
            let since = items.iter().map(|item| item.since).min().unwrap_or(Timestamp::UNIX_EPOCH);
            who["count"] = items.len().into();
            who["tooOld"] = items.iter().filter(|item| item.too_old).count().into();
            who["since"] = json!(since);
            who["mostUrgent"] = json!(most_urgent);
            who["soonestTooOld"] = json!(items.iter().filter_map(|item| item.command.not_after).min());
            who["commands"] = items.iter().map(|item| shown(item)).collect();
            (most_urgent.map_or(0, Class::rank), since, who)
        })
        .collect();
    told.sort_by_key(|(urgency, since, _)| (*urgency, *since));
    json!({ "waiting": told.into_iter().map(|(.., who)| who).collect::<Vec<_>>() })
}
