//! What people ask of the store: their acts, the log of them, what there is of a patient and what is held.

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::acts::Deed;
use super::{PostgresStore, again, audit, bulk, patient, report, waiting};
use crate::command::{CommandId, MessageId};
use crate::store::{
    Act, AuditEntry, AuditStore, BulkReplay, BulkReplayStore, CommandView, Day, Finding, LegalHold, NewBulkReplay,
    NewEvent, Noted, OpenCommand, OperatorStore, PatientDigest, PatientStore, PlacedMessage, ReplayCandidate,
    ReplayCandidates, ReplayItem, ReplayOutcome, ReplayStanding, ReportStore, Result, StoreError, WaitingStore, Word,
};

#[async_trait]
impl OperatorStore for PostgresStore {
    async fn replay(&self, command: CommandId, act: Act) -> Result<()> {
        self.ask(|inner| async move { inner.act(command, Deed::Replay { bulk: None }, act).await }).await
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
        self.ask(move |inner| async move { waiting::waiting(&*inner.client().await?, &inner.vault, max).await }).await
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

#[async_trait]
impl BulkReplayStore for PostgresStore {
    async fn begin_replay(&self, replay: NewBulkReplay, act: Act) -> Result<()> {
        self.ask(|inner| async move {
            again(&inner, |client| {
                let (replay, act, environment) = (replay.clone(), act.clone(), inner.environment.clone());
                Box::pin(async move { bulk::begin(client, &replay, &act, &environment).await })
            })
            .await
        })
        .await
    }

    async fn bulk_replay(&self, id: Uuid) -> Result<Option<BulkReplay>> {
        self.ask(move |inner| async move { bulk::bulk_replay(&*inner.client().await?, id).await }).await
    }

    async fn bulk_replays(&self, only: Option<ReplayStanding>, max: usize) -> Result<Vec<BulkReplay>> {
        self.ask(move |inner| async move { bulk::bulk_replays(&*inner.client().await?, only, max).await }).await
    }

    async fn replay_candidates(&self, asked: ReplayCandidates) -> Result<Vec<ReplayCandidate>> {
        self.ask(move |inner| async move { bulk::candidates(&*inner.client().await?, &asked).await }).await
    }

    async fn replay_in_bulk(&self, id: Uuid, candidate: ReplayCandidate, act: Act) -> Result<()> {
        let command = candidate.command.ok_or(StoreError::NotFound)?;
        self.ask(move |inner| async move { inner.act(command, Deed::Replay { bulk: Some(id) }, act).await }).await
    }

    async fn note_replayed(&self, id: Uuid, items: Vec<ReplayItem>, at: Timestamp) -> Result<()> {
        self.ask(move |inner| async move { bulk::note(&*inner.client().await?, id, &items, at).await }).await
    }

    async fn replays_on_their_way(&self, id: Uuid, max: usize) -> Result<Vec<ReplayItem>> {
        self.ask(move |inner| async move { bulk::on_their_way(&*inner.client().await?, id, max).await }).await
    }

    async fn settle_replayed(&self, id: Uuid, settled: Vec<(Uuid, ReplayOutcome)>) -> Result<()> {
        self.ask(move |inner| async move { bulk::settle(&*inner.client().await?, id, &settled).await }).await
    }

    async fn advance_replay(&self, id: Uuid, at: u64) -> Result<()> {
        self.ask(move |inner| async move { bulk::advance(&*inner.client().await?, id, at).await }).await
    }

    async fn stand_replay(&self, id: Uuid, to: ReplayStanding, act: Act) -> Result<()> {
        self.ask(|inner| async move {
            again(&inner, |client| {
                let (act, environment) = (act.clone(), inner.environment.clone());
                Box::pin(async move { bulk::stand(client, id, to, &act, &environment).await })
            })
            .await
        })
        .await
    }

    async fn replay_items(&self, id: Uuid, after: Option<Uuid>, max: usize) -> Result<Vec<ReplayItem>> {
        self.ask(move |inner| async move { bulk::replay_items(&*inner.client().await?, id, after, max).await }).await
    }
}

#[async_trait]
impl ReportStore for PostgresStore {
    async fn day(&self, from: Timestamp, to: Timestamp) -> Result<Day> {
        self.ask(move |inner| async move { report::day(&*inner.client().await?, from, to).await }).await
    }

    async fn publish_report(&self, day: String, event: NewEvent) -> Result<bool> {
        self.ask(|inner| async move { inner.publish_report(&day, &event).await }).await
    }

    async fn is_report_published(&self, day: &str) -> Result<bool> {
        let day = day.to_owned();
        self.ask(|inner| async move { report::is_published(&*inner.client().await?, &day).await }).await
    }
}
