//! What each room asks of the store, handed to a lane or to a connection of the pool.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use prometheus::core::Collector;

use super::acts::Deed;
use super::{
    Inner, PostgresStore, again, claims, content, dispatch, holding, instances, intake, kept, keyring, links, listing,
    migrations, outbox, problems, progress, queue, renewal, retention, search, sources, watching,
};
use crate::command::{AttemptId, CommandId, DispatchId, Failure, MessageId};
use crate::keys::{Fingerprint, Keys};
use crate::store::encryption::{self, EncryptionStore, EncryptionView, Renewed};
use crate::store::vault;
use crate::store::{
    Act, Admission, Admitted, Alias, AttemptView, Beat, Claim, ClaimedCommand, CommandView, ContentStore,
    DeliveryStore, Depth, DispatchContent, DispatchDepth, DispatchFilter, DispatchStep, DispatchStore, DispatchView,
    DueDispatch, FetchedStore, HeldPiece, Hold, InstanceStore, InstanceView, IntakeStore, MappingStore, MessageFilter,
    MessageView, NewDispatch, OpenCommand, OutboxDepth, OutboxStore, OwedAnswer, Problem, ProblemFilter, Progress,
    Purge, Purged, Queue, QuotaAsk, Recovered, Result, RetentionStore, SealedSecret, SearchStore, SessionStore,
    SetAnnouncement, SharedQuota, Signals, Snapshot, Spending, Store, StoreError, StoredEvent, ThreadView, ToldPlace,
    TransitionView, WatchStore,
};

/// How often claims look for leases that ended.
const LEASES_CHECKED_EVERY: SignedDuration = SignedDuration::from_secs(1);

fn only_looking() -> StoreError {
    StoreError::Unavailable("it was opened to be looked at".into())
}

#[async_trait]
impl IntakeStore for PostgresStore {
    async fn admit(&self, admission: Admission) -> Result<Admitted> {
        self.ask(|inner| async move {
            let lane = inner.intake.clone().ok_or_else(only_looking)?;
            let source = sources::number_of(&inner.pool, &inner.sources, &admission.message.source).await?;
            lane.write(intake::Prepared::new(admission, source, &inner.vault)).await
        })
        .await
    }

    async fn find_thread(&self, alias: &Alias) -> Result<Option<ThreadView>> {
        let alias = alias.clone();
        self.ask(|inner| async move { search::find_thread(&*inner.client().await?, &inner.vault, &alias).await }).await
    }

    async fn acknowledged(&self, messages: Vec<(MessageId, Timestamp)>) -> Result<()> {
        let (ids, at): (Vec<_>, Vec<_>) = messages.into_iter().map(|(id, at)| (id.0, at.as_microsecond())).unzip();
        self.ask(|inner| async move {
            let client = inner.client().await?;
            let note = client
                .prepare_cached(
                    "INSERT INTO acknowledged (message, at)
                     SELECT m.number, min(u.at) FROM unnest($1::uuid[], $2::bigint[]) AS u (id, at)
                     JOIN message m ON m.id = u.id GROUP BY m.number ORDER BY m.number ON CONFLICT DO NOTHING",
                )
                .await?;
            client.execute(&note, &[&ids, &at]).await?;
            Ok(())
        })
        .await
    }

    async fn open_for_patients(&self, ids: Vec<String>) -> Result<Vec<OpenCommand>> {
        self.ask(|inner| async move { search::open_for_patients(&*inner.client().await?, &inner.vault, &ids).await })
            .await
    }

    async fn hold(&self, command: CommandId, why: Failure, act: Act) -> Result<()> {
        self.ask(|inner| async move { inner.act(command, Deed::Hold(why), act).await }).await
    }

    async fn hold_piece(&self, piece: HeldPiece) -> Result<()> {
        self.ask(|inner| async move { links::hold_piece(&*inner.client().await?, &piece).await }).await
    }

    async fn held_piece(&self, source: &str, pointer: [u8; 32]) -> Result<Option<HeldPiece>> {
        let source = source.to_owned();
        self.ask(|inner| async move { links::held_piece(&*inner.client().await?, &source, pointer).await }).await
    }

