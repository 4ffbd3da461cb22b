//! Who acts: people who sign in for what is theirs, connections that stand in, and nobody in another's place.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use super::world::{World, user_restricted};
use crate::command::CommandId;
use crate::config::{Access, Connection, Unattended};
use crate::delivery::acting::{Stands, stands};
use crate::ers::{Role, SignInRefused};
use crate::sign_in::{DeskError, Whose};
use crate::simulator::demonstration::{
    FIRST_CLINICIAN, PROVIDER_ADMIN, PROVIDER_USER, REFRESH_TOKEN, SECOND_CLINICIAN, UNVERIFIED, USER, USER_CLIENT_ID,
    USER_CLIENT_SECRET, WEAKLY_SIGNED_IN, WITHOUT_ROLE,
};
use crate::simulator::{Action, Fault};
use crate::waiting::{Item, Which};

async fn by(world: &World, local_id: &str, author: Option<&str>) -> CommandId {
    aged(world, local_id, author, None).await
}

/// That gets too old so long from now.
async fn aged(world: &World, local_id: &str, author: Option<&str>, age: Option<Duration>) -> CommandId {
    let more = author.map_or_else(|| json!({}), |author| json!({ "author": author }));
    let limit = age.map(|age| world.now() + age);
    world
        .admit_command("CreateReferral", local_id, more, b"{}", Vec::new(), |command| {
            command.not_after = limit;
            command.creates = None;
        })
        .await
}

/// Whose token each of a command's calls had.
fn users_of(world: &World, attempts: &[crate::store::AttemptView]) -> Vec<String> {
    let ledger = world.simulator().ledger();
    let users = attempts.iter().filter_map(|attempt| {
        let of = ledger.iter().find(|entry| entry.correlation_id.as_deref() == Some(&attempt.correlation_id))?;
        of.user.as_deref().map(str::to_owned)
    });
    users.collect()
}

async fn sent_by(world: &World, command: CommandId) -> Vec<String> {
    users_of(world, &world.attempts(command).await)
}

fn codes(items: &[Item]) -> Vec<CommandId> {
    items.iter().map(|item| item.command.id).collect()
}

