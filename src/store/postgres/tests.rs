//! The shared suite on PostgreSQL, and what only a server can do: be shared, go away, come back.

mod lanes;
mod reports;
#[path = "../../../tests/it/support/postgres.rs"]
#[expect(dead_code, reason = "integration tests use more of it")]
pub(crate) mod server;
mod tls;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use parking_lot::Mutex;

use self::server::Postgres;
use super::{Address, PostgresStore};
use crate::environment::Environment;
use crate::keys::Keys;
use crate::store::suite::{Home, every_store};
use crate::store::{Result, Sealing, Store};

/// A schema of a private server, and who has it open.
struct Schema {
    /// Runs as long as somebody holds it.
    server: Arc<Postgres>,
    url: Mutex<String>,
    /// Of key files.
    folder: tempfile::TempDir,
    environment: Mutex<Environment>,
}

impl Schema {
    fn new() -> Self {
        let server = Postgres::shared();
        let url = server.new_schema();
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { server, url: Mutex::new(url), folder, environment: Mutex::new(Environment::system()) }
    }

    async fn store(&self) -> PostgresStore {
        self.store_of("gateway-1").await
    }

    async fn store_of(&self, instance: &str) -> PostgresStore {
        let environment = self.environment.lock().clone();
        let address = Address::parse(&self.url.lock()).expect("a URL");
        let sealing = Some(Sealing::with(self.keys("gateway")));
        PostgresStore::open_with(&address, instance, sealing, &environment).await.expect("opened")
    }
}

#[async_trait]
impl Home for Schema {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store().await)
    }

    async fn prove(&self) {
        self.store().await.verify().await.expect("whole");
    }

    async fn tamper(&self, sql: &str) {
        let (environment, url) = (self.environment.lock().clone(), self.url.lock().clone());
        let address = Address::parse(&url).expect("a URL");
        let runtime = tokio::runtime::Handle::current();
        let line = super::keeper::open_line(&address, &environment, &runtime).await.expect("opened");
        line.client.batch_execute(sql).await.expect("tampered");
    }

    async fn open_with(&self, sealing: Option<Sealing>) -> Result<Arc<dyn Store>> {
        let environment = self.environment.lock().clone();
        let address = Address::parse(&self.url.lock()).expect("a URL");
        Ok(Arc::new(PostgresStore::open_with(&address, "gateway-1", sealing, &environment).await?))
    }

    fn keys(&self, name: &str) -> Keys {
        let environment = self.environment.lock().clone();
        Keys::load_or_create(&self.folder.path().join(format!("{name}.key")), &environment).expect("a key file")
    }

    /// Every row of every table, as the server copies them.
    async fn everything(&self) -> Vec<u8> {
        let (environment, url) = (self.environment.lock().clone(), self.url.lock().clone());
        let address = Address::parse(&url).expect("a URL");
        let runtime = tokio::runtime::Handle::current();
        let line = super::keeper::open_line(&address, &environment, &runtime).await.expect("opened");
        let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()";
        let mut bytes = Vec::new();
        for table in line.client.query(tables, &[]).await.expect("asked") {
            let copy = format!("COPY {} TO STDOUT (FORMAT binary)", table.get::<_, String>(0));
            let mut rows = Box::pin(line.client.copy_out(&copy).await.expect("copied"));
            while let Some(row) = rows.next().await {
                bytes.extend_from_slice(&row.expect("a row"));
            }
        }
        bytes
    }

    fn id(&self, id: uuid::Uuid) -> String {
        format!("'{id}'")
    }

    async fn begin_anew(&self) {
        *self.url.lock() = self.server.new_schema();
    }

    /// Each step waits for a server, so `./test` takes fewer and `./test --full` all.
    fn random_steps(&self) -> u32 {
        if std::env::var("ERS_GATEWAY_TEST_FULL").is_ok_and(|full| full == "1") { 10_000 } else { 3_000 }
    }
}

every_store!(Schema::new());

mod shared {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::server::Care;
    use super::*;
    use crate::command::State;
    use crate::store::postgres::{instances, keeper, migrations};
    use crate::store::suite::given::{
        act, admitted, arrives, at, attempt, claim, command, ends, into_state, local, message, progress, the_claimed,
    };
    use crate::store::{
        AuditStore, Claim, DeliveryStore, EncryptionStore, InstanceStore, IntakeStore, MappingStore, Noted,
        OperatorStore, OutboxStore, Progress, QuotaAsk, SetAnnouncement, StoreError,
    };

