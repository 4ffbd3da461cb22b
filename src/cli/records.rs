//! What the gateway knows, read from a running gateway's API or from a stopped one's store.
//!
//! Both give the same JSON, so that whoever prints it need not care.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use jiff::civil::Date;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::api::Api;
use super::exit::CliError;
use super::patient;
use crate::command::{CommandId, DispatchId, MessageId, NhsNumber, Ubrn};
use crate::config::{EnvironmentName, StoreUrl};
use crate::environment::Environment;
use crate::events::cloud_event;
use crate::inbound::http::views;
use crate::intake::{difference, taken_from};
use crate::problems;
use crate::replays;
use crate::reports;
use crate::store::{
    self, Act, Alias, AliasKind, AuditEntry, BulkReplay, DispatchFilter, Finding, MessageFilter, NewBulkReplay, Noted,
    ProblemFilter, ReplayFilter, ReplayStanding, Share, Store, StoreError,
};

/// Where to look.
#[derive(Args)]
pub struct Where {
    /// Address of a running gateway
    #[arg(long, value_name = "URL", env = "ERS_GATEWAY_API", default_value = "http://127.0.0.1:8080")]
    pub api: String,
    /// Token of a gateway that asks for one (`ers-gateway tokens make`); better in the environment than in a list of processes
    #[arg(long, value_name = "TOKEN", env = "ERS_GATEWAY_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Store, as the file of a gateway that does not run or as postgres://…; --api is then not used
    #[arg(long, value_name = "STORE", env = "ERS_GATEWAY_STORE_FILE")]
    pub store: Option<String>,
    /// The key file of that store; otherwise the one beside it
    #[arg(long, value_name = "FILE", env = "ERS_GATEWAY_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// Who looks or decides; goes to the audit log
    #[arg(long, value_name = "NAME", env = "USER", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub by: Option<String>,
}

pub enum Records {
    Api(Api),
    Store(Arc<dyn Store>, Environment, Option<Looker>),
}

/// Who looks into a stopped gateway's store, and why.
pub struct Looker {
    by: String,
    why: String,
}

impl Where {
    pub async fn open(&self) -> Result<Records, CliError> {
        let Some(store) = &self.store else {
            let mut api = Api::new(&self.api, self.token.as_deref())?;
            if let Some(by) = &self.by {
                api.says(by, None)?;
            }
            return Ok(Records::Api(api));
        };
        let url = StoreUrl::of_argument(store);
        let keys = super::store::keys_of(&url, self.key_file.as_deref())?;
        let store = super::store::open(&url, keys.as_ref()).await?;
        Ok(Records::Store(store, Environment::system(), None))
    }

    /// For a person who is shown what is found: each look is noted in the audit log. A running gateway notes it by itself.
    pub async fn open_to_look(&self, why: Option<&str>) -> Result<Records, CliError> {
        let by = self.by.as_deref();
        match self.open().await? {
            Records::Api(mut api) => {
                if let (Some(by), Some(_)) = (by, why) {
                    api.says(by, why)?;
                }
                Ok(Records::Api(api))
            }
            Records::Store(store, environment, _) => {
                let looker = Looker { by: by.unwrap_or("unnamed").into(), why: why.unwrap_or_default().into() };
                Ok(Records::Store(store, environment, Some(looker)))
            }
        }
    }

    /// Who acts: nobody does without a name.
    pub fn by(&self) -> Result<&str, CliError> {
        self.by.as_deref().ok_or_else(|| CliError::Usage("say who acts: --by NAME, or the variable USER".into()))
    }
}

impl Records {
    /// As the listener does for a running gateway: before anything is shown.
    pub async fn looked(&self, act: &'static str, subject: String, searched: Option<String>) -> Result<(), CliError> {
        let Self::Store(store, environment, Some(looker)) = self else { return Ok(()) };
        let why: Vec<String> =
            searched.into_iter().chain(Some(looker.why.clone()).filter(|why| !why.is_empty())).collect();
        let by = self::act(&looker.by, &why.join("; "), environment);
        Ok(store.note(Noted { act, subject, by }).await?)
    }

