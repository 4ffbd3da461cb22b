//! What people do, and what is kept for connections.

use serde_json::json;

use super::Home;
use super::given::{
    act, admitted, arrives, at, attempt, claim, claimed_ids, command, ends, failed, finished, into_state, local,
    message, progress, state_of, the_claimed,
};
use crate::command::{Failure, State};
use crate::store::{Admitted, Progress, SealedSecret, StoreError, TakenAgain, Word};

pub(crate) async fn a_failed_command_is_replayed_with_its_plan(home: &dyn Home) {
    let store = home.open().await;
    let mut expiring = command(&[local("r1")]);
    expiring.not_after = Some(at(5));
    let id = expiring.id;
    admitted(&*store, message("").with(expiring)).await;
    let running = the_claimed(&*store).await;
    let (first, plan) = (attempt(true), json!({"step": 1, "saved": {"ubrn": "000000070000"}}));
    store.record(Progress { started: Some(first.clone()), ..progress(&running) }).await.expect("recorded");
    let step = Progress { finished: Some(finished(&first)), plan: Some(plan.clone()), ..progress(&running) };
    store.record(step).await.expect("recorded");
    ends(&*store, &running, failed()).await;
    store.replay(id, act()).await.expect("replayed");
    let again = the_claimed(&*store).await;
    assert_eq!((again.id, &again.plan, again.not_after), (id, &plan, None));
    assert!(again.fence > running.fence);
    let history: Vec<_> = store
        .transitions(id)
        .await
        .expect("read")
        .into_iter()
        .map(|transition| (transition.to, transition.why, transition.by))
        .collect();
    assert_eq!(
        history.iter().map(|(to, ..)| to.as_str()).collect::<Vec<_>>(),
        ["queued", "running", "failed", "queued", "running"]
    );
    assert_eq!((history[3].1.as_str(), history[3].2.as_str()), ("asked by the ward", "j.smith"));
    assert_eq!((history[2].1.as_str(), history[2].2.as_str()), ("because", "gateway-1"));
    let attempts = store.attempts(id).await.expect("read");
    assert_eq!((attempts.len(), attempts[0].status, attempts[0].outcome.as_deref()), (1, Some(201), Some("ok")));
}

pub(crate) async fn what_is_not_failed_is_not_replayed(home: &dyn Home) {
    let store = home.open().await;
    let id = arrives(&*store, &[local("r1")]).await;
    for _ in 0..2 {
        assert!(matches!(store.replay(id, act()).await, Err(StoreError::Outdated(_))));
        claimed_ids(&*store, 1).await;
    }
    assert!(matches!(store.discard(id, act()).await, Err(StoreError::Outdated(_))), "it runs");
    let unknown = crate::command::CommandId(super::given::new_id());
    assert!(matches!(store.replay(unknown, act()).await, Err(StoreError::NotFound)));
    assert!(store.audit_log(0, 10).await.expect("read").is_empty());
}

