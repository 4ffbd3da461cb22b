//! What people ask of the store: their acts, the log of them, what there is of a patient and what is held.

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::books::Books;
use super::outbox::EventText;
use super::{SqliteStore, audit, bulk, patient, report, waiting};
use crate::command::{CommandId, MessageId};
use crate::store::{
    Act, AuditEntry, AuditStore, BulkReplay, BulkReplayStore, CommandView, Day, Finding, LegalHold, NewBulkReplay,
    NewEvent, Noted, OpenCommand, OperatorStore, PatientDigest, PatientStore, PlacedMessage, ReplayCandidate,
    ReplayCandidates, ReplayItem, ReplayOutcome, ReplayStanding, ReportStore, Result, WaitingStore, Word,
};

#[async_trait]
impl OperatorStore for SqliteStore {
    async fn replay(&self, command: CommandId, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.replay(command, &act).map(drop)).await
    }

    async fn discard(&self, command: CommandId, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.discard(command, &act)).await
    }

    async fn release(&self, command: CommandId, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.release(command, &act)).await
    }

    async fn decide(&self, command: CommandId, finding: Finding, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.decide(command, &finding, &act)).await
    }
}

#[async_trait]
impl WaitingStore for SqliteStore {
    async fn waiting(&self, max: usize) -> Result<Vec<CommandView>> {
        self.readers.read(move |connection| waiting::waiting(connection, max)).await
    }

    async fn behind(&self, command: CommandId) -> Result<Vec<OpenCommand>> {
        self.readers.read(move |connection| waiting::behind(connection, command)).await
    }

    async fn say(&self, command: CommandId, word: Word, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.say(command, &word, &act)).await
    }
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn note(&self, noted: Noted) -> Result<()> {
        self.writer()?.write(0, move |books| books.note_act(&noted)).await
    }

    async fn audit_log(&self, after: u64, max: usize) -> Result<Vec<AuditEntry>> {
        self.readers.read(move |connection| audit::entries(connection, after, max)).await
    }

    async fn audit_written(&self) -> Result<u64> {
        self.readers.read(audit::written).await
    }

    async fn last_noted(&self, act: &str, by: &str) -> Result<Option<AuditEntry>> {
        let (act, by) = (act.to_owned(), by.to_owned());
        self.readers.read(move |connection| audit::last_noted(connection, &act, &by)).await
    }

    async fn forget_reasons(&self, before: Timestamp, max: usize, act: Act) -> Result<u64> {
        self.writer()?.write(0, move |books| books.forget_reasons(before, max, &act)).await
    }
}

impl SqliteStore {
    /// Before they are asked for. Who only reads sees those that are made: of the newest messages some may not be.
    pub(super) async fn make_mentions(&self) -> Result<()> {
        match self.writer() {
            Ok(writer) => writer.write(0, Books::make_mentions).await,
            Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl PatientStore for SqliteStore {
    async fn messages_of_patient(&self, patient: PatientDigest, after: u64, max: usize) -> Result<Vec<PlacedMessage>> {
        self.make_mentions().await?;
        self.readers.read(move |connection| patient::messages_of_patient(connection, &patient, after, max)).await
    }

    async fn unread_messages(&self, after: u64, max: usize) -> Result<Vec<PlacedMessage>> {
        self.make_mentions().await?;
        self.readers.read(move |connection| patient::unread_messages(connection, after, max)).await
    }

    async fn note_mentions(&self, message: MessageId, patients: Vec<PatientDigest>) -> Result<()> {
        self.writer()?.write(0, move |books| books.note_mentions(message, &patients)).await
    }

    async fn put_legal_hold(&self, hold: LegalHold, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.put_legal_hold(&hold, &act)).await
    }

    async fn lift_legal_hold(&self, id: Uuid, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.lift_legal_hold(id, &act)).await
    }

    async fn legal_holds(&self) -> Result<Vec<LegalHold>> {
        self.readers.read(patient::legal_holds).await
    }

    async fn is_held(&self, message: MessageId) -> Result<bool> {
        if !self.readers.read(patient::is_any_held).await? {
            return Ok(false);
        }
        self.make_mentions().await?;
        self.readers.read(move |connection| patient::is_held(connection, message)).await
    }
}

#[async_trait]
impl BulkReplayStore for SqliteStore {
    async fn begin_replay(&self, replay: NewBulkReplay, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.begin_replay(&replay, &act)).await
    }

    async fn bulk_replay(&self, id: Uuid) -> Result<Option<BulkReplay>> {
        self.readers.read(move |connection| bulk::bulk_replay(connection, id)).await
    }

    async fn bulk_replays(&self, only: Option<ReplayStanding>, max: usize) -> Result<Vec<BulkReplay>> {
        self.readers.read(move |connection| bulk::bulk_replays(connection, only, max)).await
    }

    async fn replay_candidates(&self, asked: ReplayCandidates) -> Result<Vec<ReplayCandidate>> {
        self.readers.read(move |connection| bulk::candidates(connection, &asked)).await
    }

    async fn replay_in_bulk(&self, id: Uuid, candidate: ReplayCandidate, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.replay_in_bulk(id, &candidate, &act)).await
    }

    async fn note_replayed(&self, id: Uuid, items: Vec<ReplayItem>, at: Timestamp) -> Result<()> {
        self.writer()?.write(0, move |books| books.note_replayed(id, &items, at)).await
    }

    async fn replays_on_their_way(&self, id: Uuid, max: usize) -> Result<Vec<ReplayItem>> {
        self.readers.read(move |connection| bulk::on_their_way(connection, id, max)).await
    }

    async fn settle_replayed(&self, id: Uuid, settled: Vec<(Uuid, ReplayOutcome)>) -> Result<()> {
        self.writer()?.write(0, move |books| books.settle_replayed(id, &settled)).await
    }

    async fn advance_replay(&self, id: Uuid, at: u64) -> Result<()> {
        self.writer()?.write(0, move |books| books.advance_replay(id, at)).await
    }

    async fn stand_replay(&self, id: Uuid, to: ReplayStanding, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.stand_replay(id, to, &act)).await
    }

    async fn replay_items(&self, id: Uuid, after: Option<Uuid>, max: usize) -> Result<Vec<ReplayItem>> {
        self.readers.read(move |connection| bulk::replay_items(connection, id, after, max)).await
    }
}

#[async_trait]
impl ReportStore for SqliteStore {
    async fn day(&self, from: Timestamp, to: Timestamp) -> Result<Day> {
        self.readers.read(move |connection| report::day(connection, from, to)).await
    }

    async fn publish_report(&self, day: String, event: NewEvent) -> Result<bool> {
        let text = EventText::of(&event, &self.vault.sealer());
        self.writer()?.write(0, move |books| books.publish_report(&day, &event, &text)).await
    }

    async fn is_report_published(&self, day: &str) -> Result<bool> {
        let day = day.to_owned();
        self.readers.read(move |connection| report::is_published(connection, &day)).await
    }
}