    /// Entries after that number, oldest first, and how many were ever written.
    pub async fn audit_log(&self, after: u64, max: usize) -> Result<(Vec<AuditEntry>, u64), CliError> {
        match self {
            Self::Api(api) => {
                let query = [("after", after.to_string()), ("limit", max.to_string())];
                let page = api.get("v1/audit", &query).await?;
                let entries = Vec::<AuditEntry>::deserialize(&page["entries"])
                    .map_err(|error| CliError::unavailable("the gateway's answer", error))?;
                Ok((entries, page["written"].as_u64().unwrap_or_default()))
            }
            Self::Store(store, ..) => {
                // Counted first: others may go on writing.
                let written = store.audit_written().await?;
                Ok((store.audit_log(after, max).await?, written))
            }
        }
    }

    /// Those that have one of these identifiers, as [`Self::messages`].
    pub async fn messages_of(&self, filter: MessageFilter, sought: &Sought) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => {
                let mut body = Map::new();
                for (name, value) in query_of(filter).into_iter().chain(sought.members()) {
                    let value = if name == "limit" {
                        value.parse::<u64>().map_or(Value::Null, Value::from)
                    } else {
                        value.into()
                    };
                    body.insert(name.into(), value);
                }
                api.post_as_said("v1/messages/search", &Value::Object(body)).await
            }
            Self::Store(store, ..) => {
                let (subject, searched) = sought.noted();
                self.looked("search", subject.into(), searched).await?;
                let filter = sought.filter(filter, &**store)?;
                let messages = store.messages(filter).await?;
                Ok(json!({ "messages": messages.iter().map(views::message).collect::<Vec<_>>() }))
            }
        }
    }

    /// One part of a search by text: `{"messages": […], "looked", "next"}`.
    pub async fn messages_containing(&self, filter: MessageFilter, text: &str) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => {
                let mut body: Map<String, Value> =
                    query_of(filter).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
                if let Some(limit) =
                    body.get("limit").and_then(Value::as_str).and_then(|limit| limit.parse::<u64>().ok())
                {
                    body.insert("limit".into(), limit.into());
                }
                body.insert("containing".into(), text.into());
                api.post_as_said("v1/messages/search", &Value::Object(body)).await
            }
            Self::Store(store, environment, _) => {
                self.looked("search", "messages by their text".into(), None).await?;
                let scanned = store::scan(&**store, filter, text, |_| true, environment).await?;
                let found: Vec<_> = scanned.found.iter().map(views::message).collect();
                Ok(json!({ "messages": found, "looked": scanned.looked, "next": scanned.next }))
            }
        }
    }

    /// Newest first: `{"messages": […], "next"}`.
    pub async fn messages(&self, filter: MessageFilter) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get("v1/messages", &query_of(filter)).await,
            Self::Store(store, ..) => {
                if let Some(id) = &filter.control_id {
                    let searched = Some(format!("control id {id}"));
                    self.looked("search", "messages by control id".into(), searched).await?;
                }
                let messages = store.messages(filter).await?;
                Ok(json!({ "messages": messages.iter().map(views::message).collect::<Vec<_>>() }))
            }
        }
    }

    /// A day's reconciliation.
    pub async fn report(&self, day: Date) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get(&format!("v1/reports/{day}"), &[]).await,
            Self::Store(store, environment, _) => {
                let report = reports::report(&**store, day, environment.now()).await?;
                report.ok_or_else(|| CliError::Usage("there is no such day".into()))
            }
        }
    }

    /// What a replay would come to. A stopped gateway cannot read refused messages once more.
    pub async fn preview_replay(&self, filter: &ReplayFilter, overtaken: bool) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => {
                let body = json!({ "filter": filter, "overtaken": overtaken });
                api.post("v1/replays?preview=true", &body).await
            }
            Self::Store(store, ..) => Ok(replays::preview(&**store, None, filter, overtaken).await?),
        }
    }

    pub async fn begin_replay(
        &self,
        filter: ReplayFilter,
        share: Share,
        overtaken: bool,
        environment: Option<EnvironmentName>,
        by: &str,
        why: &str,
    ) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => {
                let mut body = json!({
                    "filter": filter, "share": share.part(), "overtaken": overtaken, "by": by, "why": why,
                });
                if let Some(environment) = environment {
                    body["environment"] = environment.name().into();
                }
                api.post("v1/replays", &body).await
            }
            Self::Store(store, world, _) => {
                let id = world.new_id();
                let replay = NewBulkReplay { id, filter, share, overtaken };
                store.begin_replay(replay, act(by, why, world)).await?;
                self.bulk_replay(id).await.map(|replay| replays::views::replay(&replay))
            }
        }
    }

    async fn bulk_replay(&self, id: Uuid) -> Result<BulkReplay, CliError> {
        let Self::Store(store, ..) = self else { return Err(nothing("bulk replay", id)) };
        store.bulk_replay(id).await?.ok_or_else(|| nothing("bulk replay", id))
    }

    /// `{"replays": […]}`
    pub async fn replays(&self) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get("v1/replays", &[]).await,
            Self::Store(store, ..) => {
                let found = store.bulk_replays(None, REPLAYS_MAX).await?;
                Ok(json!({ "replays": found.iter().map(replays::views::replay).collect::<Vec<_>>() }))
            }
        }
    }

    /// With its items as `list`, from behind a number; `next` where there are more.
    pub async fn replay_of_many(&self, id: Uuid, after: Option<Uuid>) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => {
                let mut query = vec![("limit", ITEMS_PAGE.to_string())];
                query.extend(after.map(|after| ("after", after.to_string())));
                api.get(&format!("v1/replays/{id}"), &query).await
            }
            Self::Store(store, ..) => {
                let replay = self.bulk_replay(id).await?;
                Ok(replays::views::with_items(&**store, &replay, after, ITEMS_PAGE).await?)
            }
        }
    }

    pub async fn stand_replay(&self, id: Uuid, to: ReplayStanding, by: &str, why: &str) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => {
                let what = match to {
                    ReplayStanding::Running => "resume",
                    ReplayStanding::Paused => "pause",
                    ReplayStanding::Cancelled | ReplayStanding::Done => "cancel",
                };
                api.post(&format!("v1/replays/{id}/{what}"), &json!({ "by": by, "why": why })).await
            }
            Self::Store(store, environment, _) => {
                store.stand_replay(id, to, act(by, why, environment)).await?;
                self.bulk_replay(id).await.map(|replay| replays::views::replay(&replay))
            }
        }
    }

    /// `{"problems": […]}`
    pub async fn problems(&self, filter: ProblemFilter) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => {
                let mut query = vec![("limit", filter.max.to_string())];
                query.extend(filter.source.map(|source| ("source", source)));
                query.extend(filter.cause.map(|cause| ("cause", cause.to_string())));
                query.extend(filter.since.map(|since| ("since", since.to_string())));
                api.get("v1/problems", &query).await
            }
            Self::Store(store, ..) => Ok(problems::shown(&**store, filter).await?),
        }
    }

    /// One message with its commands.
    pub async fn message(&self, id: MessageId) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get(&format!("v1/messages/{id}"), &[]).await,
            Self::Store(store, ..) => {
                let message = store.message(id).await?.ok_or_else(|| nothing("message", id))?;
                self.looked("view", format!("message {id}"), None).await?;
                let commands = store.commands_of(id).await?;
                let mut shown = views::message(&message);
                shown["legalHold"] = store.is_held(id).await?.into();
                shown["commands"] = commands.iter().map(|command| views::command_summary(command, None)).collect();
                Ok(shown)
            }
        }
    }

    /// One command with its transitions and attempts.
    pub async fn command(&self, id: CommandId) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get(&format!("v1/commands/{id}"), &[]).await,
            Self::Store(store, ..) => {
                let command = store.command(id).await?.ok_or_else(|| nothing("command", id))?;
                self.looked("view", format!("command {id}"), None).await?;
                Ok(views::command(&command, None, &store.transitions(id).await?, &store.attempts(id).await?))
            }
        }
    }

    /// Newest first: `{"dispatches": […], "next"}`.
    pub async fn dispatches(&self, filter: DispatchFilter) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => {
                let mut query = vec![("limit", filter.max.to_string())];
                query.extend(filter.destination.map(|destination| ("destination", destination)));
                query.extend(filter.state.map(|state| ("state", state.name().to_owned())));
                query.extend(filter.before.map(|before| ("before", before.to_string())));
                api.get("v1/dispatches", &query).await
            }
            Self::Store(store, ..) => {
                let dispatches = store.dispatches(filter).await?;
                Ok(json!({ "dispatches": dispatches.iter().map(views::dispatch).collect::<Vec<_>>() }))
            }
        }
    }

    /// `replay` or `discard`.
    pub async fn decide_dispatch(&self, id: DispatchId, what: &str, by: &str, why: &str) -> Result<(), CliError> {
        match self {
            Self::Api(api) => {
                api.post(&format!("v1/dispatches/{id}/{what}"), &json!({ "by": by, "why": why })).await.map(drop)
            }
            Self::Store(store, environment, _) if what == "replay" => {
                Ok(store.replay_dispatch(id, act(by, why, environment)).await?)
            }
            Self::Store(store, environment, _) => Ok(store.discard_dispatch(id, act(by, why, environment)).await?),
        }
    }

    pub async fn replay(&self, id: CommandId, by: &str, why: &str) -> Result<(), CliError> {
        match self {
            Self::Api(api) => {
                api.post(&format!("v1/commands/{id}/replay"), &json!({ "by": by, "why": why })).await.map(drop)
            }
            Self::Store(store, environment, _) => Ok(store.replay(id, act(by, why, environment)).await?),
        }
    }

    /// A message that was refused or given up, which only a gateway that runs can take in once more.
    pub async fn replay_message(&self, id: MessageId, by: &str, why: &str) -> Result<(), CliError> {
        match self {
            Self::Api(api) => {
                api.post(&format!("v1/messages/{id}/replay"), &json!({ "by": by, "why": why })).await.map(drop)
            }
            Self::Store(..) => Err(CliError::Usage(
                "a message is taken in once more by a gateway that runs: name it with --api".into(),
            )),
        }
    }

    /// With a content that was changed; as above.
    pub async fn edit_message(&self, id: MessageId, content: &[u8], by: &str, why: &str) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => {
                let body = json!({ "by": by, "why": why, "base64": STANDARD.encode(content) });
                api.post(&format!("v1/messages/{id}/edit"), &body).await
            }
            Self::Store(..) => {
                Err(CliError::Usage("an edited message is taken in by a gateway that runs: name it with --api".into()))
            }
        }
    }

    /// What was changed in an edited message.
    pub async fn difference(&self, id: MessageId) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get(&format!("v1/messages/{id}/difference"), &[]).await,
            Self::Store(store, ..) => {
                let message = store.message(id).await?.ok_or_else(|| nothing("message", id))?;
                let first = message.control_id.as_deref().and_then(taken_from).filter(|(_, is_edited)| *is_edited);
                let (first, _) = first.ok_or_else(|| nothing("edited message", id))?;
                self.looked("view", format!("message {id}"), None).await?;
                let was = store.read_message(first, 0..u64::MAX).await?;
                let is = store.read_message(id, 0..u64::MAX).await?;
                Ok(json!({ "editedFrom": first, "changes": difference(&was, &is) }))
            }
        }
    }

    pub async fn release(&self, id: CommandId, by: &str, why: &str) -> Result<(), CliError> {
        match self {
            Self::Api(api) => {
                api.post(&format!("v1/commands/{id}/release"), &json!({ "by": by, "why": why })).await.map(drop)
            }
            Self::Store(store, environment, _) => Ok(store.release(id, act(by, why, environment)).await?),
        }
    }

    /// `{"holds": […]}`
    pub async fn holds(&self) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get("v1/holds", &[]).await,
            Self::Store(store, ..) => Ok(views::holds(&**store).await?),
        }
    }

    pub async fn decide(&self, id: CommandId, finding: Finding, by: &str, why: &str) -> Result<(), CliError> {
        match self {
            Self::Api(api) => {
                let mut body = json!({ "by": by, "why": why, "done": finding.done });
                if let Some(ubrn) = finding.ubrn {
                    body["ubrn"] = ubrn.into();
                }
                api.post(&format!("v1/commands/{id}/decide"), &body).await.map(drop)
            }
            Self::Store(store, environment, _) => Ok(store.decide(id, finding, act(by, why, environment)).await?),
        }
    }

    pub async fn discard(&self, id: CommandId, by: &str, why: &str) -> Result<(), CliError> {
        match self {
            Self::Api(api) => {
                api.post(&format!("v1/commands/{id}/discard"), &json!({ "by": by, "why": why })).await.map(drop)
            }
            Self::Store(store, environment, _) => Ok(store.discard(id, act(by, why, environment)).await?),
        }
    }

    pub async fn pass(&self, id: CommandId, by: &str, why: &str) -> Result<(), CliError> {
        match self {
            Self::Api(api) => {
                api.post(&format!("v1/commands/{id}/pass"), &json!({ "by": by, "why": why })).await.map(drop)
            }
            Self::Store(store, environment, _) => {
                Ok(store::pass(&**store, &**store, id, act(by, why, environment)).await.map(drop)?)
            }
        }
    }

    /// `{"events": […], "next"}`
    pub async fn events(&self, after: u64, max: usize) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get("v1/events", &[("after", after.to_string()), ("limit", max.to_string())]).await,
            Self::Store(store, ..) => {
                let events = store.events_after(after, max).await?;
                let next = events.last().map_or(after, |event| event.position);
                Ok(json!({ "events": events.iter().map(cloud_event).collect::<Vec<_>>(), "next": next }))
            }
        }
    }
}