    async fn held_pieces(&self, max: usize) -> Result<Vec<HeldPiece>> {
        self.ask(move |inner| async move { links::held_pieces(&*inner.client().await?, max).await }).await
    }

    async fn let_go_of_pieces(&self, pieces: Vec<HeldPiece>) -> Result<()> {
        self.ask(|inner| async move { links::let_go_of_pieces(&*inner.client().await?, &pieces).await }).await
    }

    async fn expected_number(&self, source: &str) -> Result<Option<u64>> {
        let source = source.to_owned();
        self.ask(|inner| async move { links::expected_number(&*inner.client().await?, &source).await }).await
    }

    async fn expect_number(&self, source: &str, known: Option<u64>, next: u64, at: Timestamp) -> Result<bool> {
        let source = source.to_owned();
        self.ask(
            move |inner| async move { links::expect_number(&*inner.client().await?, &source, known, next, at).await },
        )
        .await
    }
}

#[async_trait]
impl DeliveryStore for PostgresStore {
    async fn claim(&self, claim: Claim) -> Result<Vec<ClaimedCommand>> {
        self.ask(|inner| async move { inner.claim(&claim).await }).await
    }

    async fn record(&self, progress: Progress) -> Result<()> {
        self.ask(|inner| async move {
            let lane = inner.steps.clone().ok_or_else(only_looking)?;
            lane.write(progress::Prepared::new(progress, &inner.vault)).await
        })
        .await
    }

    async fn recover(&self, now: Timestamp) -> Result<Recovered> {
        self.ask(|inner| async move {
            let instance = inner.instance.clone().ok_or_else(only_looking)?;
            inner.take_back(Some(instance), now).await
        })
        .await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        self.ask(|inner| async move { claims::next_due(&*inner.client().await?).await }).await
    }
}

impl Inner {
    async fn claim(&self, claim: &Claim) -> Result<Vec<ClaimedCommand>> {
        if self.displaced.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable(
                "this instance may not claim: another has its name, or it only looks".into(),
            ));
        }
        let checked = std::mem::replace(&mut self.claims.lock().await.leases_checked, claim.now);
        if claim.now.duration_since(checked) >= LEASES_CHECKED_EVERY {
            self.take_back(None, claim.now).await?;
        } else {
            self.claims.lock().await.leases_checked = checked;
        }
        let mut desk = self.claims.lock().await;
        let mut tries = 1;
        loop {
            let client = self.client().await?;
            match desk.claims.claim(&client, claim).await {
                Ok((claimed, workspace)) => {
                    self.ringer.ring(workspace.bells);
                    return Ok(claimed);
                }
                Err(failed) => self.try_again(client, failed, &mut tries).await?,
            }
        }
    }

    async fn take_back(&self, owner: Option<String>, now: Timestamp) -> Result<Recovered> {
        let desk = self.claims.lock().await;
        let mut tries = 1;
        loop {
            let client = self.client().await?;
            match desk.claims.take_back(&client, owner.as_deref(), now).await {
                Ok((recovered, workspace)) => {
                    self.ringer.ring(workspace.bells);
                    return Ok(recovered);
                }
                Err(failed) => self.try_again(client, failed, &mut tries).await?,
            }
        }
    }
}

#[async_trait]
impl ContentStore for PostgresStore {
    async fn read_message(&self, message: MessageId, range: Range<u64>) -> Result<Bytes> {
        self.ask(
            |inner| async move { content::read_message(&*inner.client().await?, &inner.vault, message, range).await },
        )
        .await
    }

    async fn read_document(&self, message: MessageId, number: u32, range: Range<u64>) -> Result<Bytes> {
        self.ask(|inner| async move {
            content::read_document(&*inner.client().await?, &inner.vault, message, number, range).await
        })
        .await
    }
}

#[async_trait]
impl FetchedStore for PostgresStore {
    async fn keep_fetched(&self, command: CommandId, attempt: AttemptId, position: u32, chunk: Bytes) -> Result<()> {
        self.ask(move |inner| async move {
            content::keep_fetched(&*inner.client().await?, &inner.vault, (command, attempt), position, &chunk).await
        })
        .await
    }

