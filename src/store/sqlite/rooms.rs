//! What each room asks of the store, handed to the writer or a reader.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use prometheus::core::Collector;

use super::books::Books;
use super::{
    SqliteStore, claims, content, dispatch, holding, intake, kept, keyring, links, listing, outbox, problems, progress,
    queue, search, threads, watching,
};
use crate::command::{AttemptId, CommandId, DispatchId, Failure, MessageId};
use crate::keys::{Fingerprint, Keys};
use crate::store::encryption::{self, EncryptionStore, EncryptionView, Renewed};
use crate::store::vault::{self, Column};
use crate::store::{
    Act, Admission, Admitted, Alias, AttemptView, Beat, Claim, ClaimedCommand, CommandView, ContentStore,
    DeliveryStore, Depth, DispatchContent, DispatchDepth, DispatchFilter, DispatchStep, DispatchStore, DispatchView,
    DueDispatch, FetchedStore, HeldPiece, Hold, InstanceStanding, InstanceStore, InstanceView, IntakeStore,
    MappingStore, MessageFilter, MessageView, NewDispatch, OpenCommand, OutboxDepth, OutboxStore, OwedAnswer, Problem,
    ProblemFilter, Progress, Purge, Purged, Queue, Recovered, Result, RetentionStore, SealedSecret, SearchStore,
    SessionStore, SetAnnouncement, SharedQuota, Signals, Snapshot, Spending, Store, StoredEvent, ThreadView, ToldPlace,
    TransitionView, WatchStore,
};

#[async_trait]
impl IntakeStore for SqliteStore {
    async fn admit(&self, admission: Admission) -> Result<Admitted> {
        self.takes_messages()?;
        let prepared = intake::Prepared::new(admission, &self.vault);
        self.writer()?.write(prepared.weight(), move |books| books.admit(&prepared)).await
    }

    async fn find_thread(&self, alias: &Alias) -> Result<Option<ThreadView>> {
        let alias = alias.clone();
        self.readers
            .read(move |connection| {
                let thread = threads::find(connection, &alias)?;
                thread.map(|thread| threads::view(connection, thread)).transpose()
            })
            .await
    }

    async fn acknowledged(&self, messages: Vec<(MessageId, Timestamp)>) -> Result<()> {
        self.writer()?.write(0, move |books| books.acknowledged(&messages)).await
    }

    async fn open_for_patients(&self, ids: Vec<String>) -> Result<Vec<OpenCommand>> {
        self.readers.read(move |connection| search::open_for_patients(connection, &ids)).await
    }

    async fn hold(&self, command: CommandId, why: Failure, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.hold(command, &why, &act)).await
    }

    async fn hold_piece(&self, piece: HeldPiece) -> Result<()> {
        self.writer()?.write(0, move |books| books.hold_piece(&piece)).await
    }

    async fn held_piece(&self, source: &str, pointer: [u8; 32]) -> Result<Option<HeldPiece>> {
        let source = source.to_owned();
        self.readers.read(move |connection| links::held_piece(connection, &source, pointer)).await
    }

    async fn held_pieces(&self, max: usize) -> Result<Vec<HeldPiece>> {
        self.readers.read(move |connection| links::held_pieces(connection, max)).await
    }

    async fn let_go_of_pieces(&self, pieces: Vec<HeldPiece>) -> Result<()> {
        self.writer()?.write(0, move |books| books.let_go_of_pieces(&pieces)).await
    }

    async fn expected_number(&self, source: &str) -> Result<Option<u64>> {
        let source = source.to_owned();
        self.readers.read(move |connection| links::expected_number(connection, &source)).await
    }

    async fn expect_number(&self, source: &str, known: Option<u64>, next: u64, at: Timestamp) -> Result<bool> {
        let source = source.to_owned();
        self.writer()?.write(0, move |books| books.expect_number(&source, known, next, at)).await
    }
}

#[async_trait]
impl DeliveryStore for SqliteStore {
    async fn claim(&self, claim: Claim) -> Result<Vec<ClaimedCommand>> {
        let claimed = self.writer()?.write(0, move |books| books.claim(&claim)).await?;
        claimed.into_iter().map(|claimed| claimed.read(&self.vault)).collect()
    }

    async fn record(&self, progress: Progress) -> Result<()> {
        let prepared = progress::Prepared::new(progress, &self.vault);
        self.writer()?.write(prepared.weight(), move |books| books.record(&prepared)).await
    }

    async fn recover(&self, now: Timestamp) -> Result<Recovered> {
        self.writer()?.write(0, move |books| books.recover(now)).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        self.readers.read(claims::next_due).await
    }
}

