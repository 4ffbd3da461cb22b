//! The shared suite on SQLite, and what only a file can do: fill up, be copied, be tampered with.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use rusqlite::Connection;
use tempfile::TempDir;

use super::SqliteStore;
use crate::environment::Environment;
use crate::keys::Keys;
use crate::store::suite::{Home, every_store};
use crate::store::{Result, Sealing, Store};

struct Folder {
    folder: TempDir,
    /// Stores that were begun anew.
    stores: AtomicU32,
    environment: Environment,
}

impl Folder {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Self { folder, stores: AtomicU32::new(0), environment: Environment::system() }
    }

    fn path(&self) -> PathBuf {
        match self.stores.load(Ordering::Relaxed) {
            0 => self.folder.path().join("store.db"),
            number => self.folder.path().join(format!("store-{number}.db")),
        }
    }

    async fn store(&self) -> SqliteStore {
        SqliteStore::open_with(self.path(), Some(self.sealing()), &self.environment).await.expect("opened")
    }

    fn sealing(&self) -> Sealing {
        Sealing::with(self.keys("gateway"))
    }
}

#[async_trait]
impl Home for Folder {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store().await)
    }

    async fn prove(&self) {
        self.store().await.verify().await.expect("whole");
    }

    async fn tamper(&self, sql: &str) {
        Connection::open(self.path()).expect("a second connection").execute_batch(sql).expect("tampered");
    }

    async fn open_with(&self, sealing: Option<Sealing>) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(SqliteStore::open_with(self.path(), sealing, &self.environment).await?))
    }

    fn keys(&self, name: &str) -> Keys {
        let file = self.folder.path().join(format!("{name}.key"));
        Keys::load_or_create(&file, &self.environment).expect("a key file")
    }

    /// The file and its log.
    async fn everything(&self) -> Vec<u8> {
        let path = self.path().display().to_string();
        let read = |suffix: &str| std::fs::read(format!("{path}{suffix}")).unwrap_or_default();
        ["", "-wal", "-shm"].into_iter().flat_map(read).collect()
    }

    fn id(&self, id: uuid::Uuid) -> String {
        format!("x'{}'", id.simple())
    }

    async fn begin_anew(&self) {
        self.stores.fetch_add(1, Ordering::Relaxed);
    }
}

every_store!(Folder::new());

mod file {
    use futures_util::future::join_all;

    use super::*;
    use crate::command::{CommandId, MessageId, State, Verdict};
    use crate::store::suite::given::{act, admitted, arrives, at, claimed, command, ends, local, message, new_id};
    use crate::store::{
        Admitted, AuditStore, IntakeStore, MessageFilter, Noted, OperatorStore, Purge, PurgePlace, RetentionStore,
        SearchStore, StoreError,
    };

