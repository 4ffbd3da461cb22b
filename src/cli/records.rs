//! What the gateway knows, read from a running gateway's API or from a stopped one's store.
//!
//! Both give the same JSON, so that whoever prints it need not care.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::api::Api;
use super::exit::CliError;
use crate::command::{CommandId, DispatchId, MessageId};
use crate::config::StoreUrl;
use crate::environment::Environment;
use crate::events::cloud_event;
use crate::inbound::http::views;
use crate::store::{self, Act, DispatchFilter, Finding, MessageFilter, Store, StoreError};

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
}

pub enum Records {
    Api(Api),
    Store(Arc<dyn Store>, Environment),
}

impl Where {
    pub async fn open(&self) -> Result<Records, CliError> {
        let Some(store) = &self.store else { return Ok(Records::Api(Api::new(&self.api, self.token.as_deref())?)) };
        let store = super::store::open(&StoreUrl::of_argument(store)).await?;
        Ok(Records::Store(store, Environment::system()))
    }
}

impl Records {
    /// Newest first: `{"messages": […], "next"}`.
    pub async fn messages(&self, filter: MessageFilter) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => {
                let mut query = vec![("limit", filter.max.to_string())];
                query.extend(filter.source.map(|source| ("source", source)));
                query.extend(filter.verdict.map(|verdict| ("verdict", verdict.name().to_owned())));
                query.extend(filter.state.map(|state| ("state", state)));
                query.extend(filter.control_id.map(|id| ("controlId", id)));
                query.extend(filter.since.map(|since| ("since", since.to_string())));
                query.extend(filter.until.map(|until| ("until", until.to_string())));
                query.extend(filter.before.map(|before| ("before", before.to_string())));
                api.get("v1/messages", &query).await
            }
            Self::Store(store, _) => {
                let messages = store.messages(filter).await?;
                Ok(json!({ "messages": messages.iter().map(views::message).collect::<Vec<_>>() }))
            }
        }
    }

    /// One message with its commands.
    pub async fn message(&self, id: MessageId) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get(&format!("v1/messages/{id}"), &[]).await,
            Self::Store(store, _) => {
                let message = store.message(id).await?.ok_or_else(|| nothing("message", id))?;
                let commands = store.commands_of(id).await?;
                let mut shown = views::message(&message);
                shown["commands"] = commands.iter().map(|command| views::command_summary(command, None)).collect();
                Ok(shown)
            }
        }
    }

    /// One command with its transitions and attempts.
    pub async fn command(&self, id: CommandId) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get(&format!("v1/commands/{id}"), &[]).await,
            Self::Store(store, _) => {
                let command = store.command(id).await?.ok_or_else(|| nothing("command", id))?;
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
            Self::Store(store, _) => {
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
            Self::Store(store, environment) if what == "replay" => {
                Ok(store.replay_dispatch(id, act(by, why, environment)).await?)
            }
            Self::Store(store, environment) => Ok(store.discard_dispatch(id, act(by, why, environment)).await?),
        }
    }

    pub async fn replay(&self, id: CommandId, by: &str, why: &str) -> Result<(), CliError> {
        match self {
            Self::Api(api) => {
                api.post(&format!("v1/commands/{id}/replay"), &json!({ "by": by, "why": why })).await.map(drop)
            }
            Self::Store(store, environment) => Ok(store.replay(id, act(by, why, environment)).await?),
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

    pub async fn release(&self, id: CommandId, by: &str, why: &str) -> Result<(), CliError> {
        match self {
            Self::Api(api) => {
                api.post(&format!("v1/commands/{id}/release"), &json!({ "by": by, "why": why })).await.map(drop)
            }
            Self::Store(store, environment) => Ok(store.release(id, act(by, why, environment)).await?),
        }
    }

    /// `{"holds": […]}`
    pub async fn holds(&self) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get("v1/holds", &[]).await,
            Self::Store(store, _) => Ok(views::holds(&**store).await?),
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
            Self::Store(store, environment) => Ok(store.decide(id, finding, act(by, why, environment)).await?),
        }
    }

    pub async fn discard(&self, id: CommandId, by: &str, why: &str) -> Result<(), CliError> {
        match self {
            Self::Api(api) => {
                api.post(&format!("v1/commands/{id}/discard"), &json!({ "by": by, "why": why })).await.map(drop)
            }
            Self::Store(store, environment) => Ok(store.discard(id, act(by, why, environment)).await?),
        }
    }

    pub async fn pass(&self, id: CommandId, by: &str, why: &str) -> Result<(), CliError> {
        match self {
            Self::Api(api) => {
                api.post(&format!("v1/commands/{id}/pass"), &json!({ "by": by, "why": why })).await.map(drop)
            }
            Self::Store(store, environment) => {
                Ok(store::pass(&**store, &**store, id, act(by, why, environment)).await.map(drop)?)
            }
        }
    }

    /// `{"events": […], "next"}`
    pub async fn events(&self, after: u64, max: usize) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get("v1/events", &[("after", after.to_string()), ("limit", max.to_string())]).await,
            Self::Store(store, _) => {
                let events = store.events_after(after, max).await?;
                let next = events.last().map_or(after, |event| event.position);
                Ok(json!({ "events": events.iter().map(cloud_event).collect::<Vec<_>>(), "next": next }))
            }
        }
    }
}

fn act(by: &str, why: &str, environment: &Environment) -> Act {
    Act { by: by.to_owned(), why: why.to_owned(), at: environment.now() }
}

fn nothing(what: &str, id: impl std::fmt::Display) -> CliError {
    CliError::NotFound(format!("there is no {what} {id}"))
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound("the store knows nothing of that identifier".to_owned()),
            StoreError::Outdated(_) => Self::No(error.to_string()),
            StoreError::Unavailable(_) | StoreError::Damaged(_) => Self::Unavailable(error.to_string()),
        }
    }
}
