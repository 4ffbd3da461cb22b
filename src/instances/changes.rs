//! What an instance runs with, in the audit log: a row where its mapping set or its settings are others than before.
//!
//! Enters: digests. Leaves: `mapping set OLD to NEW` and `settings OLD to NEW`, by the instance. The row before says what
//! the instance had last.

use jiff::Timestamp;

use crate::store::{Act, AuditHead, Noted, Result, Store};

const TO: &str = " to ";
/// Before the first.
const NONE: &str = "none";

#[derive(Clone, Copy)]
pub enum What {
    MappingSet,
    Settings,
}

impl What {
    fn act(self) -> &'static str {
        match self {
            Self::MappingSet => "change mappings",
            Self::Settings => "change settings",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::MappingSet => "mapping set",
            Self::Settings => "settings",
        }
    }
}

/// The digest that this instance had last.
pub async fn last(store: &dyn Store, what: What, instance: &str) -> Result<Option<String>> {
    let entry = store.last_noted(what.act(), instance).await?;
    Ok(entry.and_then(|entry| entry.subject.rsplit_once(TO).map(|(_, digest)| digest.to_owned())))
}

/// From one digest to another, which may be the same where somebody asked for it.
pub async fn note(
    store: &dyn Store,
    what: What,
    instance: &str,
    digests: (Option<&str>, &str),
    why: &str,
    at: Timestamp,
) -> Result<()> {
    let (before, after) = digests;
    let subject = format!("{} {}{TO}{after}", what.name(), before.unwrap_or(NONE));
    let by = Act { by: instance.to_owned(), ..Act::of_gateway(why, at) };
    store.note(Noted { act: what.act(), subject, by }).await
}

/// At a start: the settings, if they are others than at the last; and where the audit log ends, for the gateway's log, which
/// is kept elsewhere.
pub async fn note_settings(store: &dyn Store, digest: Option<&str>, instance: &str, at: Timestamp) -> Result<()> {
    if let Some(digest) = digest {
        let before = last(store, What::Settings, instance).await?;
        if before.as_deref() != Some(digest) {
            note(store, What::Settings, instance, (before.as_deref(), digest), "start", at).await?;
        }
    }
    let written = store.audit_written().await?;
    if let Some(newest) = store.audit_log(written.saturating_sub(1), 1).await?.pop() {
        let head = AuditHead { number: newest.number, hash: newest.hash };
        tracing::info!(%head, "the audit log ends here");
    }
    Ok(())
}
