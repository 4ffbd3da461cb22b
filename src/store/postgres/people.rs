//! What people ask of the store: their acts, the log of them, what there is of a patient and what is held.

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::acts::Deed;
use super::{PostgresStore, again, audit, patient, waiting};
use crate::command::{CommandId, MessageId};
use crate::store::{
    Act, AuditEntry, AuditStore, CommandView, Finding, LegalHold, Noted, OpenCommand, OperatorStore, PatientDigest,
    PatientStore, PlacedMessage, Result, WaitingStore, Word,
};

#[async_trait]
impl OperatorStore for PostgresStore {
    async fn replay(&self, command: CommandId, act: Act) -> Result<()> {
        self.ask(|inner| async move { inner.act(command, Deed::Replay, act).await }).await
    }

    async fn discard(&self, command: CommandId, act: Act) -> Result<()> {
        self.ask(|inner| async move { inner.act(command, Deed::Discard, act).await }).await
    }

    async fn release(&self, command: CommandId, act: Act) -> Result<()> {
        self.ask(|inner| async move { inner.act(command, Deed::Release, act).await }).await
    }

    async fn decide(&self, command: CommandId, finding: Finding, act: Act) -> Result<()> {
        let deed = Deed::Decide(finding);
        self.ask(|inner| async move { inner.act(command, deed, act).await }).await
    }
}

#[async_trait]
impl WaitingStore for PostgresStore {
    async fn waiting(&self, max: usize) -> Result<Vec<CommandView>> {
        self.ask(move |inner| async move { waiting::waiting(&*inner.client().await?, max).await }).await
    }

    async fn behind(&self, command: CommandId) -> Result<Vec<OpenCommand>> {
        self.ask(move |inner| async move { waiting::behind(&*inner.client().await?, command).await }).await
    }

    async fn say(&self, command: CommandId, word: Word, act: Act) -> Result<()> {
        let deed = Deed::Say(word);
        self.ask(|inner| async move { inner.act(command, deed, act).await }).await
    }
}

#[async_trait]
impl AuditStore for PostgresStore {
    async fn note(&self, noted: Noted) -> Result<()> {
        self.ask(|inner| async move {
            again(&inner, |client| {
                let (noted, environment) = (noted.clone(), inner.environment.clone());
                Box::pin(async move { audit::note(client, noted, &environment).await })
            })
            .await
        })
        .await
    }

    async fn audit_log(&self, after: u64, max: usize) -> Result<Vec<AuditEntry>> {
        self.ask(move |inner| async move { audit::entries(&*inner.client().await?, after, max).await }).await
    }

    async fn audit_written(&self) -> Result<u64> {
        self.ask(|inner| async move { audit::written(&*inner.client().await?).await }).await
    }

    async fn last_noted(&self, act: &str, by: &str) -> Result<Option<AuditEntry>> {
        let (act, by) = (act.to_owned(), by.to_owned());
        self.ask(|inner| async move { audit::last_noted(&*inner.client().await?, &act, &by).await }).await
    }

    async fn forget_reasons(&self, before: Timestamp, max: usize, act: Act) -> Result<u64> {
        self.ask(move |inner| async move {
            again(&inner, |client| {
                let (act, environment) = (act.clone(), inner.environment.clone());
                Box::pin(async move { audit::forget_reasons(client, before, max, act, &environment).await })
            })
            .await
        })
        .await
    }
}

#[async_trait]
impl PatientStore for PostgresStore {
    async fn messages_of_patient(&self, patient: PatientDigest, after: u64, max: usize) -> Result<Vec<PlacedMessage>> {
        self.ask(move |inner| async move {
            patient::messages_of_patient(&*inner.client().await?, &patient, after, max).await
        })
        .await
    }

    async fn unread_messages(&self, after: u64, max: usize) -> Result<Vec<PlacedMessage>> {
        self.ask(move |inner| async move { patient::unread_messages(&*inner.client().await?, after, max).await }).await
    }

    async fn note_mentions(&self, message: MessageId, patients: Vec<PatientDigest>) -> Result<()> {
        self.ask(move |inner| async move { patient::note_mentions(&*inner.client().await?, message, &patients).await })
            .await
    }

    async fn put_legal_hold(&self, hold: LegalHold, act: Act) -> Result<()> {
        self.ask(|inner| async move {
            again(&inner, |client| {
                let (hold, act, environment) = (hold.clone(), act.clone(), inner.environment.clone());
                Box::pin(async move { patient::put_legal_hold(client, &hold, act, &environment).await })
            })
            .await
        })
        .await
    }

    async fn lift_legal_hold(&self, id: Uuid, act: Act) -> Result<()> {
        self.ask(move |inner| async move {
            again(&inner, |client| {
                let (act, environment) = (act.clone(), inner.environment.clone());
                Box::pin(async move { patient::lift_legal_hold(client, id, act, &environment).await })
            })
            .await
        })
        .await
    }

    async fn legal_holds(&self) -> Result<Vec<LegalHold>> {
        self.ask(|inner| async move { patient::legal_holds(&*inner.client().await?).await }).await
    }

    async fn is_held(&self, message: MessageId) -> Result<bool> {
        self.ask(move |inner| async move { patient::is_held(&*inner.client().await?, message).await }).await
    }
}
