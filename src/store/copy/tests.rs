//! A store with everything in it, copied to PostgreSQL and back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{CopiedTable, CopyError, Limits, Step, copy};
use crate::command::{CommandId, MessageId, State};
use crate::config::StoreUrl;
use crate::environment::Environment;
use crate::keys::Keys;
use crate::store::postgres::tests::server::Postgres;
use crate::store::sqlite::SqliteStore;
use crate::store::suite::dispatching::new_dispatch;
use crate::store::suite::given::{
    act, admitted, alias, arrives, at, attempt, claim, claimed_ids, command, ends, event, failed, finished, into_state,
    local, message, progress, the_claimed, ubrn,
};
use crate::store::{
    Admission, Admitted, AliasKind, ClaimedCommand, DispatchFilter, Held, HeldPiece, LegalHold, Made, MessageFilter,
    NewBulkReplay, NewDispatch, NewEvent, Noted, OpenError, OwedAnswer, ProblemFilter, Progress, Purge, PurgePlace,
    ReplayCandidate, ReplayCandidates, ReplayFilter, ReplayItem, ReplayOutcome, SealedSecret, Sealing, Share, Snapshot,
    Spending, Store, StorePlace, Switch, SwitchKind, Switched, open, open_to_act,
};

/// Small, so that there are many batches.
const SMALL: Limits = Limits { rows: 3, bytes: 300_000 };
const LETTER: usize = 700_000;

struct Places {
    folder: TempDir,
    server: Arc<Postgres>,
}

impl Places {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), server: Postgres::shared() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str) -> StoreUrl {
        StoreUrl(format!("sqlite:{}", self.path(name).display()))
    }

    fn database(&self) -> StoreUrl {
        StoreUrl(self.server.new_schema())
    }

    /// Runs SQL in the schema of a URL.
    fn psql(&self, url: &StoreUrl, sql: &str) -> String {
        let schema = url.as_text().rsplit("%3D").next().expect("it ends with its schema");
        self.server.psql(&format!("SET search_path = {schema}; {sql}"))
    }
}

fn letter() -> Bytes {
    (0..LETTER).map(|index| u8::try_from(index % 251).expect("small")).collect()
}

/// All of them have the same key, as copies of one have.
fn sealing() -> Sealing {
    let keys = Keys::of_text("KjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjI=", &Environment::system());
    Sealing::with(keys.expect("32 bytes"))
}

/// Opens a store, and closes it whole before the next one opens it.
async fn with<T>(url: &StoreUrl, work: impl AsyncFnOnce(&dyn Store) -> T) -> T {
    let environment = Environment::system();
    let store =
        open(StorePlace { url, instance: "gateway-1", reserve_bytes: 0, sealing: Some(&sealing()) }, &environment)
            .await
            .expect("opened");
    let done = work(&*store).await;
    let instance = crate::store::Beat {
        instance: "gateway-1".into(),
        version: "1".into(),
        mapping_set: String::new(),
        started_at: at(0),
        standing: crate::store::InstanceStanding::Stopped,
        holds: 0,
    };
    store.beat(instance).await.expect("said that it stopped");
    drop(store);
    environment.drain(std::time::Duration::from_secs(5)).await;
    done
}

async fn referral(store: &dyn Store, control_id: &str, name: &str, digest: u8) {
    admitted(store, message(control_id).with(command(&[local(name)]).creating(digest))).await;
    let running = the_claimed(store).await;
    let call = attempt(true);
    store.record(Progress { started: Some(call.clone()), ..progress(&running) }).await.expect("recorded");
    store.keep_fetched(running.id, call.id, 0, letter()).await.expect("kept");
    let done = Progress {
        finished: Some(finished(&call)),
        plan: Some(json!({"step": 1})),
        known: Some(json!({"ubrn": name})),
        events: vec![crate::store::suite::given::event("ReferralCreated")],
        ..into_state(&running, State::Completed)
    };
    store.record(done).await.expect("recorded");
}

/// It waits for a person, who is told.
async fn halts(store: &dyn Store, running: &ClaimedCommand, state: State, name: &str) {
    let told = NewEvent { at: at(1_000), subject: running.id.to_string(), ..event(name) };
    let halted = Progress { events: vec![told], ..into_state(running, state) };
    store.record(halted).await.expect("recorded");
}