    async fn fetched(&self, command: CommandId, attempt: AttemptId, position: u32) -> Result<Option<Bytes>> {
        self.ask(move |inner| async move {
            content::fetched(&*inner.client().await?, &inner.vault, (command, attempt), position).await
        })
        .await
    }
}

#[async_trait]
impl OutboxStore for PostgresStore {
    async fn unconfirmed(&self, after: u64, max: usize) -> Result<Vec<StoredEvent>> {
        self.ask(|inner| async move {
            outbox::events(&*inner.client().await?, &inner.vault, outbox::UNCONFIRMED_EVENTS, after, max).await
        })
        .await
    }

    async fn confirm(&self, positions: Vec<u64>, at: Timestamp) -> Result<()> {
        self.ask(|inner| async move {
            let client = inner.client().await?;
            let confirmed = outbox::confirm(&client, &positions, at).await;
            if confirmed.is_err() {
                // Whatever is open of it.
                drop(deadpool_postgres::Object::take(client));
            }
            confirmed
        })
        .await
    }

    async fn events_after(&self, after: u64, max: usize) -> Result<Vec<StoredEvent>> {
        self.ask(|inner| async move {
            outbox::events(&*inner.client().await?, &inner.vault, outbox::EVENTS_AFTER, after, max).await
        })
        .await
    }

    async fn last_position(&self) -> Result<u64> {
        self.ask(|inner| async move { outbox::last_position(&*inner.client().await?).await }).await
    }
}

#[async_trait]
impl SearchStore for PostgresStore {
    async fn message(&self, id: MessageId) -> Result<Option<MessageView>> {
        self.ask(|inner| async move { search::message(&*inner.client().await?, &inner.vault, id).await }).await
    }

    async fn messages(&self, filter: MessageFilter) -> Result<Vec<MessageView>> {
        self.ask(|inner| async move { listing::messages(&*inner.client().await?, &inner.vault, &filter).await }).await
    }

    async fn command(&self, id: CommandId) -> Result<Option<CommandView>> {
        self.ask(|inner| async move { search::command(&*inner.client().await?, &inner.vault, id).await }).await
    }

    async fn commands_of(&self, message: MessageId) -> Result<Vec<CommandView>> {
        self.ask(|inner| async move { search::commands_of(&*inner.client().await?, &inner.vault, message).await }).await
    }

    async fn transitions(&self, command: CommandId) -> Result<Vec<TransitionView>> {
        self.ask(|inner| async move { search::transitions(&*inner.client().await?, command).await }).await
    }

    async fn attempts(&self, command: CommandId) -> Result<Vec<AttemptView>> {
        self.ask(|inner| async move { search::attempts(&*inner.client().await?, &inner.vault, command).await }).await
    }

    async fn holds(&self, max: usize) -> Result<Vec<Hold>> {
        self.ask(|inner| async move { holding::holds(&*inner.client().await?, max).await }).await
    }

    async fn depths(&self) -> Result<Vec<Depth>> {
        self.ask(|inner| async move { search::depths(&*inner.client().await?).await }).await
    }

    async fn outbox_depth(&self) -> Result<OutboxDepth> {
        self.ask(|inner| async move { outbox::depth(&*inner.client().await?).await }).await
    }

    async fn queue(&self, max: u64) -> Result<Queue> {
        self.ask(|inner| async move { queue::queue(&*inner.client().await?, max).await }).await
    }

    async fn problems(&self, filter: ProblemFilter) -> Result<Vec<Problem>> {
        self.ask(move |inner| async move { problems::problems(&*inner.client().await?, &filter).await }).await
    }
}

#[async_trait]
impl RetentionStore for PostgresStore {
    async fn purge(&self, purge: Purge) -> Result<Purged> {
        self.ask(|inner| async move {
            again(&inner, |client| Box::pin(async move { retention::purge(client, &purge).await })).await
        })
        .await
    }
}

#[async_trait]
impl SessionStore for PostgresStore {
    async fn load_secret(&self, connection: &str, kind: &str) -> Result<Option<SealedSecret>> {
        let (of, kind) = (connection.to_owned(), kind.to_owned());
        self.ask(|inner| async move { kept::load_secret(&*inner.client().await?, &inner.vault, &of, &kind).await })
            .await
    }