    const SOON: Duration = Duration::from_secs(30);

    async fn two(home: &Schema) -> (PostgresStore, PostgresStore) {
        (home.store_of("gateway-1").await, home.store_of("gateway-2").await)
    }

    fn claim_of(owner: &str, max: usize) -> Claim {
        Claim { owner: owner.into(), ..claim(max, 0) }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn instances_that_claim_at_once_share_what_is_due() {
        let home = Schema::new();
        let (one, other) = two(&home).await;
        let arriving = (0..200).map(|number| {
            let store: &PostgresStore = if number % 2 == 0 { &one } else { &other };
            async move { arrives(store, &[local(&format!("r{number}"))]).await }
        });
        let mut arrived = join_all(arriving).await;
        let left = std::sync::atomic::AtomicUsize::new(200);
        let claims = join_all([(&one, "gateway-1"), (&other, "gateway-2")].map(|(store, owner)| {
            let left = &left;
            async move {
                let mut mine = Vec::new();
                // None may be had for a moment, while the other has its hand on those that were chosen.
                while left.load(std::sync::atomic::Ordering::Relaxed) > 0 {
                    let batch = store.claim(claim_of(owner, 7)).await.expect("claimed");
                    left.fetch_sub(batch.len(), std::sync::atomic::Ordering::Relaxed);
                    mine.extend(batch.into_iter().map(|command| command.id));
                }
                mine
            }
        }));
        let claims = tokio::time::timeout(SOON, claims).await.expect("all are claimed");
        let mut all: Vec<_> = claims.concat();
        all.sort_unstable();
        arrived.sort_unstable();
        assert_eq!(all, arrived, "each once");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thread_keeps_its_order_whoever_takes_its_messages() {
        let home = Schema::new();
        let (one, other) = two(&home).await;
        let mut arrived = Vec::new();
        for number in 0..20 {
            let store: &PostgresStore = if number % 3 == 0 { &one } else { &other };
            arrived.push(arrives(store, &[local("r1")]).await);
        }
        for (number, expected) in arrived.into_iter().enumerate() {
            let (store, rival) = if number % 2 == 0 { (&one, &other) } else { (&other, &one) };
            let running = the_claimed(store).await;
            assert_eq!(running.id, expected);
            assert!(rival.claim(claim_of("rival", 10)).await.expect("claimed").is_empty(), "one of a thread runs");
            ends(store, &running, State::Completed).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_same_message_at_two_instances_is_taken_once() {
        let home = Schema::new();
        let (one, other) = two(&home).await;
        for number in 0..40 {
            let sent = || message(&format!("M{number}")).with(command(&[local(&format!("r{number}"))]).creating(1));
            let (first, second) = tokio::join!(one.admit(sent()), other.admit(sent()));
            let taken = [first, second].map(|outcome| match outcome.expect("answered") {
                crate::store::Admitted::New { .. } => true,
                crate::store::Admitted::Resend { .. } => false,
                other => panic!("{other:?}"),
            });
            assert_ne!(taken[0], taken[1], "M{number}");
        }
    }

    #[tokio::test]
    async fn a_write_whose_lease_ended_is_not_recorded_as_about_to_be_sent() {
        let home = Schema::new();
        let store = home.store().await;
        arrives(&store, &[local("r1")]).await;
        let running = the_claimed(&store).await;
        let late = |is_write| Progress { at: at(61), started: Some(attempt(is_write)), ..progress(&running) };
        assert!(matches!(store.record(late(true)).await, Err(StoreError::Outdated(_))));
        store.record(late(false)).await.expect("a read harms nobody, and renews it");
        store.record(Progress { at: at(62), ..late(true) }).await.expect("in time again");
    }

    #[tokio::test]
    async fn what_an_instance_holds_is_taken_back_by_another_when_its_lease_ends() {
        let home = Schema::new();
        let (one, other) = two(&home).await;
        let (read, write) = (arrives(&one, &[local("r1")]).await, arrives(&one, &[local("r2")]).await);
        let running = one.claim(claim_of("gateway-1", 10)).await.expect("claimed");
        let sending = Progress { started: Some(attempt(true)), ..progress(&running[1]) };
        one.record(sending).await.expect("recorded");
        assert_eq!(other.recover(at(10)).await.expect("recovered").requeued, 0, "that of others is not its business");
        let taken = other.claim(Claim { now: at(100), lease_until: at(160), ..claim_of("gateway-2", 10) }).await;
        let taken: Vec<_> = taken.expect("claimed").into_iter().map(|command| command.id).collect();
        assert_eq!(taken, [read, write], "one to be carried out, and one to be looked at");
        let state = crate::store::suite::given::state_of(&other, write).await;
        assert!(matches!(state, State::InDoubt { .. }), "{state:?}");
        for stale in &running {
            let refused = one.record(into_state(stale, State::Completed)).await;
            assert!(matches!(refused, Err(StoreError::Outdated(_))), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn bells_are_heard_by_the_others() {
        let home = Schema::new();
        let (one, other) = two(&home).await;
        // A permit may be left from the opening.
        let _ = tokio::time::timeout(Duration::from_millis(500), other.signals().commands.notified()).await;
        let mut settled = other.signals().settled.subscribe();
        let id = arrives(&one, &[local("r1")]).await;
        tokio::time::timeout(SOON, other.signals().commands.notified()).await.expect("rung");
        one.discard(id, act()).await.expect("discarded");
        let heard = tokio::time::timeout(SOON, settled.recv()).await.expect("rung").expect("told");
        assert_eq!(heard.command, id);
        admitted(&one, message("M1").with_event("Notice")).await;
        tokio::time::timeout(SOON, other.signals().outbox.notified()).await.expect("rung");
    }

    #[tokio::test]
    async fn the_second_of_a_name_does_not_start() {
        let home = Schema::new();
        let first = home.store_of("gateway-1").await;
        let address = Address::parse(&home.url.lock()).expect("a URL");
        let environment = home.environment.lock().clone();
        let second = PostgresStore::open(&address, "gateway-1", &environment).await;
        assert!(second.err().is_some_and(|error| error.to_string().contains("gateway-1")));
        home.store_of("gateway-2").await;
        drop(first);
        home.store_of("gateway-1").await;
    }

    #[tokio::test]
    async fn a_duty_is_had_by_one_at_a_time() {
        let home = Schema::new();
        let (one, other) = two(&home).await;
        let hold = Duration::from_secs(60);
        let first = one.take_duty("outbox", "gateway-1", hold).await.expect("asked").expect("it is free");
        let renewed = one.take_duty("outbox", "gateway-1", hold).await.expect("asked").expect("renewed");
        assert_eq!(other.take_duty("outbox", "gateway-2", hold).await.expect("asked"), None);
        assert!(other.take_duty("retention", "gateway-2", Duration::ZERO).await.expect("asked").is_some());
        assert!(one.take_duty("retention", "gateway-1", hold).await.expect("asked").is_some(), "its time was over");
        let seen = other.instances().await.expect("listed");
        assert_eq!(seen[0].duties, ["outbox", "retention"]);
        // Carried out late, it leaves nothing that was taken anew.
        one.leave_duty("outbox", "gateway-1", first).await.expect("asked");
        assert_eq!(other.take_duty("outbox", "gateway-2", hold).await.expect("asked"), None);
        one.leave_duty("outbox", "gateway-1", renewed).await.expect("left");
        assert!(other.take_duty("outbox", "gateway-2", hold).await.expect("asked").is_some());
    }

    #[tokio::test]
    async fn the_newest_mapping_set_is_what_somebody_changed_last() {
        let home = Schema::new();
        let (one, other) = two(&home).await;
        let announce = |digest: &str, instance: &str, asked_for| SetAnnouncement {
            digest: digest.into(),
            archive: "archive".into(),
            instance: instance.into(),
            asked_for,
            at: at(0),
        };
        assert_eq!(one.announce_set(announce("old", "gateway-1", false)).await.expect("kept"), "old");
        assert_eq!(other.announce_set(announce("new", "gateway-2", false)).await.expect("kept"), "new");
        // Started again with the same files: no change of mind.
        assert_eq!(one.announce_set(announce("old", "gateway-1", false)).await.expect("kept"), "new");
        assert_eq!(one.announce_set(announce("old", "gateway-1", true)).await.expect("kept"), "old", "asked for");
        assert_eq!(other.newest_set().await.expect("read").as_deref(), Some("old"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn departures_of_all_instances_keep_the_gap() {
        let home = Schema::new();
        let (one, other) = two(&home).await;
        let gap = Duration::from_millis(100);
        let ask = QuotaAsk { application: "client".into(), calls: 3, ahead: 0, per_second: 10.0, gap_min: gap / 2 };
        let began = tokio::time::Instant::now();
        let departures = join_all([&one, &other].map(|store| {
            let ask = ask.clone();
            async move {
                let quota = store.shared_quota().expect("shared");
                let mut departures = Vec::new();
                for _ in 0..5 {
                    let asked = began.elapsed();
                    let given = quota.reserve(ask.clone()).await.expect("reserved");
                    let answered = began.elapsed();
                    departures.extend(given.into_iter().map(|wait| (asked + wait, answered + wait)));
                }
                departures
            }
        }))
        .await
        .concat();
        let mut latest: Vec<_> = departures.iter().map(|(_, latest)| *latest).collect();
        latest.sort_unstable();
        assert_eq!(latest.len(), 30);
        assert!(latest[29] >= gap * 29, "30 calls at 10 a second take 2.9 s, not {:?}", latest[29]);
    }

    /// As the version before reasons were set apart writes it, beside this one.
    #[tokio::test]
    async fn acts_of_an_older_version_are_in_the_chain() {
        let home = Schema::new();
        let store = home.store().await;
        home.tamper(
            "INSERT INTO audit (number, at, by, act, subject, why, hash)
             VALUES (1, 1773653500000000, 'j.smith', 'discard', 'command 1', 'asked by the ward',
               decode('fd50e58db92796ad1b1b34e7ec773dfedfd93d19e3b2bbdbfb11ba8a6a182dd7', 'hex'))",
        )
        .await;
        store.note(Noted { act: "view", subject: "command 1".into(), by: act() }).await.expect("noted");
        store.verify().await.expect("whole");
        home.tamper("UPDATE audit SET why = 'no reason' WHERE number = 1").await;
        assert!(matches!(store.verify().await, Err(StoreError::Damaged(what)) if what.contains("entry 1")));
    }

    #[tokio::test]
    async fn an_older_version_that_may_come_back_keeps_what_it_needs() {
        let home = Schema::new();
        let runtime = tokio::runtime::Handle::current();
        let environment = home.environment.lock().clone();
        let address = Address::parse(&home.url.lock()).expect("a URL");
        let line = keeper::open_line(&address, &environment, &runtime).await.expect("opened");
        migrations::expand(&line.client, &environment).await.expect("made");
        let older = "INSERT INTO instance (name, slot, version, schema, mapping_set, started_at, seen_at, standing, holds)
             VALUES ('older', 99, '0', 1, '', 0, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 'stopped', 0)";
        line.client.batch_execute(older).await.expect("a row");
        let store = home.store().await;
        let contracted = async || {
            let oldest = instances::oldest_schema(&**store.inner.client().await.expect("a connection")).await;
            let oldest = oldest.expect("read").expect("there are instances");
            migrations::contract(&line.client, oldest, environment.now()).await.expect("asked");
            let left =
                "SELECT count(*) FROM pg_indexes WHERE schemaname = current_schema() AND indexname = 'message_source'";
            line.client.query_one(left, &[]).await.expect("asked").get::<_, i64>(0) == 0
        };
        assert!(!contracted().await, "it was here a moment ago");
        assert!(!store.encryption().await.expect("asked").seals, "so nothing is written that it cannot read");
        assert!(store.has_older_versions().await.expect("asked"), "so nobody announces a set that it cannot read");
        line.client.batch_execute("UPDATE instance SET seen_at = 0 WHERE name = 'older'").await.expect("a row");
        assert!(contracted().await);
        assert!(!store.has_older_versions().await.expect("asked"));
        store.look_at_keys(&home.keys("gateway")).await.expect("looked");
        assert!(store.encryption().await.expect("asked").seals);
        // Two phases, each once; what the older knows is gone, so it is refused.
        line.client
            .batch_execute("INSERT INTO migration VALUES (99, 'expand', 'later', 0)")
            .await
            .expect("a later version's");
        home.store_of("gateway-2").await;
        line.client
            .batch_execute("INSERT INTO migration VALUES (99, 'contract', 'later', 0)")
            .await
            .expect("a later version's");
        let refused = PostgresStore::open(&address, "gateway-3", &environment).await;
        assert!(matches!(refused.err(), Some(StoreError::Damaged(_))));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn aserver_that_goes_away_is_waited_for_and_nothing_is_opened_again() {
        let server = Postgres::start_new(Care::Quick);
        let environment = Environment::system();
        let address = Address::parse(&server.new_schema()).expect("a URL");
        let store = PostgresStore::open(&address, "gateway-1", &environment).await.expect("opened");
        let before = arrives(&store, &[local("r1")]).await;
        let running = the_claimed(&store).await;
        // A claim alone does not wait for the disk: a crash may lose it, and the command is queued as before.
        store.record(progress(&running)).await.expect("recorded");
        for stop in [Postgres::crash, Postgres::stop] {
            stop(&server);
            let refused = store.admit(message("away").with(command(&[local("r2")]))).await;
            assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
            assert!(matches!(store.claim(claim(1, 0)).await, Err(StoreError::Unavailable(_))));
            assert!(matches!(store.record(progress(&running)).await, Err(StoreError::Unavailable(_))));
            assert!(store.last_position().await.is_err());
            server.start();
            let back = async {
                while store.record(progress(&running)).await.is_err() || store.last_position().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(SOON, back).await.expect("it goes on by itself");
        }
        assert_eq!(running.id, before);
        ends(&store, &running, State::Completed).await;
        // What was refused while it was away is new.
        let later = command(&[local("r2")]);
        let later_id = later.id;
        let taken = async {
            loop {
                if let Ok(crate::store::Admitted::New { .. }) =
                    store.admit(message("away").with(command(&[local("r2")]))).await
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(SOON, taken).await.expect("taken");
        admitted(&store, message("later").with(later)).await;
        assert_ne!(the_claimed(&store).await.id, later_id, "behind the one before it");
        store.verify().await.expect("whole");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_connection_that_is_cut_in_a_commit_leaves_no_doubt() {
        let home = Schema::new();
        let store = home.store().await;
        let schema = home.url.lock().rsplit("%3D").next().expect("a schema").to_owned();
        let server = home.server.clone();
        admitted(&store, message("M0").with_event("Notice")).await;
        for round in 0..5 {
            // Another session holds the outbox, so that the commit cannot come through, and then the server ends
            // the connection that waits.
            let holding = {
                let (server, schema) = (server.clone(), schema.clone());
                tokio::task::spawn_blocking(move || {
                    server.psql(&format!(
                        "SET search_path = {schema};
                         SELECT pg_advisory_lock({}, hashtext(current_schema())), pg_sleep(0.5);
                         SELECT pg_terminate_backend(pid) FROM pg_locks
                         WHERE locktype = 'advisory' AND classid = {0} AND NOT granted;
                         SELECT pg_sleep(0.2);",
                        crate::store::postgres::write::OUTBOX_LOCK
                    ))
                })
            };
            tokio::time::sleep(Duration::from_millis(100)).await;
            let control_id = format!("M-cut-{round}");
            let outcome = store.admit(message(&control_id).with_event("Notice")).await;
            holding.await.expect("psql ran");
            // Whatever was answered is true: the same again is new exactly if the first was refused.
            let again = async {
                loop {
                    match store.admit(message(&control_id).with_event("Notice")).await {
                        Ok(answer) => return answer,
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
            };
            let again = tokio::time::timeout(SOON, again).await.expect("answered");
            match (&outcome, &again) {
                (Ok(_), crate::store::Admitted::Resend { .. }) | (Err(_), crate::store::Admitted::New { .. }) => {}
                contradiction => panic!("{contradiction:?}"),
            }
        }
        store.verify().await.expect("whole");
        assert_eq!(store.events_after(0, 100).await.expect("read").len(), 6);
    }
}