/// One of everything.
async fn fill(store: &dyn Store) {
    // Purged: the first messages, and one between others.
    referral(store, "P1", "p1", 1).await;
    referral(store, "P2", "p2", 2).await;
    let stays = arrives(store, &[local("stays")]).await;
    let running = the_claimed(store).await;
    ends(store, &running, State::InDoubt { step: "create".into(), since: at(0), look_at: None }).await;
    referral(store, "P3", "p3", 3).await;
    referral(store, "P4", "p4", 4).await;
    let positions = store.unconfirmed(0, 100).await.expect("read").iter().map(|event| event.position).collect();
    store.confirm(positions, at(2)).await.expect("confirmed");
    let mut from = Some(PurgePlace::START);
    while let Some(place) = from {
        let purge = Purge {
            messages_before: Some(at(50)),
            events_before: Some(at(50)),
            keep_unconfirmed: true,
            told_up_to: u64::MAX,
            max: 100,
            from: place,
        };
        from = store.purge(purge).await.expect("purged").next;
    }
    assert!(store.command(stays).await.expect("read").is_some());

    let mut long = message("LONG").from("eastvale").received(60).with_document(1, letter());
    long.message.raw = letter();
    long.message.problems = json!([{"code": "X", "text": "Zoë"}]);
    long = long.with_document(2, Bytes::new()).with_event("LetterKept");
    let kept = admitted(store, long).await;
    store.acknowledged(vec![(kept, at(61))]).await.expect("noted");
    store.note_mentions(kept, vec![[9; 32]]).await.expect("noted");
    for on in [Held::Message(kept), Held::Patient([9; 32])] {
        let hold = LegalHold { id: crate::store::suite::given::new_id(), on, at: at(61), by: "j.smith".into() };
        store.put_legal_hold(hold, act()).await.expect("held");
    }
    let mut refused = message("BAD\0ID").received(62).with_event("MessageRejected");
    refused.verdict = crate::command::Verdict::Rejected;
    admitted(store, refused).await;
    referral(store, "M1", "r1", 11).await;
    // Two threads, merged by what names both; followers are held behind what failed.
    let mut head = command(&[local("a")]);
    head.body = json!({"localId": "PAS-1", "priority": "URGENT"});
    admitted(store, message("M2").with(head).with(command(&[local("a")]))).await;
    halts(store, &the_claimed(store).await, failed(), "CommandFailed").await;
    arrives(store, &[ubrn("b")]).await;
    arrives(store, &[local("a"), ubrn("b"), alias(AliasKind::Document, "d")]).await;
    // Discarded, shadowed, waiting, unauthorised.
    let discarded = arrives(store, &[local("discarded")]).await;
    store.discard(discarded, act()).await.expect("discarded");
    admitted(store, message("M3").with(command(&[local("shadow")]).in_state(State::Shadowed))).await;
    for name in ["waits", "unauthorised", "runs"] {
        arrives(store, &[local(name)]).await;
    }
    for running in store.claim(claim(10, 100)).await.expect("claimed") {
        let thread = store.find_thread(&local("runs")).await.expect("read").expect("there").id;
        if running.thread.id == thread {
            continue;
        }
        let waits = store.find_thread(&local("waits")).await.expect("read").expect("there").id;
        if running.thread.id == waits {
            let why = crate::command::WaitReason::Unavailable;
            ends(store, &running, State::Waiting { step: "create".into(), until: at(5_000), why }).await;
        } else {
            let state = State::Unauthorised { step: "create".into(), since: at(100) };
            halts(store, &running, state, "AuthorisationRequired").await;
        }
    }
    let filter = ReplayFilter { source: Some("northmoor".into()), ..ReplayFilter::default() };
    let replay = NewBulkReplay { id: REPLAY, filter, share: Share::QUARTER, overtaken: true };
    store.begin_replay(replay, act()).await.expect("begun");
    let failing = candidates(store).await.remove(0);
    let item = ReplayItem { made: Some(kept), ..ReplayItem::of(&failing, ReplayOutcome::Skipped, "because") };
    store.note_replayed(REPLAY, vec![item], at(101)).await.expect("noted");
    store.advance_replay(REPLAY, failing.number).await.expect("advanced");
    let mut report = crate::store::suite::given::event("DayReconciled");
    report.subject = "2026-03-16".into();
    assert!(store.publish_report("2026-03-16".into(), report).await.expect("published"));
    let positions: Vec<u64> =
        store.unconfirmed(0, 100).await.expect("read").iter().map(|event| event.position).take(2).collect();
    store.confirm(positions, at(101)).await.expect("confirmed");
    let secret = SealedSecret {
        connection: "ers".into(),
        kind: "refresh".into(),
        version: 1,
        sealed: Bytes::from_static(&[0, 1, 2]),
        at: at(3),
    };
    store.save_secret(secret, None).await.expect("kept");
    let piece = HeldPiece {
        source: "northmoor".into(),
        pointer: [0; 32],
        message: MessageId(uuid::Uuid::from_u128(7)),
        at: at(4),
    };
    store.hold_piece(piece).await.expect("held");
    assert!(store.expect_number("northmoor", None, 3, at(4)).await.expect("asked"));
    let asked = MessageId(uuid::Uuid::from_u128(7));
    let owed = OwedAnswer { message: asked, outcome_of: asked, destination: "answers".into(), at: at(4) };
    store.owe_answer(owed).await.expect("noted");
    let unmade = NewDispatch { made: Made::Unmade("no row".into()), event: Some(3), ..new_dispatch("") };
    store.tell("answers", None, 9, vec![new_dispatch("E1"), unmade]).await.expect("told");
    let spending = Spending {
        application: "application".into(),
        call: "A008".into(),
        counts_for: "20001".into(),
        day: "2026-03-16".into(),
        per_day: 2,
    };
    assert!(store.spend(spending).await.expect("spent"));
    let snapshot = Snapshot {
        watch: "knee-clinic".into(),
        service: "20001".into(),
        version: 1,
        by: CommandId(uuid::Uuid::from_u128(9)),
        at: at(4),
        content: letter(),
    };
    assert!(store.save_snapshot(snapshot).await.expect("saved"));
    store.register_set("set-1", Bytes::from_static(b"archive"), at(1)).await.expect("kept");
    let paused = Switch {
        service: None,
        mode: crate::config::Mode::Paused,
        from: at(5),
        by: "j.smith".into(),
        why: "Zoë".into(),
        at: at(5),
    };
    let mut switched = Switched::nothing(SwitchKind::Source, "northmoor");
    (switched.version, switched.switches) = (1, vec![paused]);
    let noted = Noted { act: "switch mode", subject: "source northmoor".into(), by: act() };
    store.switch(switched, noted).await.expect("switched");
    for name in ["q1", "q2", "q3"] {
        arrives(store, &[local(name)]).await;
    }
}