    async fn save_secret(&self, secret: SealedSecret, expected: Option<u64>) -> Result<()> {
        self.ask(
            |inner| async move { kept::save_secret(&*inner.client().await?, &inner.vault, &secret, expected).await },
        )
        .await
    }

    async fn secrets(&self, connection: &str, prefix: &str) -> Result<Vec<SealedSecret>> {
        let (of, prefix) = (connection.to_owned(), prefix.to_owned());
        self.ask(|inner| async move { kept::secrets(&*inner.client().await?, &inner.vault, &of, &prefix).await }).await
    }

    async fn remove_secret(&self, connection: &str, kind: &str, expected: u64) -> Result<()> {
        let (of, kind) = (connection.to_owned(), kind.to_owned());
        self.ask(move |inner| async move { kept::remove_secret(&*inner.client().await?, &of, &kind, expected).await })
            .await
    }
}

#[async_trait]
impl MappingStore for PostgresStore {
    async fn register_set(&self, digest: &str, archive: Bytes, at: Timestamp) -> Result<()> {
        let digest = digest.to_owned();
        self.ask(|inner| async move { kept::register_set(&*inner.client().await?, &digest, &archive, at).await }).await
    }

    async fn load_set(&self, digest: &str) -> Result<Option<Bytes>> {
        let digest = digest.to_owned();
        self.ask(|inner| async move { kept::load_set(&*inner.client().await?, &digest).await }).await
    }

    async fn announce_set(&self, announcement: SetAnnouncement) -> Result<String> {
        self.ask(|inner| async move { kept::announce_set(&*inner.client().await?, &announcement).await }).await
    }

    async fn newest_set(&self) -> Result<Option<String>> {
        self.ask(|inner| async move { kept::newest_set(&*inner.client().await?).await }).await
    }

    async fn has_older_versions(&self) -> Result<bool> {
        self.ask(|inner| async move {
            let oldest = instances::oldest_schema(&**inner.client().await?).await?;
            Ok(oldest.is_some_and(|oldest| oldest < migrations::NEWEST))
        })
        .await
    }
}

#[async_trait]
impl InstanceStore for PostgresStore {
    async fn beat(&self, beat: Beat) -> Result<()> {
        self.ask(|inner| async move { instances::beat(&*inner.client().await?, &beat, migrations::NEWEST).await }).await
    }

    async fn instances(&self) -> Result<Vec<InstanceView>> {
        self.ask(|inner| async move { instances::instances(&*inner.client().await?).await }).await
    }

    async fn take_duty(&self, duty: &str, instance: &str, hold: Duration) -> Result<Option<Timestamp>> {
        let (duty, instance) = (duty.to_owned(), instance.to_owned());
        self.ask(|inner| async move { instances::take_duty(&*inner.client().await?, &duty, &instance, hold).await })
            .await
    }

    async fn leave_duty(&self, duty: &str, instance: &str, until: Timestamp) -> Result<()> {
        let (duty, instance) = (duty.to_owned(), instance.to_owned());
        self.ask(|inner| async move { instances::leave_duty(&*inner.client().await?, &duty, &instance, until).await })
            .await
    }
}

#[async_trait]
impl SharedQuota for PostgresStore {
    async fn reserve(&self, ask: QuotaAsk) -> Result<Vec<Duration>> {
        self.ask(|inner| async move { again(&inner, |client| Box::pin(instances::reserve(client, ask.clone()))).await })
            .await
    }

    async fn rate(&self, application: &str, per_second: f64) -> Result<f64> {
        let application = application.to_owned();
        self.ask(|inner| async move {
            again(&inner, |client| Box::pin(instances::rate(client, application.clone(), per_second))).await
        })
        .await
    }

    async fn throttled(&self, application: &str, per_second: f64) -> Result<()> {
        let application = application.to_owned();
        self.ask(|inner| async move {
            again(&inner, |client| Box::pin(instances::throttled(client, application.clone(), per_second))).await
        })
        .await
    }
}