pub(crate) async fn what_is_open_for_a_patient_is_found_and_held(home: &dyn Home) {
    let store = home.open().await;
    let admit = async |thread: &str, patient: serde_json::Value| {
        let mut of_patient = command(&[local(thread)]);
        of_patient.body = json!({"patient": patient});
        let id = of_patient.id;
        admitted(&*store, message("").with(of_patient)).await;
        id
    };
    let runs = admit("r0", json!({"nhsNumber": "9994120034"})).await;
    assert_eq!(the_claimed(&*store).await.id, runs);
    let first = admit("r1", json!({"nhsNumber": "9994120034"})).await;
    let follower = admit("r1", json!({"nhsNumber": "9994120034"})).await;
    let other = admit("r2", json!({"nhsNumber": "9994121405"})).await;
    let local_id = admit("r3", json!({"localIds": ["H100201"]})).await;
    let wanted = vec!["9994120034".to_owned(), "H100201".to_owned()];
    let open = async || {
        let found = store.open_for_patients(wanted.clone()).await.expect("read");
        assert!(found.iter().all(|open| open.name == "CreateReferral"), "{found:?}");
        found
    };
    let ids = async || open().await.into_iter().map(|open| open.id).collect::<Vec<_>>();
    assert_eq!(ids().await, [runs, first, follower, local_id]);
    let threads: Vec<_> = open().await.into_iter().map(|open| open.thread).collect();
    assert!(threads[1] == threads[2] && threads[0] != threads[1] && threads[1] != threads[3], "{threads:?}");
    let shown = store.command(follower).await.expect("read").expect("it is there");
    assert_eq!(shown.thread, threads[2]);

    let why = Failure { code: "PATIENT_MERGED".into(), text: "look".into() };
    assert!(matches!(store.hold(runs, why.clone(), act()).await, Err(StoreError::Outdated(_))), "it is on its way");
    store.hold(first, why.clone(), act()).await.expect("held");
    assert_eq!(state_of(&*store, first).await, State::Failed { why: why.clone() });
    assert!(matches!(store.hold(first, why.clone(), act()).await, Err(StoreError::Outdated(_))), "it is at rest");
    assert_eq!(ids().await, [runs, first, follower, local_id], "what failed is not finished");
    assert_eq!(claimed_ids(&*store, 10).await, [other, local_id], "it holds what follows");
    let told = store.events_after(0, 10).await.expect("read");
    assert_eq!(
        (told.len(), told[0].name.as_str(), &told[0].data["code"]),
        (1, "CommandFailed", &json!("PATIENT_MERGED"))
    );
    assert_eq!(crate::events::EventSchemas::built_in().violations("CommandFailed", &told[0].data), []);
    let audited = store.audit_log(0, 10).await.expect("read");
    assert_eq!((audited.len(), audited[0].act.as_str()), (1, "hold"));
    store.replay(first, act()).await.expect("a person looked");
    let again = the_claimed(&*store).await;
    assert_eq!(again.id, first);
    ends(&*store, &again, State::Completed).await;
    store.discard(follower, act()).await.expect("discarded");
    assert_eq!(ids().await, [runs, local_id], "what is finished is not open");
}

pub(crate) async fn discarding_lets_the_followers_go(home: &dyn Home) {
    let store = home.open().await;
    let id = arrives(&*store, &[local("r1")]).await;
    let skipped = arrives(&*store, &[local("r1")]).await;
    let follower = arrives(&*store, &[local("r1")]).await;
    let running = the_claimed(&*store).await;
    ends(&*store, &running, State::InDoubt { step: "create".into(), since: at(0), look_at: None }).await;
    store.discard(skipped, act()).await.expect("a held one can go");
    assert!(claimed_ids(&*store, 10).await.is_empty());
    store.discard(id, act()).await.expect("discarded");
    assert_eq!(claimed_ids(&*store, 10).await, [follower]);
    assert!(matches!(store.record(into_state(&running, State::Completed)).await, Err(StoreError::Outdated(_))));
    assert_eq!(state_of(&*store, id).await, State::Discarded);
}

pub(crate) async fn an_unauthorised_command_is_released(home: &dyn Home) {
    let store = home.open().await;
    let id = arrives(&*store, &[local("r1")]).await;
    let running = the_claimed(&*store).await;
    ends(&*store, &running, State::Unauthorised { step: "create".into(), since: at(0) }).await;
    assert!(store.claim(claim(10, 1_000)).await.expect("claimed").is_empty());
    store.release(id, act()).await.expect("released");
    assert_eq!(claimed_ids(&*store, 10).await, [id]);
}

pub(crate) async fn a_refused_message_that_is_taken_in_again_is_audited_with_it(home: &dyn Home) {
    let store = home.open().await;
    let refused = message("first").message.id;
    let again = |control_id: &str| {
        let mut again = message(control_id).with(command(&[local(control_id)]));
        again.taken_again = Some(TakenAgain { first: refused, edited: false, act: act() });
        again
    };
    let before = arrives(&*store, &[local("r0")]).await;
    store.discard(before, act()).await.expect("discarded");
    admitted(&*store, again("again:1")).await;
    let log = store.audit_log(0, 10).await.expect("read");
    let of = |number: usize| (log[number].by.as_str(), log[number].act.as_str(), log[number].subject.as_str());
    assert_eq!((log.len(), of(1)), (2, ("j.smith", "replay", format!("message {refused}").as_str())));
    assert_eq!((log[1].why.as_deref(), log[1].at), (Some("asked by the ward"), at(100)));
    // Whoever asks again gets the same answer, and did nothing.
    assert!(matches!(store.admit(again("again:1")).await.expect("known"), Admitted::Resend { .. }));
    assert_eq!(store.audit_log(0, 10).await.expect("read"), log);

    // Many at once, among messages that nobody takes again: each has its row, in one chain.
    let plain = (0..20).map(|number| message(&format!("plain-{number}")));
    let admissions = (2..22).map(|number| again(&format!("again:{number}"))).chain(plain);
    for outcome in futures_util::future::join_all(admissions.map(|admission| store.admit(admission))).await {
        assert!(matches!(outcome, Ok(Admitted::New { .. })), "{outcome:?}");
    }
    let after = arrives(&*store, &[local("r99")]).await;
    store.discard(after, act()).await.expect("discarded");
    let log = store.audit_log(0, 100).await.expect("read");
    assert_eq!(log.iter().map(|entry| entry.number).collect::<Vec<_>>(), (1..=23).collect::<Vec<_>>());
    store.verify().await.expect("the chain is whole");
}