    #[tokio::test]
    async fn a_full_disk_is_said_and_heals_by_itself() {
        let home = Folder::new();
        let store = home.store().await;
        admitted(&store, message("before").with(command(&[local("r0")]))).await;
        store.write_raw("PRAGMA max_page_count = 80").await.expect("a setting");
        let mut refused = Vec::new();
        for number in 0..200 {
            let mut large = message(&format!("M{number}")).with(command(&[local(&format!("r{number}"))]));
            large.message.raw = vec![b'x'; 20_000].into();
            match store.admit(large).await {
                Ok(_) => {}
                Err(StoreError::Unavailable(_)) => refused.push(number),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(refused.len() > 100, "the disk was full");
        let burst = (0..50).map(|number| store.admit(large_burst(number)));
        for outcome in join_all(burst).await {
            assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
        }
        store.write_raw("PRAGMA max_page_count = 1000000").await.expect("a setting");
        for number in refused {
            // Nothing of what was refused is there: it is new.
            admitted(&store, message(&format!("M{number}")).with(command(&[local("r")]))).await;
        }
        store.verify().await.expect("whole");
    }

    fn large_burst(number: u32) -> crate::store::Admission {
        let mut large = message(&format!("B{number}")).with(command(&[local(&format!("b{number}"))]));
        large.message.raw = vec![b'x'; 100_000].into();
        large
    }

    #[tokio::test]
    async fn a_commit_that_fails_fails_all_of_its_group_and_the_writer_goes_on() {
        let home = Folder::new();
        let store = home.store().await;
        // The writer is kept busy until all of them wait, so that they share a group.
        let (open_gate, gate) = std::sync::mpsc::channel::<()>();
        let (begin, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let busy = store.writer().expect("open for writing").write(0, move |_| {
            begin.send(()).expect("somebody waits for it");
            gate.recv().expect("opened");
            Ok(())
        });
        let sharing = async {
            begun.recv().await.expect("it begins");
            // Found out at the commit only: a reference that is checked there, to a row that is missing.
            let sql = "PRAGMA defer_foreign_keys = ON; INSERT INTO message_chunk VALUES (99, 0, x'')";
            let neighbours = join_all((0..10).map(|number| store.admit(message(&format!("M{number}")))));
            let opening = async { open_gate.send(()).expect("it waits") };
            tokio::join!(store.write_raw(sql), neighbours, opening)
        };
        let (busy, (spoiling, neighbours, ())) = tokio::join!(busy, sharing);
        busy.expect("in a group of its own");
        assert!(matches!(spoiling, Err(StoreError::Unavailable(_))), "{spoiling:?}");
        for (number, outcome) in neighbours.into_iter().enumerate() {
            assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
            admitted(&store, message(&format!("M{number}"))).await;
        }
        store.verify().await.expect("whole");
    }

    #[tokio::test]
    async fn a_panic_while_writing_stops_nobody_else() {
        let home = Folder::new();
        let store = home.store().await;
        let panicking: crate::store::Result<()> = store
            .writer()
            .expect("open for writing")
            .write(0, |books| {
                books.connection.execute("INSERT INTO source (name) VALUES ('half')", []).expect("written");
                panic!("a bug");
            })
            .await;
        assert!(matches!(panicking, Err(StoreError::Unavailable(_))));
        admitted(&store, message("M1").from("half")).await;
        store.verify().await.expect("whole");
    }

    #[tokio::test]
    async fn a_store_in_use_can_be_read_by_another_process() {
        let home = Folder::new();
        let store = home.store().await;
        let id = arrives(&store, &[local("r1")]).await;
        let looking = SqliteStore::open_to_read(home.path(), Some(&home.keys("gateway")), &home.environment)
            .await
            .expect("opened");
        assert!(looking.command(id).await.expect("read").is_some());
        let later = arrives(&store, &[local("r1")]).await;
        assert!(looking.command(later).await.expect("read").is_some());
        assert!(matches!(looking.discard(id, act()).await, Err(StoreError::Unavailable(_))));
        let nowhere = home.folder.path().join("nowhere.db");
        assert!(SqliteStore::open_to_read(&nowhere, None, &home.environment).await.is_err());
        assert!(!nowhere.exists());
    }

    #[tokio::test]
    async fn a_second_gateway_is_refused_while_the_first_holds_the_file() {
        let home = Folder::new();
        let store = home.store().await;
        let second = SqliteStore::open_with(home.path(), Some(home.sealing()), &home.environment).await;
        assert!(matches!(second.err(), Some(StoreError::Unavailable(_))));
        drop(store);
        home.store().await;
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let home = Folder::new();
        let store = home.store().await;
        admitted(&store, message("M1")).await;
        for name in ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"] {
            let mode = std::fs::metadata(home.folder.path().join(name)).expect(name).permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name}");
        }
    }

    #[tokio::test]
    async fn a_backup_is_a_whole_store() {
        let home = Folder::new();
        let store = home.store().await;
        let id = arrives(&store, &[local("r1")]).await;
        let copy = home.folder.path().join("copy.db");
        store.backup(&copy).await.expect("copied");
        assert!(matches!(store.backup(&copy).await, Err(StoreError::Outdated(_))), "never overwritten");
        let copied = SqliteStore::open_with(&copy, Some(home.sealing()), &home.environment).await.expect("opened");
        copied.verify().await.expect("whole");
        assert_eq!(crate::store::suite::given::claimed_ids(&copied, 10).await, [id]);
    }

    #[tokio::test]
    async fn wrong_counts_are_noticed() {
        let home = Folder::new();
        let store = home.store().await;
        arrives(&store, &[local("r1")]).await;
        let intruder = Connection::open(home.path()).expect("a second connection");
        intruder.execute("UPDATE tally SET count = count + 1", []).expect("tampered");
        assert!(matches!(store.verify().await, Err(StoreError::Damaged(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_stands_still_while_the_store_works() {
        let environment = Environment::simulated(1, jiff::Timestamp::UNIX_EPOCH);
        let home = Folder { environment, ..Folder::new() };
        let store = home.store().await;
        let began = home.environment.now();
        let work = async {
            for number in 0..20 {
                admitted(&store, message(&format!("M{number}"))).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = home.environment.sleep(std::time::Duration::from_secs(3_600)) => panic!("the clock ran ahead"),
        }
        assert_eq!(home.environment.now(), began);
    }

    /// A file as the first version left it: one completed referral and one refused message.
    fn first_version(path: &std::path::Path, made: MessageId, by: CommandId) {
        let mut connection = Connection::open(path).expect("a new file");
        super::super::migrations::migrate_to(&mut connection, 1, at(0)).expect("the first tables");
        let (made, by, refused) = (made.0.into_bytes(), by.0.into_bytes(), new_id().into_bytes());
        let alias = local("r1").digest;
        let received = at(0).as_microsecond();
        connection
            .execute_batch(
                "INSERT INTO source VALUES (1, 'northmoor');
                 INSERT INTO tally VALUES (7, 3, 1, 1);",
            )
            .expect("rows");
        let rows: [(&str, &[&dyn rusqlite::ToSql]); 7] = [
            ("INSERT INTO thread (number, id, sequence, created_by) VALUES (1, ?1, 0, 1)", rusqlite::params![by]),
            ("INSERT INTO alias VALUES (?1, 1, 1)", rusqlite::params![alias]),
            (
                "INSERT INTO audit (number, at, by, act, subject, why, hash)
                 VALUES (1, ?1, 'j.smith', 'discard', 'command 1', 'asked by the ward',
                   unhex('fd50e58db92796ad1b1b34e7ec773dfedfd93d19e3b2bbdbfb11ba8a6a182dd7'))",
                rusqlite::params![at(100).as_microsecond()],
            ),
            ("INSERT INTO dedup VALUES (1, 'M1', ?1, ?2)", rusqlite::params![[7_u8; 32], made]),
            (
                "INSERT INTO command (number, id, message, source, thread, name, class, standing, state, received_at,
                   changed_at, deferrals, changes, fence, creates, mapping_set, body)
                 VALUES (1, ?1, ?2, 1, 1, 'CreateReferral', 3, 7, '{\"state\":\"completed\"}', ?3, ?3, 0, 0, 0, ?4,
                   'set-1', '{}')",
                rusqlite::params![by, made, received, [1_u8; 32]],
            ),
            (
                "INSERT INTO message (number, id, source, transport, control_id, kind, charset, received_at, verdict,
                   size, sha256, first_command, commands, acknowledgement, raw)
                 VALUES (1, ?1, 1, 'mllp', 'M1', 'REF^I12', 'UTF-8', ?2, 'accepted', 3, ?3, 1, 1, x'', x'4D5348')",
                rusqlite::params![made, received, [7_u8; 32]],
            ),
            (
                "INSERT INTO message (number, id, source, transport, kind, charset, received_at, verdict, size, sha256,
                   first_command, commands, acknowledgement, raw)
                 VALUES (2, ?1, 1, 'mllp', 'REF^I12', 'UTF-8', ?2, 'rejected', 3, ?3, 2, 0, x'', x'4D5348')",
                rusqlite::params![refused, received, [8_u8; 32]],
            ),
        ];
        for (sql, parameters) in rows {
            connection.execute(sql, parameters).expect(sql);
        }
    }

    #[tokio::test]
    async fn a_store_of_the_first_version_is_migrated_with_its_rows() {
        let home = Folder::new();
        let (made, by) = (MessageId(new_id()), CommandId(new_id()));
        first_version(&home.path(), made, by);
        let looking = SqliteStore::open_to_read(home.path(), Some(&home.keys("gateway")), &home.environment).await;
        assert!(matches!(looking.err(), Some(StoreError::Damaged(_))), "who only looks changes nothing");
        let store = home.store().await;
        store.verify().await.expect("whole");
        assert_eq!(store.command(by).await.expect("read").expect("there").state, State::Completed);
        for (name, filter) in [
            ("source", MessageFilter { source: Some("northmoor".into()), ..MessageFilter::default() }),
            ("verdict", MessageFilter { verdict: Some(Verdict::Accepted), ..MessageFilter::default() }),
            ("state", MessageFilter { state: Some("completed".into()), ..MessageFilter::default() }),
            ("control id", MessageFilter { control_id: Some("M1".into()), ..MessageFilter::default() }),
        ] {
            let listed = store.messages(MessageFilter { max: 10, ..filter }).await.expect("listed");
            assert!(listed.iter().any(|view| view.id == made), "{name}");
        }
        store.note(Noted { act: "view", subject: format!("command {by}"), by: act() }).await.expect("noted");
        let whys = store.audit_log(0, 10).await.expect("read").into_iter().map(|entry| (entry.kind, entry.why));
        let why = Some("asked by the ward".to_owned());
        assert_eq!(whys.collect::<Vec<_>>(), [(None, why.clone()), (Some("person".to_owned()), why)]);
        purge_all(&store).await;
        match store.admit(message("M2").with(command(&[local("r1")]).creating(1))).await.expect("admitted") {
            Admitted::New { repeats, .. } => assert_eq!(repeats, Some(by)),
            other => panic!("{other:?}"),
        }
        store.verify().await.expect("whole");
    }

    async fn purge_all(store: &SqliteStore) {
        let (before, mut from) = (Some(at(1_000_000)), Some(PurgePlace::START));
        while let Some(place) = from {
            let purge = Purge {
                messages_before: before,
                events_before: before,
                keep_unconfirmed: false,
                told_up_to: u64::MAX,
                max: usize::MAX,
                from: place,
            };
            from = store.purge(purge).await.expect("purged").next;
        }
    }

    #[tokio::test]
    async fn what_is_purged_makes_room_for_what_comes() {
        let home = Folder::new();
        let store = home.store().await;
        let fill = async |from: u32| {
            for number in from..from + 300 {
                let mut large = message(&format!("M{number}")).with(command(&[local(&format!("r{number}"))]));
                large.message.raw = vec![b'x'; if number % 30 == 0 { 300_000 } else { 10_000 }].into();
                admitted(&store, large).await;
            }
            loop {
                let running = claimed(&store, 100).await;
                if running.is_empty() {
                    break;
                }
                for command in running {
                    ends(&store, &command, State::Completed).await;
                }
            }
        };
        let pages = || -> i64 {
            let looking = Connection::open(home.path()).expect("a second connection");
            looking.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number")
        };
        fill(0).await;
        let full = pages();
        for round in 1..4 {
            purge_all(&store).await;
            fill(round * 300).await;
        }
        // What recognises resends stays, so it grows a little.
        assert!(pages() < full + full / 10, "{full} pages, and later {}", pages());
        purge_all(&store).await;
        let copy = home.folder.path().join("copy.db");
        store.backup(&copy).await.expect("copied");
        let size = |path: &std::path::Path| std::fs::metadata(path).expect("there").len();
        assert!(size(&copy) * 4 < size(&home.path()), "a copy has no empty pages");
    }
}

/// PostgreSQL keeps no such text.
#[tokio::test]
async fn text_that_is_none_any_more_harms_itself_alone() {
    use crate::store::suite::given::{admitted, claimed, command, local, message};
    let home = Folder::new();
    let store = home.store().await;
    let commands = ["plan", "body", "whole"].map(|name| command(&[local(name)]));
    let [plan, body, whole] = commands.clone().map(|command| command.id);
    for command in commands {
        admitted(&store, message("").with(command)).await;
    }
    for (id, column, value) in [(plan, "plan", "CAST(x'ff7b' AS TEXT)"), (body, "body", "CAST(x'7bff' AS TEXT)")] {
        home.tamper(&format!("UPDATE command SET {column} = {value} WHERE id = {}", home.id(id.0))).await;
    }
    let claimed = claimed(&store, 10).await;
    let unreadable: Vec<_> = claimed.iter().map(|one| (one.id, one.unreadable().map(|(part, _)| part))).collect();
    assert_eq!(unreadable, [(plan, Some("progress")), (body, Some("command")), (whole, None)]);
}