#[async_trait]
impl DispatchStore for PostgresStore {
    async fn owe_answer(&self, owed: OwedAnswer) -> Result<()> {
        self.ask(|inner| async move { dispatch::owe_answer(&*inner.client().await?, &owed).await }).await?;
        self.signals().dispatches.notify_waiters();
        Ok(())
    }

    async fn answers_due(&self, max: usize) -> Result<Vec<OwedAnswer>> {
        self.ask(move |inner| async move { dispatch::answers_due(&*inner.client().await?, max).await }).await
    }

    async fn settle_answer(&self, message: MessageId, answer: Option<NewDispatch>, at: Timestamp) -> Result<bool> {
        let answer = Arc::new(answer);
        let settled = self
            .ask(move |inner| async move {
                again(&inner, |client| {
                    let (answer, vault) = (answer.clone(), inner.vault.clone());
                    Box::pin(
                        async move { dispatch::settle_answer(client, &vault, message, (*answer).as_ref(), at).await },
                    )
                })
                .await
            })
            .await?;
        self.signals().dispatches.notify_waiters();
        Ok(settled)
    }

    async fn told_up_to(&self, destination: &str) -> Result<Option<u64>> {
        let destination = destination.to_owned();
        self.ask(|inner| async move { dispatch::told_up_to(&*inner.client().await?, &destination).await }).await
    }

    async fn told(&self) -> Result<Vec<ToldPlace>> {
        self.ask(|inner| async move { dispatch::told(&*inner.client().await?).await }).await
    }

    async fn leave_told(&self, destination: &str, at: Timestamp) -> Result<()> {
        let destination = destination.to_owned();
        self.ask(move |inner| async move { dispatch::leave_told(&*inner.client().await?, &destination, at).await })
            .await
    }

    async fn tell(&self, destination: &str, from: Option<u64>, to: u64, dispatches: Vec<NewDispatch>) -> Result<bool> {
        let what: Arc<(String, Vec<NewDispatch>)> = Arc::new((destination.to_owned(), dispatches));
        let told = self
            .ask(move |inner| async move {
                again(&inner, |client| {
                    let (what, vault) = (what.clone(), inner.vault.clone());
                    Box::pin(async move { dispatch::tell(client, &vault, &what.0, (from, to), &what.1).await })
                })
                .await
            })
            .await?;
        self.signals().dispatches.notify_waiters();
        Ok(told)
    }

    async fn due_dispatches(&self, destination: &str, max: usize) -> Result<Vec<DueDispatch>> {
        let destination = destination.to_owned();
        self.ask(
            move |inner| async move { dispatch::due(&*inner.client().await?, &inner.vault, &destination, max).await },
        )
        .await
    }

    async fn make_dispatch(&self, id: DispatchId, content: DispatchContent) -> Result<()> {
        self.ask(move |inner| async move { dispatch::make(&*inner.client().await?, &inner.vault, id, &content).await })
            .await
    }

    async fn step_dispatch(&self, step: DispatchStep) -> Result<()> {
        self.ask(move |inner| async move { dispatch::step(&*inner.client().await?, &step).await }).await
    }

    async fn was_dispatched(&self, destination: &str, control_id: &str) -> Result<bool> {
        let (destination, control_id) = (destination.to_owned(), control_id.to_owned());
        self.ask(
            |inner| async move { dispatch::was_dispatched(&*inner.client().await?, &destination, &control_id).await },
        )
        .await
    }

    async fn dispatch(&self, id: DispatchId) -> Result<Option<DispatchView>> {
        self.ask(move |inner| async move { dispatch::dispatch(&*inner.client().await?, id).await }).await
    }

    async fn dispatches(&self, filter: DispatchFilter) -> Result<Vec<DispatchView>> {
        self.ask(move |inner| async move { dispatch::dispatches(&*inner.client().await?, &filter).await }).await
    }

    async fn dispatch_content(&self, id: DispatchId) -> Result<Bytes> {
        self.ask(move |inner| async move {
            dispatch::content(&*inner.client().await?, &inner.vault, id).await.map(Bytes::from)
        })
        .await
    }