pub(crate) async fn a_refresh_token_has_one_successor(home: &dyn Home) {
    let store = home.open().await;
    let secret = |version, sealed: &'static [u8]| SealedSecret {
        connection: "trust".into(),
        kind: "refresh_token".into(),
        version,
        sealed: sealed.into(),
        at: at(0),
    };
    assert!(store.load_secret("trust", "refresh_token").await.expect("read").is_none());
    assert!(matches!(store.save_secret(secret(2, b"x"), Some(1)).await, Err(StoreError::Outdated(_))));
    store.save_secret(secret(1, b"one"), None).await.expect("the first");
    assert!(matches!(store.save_secret(secret(1, b"other"), None).await, Err(StoreError::Outdated(_))));
    store.save_secret(secret(2, b"two"), Some(1)).await.expect("the successor");
    assert!(matches!(store.save_secret(secret(2, b"rival"), Some(1)).await, Err(StoreError::Outdated(_))));
    drop(store);
    let kept = home.open().await.load_secret("trust", "refresh_token").await.expect("read").expect("there");
    assert_eq!((kept.version, &kept.sealed[..]), (2, &b"two"[..]));
}

pub(crate) async fn a_mapping_set_is_kept_by_its_digest(home: &dyn Home) {
    let store = home.open().await;
    store.register_set("abc", "archive".into(), at(0)).await.expect("kept");
    store.register_set("abc", "archive".into(), at(9)).await.expect("known");
    assert_eq!(store.load_set("abc").await.expect("read").as_deref(), Some(&b"archive"[..]));
    assert_eq!(store.load_set("def").await.expect("read"), None);
}

pub(crate) async fn what_may_be_used_once_is_removed_once(home: &dyn Home) {
    let store = home.open().await;
    let secret = |connection: &str, kind: &str| SealedSecret {
        connection: connection.into(),
        kind: kind.into(),
        version: 1,
        sealed: b"sealed"[..].into(),
        at: at(7),
    };
    for (connection, kind) in [("trust", "begun/b"), ("trust", "begun/a"), ("trust", "person/a"), ("other", "begun/c")]
    {
        store.save_secret(secret(connection, kind), None).await.expect("kept");
    }
    let found = store.secrets("trust", "begun/").await.expect("read");
    let kinds: Vec<_> = found.iter().map(|secret| (secret.kind.as_str(), secret.version, secret.at)).collect();
    assert_eq!(kinds, [("begun/a", 1, at(7)), ("begun/b", 1, at(7))]);
    assert!(store.secrets("trust", "begun/%").await.expect("read").is_empty(), "a prefix is no pattern");
    assert!(
        matches!(store.remove_secret("trust", "begun/a", 2).await, Err(StoreError::Outdated(_))),
        "another version"
    );
    store.remove_secret("trust", "begun/a", 1).await.expect("removed");
    assert!(matches!(store.remove_secret("trust", "begun/a", 1).await, Err(StoreError::Outdated(_))), "used once");
    // Whoever knew what was there before does not replace what is there now.
    let again = SealedSecret { version: 5, ..secret("trust", "begun/a") };
    store.save_secret(again, None).await.expect("another of this name");
    let late = SealedSecret { version: 2, ..secret("trust", "begun/a") };
    assert!(matches!(store.save_secret(late, Some(1)).await, Err(StoreError::Outdated(_))));
    drop(store);
    let kept = home.open().await.secrets("trust", "").await.expect("read");
    assert_eq!(kept.len(), 3);
}

