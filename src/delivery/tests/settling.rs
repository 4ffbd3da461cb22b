//! Promise 5: a write whose outcome is unknown is settled by reading e-RS back.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::appointments::{SERVICE, offering, slot};
use super::world::World;
use crate::command::{CommandId, NhsNumber, State};
use crate::events::EventSchemas;
use crate::simulator::{Action, Fault, SimulatorConfig};
use crate::store::{Act, AuditStore as _, Finding, NewDocument, OperatorStore as _};

const REFERRER: &str = "REFERRING_CLINICIAN";
const PROVIDER: &str = "SERVICE_PROVIDER_CLINICIAN";
/// Not booked, with a directly bookable service.
const UNBOOKED: &str = "000000070003";
const PATIENT: &str = "9994122770";
const OTHER: &str = "000000070000";
const ADVICE: &str = "000049146177";

/// A command whose last write is lost: who sends it, what is so before, and what it tells when it is done.
struct Case {
    call: &'static str,
    function: &'static str,
    before: fn(&World),
    name: &'static str,
    body: Value,
    tells: &'static [&'static str],
}

fn letters() -> Value {
    json!([{
        "fileName": "notes.txt", "contentType": "text/plain", "bytes": 5,
        "sha256": format!("{:x}", Sha256::digest(b"hello")), "content": { "in": "document", "number": 1 },
    }])
}

fn booked(world: &World) {
    assert!(world.simulator().book(UNBOOKED, 70_009, "11008006"), "the slot is free");
}

fn in_one_call(world: &World) {
    world.set_source(|source| {
        source.settings.insert("triageInOneCall".into(), true.into());
    });
}

fn for_triage() -> Value {
    json!({
        "shortlist": [{"service": "50001"}], "specialty": "CARDIOLOGY", "letterIntention": "NEED_TO_ADD_LATER",
        "firstReminderDays": 0, "then": "triage", "priority": "ROUTINE",
    })
}

fn triaged(world: &World) {
    assert!(world.simulator().send_for_triage(OTHER, "50001"));
}

/// Every guarded write.
fn guarded() -> Vec<Case> {
    let nothing = |_: &World| {};
    let chosen = slot(1, None);
    let booking = json!({
        "ubrn": UNBOOKED, "service": SERVICE, "slot": chosen.id, "start": chosen.start.to_string(),
        "end": chosen.end.to_string(),
    });
    vec![
        Case {
            call: "A012",
            function: REFERRER,
            before: nothing,
            name: "AttachLetters",
            body: json!({"ubrn": OTHER, "letters": letters()}),
            tells: &["ReferralLetterAttached"],
        },
        Case {
            call: "A013",
            function: PROVIDER,
            before: booked,
            name: "AcceptReferral",
            body: json!({"ubrn": UNBOOKED}),
            tells: &["ReferralAccepted"],
        },
        Case {
            call: "A014",
            function: PROVIDER,
            before: booked,
            name: "RejectReferral",
            body: json!({"ubrn": UNBOOKED, "reason": "SERVICE_INAPPROPRIATE", "comment": "See the pathway"}),
            tells: &["ReferralRejected"],
        },
        Case {
            call: "A016",
            function: REFERRER,
            before: nothing,
            name: "BookAppointment",
            body: booking,
            tells: &["AppointmentBooked"],
        },
        Case {
            call: "A016",
            function: REFERRER,
            before: nothing,
            name: "SendForTriage",
            body: json!({"ubrn": OTHER, "service": "50001"}),
            tells: &["ReferralSentForTriage"],
        },
        Case {
            call: "A022",
            function: PROVIDER,
            before: booked,
            name: "CancelAppointmentActionLater",
            body: json!({"ubrn": UNBOOKED, "comments": "Rebook after the scan"}),
            tells: &["AppointmentCancelledActionLater"],
        },
        Case {
            call: "A026",
            function: PROVIDER,
            before: nothing,
            name: "SendAdviceResponse",
            body: json!({"ubrn": ADVICE, "outcome": "REQUIRE_FURTHER_INFORMATION", "guidance": "Which drug?"}),
            tells: &["AdviceResponded"],
        },
        Case {
            call: "A027",
            function: PROVIDER,
            before: nothing,
            name: "ConvertAdviceToReferral",
            body: json!({"ubrn": ADVICE, "guidance": "We take over", "comments": "Rapid access"}),
            tells: &["AdviceConverted"],
        },
        Case {
            call: "A028",
            function: PROVIDER,
            before: triaged,
            name: "RecordReviewOutcome",
            body: json!({"ubrn": OTHER, "outcome": "RETURN_TO_REFERRER_WITH_ADVICE", "comments": "Try physiotherapy"}),
            tells: &["ReviewOutcomeRecorded"],
        },
        Case {
            call: "A031",
            function: REFERRER,
            before: nothing,
            name: "ChangeShortlist",
            body: json!({
                "ubrn": OTHER, "priority": "URGENT", "shortlist": [{"service": "20011"}, {"service": "20012"}],
                "letterIntention": "NOT_INTENDING_TO_ADD", "firstReminderDays": 7,
            }),
            tells: &["ReferralShortlistChanged"],
        },
        Case {
            call: "A032",
            function: REFERRER,
            before: in_one_call,
            name: "ChangeShortlist",
            body: {
                let mut body = for_triage();
                body["ubrn"] = UNBOOKED.into();
                body
            },
            tells: &["ReferralShortlistChanged", "ReferralSentForTriage"],
        },
        Case {
            call: "A034",
            function: REFERRER,
            before: booked,
            name: "CancelAppointment",
            body: json!({"ubrn": UNBOOKED, "reason": "PATIENT_ILL"}),
            tells: &["AppointmentCancelled"],
        },
        Case {
            call: "A036",
            function: REFERRER,
            before: nothing,
            name: "CancelReferral",
            body: json!({"ubrn": OTHER, "reason": "RAISED_IN_ERROR"}),
            tells: &["ReferralCancelled"],
        },
    ]
}

