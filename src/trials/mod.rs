//! Messages that the store has, read once more without being stored or sent: to explain them, to try other mappings on them, and
//! to make cases of them that name nobody.
//!
//! Enters: messages. Leaves: what their mapping made of which field, what other mappings would make, bundles. Guarantees: nothing
//! changes but the audit log, where whoever asks notes it.

mod bundle;
mod disguise;
mod disguised;
mod remedy;
mod rerun;
mod zip;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};

pub use bundle::Bundle;
pub use remedy::{RowToAdd, row_to_add};
pub use rerun::{MemberChange, RERUN_MAX, Rerun, RerunAsked};
pub use zip::zip;

use crate::config::{Access, Connection, Source};
use crate::intake::{Explanation, KnownSource, Sources, Trial, explain_message, is_fhir, try_message};
use crate::mapping::{MappingFiles, MappingSet, MappingSets};
use crate::store::{CommandView, MessageView, Store, StoreError};

/// What they are read with.
pub struct Trials {
    pub store: Arc<dyn Store>,
    pub mappings: Arc<MappingSets>,
    /// Of the settings; without one the set is built in.
    pub folder: Option<PathBuf>,
    pub sources: Arc<Sources>,
    pub connections: Vec<Connection>,
    /// The last other set that was tried, so that page after page need not load it again.
    pub tried: Mutex<Option<Arc<MappingSet>>>,
}

/// Why a message cannot be read once more.
#[derive(Debug, thiserror::Error)]
pub enum NotTried {
    #[error("{0}")]
    Impossible(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// With the set that was asked.
pub struct Explained {
    pub set: String,
    /// It is the one that new messages are read with.
    pub is_current: bool,
    pub explanation: Explanation,
}

impl Trials {
    /// By the set that made its commands; what was refused, by the one of now.
    pub async fn explain(&self, message: &MessageView) -> Result<Explained, NotTried> {
        let source = self.source_of(message)?;
        let raw = self.store.read_message(message.id, 0..u64::MAX).await?;
        if is_command(message, &raw) {
            return Err(NotTried::Impossible("It came as a command: no mapping made it.".into()));
        }
        let commands = self.store.commands_of(message.id).await?;
        let set = match commands.first() {
            Some(command) => self.set_of(command).await?,
            None => self.mappings.current(),
        };
        let connection = connection_of(&self.connections, &source.config, None);
        let explanation = explain_message(&set, source, &connection, &raw).map_err(NotTried::Impossible)?;
        let is_current = set.digest() == self.mappings.current().digest();
        Ok(Explained { set: set.digest().to_owned(), is_current, explanation })
    }

    /// What would become of this content of a message now.
    pub fn would_become(&self, message: &MessageView, content: &Bytes) -> Result<Trial, NotTried> {
        let source = self.source_of(message)?;
        if is_command(message, content) {
            return Err(NotTried::Impossible("It came as a command: it is checked when it is taken in.".into()));
        }
        self.try_with(&self.mappings.current(), source, content)
    }

    fn try_with(&self, set: &MappingSet, source: &KnownSource, content: &Bytes) -> Result<Trial, NotTried> {
        let connection = connection_of(&self.connections, &source.config, None);
        try_message(set, source, &connection, content)
            .map_err(|problem| NotTried::Impossible(format!("Its plan cannot be made: {problem}")))
    }

    fn source_of(&self, message: &MessageView) -> Result<&Arc<KnownSource>, NotTried> {
        let gone = || NotTried::Impossible("Its source is not configured any more.".into());
        self.sources.named(&message.source).ok_or_else(gone)
    }

    async fn set_of(&self, command: &CommandView) -> Result<Arc<MappingSet>, NotTried> {
        if let Some(set) = self.mappings.pinned(&command.mapping_set) {
            return Ok(set);
        }
        let gone = || NotTried::Impossible("The mappings that made it cannot be read by this version.".into());
        let archive = self.store.load_set(&command.mapping_set).await?.ok_or_else(gone)?;
        let files = MappingFiles::from_archive(&archive).map_err(|_| gone())?;
        Ok(Arc::new(MappingSet::load(files).map_err(|_| gone())?))
    }
}

/// Whether it is a canonical command, which nothing maps.
fn is_command(message: &MessageView, raw: &Bytes) -> bool {
    is_fhir(raw)
        && serde_json::from_slice::<Value>(raw).is_ok_and(|body| body.get("resourceType").is_none())
        && message.kind.chars().all(char::is_alphanumeric)
}

/// The first connection of a source as plans see it; `business_function` stands in the place of its own.
pub fn connection_of(connections: &[Connection], source: &Source, business_function: Option<&str>) -> Value {
    let found = connections.iter().find(|connection| connection.name == source.first_connection());
    let Some(connection) = found else { return json!({ "businessFunction": business_function }) };
    let base = connection.code_system_base.as_deref().unwrap_or(&connection.base_url);
    let mut value = json!({ "codeSystemBase": base });
    let role = match &connection.access {
        Access::UserRestricted(user) => Some((&user.organisation, &user.business_function)),
        Access::ProfessionalSession(session) => Some((&session.organisation, &session.business_function)),
        Access::ApplicationRestricted(_) | Access::SignIn(_) => None,
    };
    if let Some((organisation, function)) = role {
        value["organisation"] = Value::from(organisation.as_str());
        value["businessFunction"] = Value::from(function.as_str());
    }
    if let Some(business_function) = business_function {
        value["businessFunction"] = Value::from(business_function);
    }
    value
}
