//! What people ask of the store: their acts, the log of them, what there is of a patient and what is held.

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{SqliteStore, audit, patient, waiting};
use crate::command::{CommandId, MessageId};
use crate::store::{
    Act, AuditEntry, AuditStore, CommandView, Finding, LegalHold, Noted, OpenCommand, OperatorStore, PatientDigest,
    PatientStore, PlacedMessage, Result, WaitingStore, Word,
};

#[async_trait]
impl OperatorStore for SqliteStore {
    async fn replay(&self, command: CommandId, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.replay(command, &act)).await
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

#[async_trait]
impl PatientStore for SqliteStore {
    async fn messages_of_patient(&self, patient: PatientDigest, after: u64, max: usize) -> Result<Vec<PlacedMessage>> {
        self.readers.read(move |connection| patient::messages_of_patient(connection, &patient, after, max)).await
    }

    async fn unread_messages(&self, after: u64, max: usize) -> Result<Vec<PlacedMessage>> {
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
        self.readers.read(move |connection| patient::is_held(connection, message)).await
    }
}