pub(crate) async fn what_waits_for_people_is_listed_with_what_is_behind_it(home: &dyn Home) {
    let store = home.open().await;
    let mut expiring = command(&[local("r1")]);
    expiring.not_after = Some(at(50));
    let first = expiring.id;
    admitted(&*store, message("").with(expiring)).await;
    let running = the_claimed(&*store).await;
    ends(&*store, &running, State::Unauthorised { step: "create".into(), since: at(1) }).await;
    let second = arrives(&*store, &[local("r2")]).await;
    let running = the_claimed(&*store).await;
    ends(&*store, &running, State::Unauthorised { step: "create".into(), since: at(2) }).await;
    let behind = arrives(&*store, &[local("r1")]).await;
    let fails = arrives(&*store, &[local("r3")]).await;
    let running = the_claimed(&*store).await;
    assert_eq!(running.id, fails);
    ends(&*store, &running, failed()).await;
    let behind_failed = arrives(&*store, &[local("r3")]).await;
    let waiting = store.waiting(10).await.expect("read");
    let told: Vec<_> = waiting.iter().map(|command| (command.id, command.state.name(), command.held_by)).collect();
    assert_eq!(
        told,
        [(first, "unauthorised", None), (second, "unauthorised", None), (behind, "queued", Some(first))],
        "not what stands behind {fails}: {behind_failed}"
    );
    assert_eq!((waiting[0].not_after, waiting[1].not_after), (Some(at(50)), None));
    assert_eq!(store.waiting(1).await.expect("read").len(), 1);
    let ids = async |of| store.behind(of).await.expect("read").into_iter().map(|open| open.id).collect::<Vec<_>>();
    assert_eq!(ids(first).await, [behind]);
    assert!(ids(behind).await.is_empty());
    store.discard(behind, act()).await.expect("set aside");
    assert!(ids(first).await.is_empty(), "what is finished came to nothing");
}

pub(crate) async fn a_word_of_a_person_stands_in_the_plan_and_in_the_log(home: &dyn Home) {
    let store = home.open().await;
    let id = arrives(&*store, &[local("r1")]).await;
    let running = the_claimed(&*store).await;
    let confirms = |late| Word::Confirms { user: "555000000011".into(), late, overtaken: false, told: Vec::new() };
    assert!(matches!(store.say(id, confirms(false), act()).await, Err(StoreError::Outdated(_))), "it runs");
    let plan = json!({"begun": false, "patient": {"code": "OK", "checkedAt": "2026-03-16T09:30:00Z"}});
    let unauthorised = State::Unauthorised { step: "create".into(), since: at(1) };
    let waits = Progress { plan: Some(plan), ..into_state(&running, unauthorised.clone()) };
    store.record(waits).await.expect("recorded");
    let behind = arrives(&*store, &[local("r1")]).await;
    store.say(id, Word::IsFor { user: "555000000011".into() }, act()).await.expect("assigned");
    assert_eq!(state_of(&*store, id).await, unauthorised, "it still waits");
    assert!(store.claim(claim(10, 1_000)).await.expect("claimed").is_empty());
    store.say(behind, confirms(false), act()).await.expect("confirmed before its turn");
    assert_eq!(state_of(&*store, behind).await, State::Queued);
    store.say(id, confirms(true), act()).await.expect("confirmed");
    let claimed = the_claimed(&*store).await;
    assert_eq!((claimed.id, &claimed.plan["responsible"]), (id, &json!("555000000011")));
    assert_eq!(claimed.plan["confirmed"]["user"], "555000000011");
    assert_eq!((&claimed.plan["overdueTold"], &claimed.plan["begun"]), (&json!(true), &json!(false)));
    assert_eq!(claimed.plan["patient"], json!({"code": "OK"}), "who the patient is, is asked again");
    let log = store.audit_log(0, 10).await.expect("read");
    let acts: Vec<_> = log.iter().map(|entry| (entry.act.as_str(), entry.subject.clone())).collect();
    let subject = |id| format!("command {id}");
    assert_eq!(acts, [("assign", subject(id)), ("confirm", subject(behind)), ("confirm", subject(id))]);
    assert_eq!(log[2].why.as_deref(), Some("user 555000000011 confirms it, late as it is: asked by the ward"));
    ends(&*store, &claimed, State::Completed).await;
    assert_eq!(the_claimed(&*store).await.plan["confirmed"]["user"], "555000000011");
    assert!(matches!(store.say(id, confirms(false), act()).await, Err(StoreError::Outdated(_))), "it is done");
    store.verify().await.expect("the chain is whole");
}