#[tokio::test(start_paused = true)]
async fn two_wait_one_signs_in_and_exactly_theirs_go_out_in_order_under_their_name() {
    let world = World::among_people(|_| {}, Vec::new()).await;
    let first = by(&world, "R1", Some(FIRST_CLINICIAN)).await;
    let others = by(&world, "R2", Some(SECOND_CLINICIAN)).await;
    let second = by(&world, "R3", Some(FIRST_CLINICIAN)).await;
    let short = Some(Duration::from_secs(60));
    let old = aged(&world, "R4", Some(FIRST_CLINICIAN), short).await;
    for command in [first, others, second, old] {
        world.until(command, "unauthorised").await;
    }
    let why = world.reasons(first).await.join("; ");
    assert!(why.contains(&format!("user {FIRST_CLINICIAN}, whose it is, must sign in")), "{why}");
    let told = world.events().await;
    assert!(told.iter().all(|event| event.name == "AuthorisationRequired"), "{told:?}");
    let told = told.iter().find(|event| event.subject == first.to_string()).expect("told of the first");
    assert_eq!((&told.data["user"], &told.data["connection"]), (&json!(FIRST_CLINICIAN), &json!("people")));
    let violations = crate::events::EventSchemas::built_in().violations("AuthorisationRequired", &told.data);
    assert_eq!(violations, []);
    world.rest(Duration::from_secs(120)).await;

    let who = world.waiting().by_person().await.expect("read");
    let who: Vec<_> = who["waiting"].as_array().expect("a list").clone();
    let shown: Vec<_> = who.iter().map(|one| (&one["user"], &one["count"], &one["tooOld"], &one["signedIn"])).collect();
    assert_eq!(
        shown,
        [
            (&json!(FIRST_CLINICIAN), &json!(3), &json!(1), &json!(false)),
            (&json!(SECOND_CLINICIAN), &json!(1), &json!(0), &json!(false)),
        ]
    );

    let arrived = world.signs_in(FIRST_CLINICIAN).await;
    world.rest(Duration::from_secs(60)).await;
    assert!(world.simulator().calls().iter().all(|call| *call != "A011"), "nothing goes by itself");
    let mine = world.waiting().of(&arrived.person).await.expect("read");
    assert_eq!(codes(&mine), [first, second, old]);
    let outcomes = world.waiting().confirm(&arrived.person, Which::All, &[], "a test").await.expect("confirmed");
    let said: Vec<_> = outcomes.iter().map(|outcome| (outcome.command, outcome.code)).collect();
    assert_eq!(said, [(first, "CONFIRMED"), (second, "CONFIRMED"), (old, "EXPIRED")]);
    world.until(first, "completed").await;
    world.until(second, "completed").await;
    assert_eq!(world.command(others).await.state.name(), "unauthorised", "another's waits on");
    assert_eq!(world.command(old).await.state.name(), "unauthorised", "what is too old waits on");
    for command in [first, second] {
        assert_eq!(sent_by(&world, command).await, [FIRST_CLINICIAN]);
    }
    let made: Vec<String> = world.simulator().creations().iter().map(|one| one.ubrn.to_string()).collect();
    let known = [world.command(first).await.known, world.command(second).await.known];
    assert_eq!(made, known.each_ref().map(|known| known["ubrn"].as_str().expect("made").to_owned()), "in order");

    // Another's cannot be confirmed, nor what nobody has; what was read is confirmed by its code.
    let these = Which::These(vec![others, old]);
    let although = ["EXPIRED".to_owned()];
    let outcomes = world.waiting().confirm(&arrived.person, these, &although, "a test").await.expect("confirmed");
    let said: Vec<_> = outcomes.iter().map(|outcome| (outcome.command, outcome.code)).collect();
    assert_eq!(said, [(old, "CONFIRMED"), (others, "NOT_WAITING")]);
    world.until(old, "completed").await;
    assert_eq!(world.command(others).await.state.name(), "unauthorised");
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_its_author_is_here_goes_at_once() {
    let world =
        World::among_people(|source| drop(source.users.insert("CY".into(), FIRST_CLINICIAN.into())), Vec::new()).await;
    let early = by(&world, "R0", Some("CY")).await;
    world.until(early, "unauthorised").await;
    let arrived = world.comes_back_as(FIRST_CLINICIAN).await.expect("signed in");
    let only = arrived.person.role.as_ref().map(|role| role.business_function.as_str());
    assert_eq!(only, Some("REFERRING_CLINICIAN"), "the only role that there is needs no choosing");
    world.rest(Duration::from_secs(1)).await;
    let now = by(&world, "R1", Some("CY")).await;
    world.until(now, "completed").await;
    assert_eq!(sent_by(&world, now).await, [FIRST_CLINICIAN]);
    // An operator's release is no confirmation.
    let act = crate::store::Act::of_person("an operator", "a test", "tries", world.now());
    crate::store::OperatorStore::release(&*world.store, early, act).await.expect("released");
    world.rest(Duration::from_secs(5)).await;
    assert_eq!(world.command(early).await.state.name(), "unauthorised");
    let unknown = by(&world, "R2", Some("ZZ")).await;
    world.until(unknown, "unauthorised").await;
    assert!(
        world
            .reasons(unknown)
            .await
            .join(";")
            .contains("it is ZZ's, whom the settings of source northmoor do not know")
    );

    world.desk().sign_out(&arrived.person, &arrived.browser, "a test").await.expect("signed out");
    assert!(world.desk().people.of_browser(&arrived.browser).await.expect("read").is_none());
    let late = by(&world, "R3", Some("CY")).await;
    world.until(late, "unauthorised").await;
}

#[tokio::test(start_paused = true)]
async fn what_names_nobody_waits_for_whoever_is_made_responsible() {
    let world = World::among_people(|_| {}, Vec::new()).await;
    let command = by(&world, "R1", None).await;
    world.until(command, "unauthorised").await;
    let arrived = world.signs_in(FIRST_CLINICIAN).await;
    assert!(world.waiting().of(&arrived.person).await.expect("read").is_empty());
    let act = || crate::store::Act::of_person("an operator", "a test", "her clinic", world.now());
    let named = by(&world, "R2", Some(SECOND_CLINICIAN)).await;
    world.until(named, "unauthorised").await;
    assert!(world.waiting().assign(named, FIRST_CLINICIAN, act()).await.is_err(), "it is somebody's");
    assert!(world.waiting().assign(command, "CY", act()).await.is_err(), "no NHS user id");
    world.waiting().assign(command, FIRST_CLINICIAN, act()).await.expect("assigned");
    let mine = world.waiting().of(&arrived.person).await.expect("read");
    assert_eq!(codes(&mine), [command]);
    world.waiting().confirm(&arrived.person, Which::All, &[], "a test").await.expect("confirmed");
    world.until(command, "completed").await;
    assert_eq!(sent_by(&world, command).await, [FIRST_CLINICIAN]);
}

#[tokio::test(start_paused = true)]
async fn what_was_cancelled_meanwhile_is_confirmed_by_who_says_so_only() {
    let world = World::among_people(|_| {}, Vec::new()).await;
    let command = by(&world, "R1", Some(FIRST_CLINICIAN)).await;
    world.until(command, "unauthorised").await;
    let cancels = json!({ "author": FIRST_CLINICIAN, "reason": "REFERRAL_NO_LONGER_REQUIRED" });
    let cancellation = world.admit_as("CancelReferral", "R1", cancels, b"{}", Vec::new()).await;
    let arrived = world.signs_in(FIRST_CLINICIAN).await;
    let these = || Which::These(vec![command]);
    let outcomes = world.waiting().confirm(&arrived.person, these(), &[], "a test").await.expect("asked");
    assert_eq!(outcomes[0].code, "CANCELLED_MEANWHILE");
    world.discard(cancellation).await;
    world.waiting().confirm(&arrived.person, these(), &[], "a test").await.expect("confirmed");
    world.until(command, "completed").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_after_it_was_confirmed_is_looked_at_before_it_is_sent() {
    let world = World::among_people(|_| {}, Vec::new()).await;
    let command = by(&world, "R1", Some(FIRST_CLINICIAN)).await;
    world.until(command, "unauthorised").await;
    world.set_source(|source| {
        (source.connection, source.mode) = (Some("people".into()), crate::config::Mode::Paused);
    });
    let arrived = world.signs_in(FIRST_CLINICIAN).await;
    world.waiting().confirm(&arrived.person, Which::All, &[], "a test").await.expect("confirmed");
    let cancels = json!({ "author": FIRST_CLINICIAN, "reason": "REFERRAL_NO_LONGER_REQUIRED" });
    world.admit_as("CancelReferral", "R1", cancels, b"{}", Vec::new()).await;
    world.set_source(|source| source.connection = Some("people".into()));
    let (code, text) = world.failure(command).await;
    assert_eq!(code, "CANCELLED_MEANWHILE", "{text}");
    assert!(!world.simulator().calls().contains(&"A011"));
}

#[tokio::test(start_paused = true)]
async fn a_patient_who_died_meanwhile_is_told_at_the_confirmation_and_nothing_is_sent() {
    const ADELINE: &str = "9994120034";
    let world = World::among_people_with(|_| {}, Vec::new(), true).await;
    let more = json!({ "author": FIRST_CLINICIAN, "patient": {
        "nhsNumber": ADELINE, "family": "Testerton", "given": "Adeline Mae", "birthDate": "1957-03-14",
        "gender": "female" } });
    let command = world.admit_as("CreateReferral", "R1", more, b"{}", Vec::new()).await;
    world.until(command, "unauthorised").await;
    let asked = || world.simulator().calls().into_iter().filter(|call| *call == "PDS").count();
    let asked_before = asked();
    world.simulator().change_patient(ADELINE, ADELINE, |record| record["deceasedDateTime"] = json!("2026-03-15"));
    let arrived = world.signs_in(FIRST_CLINICIAN).await;
    let outcomes = world.waiting().confirm(&arrived.person, Which::All, &[], "a test").await.expect("asked");
    assert_ne!(outcomes[0].code, "CONFIRMED", "{}", outcomes[0].text);
    assert!(asked() > asked_before, "what was found before is not believed");
    assert_eq!(world.command(command).await.state.name(), "unauthorised", "it waits on");
    world.simulator().change_patient(ADELINE, ADELINE, |record| {
        record.as_object_mut().expect("a record").remove("deceasedDateTime");
    });
    let outcomes = world.waiting().confirm(&arrived.person, Which::All, &[], "a test").await.expect("asked");
    assert_eq!(outcomes[0].code, "CONFIRMED", "{}", outcomes[0].text);
    world.until(command, "completed").await;
}

#[tokio::test(start_paused = true)]
async fn whom_e_rs_will_not_have_is_told_why_and_is_not_signed_in() {
    let world = World::among_people(|_| {}, Vec::new()).await;
    for (user, why) in [
        (UNVERIFIED, SignInRefused::IdentityAssurance),
        (WEAKLY_SIGNED_IN, SignInRefused::AuthenticatorAssurance),
        ("nobody", SignInRefused::NotCompleted("access_denied".into())),
    ] {
        match world.comes_back_as(user).await {
            Err(DeskError::Refused(refused)) => assert_eq!(refused, why, "{user}"),
            Err(error) => panic!("{user}: {error}"),
            Ok(_) => panic!("{user} is signed in"),
        }
    }
    assert!(matches!(
        world.comes_back_as(WITHOUT_ROLE).await,
        Err(DeskError::Refused(SignInRefused::NoRole(_)) | DeskError::Refused(SignInRefused::NotTold(_)))
    ));
    assert!(world.desk().people.all().await.expect("read").is_empty());
    world.simulator().revoke_client(USER_CLIENT_ID, true);
    let Err(DeskError::Refused(SignInRefused::SetUp(why))) = world.comes_back_as(FIRST_CLINICIAN).await else {
        panic!("the application was withdrawn")
    };
    assert_eq!(why, "401 access_denied");
}

#[tokio::test(start_paused = true)]
async fn a_state_is_good_once_in_its_own_browser_for_ten_minutes() {
    let world = World::among_people(|_| {}, Vec::new()).await;
    let desk = world.desk();
    let as_clinician = |way: &str| format!("{way}&person={FIRST_CLINICIAN}");
    let not_known = |arrived: Result<_, DeskError>| match arrived {
        Err(DeskError::Refused(refused)) => assert_eq!(refused, SignInRefused::NotKnown),
        Err(error) => panic!("{error}"),
        Ok::<crate::sign_in::Arrived, _>(_) => panic!("signed in"),
    };
    // Used twice.
    let sent = desk.begin("people", "/").await.expect("sent");
    let (state, code) = world.visit(&as_clinician(&sent.location)).await;
    let code = code.expect("a code");
    let arrived = desk.come_back(Some(&sent.browser), &state, Ok(&code), "a test").await.expect("signed in");
    assert_ne!(arrived.browser, sent.browser, "the cookie of before is nobody's afterwards");
    assert!(desk.people.of_browser(&sent.browser).await.expect("read").is_none());
    not_known(desk.come_back(Some(&sent.browser), &state, Ok(&code), "a test").await);
    // Begun in another browser: what an attacker began is not finished for a victim.
    let theirs = desk.begin("people", "/").await.expect("sent");
    let (state, code) = world.visit(&as_clinician(&theirs.location)).await;
    let code = code.expect("a code");
    let victim = desk.begin("people", "/").await.expect("sent");
    not_known(desk.come_back(Some(&victim.browser), &state, Ok(&code), "a test").await);
    not_known(desk.come_back(Some(&theirs.browser), &state, Ok(&code), "a test").await);
    not_known(desk.come_back(None, "invented", Ok("code"), "a test").await);
    // A code of another sign-in does not fit the verifier of this one.
    let one = desk.begin("people", "/").await.expect("sent");
    let other = desk.begin("people", "/").await.expect("sent");
    let (_, stolen) = world.visit(&as_clinician(&other.location)).await;
    let (state, _) = world.visit(&as_clinician(&one.location)).await;
    let stolen = stolen.expect("a code");
    let refused = desk.come_back(Some(&one.browser), &state, Ok(&stolen), "a test").await;
    assert!(matches!(refused, Err(DeskError::Refused(SignInRefused::Code))));
    // Too late.
    let slow = desk.begin("people", "/").await.expect("sent");
    let (state, code) = world.visit(&as_clinician(&slow.location)).await;
    world.rest(Duration::from_secs(11 * 60)).await;
    not_known(desk.come_back(Some(&slow.browser), &state, Ok(&code.expect("a code")), "a test").await);
}

#[tokio::test(start_paused = true)]
async fn a_role_is_one_that_e_rs_offers_and_whoever_acts_for_others_says_for_whom() {
    let world = World::among_people(|_| {}, Vec::new()).await;
    let desk = world.desk();
    let person = world.comes_back_as(PROVIDER_ADMIN).await.expect("signed in").person;
    assert_eq!(person.role, None, "for whom is not known yet");
    let role = |function: &str, on_behalf_of: Option<&str>| Role {
        organisation: "R69".into(),
        business_function: function.into(),
        on_behalf_of: on_behalf_of.map(str::to_owned),
    };
    const ADMIN: &str = "SERVICE_PROVIDER_CLINICIAN_ADMIN";
    for refused in [role("SERVICE_PROVIDER_CLINICIAN", None), role(ADMIN, None), role(ADMIN, Some(FIRST_CLINICIAN))] {
        let chosen = desk.choose(&person, refused.clone(), "a test").await;
        assert!(matches!(chosen, Err(DeskError::NotOffered(_))), "{refused:?}");
    }
    let elsewhere = Role { organisation: "R68".into(), ..role(ADMIN, Some(PROVIDER_USER)) };
    assert!(desk.choose(&person, elsewhere, "a test").await.is_err(), "the settings are for R69");
    let clinicians = desk.clinicians(&person, "R69").await.expect("told");
    assert!(clinicians.contains(&PROVIDER_USER.to_owned()) && !clinicians.contains(&FIRST_CLINICIAN.to_owned()));
    let chosen = desk.choose(&person, role(ADMIN, Some(PROVIDER_USER)), "a test").await.expect("offered");
    assert_eq!(chosen.role.and_then(|role| role.on_behalf_of).as_deref(), Some(PROVIDER_USER));
    let log = crate::store::AuditStore::audit_log(&*world.store, 0, 10).await.expect("read");
    let acts: Vec<_> = log.iter().map(|entry| entry.act.as_str()).collect();
    assert_eq!(acts, ["sign in", "choose role"]);
    assert_eq!(log[0].by, format!("user {PROVIDER_ADMIN} (Ed Example)"));
}

/// A session that somebody seeded, of [`USER`].
fn seeded() -> Connection {
    let mut connection = Connection { name: "seeded".into(), client_id: USER_CLIENT_ID.into(), ..user_restricted() };
    if let Access::UserRestricted(user) = &mut connection.access {
        user.client_secret = USER_CLIENT_SECRET.into();
        user.refresh_token = Some(REFRESH_TOKEN.into());
    }
    connection
}

fn approval(operation: &str) -> Unattended {
    Unattended { operation: operation.into(), approval: "EXAMPLE-1".into(), only: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn the_users_session_is_preferred_and_an_approved_connection_stands_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let unattended = World::unattended(folder.path(), vec![approval("A013")]);
    let world = World::among_people(|_| {}, vec![unattended]).await;
    // Nobody is signed in: reads go unattended, and so does what is approved.
    let read = world.about("000000070000", "RetrieveReferral", json!({})).await;
    world.until(read, "completed").await;
    assert_eq!(sent_by(&world, read).await, ["555000000009"]);
    // Not approved: the person is needed, whatever else there is.
    let refer = by(&world, "R1", Some(FIRST_CLINICIAN)).await;
    world.until(refer, "unauthorised").await;
    let why = world.reasons(refer).await.join("; ");
    assert!(
        why.contains("must sign in at the gateway") && why.contains("connection unattended may not call A011"),
        "{why}"
    );
    assert_eq!(world.command(refer).await.plan["needs"]["user"], FIRST_CLINICIAN);
    // Somebody is here: theirs is preferred.
    world.signs_in(FIRST_CLINICIAN).await;
    world.rest(Duration::from_secs(1)).await;
    let body = json!({ "ubrn": "000000070000", "author": FIRST_CLINICIAN });
    let read = world.admit_as("RetrieveReferral", "R9", body, b"{}", Vec::new()).await;
    world.until(read, "completed").await;
    assert_eq!(sent_by(&world, read).await, [FIRST_CLINICIAN]);
}

#[tokio::test(start_paused = true)]
async fn who_made_the_first_write_goes_on_or_nobody_does() {
    let world = World::among_people(|_| {}, Vec::new()).await;
    world.signs_in(FIRST_CLINICIAN).await;
    world.rest(Duration::from_secs(1)).await;
    let begun_as = async |local_id: &str, key: String| {
        let more = json!({ "author": FIRST_CLINICIAN });
        let plan = json!({ "begun": true, "actsAs": key });
        world
            .admit_command("CreateReferral", local_id, more, b"{}", Vec::new(), |command| {
                (command.plan, command.creates) = (plan, None);
            })
            .await
    };
    let key = |function: &str| format!("people/{FIRST_CLINICIAN}/R69/{function}/");
    let own = begun_as("R1", key("REFERRING_CLINICIAN")).await;
    world.until(own, "completed").await;
    let in_another_role = begun_as("R2", key("REFERRING_ADMIN")).await;
    world.until(in_another_role, "unauthorised").await;
    let why = world.reasons(in_another_role).await.join("; ");
    assert!(why.contains("begun by another user, or by the same one in another role"), "{why}");
    let fresh = by(&world, "R3", Some(FIRST_CLINICIAN)).await;
    let done = world.until(fresh, "completed").await;
    assert_eq!(done.plan["actsAs"], key("REFERRING_CLINICIAN"), "it stands there from the first write on");
}

#[tokio::test(start_paused = true)]
async fn a_seeded_session_is_for_what_names_nobody_where_the_source_says_so() {
    let world = World::among_people(|source| source.shared_session = Some("seeded".into()), vec![seeded()]).await;
    let nobodys = by(&world, "R1", None).await;
    world.until(nobodys, "completed").await;
    assert_eq!(sent_by(&world, nobodys).await, [USER]);
    let somebodys = by(&world, "R2", Some(FIRST_CLINICIAN)).await;
    world.until(somebodys, "unauthorised").await;
    assert!(sent_by(&world, somebodys).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_sessions_end_is_announced_once_ahead() {
    let world = World::among_people(|_| {}, Vec::new()).await;
    let registry = crate::metrics::Registry::new();
    let people = world.desk().people.clone();
    crate::sign_in::Ending::register(people.clone(), world.store.clone(), &registry).expect("once").start();
    let again = crate::metrics::Registry::new();
    crate::sign_in::Ending::register(people, world.store.clone(), &again).expect("once").start();
    world.signs_in(FIRST_CLINICIAN).await;
    world.rest(Duration::from_secs(11 * 3_600)).await;
    assert!(world.event_names().await.is_empty());
    world.rest(Duration::from_secs(1_860)).await;
    let told = world.events().await;
    assert_eq!(told.len(), 1, "once, however many instances look: {told:?}");
    assert_eq!((told[0].name.as_str(), &told[0].data["user"]), ("SessionEnding", &json!(FIRST_CLINICIAN)));
    assert_eq!(crate::events::EventSchemas::built_in().violations("SessionEnding", &told[0].data), []);
    assert_eq!(world.desk().people.all().await.expect("read").len(), 1);
    world.rest(Duration::from_secs(3_600)).await;
    assert!(world.desk().people.all().await.expect("read").is_empty(), "it is over");
    let kept = crate::store::SessionStore::secrets(&*world.store, "people", "").await.expect("read");
    assert!(kept.is_empty(), "and nothing is kept: {kept:?}");
}

#[tokio::test(start_paused = true)]
async fn an_id_token_of_a_caller_is_exchanged_and_not_kept() {
    let world = World::among_people(|_| {}, Vec::new()).await;
    let role =
        |function: &str| Role { organisation: "R69".into(), business_function: function.into(), on_behalf_of: None };
    let exchange = async |id_token: &str, function: &str| {
        let id_token = secrecy::SecretString::from(id_token);
        world.desk().exchange("people", &id_token, role(function), ("a program", "a test")).await
    };
    let early = by(&world, "R0", Some(FIRST_CLINICIAN)).await;
    world.until(early, "unauthorised").await;
    let id_token = world.simulator().id_token_of(FIRST_CLINICIAN).expect("a test person");
    let person = exchange(&id_token, "REFERRING_CLINICIAN").await.expect("exchanged");
    assert_eq!(person.until.duration_since(world.now()).as_hours(), 1);
    world.rest(Duration::from_secs(1)).await;
    let command = by(&world, "R1", Some(FIRST_CLINICIAN)).await;
    world.until(command, "completed").await;
    assert_eq!(sent_by(&world, command).await, [FIRST_CLINICIAN]);
    assert_eq!(world.command(early).await.state.name(), "unauthorised", "a program's word is not the person's");
    // Again before the next one: the same session, longer.
    world.rest(Duration::from_secs(300)).await;
    let again = exchange(&id_token, "REFERRING_CLINICIAN").await.expect("exchanged");
    assert!(again.sign_in == person.sign_in && again.since == person.since && again.until > person.until);
    assert!(matches!(exchange(&id_token, "REFERRING_ADMIN").await, Err(DeskError::NotOffered(_))));
    // In a browser they are here for longer.
    let arrived = world.signs_in(FIRST_CLINICIAN).await;
    let kept = exchange(&id_token, "REFERRING_CLINICIAN").await.expect("exchanged");
    assert_eq!((kept.sign_in, kept.until), (arrived.person.sign_in, arrived.person.until));
    world.rest(Duration::from_secs(601)).await;
    for refused in [id_token.as_str(), "no.id.token", ""] {
        let answer = exchange(refused, "REFERRING_CLINICIAN").await;
        let why = match answer {
            Err(DeskError::Refused(SignInRefused::IdToken)) => continue,
            Err(DeskError::Refused(SignInRefused::SetUp(_))) if refused.is_empty() => continue,
            Err(error) => error.to_string(),
            Ok(_) => "exchanged".into(),
        };
        panic!("{refused}: {why}");
    }
    let unverified = world.simulator().id_token_of(UNVERIFIED).expect("a test person");
    let refused = exchange(&unverified, "REFERRING_CLINICIAN").await;
    assert!(matches!(refused, Err(DeskError::Refused(SignInRefused::IdentityAssurance))));
    for file in world.store_files() {
        let kept = std::fs::read(&file).expect("a file of the store");
        let holds = kept.windows(id_token.len()).any(|window| window == id_token.as_bytes());
        assert!(!holds, "{} has the id token", file.display());
    }
}

#[tokio::test(start_paused = true)]
async fn two_instances_that_refresh_at_once_use_a_token_once() {
    let world = World::among_people(|_| {}, Vec::new()).await;
    let person = world.signs_in(FIRST_CLINICIAN).await.person;
    let other = world.another_instance();
    let clients = [&world.desk().people, &other].map(|people| people.client_of(&person).expect("a role is chosen"));
    for _ in 0..5 {
        let (one, two) = tokio::join!(clients[0].tokens.token(), clients[1].tokens.token());
        assert!(one.is_ok() || two.is_ok());
        // Whoever came second looks again, and refreshes what the first one stored.
        world.rest(Duration::from_secs(3)).await;
        for client in &clients {
            client.tokens.token().await.expect("the session lives on");
        }
        world.rest(Duration::from_secs(700)).await;
    }
    let command = by(&world, "R1", Some(FIRST_CLINICIAN)).await;
    world.until(command, "completed").await;
}

/// What the token server may say (`auth.md`), with what it comes to at the door, and for a session that lives.
const TOKEN_ERRORS: [(u16, &str, &str, &str); 12] = [
    (400, "invalid_request", "set_up", "waiting"),
    (400, "unsupported_grant_type", "set_up", "waiting"),
    (401, "invalid_request", "set_up", "waiting"),
    (401, "invalid_client", "set_up", "waiting"),
    (401, "access_denied", "set_up", "waiting"),
    (401, "unauthorized_client", "set_up", "waiting"),
    (400, "invalid_grant", "code", "unauthorised"),
    (401, "invalid_grant", "code", "unauthorised"),
    (403, "", "set_up", "waiting"),
    (429, "", "unavailable", "waiting"),
    (500, "server_error", "unavailable", "waiting"),
    (503, "", "unavailable", "waiting"),
];

#[tokio::test(start_paused = true)]
async fn every_documented_token_error_is_told_at_the_door_and_halts_what_is_theirs() {
    for (status, error, at_the_door, halts) in TOKEN_ERRORS {
        let world = World::among_people(|_| {}, Vec::new()).await;
        let person = world.signs_in(FIRST_CLINICIAN).await.person;
        let body = json!({ "error": error, "error_description": "d", "message_id": "m" }).to_string();
        let body = Some(body).filter(|_| !error.is_empty());
        let action = Action::Answer { status, code: None, diagnostics: None, retry_after: None, body };
        let fault = world.simulator().inject(Fault::on("token", action));
        match world.comes_back_as(SECOND_CLINICIAN).await {
            Err(DeskError::Refused(refused)) => assert_eq!(refused.code(), at_the_door, "{status} {error}"),
            Err(error) => panic!("{status}: {error}"),
            Ok(_) => panic!("{status} {error}: signed in"),
        }
        let command = by(&world, "R1", Some(FIRST_CLINICIAN)).await;
        world.until(command, halts).await;
        assert!(!world.simulator().calls().contains(&"A011"));
        world.simulator().clear_faults();
        assert!(world.simulator().fired(fault) == 0, "it is gone");
        if halts == "unauthorised" {
            let why = world.reasons(command).await.join("; ");
            assert!(why.contains(&format!("user {FIRST_CLINICIAN} must sign in again at the gateway")), "{why}");
            let again = world.signs_in(FIRST_CLINICIAN).await;
            assert_ne!(again.person.sign_in, person.sign_in);
            world.waiting().confirm(&again.person, Which::All, &[], "a test").await.expect("confirmed");
        }
        world.until(command, "completed").await;
        assert_eq!(sent_by(&world, command).await, [FIRST_CLINICIAN], "{status} {error}");
    }
}

/// Everything that can be said of who may act, tried against the rule in words.
#[test]
fn a_command_stands_in_no_session_but_its_authors() {
    let whose = prop_oneof![
        Just(Whose::Nobodys),
        "[0-9]{12}".prop_map(Whose::Theirs),
        Just(Whose::Theirs(USER.into())),
        Just(Whose::Unknown("ZZ".into())),
    ];
    let setting = (whose, any::<bool>(), any::<bool>(), any::<bool>());
    let mut runner = TestRunner::new(Config { cases: 2_000, ..Config::default() });
    runner
        .run(&setting, |(whose, among_people, shared, has_owner)| {
            let mut connection = seeded();
            if let Access::UserRestricted(user) = &mut connection.access {
                user.user = has_owner.then(|| USER.to_owned());
            }
            let mut source: crate::config::Source =
                serde_json::from_value(json!({"name": "s", "connection": "seeded"})).expect("a source");
            source.shared_session = shared.then(|| "seeded".to_owned());
            let stands = stands(("seeded", &connection.access), &source, among_people, &whose);
            let runs = stands == Stands::Seeded;
            match &whose {
                Whose::Theirs(user) if has_owner => prop_assert_eq!(runs, user == USER),
                Whose::Theirs(_) | Whose::Unknown(_) => prop_assert!(!runs || !among_people && !has_owner),
                Whose::Nobodys => prop_assert_eq!(runs, !among_people || shared),
            }
            Ok(())
        })
        .expect("the rule holds");
}

/// Whatever people do, in whatever order: each call of a command had the token of its author, or of whoever was made
/// responsible, or of the session that the source named for what names nobody.
#[test]
fn nobodys_command_ever_runs_under_anothers_session() {
    #[derive(Clone, Debug)]
    enum Does {
        Comes(usize),
        SignsIn(usize),
        SignsOut(usize),
        ConfirmsAll(usize),
        ConfirmsAnything(usize),
        IsMadeResponsible(usize),
        Releases,
        Passes(u64),
    }
    let people = [FIRST_CLINICIAN, SECOND_CLINICIAN];
    let does = prop_oneof![
        4 => (0..4_usize).prop_map(Does::Comes),
        2 => (0..2_usize).prop_map(Does::SignsIn),
        1 => (0..2_usize).prop_map(Does::SignsOut),
        2 => (0..2_usize).prop_map(Does::ConfirmsAll),
        2 => (0..2_usize).prop_map(Does::ConfirmsAnything),
        1 => (0..2_usize).prop_map(Does::IsMadeResponsible),
        1 => Just(Does::Releases),
        2 => (1..4_000_u64).prop_map(Does::Passes),
    ];
    let story = (proptest::collection::vec(does, 5..25), any::<bool>());
    let mut runner = TestRunner::new(Config { cases: 24, max_shrink_iters: 64, ..Config::default() });
    runner
        .run(&story, |(story, shared)| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let world =
                    World::among_people(|source| source.shared_session = shared.then(|| "seeded".to_owned()), {
                        if shared { vec![seeded()] } else { Vec::new() }
                    })
                    .await;
                let mut here: [Option<crate::sign_in::Arrived>; 2] = [None, None];
                let mut commands: Vec<(CommandId, Option<usize>)> = Vec::new();
                for (number, does) in story.into_iter().enumerate() {
                    match does {
                        Does::Comes(author) => {
                            let author = (author < 2).then_some(author);
                            let id = by(&world, &format!("R{number}"), author.map(|one| people[one])).await;
                            commands.push((id, author));
                        }
                        Does::SignsIn(who) => here[who] = Some(world.signs_in(people[who]).await),
                        Does::SignsOut(who) => {
                            if let Some(arrived) = here[who].take() {
                                world.desk().sign_out(&arrived.person, &arrived.browser, "a test").await.expect("out");
                            }
                        }
                        Does::ConfirmsAll(who) => {
                            if let Some(arrived) = &here[who] {
                                let all = Which::All;
                                world.waiting().confirm(&arrived.person, all, &[], "a test").await.expect("asked");
                            }
                        }
                        Does::ConfirmsAnything(who) => {
                            if let Some(arrived) = &here[who] {
                                let these = Which::These(commands.iter().map(|(id, _)| *id).collect());
                                world.waiting().confirm(&arrived.person, these, &[], "a test").await.expect("asked");
                            }
                        }
                        Does::IsMadeResponsible(who) => {
                            for (id, _) in &commands {
                                let act = crate::store::Act::of_person("o", "a test", "w", world.now());
                                // Most are somebody's, or done.
                                let _ = world.waiting().assign(*id, people[who], act).await;
                            }
                        }
                        Does::Releases => {
                            for (id, _) in &commands {
                                let act = crate::store::Act::of_person("o", "a test", "w", world.now());
                                // Only what waits can be released.
                                let _ = crate::store::OperatorStore::release(&*world.store, *id, act).await;
                            }
                        }
                        Does::Passes(seconds) => world.rest(Duration::from_secs(seconds)).await,
                    }
                    world.rest(Duration::from_millis(500)).await;
                }
                world.rest(Duration::from_secs(30)).await;
                for (id, author) in commands {
                    let command = world.command(id).await;
                    let users = sent_by(&world, id).await;
                    let allowed = match (author, command.plan["responsible"].as_str()) {
                        (Some(author), _) => people[author].to_owned(),
                        (None, Some(responsible)) if !users.contains(&USER.to_owned()) => responsible.to_owned(),
                        (None, _) if shared => USER.to_owned(),
                        (None, _) => String::new(),
                    };
                    prop_assert!(users.iter().all(|user| *user == allowed), "{id} of {author:?} ran as {users:?}");
                }
                Ok(())
            })
        })
        .expect("nobody acts in another's place");
}