#[async_trait]
impl ContentStore for SqliteStore {
    async fn read_message(&self, message: MessageId, range: Range<u64>) -> Result<Bytes> {
        self.readers.read(move |connection| content::read_message(connection, message, range)).await
    }

    async fn read_document(&self, message: MessageId, number: u32, range: Range<u64>) -> Result<Bytes> {
        self.readers.read(move |connection| content::read_document(connection, message, number, range)).await
    }
}

#[async_trait]
impl FetchedStore for SqliteStore {
    async fn keep_fetched(&self, command: CommandId, attempt: AttemptId, position: u32, chunk: Bytes) -> Result<()> {
        let size = chunk.len();
        let place = Column::Fetched.chunk(attempt.0.into_bytes(), 0, position);
        let chunk = self.vault.sealer().shared(place, chunk);
        let keep =
            move |books: &mut Books| content::keep_fetched(&books.connection, (command, attempt), position, &chunk);
        self.writer()?.write(size, keep).await
    }

    async fn fetched(&self, command: CommandId, attempt: AttemptId, position: u32) -> Result<Option<Bytes>> {
        self.readers.read(move |connection| content::fetched(connection, (command, attempt), position)).await
    }
}

#[async_trait]
impl OutboxStore for SqliteStore {
    async fn unconfirmed(&self, after: u64, max: usize) -> Result<Vec<StoredEvent>> {
        self.readers.read(move |connection| outbox::unconfirmed(connection, after, max)).await
    }

    async fn confirm(&self, positions: Vec<u64>, at: Timestamp) -> Result<()> {
        self.writer()?.write(0, move |books| books.confirm(&positions, at)).await
    }

    async fn events_after(&self, after: u64, max: usize) -> Result<Vec<StoredEvent>> {
        self.readers.read(move |connection| outbox::events_after(connection, after, max)).await
    }

    async fn last_position(&self) -> Result<u64> {
        self.readers.read(outbox::last_position).await
    }
}

#[async_trait]
impl SearchStore for SqliteStore {
    async fn message(&self, id: MessageId) -> Result<Option<MessageView>> {
        self.readers.read(move |connection| search::message(connection, id)).await
    }

    async fn messages(&self, filter: MessageFilter) -> Result<Vec<MessageView>> {
        if filter.patient.is_some() {
            self.make_mentions().await?;
        }
        self.readers.read(move |connection| listing::messages(connection, &filter)).await
    }

    async fn command(&self, id: CommandId) -> Result<Option<CommandView>> {
        self.readers.read(move |connection| search::command(connection, id)).await
    }

    async fn commands_of(&self, message: MessageId) -> Result<Vec<CommandView>> {
        self.readers.read(move |connection| search::commands_of(connection, message)).await
    }

    async fn transitions(&self, command: CommandId) -> Result<Vec<TransitionView>> {
        self.readers.read(move |connection| search::transitions(connection, command)).await
    }

    async fn attempts(&self, command: CommandId) -> Result<Vec<AttemptView>> {
        self.readers.read(move |connection| search::attempts(connection, command)).await
    }

    async fn holds(&self, max: usize) -> Result<Vec<Hold>> {
        self.readers.read(move |connection| holding::holds(connection, max)).await
    }

    async fn depths(&self) -> Result<Vec<Depth>> {
        self.readers.read(search::depths).await
    }

    async fn outbox_depth(&self) -> Result<OutboxDepth> {
        self.readers.read(outbox::depth).await
    }

    async fn queue(&self, max: u64) -> Result<Queue> {
        self.readers.read(move |connection| queue::queue(connection, max)).await
    }

    async fn problems(&self, filter: ProblemFilter) -> Result<Vec<Problem>> {
        self.readers.read(move |connection| problems::problems(connection, &filter)).await
    }
}

#[async_trait]
impl RetentionStore for SqliteStore {
    async fn purge(&self, purge: Purge) -> Result<Purged> {
        self.writer()?.write(0, move |books| books.purge(&purge)).await
    }
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn load_secret(&self, connection: &str, kind: &str) -> Result<Option<SealedSecret>> {
        let (of, kind) = (connection.to_owned(), kind.to_owned());
        self.readers.read(move |connection| kept::load_secret(connection, &of, &kind)).await
    }

    async fn save_secret(&self, secret: SealedSecret, expected: Option<u64>) -> Result<()> {
        self.writer()?.write(secret.sealed.len(), move |books| books.save_secret(&secret, expected)).await
    }

    async fn secrets(&self, connection: &str, prefix: &str) -> Result<Vec<SealedSecret>> {
        let (of, prefix) = (connection.to_owned(), prefix.to_owned());
        self.readers.read(move |connection| kept::secrets(connection, &of, &prefix)).await
    }