/// In one answer.
const REPLAYS_MAX: usize = 100;
const ITEMS_PAGE: usize = 1_000;

/// As parameters of the API.
fn query_of(filter: MessageFilter) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", filter.max.to_string())];
    query.extend(filter.source.map(|source| ("source", source)));
    query.extend(filter.verdict.map(|verdict| ("verdict", verdict.name().to_owned())));
    query.extend(filter.state.map(|state| ("state", state)));
    query.extend(filter.control_id.map(|id| ("controlId", id)));
    query.extend(filter.cause.map(|cause| ("cause", cause.to_string())));
    query.extend(filter.since.map(|since| ("since", since.to_string())));
    query.extend(filter.until.map(|until| ("until", until.to_string())));
    query.extend(filter.before.map(|before| ("before", before.to_string())));
    query
}

/// Identifiers that messages are searched by: none of them goes into an address.
pub struct Sought {
    pub local_id: Option<String>,
    pub ubrn: Option<Ubrn>,
    pub nhs_number: Option<NhsNumber>,
}

impl Sought {
    pub fn is_nothing(&self) -> bool {
        self.local_id.is_none() && self.ubrn.is_none() && self.nhs_number.is_none()
    }

    fn members(&self) -> impl Iterator<Item = (&'static str, String)> {
        let members = [
            ("localId", self.local_id.clone()),
            ("ubrn", self.ubrn.as_ref().map(|ubrn| ubrn.as_str().to_owned())),
            ("nhsNumber", self.nhs_number.as_ref().map(|number| number.as_str().to_owned())),
        ];
        members.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// As the API notes it.
    fn noted(&self) -> (&'static str, Option<String>) {
        match self {
            Self { nhs_number: Some(_), .. } => ("messages by NHS number", None),
            Self { ubrn: Some(ubrn), .. } => ("messages by UBRN", Some(format!("UBRN {}", ubrn.as_str()))),
            Self { local_id, .. } => {
                ("messages by local id", local_id.as_ref().map(|local_id| format!("local id {local_id}")))
            }
        }
    }

    fn filter(&self, filter: MessageFilter, store: &dyn Store) -> Result<MessageFilter, CliError> {
        let keys = patient::keys(store)?;
        let alias = |kind, parts: &[&str]| Alias { kind, digest: keys.alias_digest(kind, parts) };
        let referral = match (&self.ubrn, &self.local_id) {
            (Some(ubrn), _) => Some(alias(AliasKind::Ubrn, &[ubrn.as_str()])),
            (None, Some(id)) => {
                let source = filter.source.as_deref();
                let source = source.ok_or_else(|| CliError::Usage("name the source of --local-id: --source".into()))?;
                Some(alias(AliasKind::LocalId, &[source, id]))
            }
            (None, None) => None,
        };
        let patient = self.nhs_number.as_ref().map(|number| keys.patient_digest(number));
        Ok(MessageFilter { referral, patient, ..filter })
    }
}

/// By a person at the command line.
pub fn act(by: &str, why: &str, environment: &Environment) -> Act {
    Act::of_person(by, format!("command line on {}", host_name()), why, environment.now())
}

/// As the kernel knows it.
fn host_name() -> String {
    let told =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let told = told.unwrap_or_default().trim().to_owned();
    if told.is_empty() { std::env::var("HOSTNAME").unwrap_or_else(|_| "an unknown machine".into()) } else { told }
}

fn nothing(what: &str, id: impl std::fmt::Display) -> CliError {
    CliError::NotFound(format!("there is no {what} {id}"))
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound("the store knows nothing of that identifier".to_owned()),
            StoreError::Outdated(_) => Self::No(error.to_string()),
            StoreError::Unavailable(_) | StoreError::Damaged(_) | StoreError::Locked(_) => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}