const REPLAY: uuid::Uuid = uuid::Uuid::from_u128(77);

async fn candidates(store: &dyn Store) -> Vec<ReplayCandidate> {
    let filter = ReplayFilter::default();
    let asked = ReplayCandidates { filter, except: None, after: 0, until: None, max: 10 };
    store.replay_candidates(asked).await.expect("found")
}

/// What the traits say of everything.
async fn told(store: &dyn Store) -> Vec<String> {
    let mut lines = Vec::new();
    let filter = MessageFilter { max: 100, ..MessageFilter::default() };
    for message in store.messages(filter).await.expect("listed") {
        lines.push(format!("{message:?}"));
        let raw = store.read_message(message.id, 0..u64::MAX).await.expect("read");
        lines.push(format!(
            "{} {:?}",
            raw.len(),
            raw.iter().fold(0_u64, |sum, byte| sum * 31 % 1_000_003 + u64::from(*byte))
        ));
        for number in 1..=2 {
            let document = store.read_document(message.id, number, 0..u64::MAX).await;
            lines.push(format!("{:?}", document.map(|bytes| bytes == letter() || bytes.is_empty()).ok()));
        }
        for command in store.commands_of(message.id).await.expect("read") {
            lines.push(format!("{command:?}"));
            lines.push(format!("{:?}", store.transitions(command.id).await.expect("read")));
            let attempts = store.attempts(command.id).await.expect("read");
            lines.push(format!("{attempts:?}"));
            for attempt in attempts {
                let fetched = store.fetched(command.id, attempt.id, 0).await.expect("read");
                lines.push(format!("{:?}", fetched.map(|bytes| bytes == letter())));
            }
        }
    }
    for event in store.events_after(0, 100).await.expect("read") {
        lines.push(format!("{event:?}"));
    }
    lines.push(format!("{:?}", store.unconfirmed(0, 100).await.expect("read").len()));
    lines.push(format!("{:?}", store.last_position().await.expect("read")));
    lines.push(format!("{:?}", store.audit_log(0, 100).await.expect("read")));
    lines.push(format!("{:?}", store.audit_written().await.expect("read")));
    lines.push(format!("{:?}", store.legal_holds().await.expect("read")));
    let problems = ProblemFilter { max: 100, ..ProblemFilter::default() };
    lines.push(format!("{:?}", store.problems(problems).await.expect("read")));
    let replay = store.bulk_replay(REPLAY).await.expect("read").expect("there");
    // It goes through all once more.
    lines.push(format!("{:?}", crate::store::BulkReplay { at: 0, ..replay }));
    lines.push(format!("{:?}", store.replay_items(REPLAY, None, 10).await.expect("read")));
    lines.push(format!("{:?}", candidates(store).await.iter().map(|one| one.command).collect::<Vec<_>>()));
    lines.push(format!("{:?}", store.is_report_published("2026-03-16").await.expect("read")));
    lines.push(format!("{:?}", store.day(at(0), at(86_400)).await.expect("counted")));
    let theirs = store.messages_of_patient([9; 32], 0, 100).await.expect("read");
    lines.push(format!("{:?}", theirs.iter().map(|placed| placed.id).collect::<Vec<_>>()));
    let mut depths: Vec<String> =
        store.depths().await.expect("read").iter().map(|depth| format!("{depth:?}")).collect();
    depths.sort();
    lines.extend(depths);
    lines.push(format!("{:?}", store.outbox_depth().await.expect("read")));
    lines.push(format!("{:?}", store.load_secret("ers", "refresh").await.expect("read")));
    lines.push(format!("{:?}", store.held_pieces(10).await.expect("read")));
    lines.push(format!("{:?}", store.expected_number("northmoor").await.expect("read")));
    lines.push(format!("{:?}", store.answers_due(10).await.expect("read")));
    lines.push(format!("{:?}", store.told_up_to("answers").await.expect("read")));
    lines.push(format!("{:?}", store.due_dispatches("answers", 10).await.expect("read")));
    let all = DispatchFilter { max: 10, ..DispatchFilter::default() };
    lines.push(format!("{:?}", store.dispatches(all).await.expect("read")));
    lines.push(format!("{:?}", store.snapshot("knee-clinic", "20001").await.expect("read")));
    lines.push(format!("{:?}", store.load_set("set-1").await.expect("read")));
    lines.push(format!("{:?}", store.switched().await.expect("read")));
    for alias in ["p1", "p2", "p3", "p4", "r1", "a", "waits", "runs"].map(local).into_iter().chain([ubrn("b")]) {
        lines.push(format!("{:?}", store.find_thread(&alias).await.expect("read")));
    }
    lines
}