    async fn remove_secret(&self, connection: &str, kind: &str, expected: u64) -> Result<()> {
        let (of, kind) = (connection.to_owned(), kind.to_owned());
        self.writer()?.write(0, move |books| books.remove_secret(&of, &kind, expected)).await
    }
}

#[async_trait]
impl MappingStore for SqliteStore {
    async fn register_set(&self, digest: &str, archive: Bytes, at: Timestamp) -> Result<()> {
        let digest = digest.to_owned();
        self.writer()?.write(archive.len(), move |books| books.register_set(&digest, &archive, at)).await
    }

    async fn load_set(&self, digest: &str) -> Result<Option<Bytes>> {
        let digest = digest.to_owned();
        self.readers.read(move |connection| kept::load_set(connection, &digest)).await
    }

    /// The only instance: what it read from its files is what it uses.
    async fn announce_set(&self, announcement: SetAnnouncement) -> Result<String> {
        let SetAnnouncement { digest, archive, at, .. } = announcement;
        self.register_set(&digest, archive, at).await?;
        *self.newest_set.lock() = Some(digest.clone());
        Ok(digest)
    }

    async fn newest_set(&self) -> Result<Option<String>> {
        Ok(self.newest_set.lock().clone())
    }
}

/// One process has the file to itself, so it has every duty and is the only instance.
#[async_trait]
impl InstanceStore for SqliteStore {
    async fn beat(&self, beat: Beat) -> Result<()> {
        *self.beat.lock() = Some((beat, self.environment.now()));
        Ok(())
    }

    async fn instances(&self) -> Result<Vec<InstanceView>> {
        Ok(self.beat.lock().iter().map(|(beat, seen_at)| only_instance(beat, *seen_at)).collect())
    }

    async fn take_duty(&self, _duty: &str, _instance: &str, hold: Duration) -> Result<Option<Timestamp>> {
        Ok(Some(self.environment.now() + hold))
    }

    async fn leave_duty(&self, _duty: &str, _instance: &str, _until: Timestamp) -> Result<()> {
        Ok(())
    }
}

fn only_instance(beat: &Beat, seen_at: Timestamp) -> InstanceView {
    InstanceView {
        instance: beat.instance.clone(),
        version: beat.version.clone(),
        mapping_set: beat.mapping_set.clone(),
        started_at: beat.started_at,
        seen_at,
        standing: beat.standing,
        alive: beat.standing != InstanceStanding::Stopped,
        holds: beat.holds,
        duties: Vec::new(),
    }
}

#[async_trait]
impl DispatchStore for SqliteStore {
    async fn owe_answer(&self, owed: OwedAnswer) -> Result<()> {
        self.writer()?.write(0, move |books| books.owe_answer(&owed)).await?;
        self.signals().dispatches.notify_waiters();
        Ok(())
    }

    async fn answers_due(&self, max: usize) -> Result<Vec<OwedAnswer>> {
        self.readers.read(move |connection| dispatch::answers_due(connection, max)).await
    }

    async fn settle_answer(&self, message: MessageId, answer: Option<NewDispatch>, at: Timestamp) -> Result<bool> {
        let settled = self.writer()?.write(0, move |books| books.settle_answer(message, answer.as_ref(), at)).await?;
        self.signals().dispatches.notify_waiters();
        Ok(settled)
    }

    async fn told_up_to(&self, destination: &str) -> Result<Option<u64>> {
        let destination = destination.to_owned();
        self.readers.read(move |connection| dispatch::told_up_to(connection, &destination)).await
    }

    async fn told(&self) -> Result<Vec<ToldPlace>> {
        self.readers.read(dispatch::told).await
    }

    async fn leave_told(&self, destination: &str, at: Timestamp) -> Result<()> {
        let destination = destination.to_owned();
        self.writer()?.write(0, move |books| books.leave_told(&destination, at)).await
    }

    async fn tell(&self, destination: &str, from: Option<u64>, to: u64, dispatches: Vec<NewDispatch>) -> Result<bool> {
        let destination = destination.to_owned();
        let told = self.writer()?.write(0, move |books| books.tell(&destination, from, to, &dispatches)).await?;
        self.signals().dispatches.notify_waiters();
        Ok(told)
    }

    async fn due_dispatches(&self, destination: &str, max: usize) -> Result<Vec<DueDispatch>> {
        let destination = destination.to_owned();
        self.readers.read(move |connection| dispatch::due(connection, &destination, max)).await
    }

    async fn make_dispatch(&self, id: DispatchId, content: DispatchContent) -> Result<()> {
        self.writer()?.write(content.bytes.len(), move |books| books.make_dispatch(id, &content)).await
    }