    async fn dispatch_depths(&self) -> Result<Vec<DispatchDepth>> {
        self.ask(|inner| async move { dispatch::depths(&*inner.client().await?).await }).await
    }

    async fn replay_dispatch(&self, id: DispatchId, act: Act) -> Result<()> {
        self.decide_dispatch(id, dispatch::Verdict::Replay, act).await?;
        self.signals().dispatches.notify_waiters();
        Ok(())
    }

    async fn discard_dispatch(&self, id: DispatchId, act: Act) -> Result<()> {
        self.decide_dispatch(id, dispatch::Verdict::Discard, act).await
    }

    async fn purge_dispatches(&self, before: Timestamp, max: usize) -> Result<u64> {
        self.ask(move |inner| async move { dispatch::purge(&*inner.client().await?, before, max).await }).await
    }
}

impl PostgresStore {
    async fn decide_dispatch(&self, id: DispatchId, verdict: dispatch::Verdict, act: Act) -> Result<()> {
        self.ask(move |inner| async move {
            again(&inner, |client| {
                let (act, environment) = (act.clone(), inner.environment.clone());
                Box::pin(async move { dispatch::decide(client, id, verdict, &act, &environment).await })
            })
            .await
        })
        .await
    }
}

#[async_trait]
impl WatchStore for PostgresStore {
    async fn snapshot(&self, watch: &str, service: &str) -> Result<Option<Snapshot>> {
        let (watch, service) = (watch.to_owned(), service.to_owned());
        self.ask(
            |inner| async move { watching::snapshot(&*inner.client().await?, &inner.vault, &watch, &service).await },
        )
        .await
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<bool> {
        self.ask(|inner| async move { watching::save_snapshot(&*inner.client().await?, &inner.vault, &snapshot).await })
            .await
    }

    async fn spend(&self, spending: Spending) -> Result<bool> {
        self.ask(|inner| async move { watching::spend(&*inner.client().await?, &spending).await }).await
    }

    async fn unspend(&self, spending: Spending) -> Result<()> {
        self.ask(|inner| async move { watching::unspend(&*inner.client().await?, &spending).await }).await
    }

    async fn purge_snapshots(&self, before: Timestamp) -> Result<u64> {
        self.ask(move |inner| async move { watching::purge_snapshots(&*inner.client().await?, before).await }).await
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn signals(&self) -> &Signals {
        &self.inner.signals
    }

    fn shared_quota(&self) -> Option<Arc<dyn SharedQuota>> {
        Some(Arc::new(Self { inner: Arc::clone(&self.inner) }))
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.inner.commits.clone())]
    }

    async fn verify(&self) -> Result<()> {
        Self::verify(self).await
    }
}

#[async_trait]
impl EncryptionStore for PostgresStore {
    fn keys(&self) -> Option<Keys> {
        self.inner.keys.clone()
    }

    async fn encryption(&self) -> Result<EncryptionView> {
        self.ask(|inner| async move {
            let client = inner.client().await?;
            let renewed = keyring::renewed(&**client).await?;
            Ok(encryption::view(&keyring::rows(&**client).await?, inner.vault.current(), renewed))
        })
        .await
    }

    async fn look_at_keys(&self, master: &Keys) -> Result<()> {
        let keys = master.clone();
        self.ask(|inner| async move {
            let (encrypt, now) = (inner.encrypt, inner.environment.now());
            keyring::look(&*inner.client().await?, &inner.vault, (&keys, encrypt), now).await
        })
        .await
    }

    async fn add_master(&self, next: &Keys) -> Result<()> {
        let next = next.clone();
        self.ask(|inner| async move {
            let keys = inner.keys.clone().ok_or_else(vault::locked)?;
            keyring::add_master(&*inner.client().await?, &keys, &next, inner.environment.now()).await
        })
        .await
    }

    async fn keep_only(&self, master: Fingerprint) -> Result<()> {
        self.ask(move |inner| async move { keyring::keep_only(&*inner.client().await?, master).await }).await
    }

    async fn renew(&self) -> Result<Option<Renewed>> {
        self.ask(|inner| async move { renewal::renew(&*inner.client().await?, &inner.vault).await }).await
    }
}