fn same(one: &[String], other: &[String]) {
    for (one, other) in one.iter().zip(other) {
        // A NUL is one in bytes, and stands as another letter in text.
        assert_eq!(one.replace("\\0", "\u{fffd}"), other.replace("\\0", "\u{fffd}"));
    }
    assert_eq!(one.len(), other.len());
}

async fn copied(from: &StoreUrl, to: &StoreUrl) -> Vec<CopiedTable> {
    let environment = Environment::system();
    copy(from, to, SMALL, &environment, |_| {}).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn filled(places: &Places) -> (StoreUrl, Vec<String>) {
    let first = places.file("first.db");
    with(&first, fill).await;
    // As it is read, for opening changes nothing: what runs is taken back by a claim alone.
    let lines = with(&first, told).await;
    (first, lines)
}

#[tokio::test]
async fn a_store_goes_to_postgres_and_back_and_says_the_same() {
    let places = Places::new();
    let (first, lines) = filled(&places).await;
    let (database, second) = (places.database(), places.file("second.db"));
    let there = copied(&first, &database).await;
    assert!(there.iter().all(|table| table.rows > 0), "one of everything: {there:?}");
    same(&lines, &with(&database, told).await);
    let back = copied(&database, &second).await;
    assert_eq!(there, back);
    same(&lines, &with(&second, told).await);
}

/// Whose rows in a file are made later, for many at once.
#[tokio::test]
async fn whom_the_newest_messages_mention_goes_along() {
    let places = Places::new();
    let (first, database) = (places.file("first.db"), places.database());
    let newest = with(&first, async |store| {
        let two = Admission { patients: vec![[7; 32], [8; 32]], ..message("M1").with(command(&[local("r1")])) };
        let newest = admitted(store, two).await;
        arrives(store, &[local("nobody")]).await;
        newest
    })
    .await;
    copied(&first, &database).await;
    with(&database, async |store| {
        for patient in [[7; 32], [8; 32]] {
            let found = store.messages_of_patient(patient, 0, 10).await.expect("read");
            assert_eq!(found.iter().map(|placed| placed.id).collect::<Vec<_>>(), [newest]);
        }
        assert_eq!(store.unread_messages(0, 10).await.expect("read"), []);
    })
    .await;
}

/// What every copy must do next, and in which order.
async fn goes_on(store: &dyn Store) -> Vec<String> {
    let mut lines = Vec::new();
    for (control_id, name, digest) in [("P1", "p1", 1), ("M1", "r1", 11)] {
        let again = message(control_id).with(command(&[local(name)]).creating(digest));
        match store.admit(again).await.expect("answered") {
            Admitted::Resend { message, acknowledgement, .. } => lines.push(format!("{message:?} {acknowledgement:?}")),
            other => panic!("{other:?}"),
        }
    }
    // Repeats under new control ids: of a purged one, and one that says something else.
    for (control_id, name, digest) in [("N1", "p3", 3), ("N2", "p4", 5)] {
        match store.admit(message(control_id).with(command(&[local(name)]).creating(digest))).await {
            Ok(Admitted::New { repeats, .. }) => lines.push(format!("{repeats:?}")),
            other => panic!("{other:?}"),
        }
    }
    let recovered = store.recover(at(200)).await.expect("recovered");
    lines.push(format!("{recovered:?}"));
    loop {
        let ids = claimed_ids(store, 1).await;
        if ids.is_empty() {
            break;
        }
        lines.push(format!("{ids:?}"));
    }
    let last = store.last_position().await.expect("read");
    admitted(store, message("N3").with_event("Later")).await;
    for event in store.events_after(last, 10).await.expect("read") {
        lines.push(format!("{} {} {}", event.position, event.sequence, event.name));
    }
    store.tell("answers", Some(9), 12, vec![new_dispatch("E9")]).await.expect("told");
    let newest = store.dispatches(DispatchFilter { max: 1, ..DispatchFilter::default() }).await.expect("read");
    lines.push(format!("{} {}", newest[0].number, newest[0].control_id));
    lines
}

#[tokio::test]
async fn a_copy_answers_resends_and_goes_on_in_order() {
    let places = Places::new();
    let (first, _) = filled(&places).await;
    let (database, second) = (places.database(), places.file("second.db"));
    copied(&first, &database).await;
    copied(&database, &second).await;
    let expected = with(&first, goes_on).await;
    assert_eq!(with(&database, goes_on).await, expected);
    assert_eq!(with(&second, goes_on).await, expected);
    for url in [&database, &second] {
        open_to_act(url, Some(&sealing().keys), &Environment::system())
            .await
            .expect("opened")
            .verify()
            .await
            .expect("whole");
    }
}

#[tokio::test]
async fn a_copy_that_was_stopped_goes_on_and_is_opened_by_nobody_before() {
    let places = Places::new();
    let (first, lines) = filled(&places).await;
    for to in [places.database(), places.file("second.db")] {
        for stop_at in [2, 7, 15] {
            let environment = Environment::system();
            let (mut batches, stopped) = (0, tokio::sync::Notify::new());
            let copying = copy(&first, &to, SMALL, &environment, |_| {
                batches += 1;
                if batches == stop_at {
                    stopped.notify_one();
                }
            });
            tokio::select! {
                biased;
                () = stopped.notified() => {}
                done = copying => panic!("not stopped: {done:?}"),
            }
            environment.drain(std::time::Duration::from_secs(5)).await;
            let sealing = sealing();
            let place = StorePlace { url: &to, instance: "gateway-1", reserve_bytes: 0, sealing: Some(&sealing) };
            let opened = opened_patiently(place).await;
            assert!(opened.contains("unfinished copy"), "{opened}");
        }
        let mut steps = Vec::new();
        let other = places.file("other.db");
        with(&other, async |_: &dyn Store| ()).await;
        let refused = copy(&other, &to, SMALL, &Environment::system(), |_| {}).await;
        assert!(matches!(refused, Err(CopyError::OfAnother { .. })), "{refused:?}");
        copy(&first, &to, SMALL, &Environment::system(), |step| steps.push(step)).await.expect("copied");
        assert!(matches!(steps[0], Step::Copying { rows: 1.., .. }), "not from the beginning: {:?}", steps[0]);
        same(&lines, &with(&to, told).await);
    }
}

/// Why a store is not opened. The lock of a copy that was just dropped may linger for a moment.
async fn opened_patiently(place: StorePlace<'_>) -> String {
    for _ in 0..100 {
        match open(place, &Environment::system()).await {
            Err(OpenError::Store { source, .. }) if source.to_string().contains("being copied") => {}
            Err(error) => return error.to_string(),
            Ok(_) => return "it was opened".to_owned(),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    "it is being copied".to_owned()
}

#[tokio::test]
async fn what_is_not_empty_or_in_use_is_refused() {
    let places = Places::new();
    let (first, database) = (places.file("first.db"), places.database());
    let nothing = copy(&first, &database, SMALL, &Environment::system(), |_| {}).await;
    assert!(matches!(nothing, Err(CopyError::Nothing(_))), "{nothing:?}");
    for url in [&first, &database] {
        with(url, async |store: &dyn Store| arrives(store, &[local("r1")]).await).await;
    }
    let full = copy(&first, &database, SMALL, &Environment::system(), |_| {}).await;
    assert!(matches!(full, Err(CopyError::NotEmpty { table: "source", .. })), "{full:?}");
    let second = places.file("second.db");
    for url in [&first, &database] {
        let environment = Environment::system();
        let gateway =
            open(StorePlace { url, instance: "gateway-2", reserve_bytes: 0, sealing: Some(&sealing()) }, &environment)
                .await
                .expect("opened");
        let used = copy(url, &second, SMALL, &Environment::system(), |_| {}).await;
        assert!(matches!(used, Err(CopyError::Store { .. })), "{used:?}");
        drop(gateway);
        environment.drain(std::time::Duration::from_secs(5)).await;
    }
    // Killed, it may still be alive.
    let killed = copy(&database, &second, SMALL, &Environment::system(), |_| {}).await.expect_err("refused");
    assert!(killed.to_string().contains("gateway gateway-2 has this database"), "{killed}");
    assert!(
        SqliteStore::open_with(Path::new(&places.path("first.db")), Some(sealing()), &Environment::system())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_byte_that_differs_is_found_and_the_copy_stays_unfinished() {
    let places = Places::new();
    let (first, _) = filled(&places).await;
    for (table, sql) in [
        ("document", "UPDATE document SET bytes = set_byte(bytes, 0, 255) WHERE position = 1"),
        ("command", "UPDATE command SET plan = 'null' WHERE standing = 7"),
        ("dedup", "DELETE FROM dedup WHERE control_id = 'P1'"),
        (
            "thread",
            "UPDATE thread SET created_by = created_by + 1 WHERE created_by_digest = decode(repeat('03', 32), 'hex')",
        ),
    ] {
        let database = places.database();
        let mut flipped = false;
        let differs = copy(&first, &database, SMALL, &Environment::system(), |step| {
            if matches!(step, Step::Verifying { .. }) && !std::mem::replace(&mut flipped, true) {
                places.psql(&database, sql);
            }
        })
        .await;
        assert!(
            matches!(&differs, Err(CopyError::Differs { table: found, .. }) if *found == table),
            "{table}: {differs:?}"
        );
        let opened = opened_patiently(StorePlace {
            url: &database,
            instance: "gateway-1",
            reserve_bytes: 0,
            sealing: Some(&sealing()),
        })
        .await;
        assert!(opened.contains("unfinished copy"), "{opened}");
    }
}

#[tokio::test]
#[ignore = "a measurement: --ignored --nocapture"]
async fn many_rows_a_second() {
    let places = Places::new();
    let (first, database, second) = (places.file("first.db"), places.database(), places.file("second.db"));
    let count: u32 = std::env::var("MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    with(&first, async |store: &dyn Store| {
        for group in 0..count / 200 {
            let admissions = (0..200).map(|index| {
                let name = format!("{group}-{index}");
                let body = json!({"localId": name, "letter": "x".repeat(2_000), "more": Value::Null});
                let mut one = command(&[local(&name)]);
                one.body = body;
                store.admit(message(&name).with(one).with_event("MessageAccepted"))
            });
            for done in futures_util::future::join_all(admissions).await {
                done.expect("admitted");
            }
        }
    })
    .await;
    for (from, to) in [(&first, &database), (&database, &second)] {
        let (began, mut verifying) = (std::time::Instant::now(), None);
        let environment = Environment::system();
        let tables = copy(from, to, Limits::default(), &environment, |step| {
            if matches!(step, Step::Verifying { .. }) {
                verifying.get_or_insert_with(|| began.elapsed());
            }
        });
        let rows: u64 = tables.await.expect("copied").iter().map(|table| table.rows).sum();
        println!("{rows} rows: copied in {verifying:?}, verified after {:?}", began.elapsed());
    }
}