async fn scene(case: &Case, action: Action) -> (World, CommandId) {
    let config = if case.name == "BookAppointment" { offering(3) } else { SimulatorConfig::default() };
    let world = World::started_as(case.function, config).await;
    (case.before)(&world);
    world.simulator().inject(Fault::on(case.call, action).times(1));
    let documents = vec![NewDocument { number: 1, content: "hello".into() }];
    let command = world.admit_as(case.name, "R1", case.body.clone(), b"{}", documents).await;
    (world, command)
}

fn calls(world: &World, call: &str) -> usize {
    world.simulator().calls().iter().filter(|made| **made == call).count()
}

async fn told(world: &World) -> Vec<String> {
    let schemas = EventSchemas::built_in();
    let events = world.events().await;
    for event in &events {
        assert_eq!(schemas.violations(&event.name, &event.data), [], "{}: {}", event.name, event.data);
    }
    events.into_iter().map(|event| event.name).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_done_and_not_answered_is_found_and_not_sent_again() {
    for case in guarded() {
        let (world, command) = scene(&case, Action::lost_answer()).await;
        world.until(command, "in_doubt").await;
        world.until(command, "completed").await;
        let name = case.name;
        assert_eq!(calls(&world, case.call), 1, "{name}: {:?}", world.simulator().calls());
        let expected = [&["CommandInDoubt", "DoubtSettled"], case.tells].concat();
        assert_eq!(told(&world).await, expected, "{name}");
        let settled = world.events().await.swap_remove(1).data;
        assert_eq!((&settled["done"], &settled["call"]), (&json!(true), &json!(case.call)), "{name}");
        let attempts = world.attempts(command).await;
        let last = attempts.last().expect("a read");
        assert!(!last.is_write && !last.response["body"].is_null(), "{name}: the evidence stays with the command");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_done_is_proved_so_and_sent_again() {
    for case in guarded() {
        let (world, command) = scene(&case, Action::Reset { after_commit: false }).await;
        world.until(command, "in_doubt").await;
        world.until(command, "completed").await;
        let name = case.name;
        assert_eq!(calls(&world, case.call), 2, "{name}: {:?}", world.simulator().calls());
        let expected = [&["CommandInDoubt", "DoubtSettled"], case.tells].concat();
        assert_eq!(told(&world).await, expected, "{name}");
        assert_eq!(world.events().await.swap_remove(1).data["done"], false, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_through_a_crash_at_any_read() {
    for case in guarded() {
        for reads in 0..3 {
            let (world, command) = scene(&case, Action::lost_answer()).await;
            world.until(command, "in_doubt").await;
            let before = world.simulator().calls().len();
            for _ in 0..4_000 {
                if world.simulator().calls().len() >= before + reads {
                    break;
                }
                world.rest(Duration::from_millis(50)).await;
            }
            let restarted = world.killed_and_restarted().await;
            restarted.until(command, "completed").await;
            assert_eq!(calls(&world, case.call), 1, "{}: {:?}", case.name, world.simulator().calls());
        }
    }
}

fn referral() -> Value {
    json!({"patient": {"nhsNumber": PATIENT}, "shortlist": [{"service": SERVICE}]})
}

#[tokio::test(start_paused = true)]
async fn a_referral_that_was_made_is_adopted_where_exactly_one_can_be_it() {
    let world = World::started_as(REFERRER, SimulatorConfig::default()).await;
    // Of the same patient, and made in time: another shortlist.
    let other = json!({"patient": {"nhsNumber": PATIENT}, "shortlist": [{"service": "20011"}]});
    let other = world.admit_as("CreateReferral", "R0", other, b"{}", Vec::new()).await;
    world.until(other, "completed").await;
    world.simulator().inject(Fault::on("A011", Action::lost_answer()).times(1));
    let command = world.admit_as("CreateReferral", "R1", referral(), b"{}", Vec::new()).await;
    world.until(command, "in_doubt").await;
    let done = world.until(command, "completed").await;
    assert_eq!((calls(&world, "A011"), world.simulator().created()), (2, 2));
    let ubrn = done.plan["result"]["ubrn"].as_str().expect("a UBRN");
    assert_eq!(world.simulator().referral(ubrn).expect("made").services, [SERVICE]);
    assert_eq!(done.known["ubrn"], ubrn);
    assert_eq!(told(&world).await[1..], ["CommandInDoubt", "DoubtSettled", "ReferralCreated"]);
    // What follows knows it.
    let cancel = json!({"reason": "RAISED_IN_ERROR"});
    let cancel = world.admit_as("CancelReferral", "R1", cancel, b"{}", Vec::new()).await;
    world.until(cancel, "completed").await;
    assert_eq!(world.simulator().referral(ubrn).expect("made").state, "CANCELLED_REFERRAL");
}

#[tokio::test(start_paused = true)]
async fn a_referral_that_another_command_made_is_no_candidate() {
    let world = World::started_as(REFERRER, SimulatorConfig::default()).await;
    // The same patient, shortlist and priority, and made in time.
    let twin = world.admit_as("CreateReferral", "R0", referral(), b"{}", Vec::new()).await;
    let twin = world.until(twin, "completed").await;
    world.simulator().inject(Fault::on("A011", Action::lost_answer()).times(1));
    let command = world.admit_as("CreateReferral", "R1", referral(), b"{}", Vec::new()).await;
    world.until(command, "in_doubt").await;
    let done = world.until(command, "completed").await;
    assert_eq!((calls(&world, "A011"), world.simulator().created()), (2, 2));
    assert_ne!(done.known["ubrn"], twin.known["ubrn"]);
    let reasons = world.reasons(command).await;
    let left_out = "left out: 1 referral that another command of this gateway made";
    assert!(reasons.iter().any(|why| why.contains(left_out)), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn a_referral_that_another_command_made_is_not_adopted_for_one_that_was_not() {
    let world = World::started_as(REFERRER, SimulatorConfig::default()).await;
    let twin = world.admit_as("CreateReferral", "R0", referral(), b"{}", Vec::new()).await;
    world.until(twin, "completed").await;
    world.simulator().inject(Fault::on("A011", Action::Reset { after_commit: false }).times(1));
    let command = world.admit_as("CreateReferral", "R1", referral(), b"{}", Vec::new()).await;
    waits_for_a_person(&world, command).await;
    assert_eq!((calls(&world, "A011"), world.simulator().created()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn one_that_others_only_speak_of_stays_a_candidate() {
    let world = World::started_as(REFERRER, SimulatorConfig::default()).await;
    world.simulator().inject(Fault::on("A011", Action::lost_answer()).times(1));
    let command = world.admit_as("CreateReferral", "R1", referral(), b"{}", Vec::new()).await;
    world.until(command, "in_doubt").await;
    let made = world.simulator().creations().pop().expect("what was not answered").ubrn.to_string();
    // Somebody has seen it in e-RS meanwhile, and reads it under its number.
    let read = world.about(&made, "RetrieveReferral", json!({})).await;
    world.until(read, "completed").await;
    let done = world.until(command, "completed").await;
    assert_eq!(done.known["ubrn"], made);
    assert_eq!((calls(&world, "A011"), world.simulator().created()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_referral_made_with_its_triage_is_settled_as_any_other() {
    let mut body = for_triage();
    body["letters"] = letters();
    for action in [Action::lost_answer(), Action::Reset { after_commit: false }] {
        let made = matches!(action, Action::Reset { after_commit: true });
        let world = World::started_as(REFERRER, SimulatorConfig::default()).await;
        in_one_call(&world);
        world.simulator().inject(Fault::on("A021", action).times(1));
        let documents = vec![NewDocument { number: 1, content: "hello".into() }];
        let command = world.admit_as("CreateReferral", "R1", body.clone(), b"{}", documents).await;
        if !made {
            waits_for_a_person(&world, command).await;
            assert_eq!((calls(&world, "A021"), world.simulator().created()), (1, 0), "absence proves nothing");
            decide(&world, command, Finding { done: false, ubrn: None }).await;
        }
        let done = world.until(command, "completed").await;
        assert_eq!((calls(&world, "A021"), world.simulator().created()), (if made { 1 } else { 2 }, 1));
        let ubrn = done.plan["result"]["ubrn"].as_str().expect("a UBRN");
        assert_eq!(world.simulator().referral(ubrn).expect("made").state, "AWAITING_TRIAGE");
        let told = told(&world).await;
        for name in ["ReferralCreated", "ReferralSentForTriage", "ReferralLetterAttached"] {
            assert!(told.iter().any(|one| one == name), "{told:?}");
        }
    }
}

/// In doubt, and left to a person.
async fn waits_for_a_person(world: &World, command: CommandId) {
    for _ in 0..4_000 {
        if let State::InDoubt { look_at: None, .. } = world.command(command).await.state {
            return;
        }
        world.rest(Duration::from_secs(5)).await;
    }
    panic!("{:?}: {:?}", world.command(command).await.state, world.reasons(command).await);
}

async fn decide(world: &World, command: CommandId, finding: Finding) {
    let act = Act::of_person("a person", "a test", "looked in e-RS", world.now());
    world.store.decide(command, finding, act).await.expect("it is in doubt");
}

#[tokio::test(start_paused = true)]
async fn a_referral_that_is_not_found_is_left_to_a_person_and_made_when_they_say_that_it_was_not() {
    let world = World::started_as(REFERRER, SimulatorConfig::default()).await;
    world.simulator().inject(Fault::on("A011", Action::Reset { after_commit: false }).times(1));
    let command = world.admit_as("CreateReferral", "R1", referral(), b"{}", Vec::new()).await;
    waits_for_a_person(&world, command).await;
    assert_eq!((calls(&world, "A011"), world.simulator().created()), (1, 0), "absence proves nothing");
    assert_eq!(told(&world).await, ["CommandInDoubt", "DecisionNeeded"]);
    // Nor does a day.
    world.rest(Duration::from_secs(24 * 3_600)).await;
    assert_eq!(calls(&world, "A011"), 1);
    decide(&world, command, Finding { done: false, ubrn: None }).await;
    // Routine is sent within days; the person has decided anew.
    world.until(command, "completed").await;
    assert_eq!((calls(&world, "A011"), world.simulator().created()), (2, 1));
    let log = world.store.audit_log(0, 10).await.expect("readable");
    assert_eq!((log[0].act.as_str(), log[0].why.as_deref()), ("decide", Some("not done: looked in e-RS")));
}

#[tokio::test(start_paused = true)]
async fn two_referrals_that_could_be_it_are_left_to_a_person_who_names_one() {
    let world = World::started_as(REFERRER, SimulatorConfig::default()).await;
    world.simulator().inject(Fault::on("A011", Action::lost_answer()).times(2));
    let command = world.admit_as("CreateReferral", "R1", referral(), b"{}", Vec::new()).await;
    world.until(command, "in_doubt").await;
    let made = world.simulator().creations().pop().expect("what was not answered").ubrn.to_string();
    let twin = world.admit_as("CreateReferral", "R2", referral(), b"{}", Vec::new()).await;
    waits_for_a_person(&world, command).await;
    waits_for_a_person(&world, twin).await;
    assert_eq!(world.simulator().created(), 2);

    // Another patient's is no answer.
    decide(&world, command, Finding { done: true, ubrn: Some(OTHER.into()) }).await;
    world.rest(Duration::from_secs(60)).await;
    waits_for_a_person(&world, command).await;
    assert!(world.reasons(command).await.iter().any(|why| why.contains("another patient's")));

    decide(&world, command, Finding { done: true, ubrn: Some(made.clone()) }).await;
    let done = world.until(command, "completed").await;
    assert_eq!(done.known["ubrn"], made);
    // One referral is not the answer to two commands.
    decide(&world, twin, Finding { done: true, ubrn: Some(made) }).await;
    world.rest(Duration::from_secs(60)).await;
    waits_for_a_person(&world, twin).await;
    assert!(world.reasons(twin).await.iter().any(|why| why.contains("belongs to another command")));
    assert_eq!((calls(&world, "A011"), world.simulator().created()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_for_advice_is_left_to_a_person_at_once() {
    for after_commit in [true, false] {
        let world = World::started_as(REFERRER, SimulatorConfig::default()).await;
        world.simulator().inject(Fault::on("A044", Action::Reset { after_commit }).times(1));
        let body = json!({
            "patient": { "nhsNumber": "9994120034" }, "priority": "ROUTINE", "specialty": "CARDIOLOGY",
            "service": "11014", "conversion": "NOT_AUTHORISED_TO_CONVERT", "request": "What would you do?",
        });
        let command = world.admit_as("CreateAdviceRequest", "R1", body, b"{}", Vec::new()).await;
        waits_for_a_person(&world, command).await;
        assert_eq!(world.simulator().calls(), ["A044"], "nothing can be read that proves anything");
        let finding = match after_commit {
            true => Finding { done: true, ubrn: world.simulator().advice_requests().pop() },
            false => Finding { done: false, ubrn: None },
        };
        decide(&world, command, finding).await;
        world.until(command, "completed").await;
        assert_eq!(calls(&world, "A044"), if after_commit { 1 } else { 2 });
        assert_eq!(told(&world).await.last().map(String::as_str), Some("AdviceRequestCreated"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_booking_that_the_providers_system_refused_has_failed_once_that_is_proved() {
    for (status, code) in [(502, "PAS_RESPONDED_WITH_ERROR"), (504, "PAS_NOT_RESPONDING")] {
        let case = guarded().into_iter().find(|case| case.name == "BookAppointment").expect("a case");
        let action =
            Action::Answer { status, code: Some(code.into()), diagnostics: None, retry_after: None, body: None };
        let (world, command) = scene(&case, action).await;
        world.until(command, "in_doubt").await;
        let (found, text) = world.failure(command).await;
        assert_eq!((found.as_str(), calls(&world, "A016")), (code, 1));
        assert!(text.contains("no new appointment"), "{text}");
        assert_eq!(told(&world).await, ["CommandInDoubt", "DoubtSettled", "CommandFailed"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_never_carried_out_is_tried_three_times() {
    let case = guarded().into_iter().find(|case| case.name == "CancelReferral").expect("a case");
    let world = World::started_as(case.function, SimulatorConfig::default()).await;
    world.simulator().inject(Fault::on("A036", Action::answer(503)));
    let command = world.admit_as(case.name, "R1", case.body.clone(), b"{}", Vec::new()).await;
    assert_eq!(world.failure(command).await.0, "NOT_CARRIED_OUT");
    assert_eq!(calls(&world, "A036"), 3);
}

#[tokio::test(start_paused = true)]
async fn while_e_rs_is_away_a_doubt_is_asked_again_and_never_given_up() {
    let case = guarded().into_iter().find(|case| case.name == "CancelReferral").expect("a case");
    let (world, command) = scene(&case, Action::lost_answer()).await;
    world.until(command, "in_doubt").await;
    let away = world.simulator().inject(Fault::on("A005", Action::answer(503)));
    world.rest(Duration::from_secs(24 * 3_600)).await;
    assert!(matches!(world.command(command).await.state, State::InDoubt { look_at: Some(_), .. }));
    assert!(world.simulator().fired(away) > 20);
    world.simulator().clear_faults();
    world.until(command, "completed").await;
    assert_eq!(calls(&world, "A036"), 1);
}

/// e-RS may still be at work on what it was sent, whatever a clock says.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_does_not_shorten_the_wait_before_the_first_look() {
    let case = guarded().into_iter().find(|case| case.name == "CancelReferral").expect("a case");
    let (world, command) = scene(&case, Action::lost_answer()).await;
    world.until(command, "in_doubt").await;
    let before = world.simulator().calls().len();
    world.environment.set_clock_wrong_by(SignedDuration::from_hours(1));
    world.rest(Duration::from_secs(100)).await;
    assert_eq!(world.simulator().calls().len(), before, "{:?}", world.simulator().calls());
    world.until(command, "completed").await;
    assert_eq!(calls(&world, "A036"), 1);
}

#[tokio::test(start_paused = true)]
async fn many_doubts_share_the_lists_that_they_read_and_each_keeps_the_evidence() {
    // `./test --full` asks for 1,200.
    let doubts: usize = std::env::var("ERS_GATEWAY_TEST_DOUBTS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let world = World::started_as(REFERRER, SimulatorConfig::default()).await;
    let numbers = (0..).map(|number: u32| format!("99900{number:05}"));
    let patients = numbers.filter(|number| NhsNumber::parse(number).is_ok());
    let mut commands = Vec::new();
    for (place, patient) in patients.take(2 * doubts).enumerate() {
        let body = json!({ "patient": { "nhsNumber": patient } });
        // One in two: where all are lost, calls of the group are left alone, and no doubt can be settled.
        let is_lost = place % 2 == 0;
        if is_lost {
            world.simulator().inject(Fault::on("A011", Action::lost_answer()).for_patient(&patient).times(1));
        }
        let command = world.admit_as("CreateReferral", &format!("R{place}"), body, b"{}", Vec::new()).await;
        commands.extend(is_lost.then_some(command));
    }
    for command in &commands {
        world.until(*command, "completed").await;
        let evidence = world.attempts(*command).await;
        let lists: Vec<_> = evidence.iter().filter(|attempt| attempt.call == "A008").collect();
        assert!(lists.len() >= 2, "{evidence:?}");
        assert!(lists.iter().all(|list| list.status == Some(200) && list.response["body"] != Value::Null));
    }
    assert_eq!(calls(&world, "A011"), 2 * doubts, "nothing is sent again");
    let lists = calls(&world, "A008");
    // Two for each, if nobody shared: those that begin in the same instant do not.
    assert!(lists < doubts, "{lists} lists were read for {doubts} doubts");
}

#[tokio::test(start_paused = true)]
async fn a_doubt_holds_what_follows_until_it_is_settled() {
    let world = World::started_as(REFERRER, SimulatorConfig::default()).await;
    world.simulator().inject(Fault::on("A036", Action::lost_answer()).times(1));
    let cancel = world.about(OTHER, "CancelReferral", json!({"reason": "RAISED_IN_ERROR"})).await;
    world.until(cancel, "in_doubt").await;
    let follower = world.about(OTHER, "CancelReferral", json!({"reason": "RAISED_IN_ERROR"})).await;
    assert_eq!(world.command(follower).await.held_by, Some(cancel));
    world.until(cancel, "completed").await;
    assert_eq!(world.failure(follower).await.0, "REFERRAL_CANCELLED_ALREADY");
}

#[test]
fn every_write_of_the_catalogue_says_how_it_is_settled() {
    let set = crate::mapping::tests::set();
    for plan in set.plans() {
        for (step, call) in plan.calls() {
            let leaves_doubt = set.operation(call).is_some_and(|operation| operation.effect.leaves_doubt());
            assert!(
                !leaves_doubt || set.settling(call).is_some(),
                "{} {step}: {call} is not in ers/settling.yaml",
                plan.command
            );
        }
    }
}
