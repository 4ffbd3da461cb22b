//! What the gateway knows, read from a running gateway's API or from a stopped one's store.
//!
//! Both give the same JSON, so that whoever prints it need not care.

use clap::Args;
use serde_json::{Value, json};

use super::api::Api;
use super::exit::CliError;
use crate::command::{CommandId, MessageId};
use crate::store::MessageFilter;

/// Where to look.
#[derive(Args)]
pub struct Where {
    /// Address of a running gateway
    #[arg(long, value_name = "URL", env = "ERS_GATEWAY_API", default_value = "http://127.0.0.1:8080")]
    pub api: String,
}

pub enum Records {
    Api(Api),
}

impl Where {
    pub async fn open(&self) -> Result<Records, CliError> {
        Ok(Records::Api(Api::new(&self.api)?))
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
        }
    }

    /// One message with its commands.
    pub async fn message(&self, id: MessageId) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get(&format!("v1/messages/{id}"), &[]).await,
        }
    }

    /// One command with its transitions and attempts.
    pub async fn command(&self, id: CommandId) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get(&format!("v1/commands/{id}"), &[]).await,
        }
    }

    pub async fn replay(&self, id: CommandId, by: &str, why: &str) -> Result<(), CliError> {
        match self {
            Self::Api(api) => {
                api.post(&format!("v1/commands/{id}/replay"), &json!({ "by": by, "why": why })).await.map(drop)
            }
        }
    }

    pub async fn discard(&self, id: CommandId, by: &str, why: &str) -> Result<(), CliError> {
        match self {
            Self::Api(api) => {
                api.post(&format!("v1/commands/{id}/discard"), &json!({ "by": by, "why": why })).await.map(drop)
            }
        }
    }

    /// `{"events": […], "next"}`
    pub async fn events(&self, after: u64, max: usize) -> Result<Value, CliError> {
        match self {
            Self::Api(api) => api.get("v1/events", &[("after", after.to_string()), ("limit", max.to_string())]).await,
        }
    }
}