    async fn step_dispatch(&self, step: DispatchStep) -> Result<()> {
        self.writer()?.write(0, move |books| books.step_dispatch(&step)).await
    }

    async fn was_dispatched(&self, destination: &str, control_id: &str) -> Result<bool> {
        let (destination, control_id) = (destination.to_owned(), control_id.to_owned());
        self.readers.read(move |connection| dispatch::was_dispatched(connection, &destination, &control_id)).await
    }

    async fn dispatch(&self, id: DispatchId) -> Result<Option<DispatchView>> {
        self.readers.read(move |connection| dispatch::dispatch(connection, id)).await
    }

    async fn dispatches(&self, filter: DispatchFilter) -> Result<Vec<DispatchView>> {
        self.readers.read(move |connection| dispatch::dispatches(connection, &filter)).await
    }

    async fn dispatch_content(&self, id: DispatchId) -> Result<Bytes> {
        self.readers.read(move |connection| dispatch::content(connection, id).map(Bytes::from)).await
    }

    async fn dispatch_depths(&self) -> Result<Vec<DispatchDepth>> {
        self.readers.read(dispatch::depths).await
    }

    async fn replay_dispatch(&self, id: DispatchId, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.replay_dispatch(id, &act)).await?;
        self.signals().dispatches.notify_waiters();
        Ok(())
    }

    async fn discard_dispatch(&self, id: DispatchId, act: Act) -> Result<()> {
        self.writer()?.write(0, move |books| books.discard_dispatch(id, &act)).await
    }

    async fn purge_dispatches(&self, before: Timestamp, max: usize) -> Result<u64> {
        self.writer()?.write(0, move |books| books.purge_dispatches(before, max)).await
    }
}

#[async_trait]
impl WatchStore for SqliteStore {
    async fn snapshot(&self, watch: &str, service: &str) -> Result<Option<Snapshot>> {
        let (watch, service) = (watch.to_owned(), service.to_owned());
        self.readers.read(move |connection| watching::snapshot(connection, &watch, &service)).await
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<bool> {
        self.writer()?.write(snapshot.content.len(), move |books| books.save_snapshot(&snapshot)).await
    }

    async fn spend(&self, spending: Spending) -> Result<bool> {
        self.writer()?.write(0, move |books| books.spend(&spending)).await
    }

    async fn unspend(&self, spending: Spending) -> Result<()> {
        self.writer()?.write(0, move |books| books.unspend(&spending)).await
    }

    async fn purge_snapshots(&self, before: Timestamp) -> Result<u64> {
        self.writer()?.write(0, move |books| books.purge_snapshots(before)).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn signals(&self) -> &Signals {
        &self.signals
    }

    fn shared_quota(&self) -> Option<Arc<dyn SharedQuota>> {
        None
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let commits = self.writer.iter().map(|writer| Box::new(writer.commits().clone()) as Box<dyn Collector>);
        commits.chain([Box::new(self.room.gauge()) as Box<dyn Collector>]).collect()
    }

    fn takes_messages(&self) -> Result<()> {
        let checkpoints = self.writer()?.checkpoints();
        let required = self.room.require(self.environment.instant(), checkpoints.uncopied_bytes());
        if required.is_err() {
            checkpoints.now(&self.environment, &self.runtime);
        }
        required
    }

    async fn verify(&self) -> Result<()> {
        Self::verify(self).await
    }
}

#[async_trait]
impl EncryptionStore for SqliteStore {
    fn keys(&self) -> Option<Keys> {
        self.keys.clone()
    }

    async fn encryption(&self) -> Result<EncryptionView> {
        let current = self.vault.current();
        self.readers
            .read(move |connection| {
                Ok(encryption::view(&keyring::rows(connection)?, current, keyring::renewed(connection)?))
            })
            .await
    }

    async fn look_at_keys(&self, master: &Keys) -> Result<()> {
        let (keys, vault) = (master.clone(), self.vault.clone());
        self.readers.read(move |connection| keyring::take(connection, &vault, &keys)).await?;
        let (keys, sealed, now) = (master.clone(), self.vault.take_count(), self.environment.now());
        self.writer()?.write(0, move |books| books.look_at_keys(&keys, sealed, now)).await
    }

    async fn add_master(&self, next: &Keys) -> Result<()> {
        let keys = self.keys.clone().ok_or_else(vault::locked)?;
        let (next, now) = (next.clone(), self.environment.now());
        self.beside(move |connection| keyring::add_master(connection, &keys, &next, now)).await
    }

    async fn keep_only(&self, master: Fingerprint) -> Result<()> {
        self.beside(move |connection| keyring::keep_only(connection, master)).await
    }

    async fn renew(&self) -> Result<Option<Renewed>> {
        self.writer()?.write(0, Books::renew).await
    }
}
