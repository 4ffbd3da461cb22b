//! What a sender calls things: each of its names leads to the right referral, appointment and file, before the referral
//! is made, after a restart, and never to another patient's.

use std::time::Duration;

use ers_gateway::simulator::{Action, Fault};
use serde_json::{Value, json};

use crate::support::referrals::create;
use crate::support::sender::{MllpSender, field};
use crate::support::waiting::{client, get};
use crate::support::world::World;

/// Its slots stay ahead for long.
const SERVICE: &str = "20013";

async fn send(world: &World, name: &str, body: &Value) -> (u16, Value) {
    let url = format!("http://{}/v1/commands/{name}?source=northmoor", world.http);
    let request = client().post(url).header("content-type", "application/json");
    let response = request.body(body.to_string()).send().await.expect("the gateway answers");
    (response.status().as_u16(), response.json().await.expect("a JSON body"))
}

async fn state(world: &World, answer: &Value) -> Value {
    let id = answer["commands"][0]["id"].as_str().unwrap_or_else(|| panic!("no command: {answer}"));
    get(format!("http://{}/v1/commands/{id}", world.http)).await.json().await.expect("JSON")
}

/// The first problem: its code and place.
fn problem(answer: &Value) -> (&Value, &Value) {
    (&answer["problems"][0]["code"], &answer["problems"][0]["pointer"])
}

/// The only message that was refused.
async fn refused_message(world: &World) -> String {
    let messages: Value =
        get(format!("http://{}/v1/messages?verdict=rejected", world.http)).await.json().await.expect("JSON");
    assert_eq!(messages["messages"].as_array().map(Vec::len), Some(1), "{messages}");
    messages["messages"][0]["id"].as_str().expect("it was kept").to_owned()
}

async fn replay(world: &World, message: &str, why: &str) -> (u16, Value) {
    let url = format!("http://{}/v1/messages/{message}/replay", world.http);
    let body = json!({"by": "j.doe", "why": why}).to_string();
    let request = client().post(url).header("content-type", "application/json").body(body);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

fn sample(file: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hl7");
    std::fs::read(format!("{folder}/{file}")).expect("the sample is there")
}

fn booking(more: Value) -> Value {
    let mut body = json!({
        "service": SERVICE, "slot": "20013001", "start": "2040-05-01T09:00:00Z", "end": "2040-05-01T09:30:00Z",
    });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body
}

fn referral() -> Value {
    let mut body = create("NM-1", "9994122770");
    body["shortlist"] = json!([{"service": SERVICE}]);
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_appointment_is_reached_by_the_senders_own_id_also_after_a_restart() {
    let world = World::start().await;
    let (_, created) = send(&world, "CreateReferral", &referral()).await;
    world.settle().await;
    let ubrn = state(&world, &created).await["result"]["ubrn"].clone();
    let (status, booked) =
        send(&world, "BookAppointment", &booking(json!({"ubrn": ubrn, "placerAppointment": "APT-1"}))).await;
    assert_eq!(status, 202, "{booked}");
    world.settle().await;
    assert_eq!(state(&world, &booked).await["state"], "completed");
    let world = world.restarted().await;
    let cancel = json!({"placerAppointment": "APT-1", "reason": "PATIENT_ILL"});
    let (status, cancelled) = send(&world, "CancelAppointment", &cancel).await;
    assert_eq!(status, 202, "{cancelled}");
    world.settle().await;
    let cancelled = state(&world, &cancelled).await;
    assert_eq!((&cancelled["state"], &cancelled["result"]["ubrn"]), (&json!("completed"), &ubrn), "{cancelled}");
    let unknown = json!({"placerAppointment": "APT-9", "reason": "PATIENT_ILL"});
    let (status, refused) = send(&world, "CancelAppointment", &unknown).await;
    assert_eq!((status, problem(&refused)), (422, (&json!(204), &json!("/placerAppointment"))), "{refused}");
    // The same name for an appointment of another referral is a mistake of somebody.
    let other = booking(json!({"ubrn": "000000070001", "placerAppointment": "APT-1"}));
    let (status, refused) = send(&world, "BookAppointment", &other).await;
    assert_eq!((status, problem(&refused)), (422, (&json!(204), &json!("/placerAppointment"))), "{refused}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referral_that_is_still_being_made_is_reached_by_every_name_and_in_order() {
    let world = World::start().await;
    world.simulator.inject(Fault::on("A011", Action::delay(Duration::from_secs(2))).times(1));
    let (_, created) = send(&world, "CreateReferral", &referral()).await;
    let (status, booked) =
        send(&world, "BookAppointment", &booking(json!({"localId": "NM-1", "placerAppointment": "APT-1"}))).await;
    assert_eq!(status, 202, "{booked}");
    let cancel = json!({"placerAppointment": "APT-1", "reason": "PATIENT_ILL"});
    let (status, cancelled) = send(&world, "CancelAppointment", &cancel).await;
    assert_eq!(status, 202, "{cancelled}");
    assert!(world.calls().is_empty(), "e-RS has not made it yet");
    world.settle().await;
    let ubrn = state(&world, &created).await["result"]["ubrn"].clone();
    for answer in [&booked, &cancelled] {
        let done = state(&world, answer).await;
        assert_eq!((&done["state"], &done["result"]["ubrn"]), (&json!("completed"), &ubrn), "{done}");
    }
    assert_eq!(world.calls(), ["A011", "A005", "A016", "A005", "A029", "A038", "A034"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_referral_known_by_its_ubrn_and_by_a_local_id_is_one_thread() {
    let world = World::start().await;
    let (_, created) = send(&world, "CreateReferral", &create("NM-1", "9994120034")).await;
    world.settle().await;
    let ubrn = state(&world, &created).await["result"]["ubrn"].clone();
    let (_, by_ubrn) = send(&world, "GeneratePatientLetter", &json!({"ubrn": ubrn})).await;
    let (_, by_local_id) = send(&world, "GeneratePatientLetter", &json!({"localId": "NM-1"})).await;
    world.settle().await;
    let threads = [state(&world, &created).await, state(&world, &by_ubrn).await, state(&world, &by_local_id).await];
    assert!(threads.iter().all(|one| one["thread"] == threads[0]["thread"]), "{threads:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_goes_past_a_step_that_failed_when_a_person_says_so() {
    let world = World::start().await;
    let (_, created) = send(&world, "CreateReferral", &referral()).await;
    world.settle().await;
    let ubrn = state(&world, &created).await["result"]["ubrn"].clone();
    let (_, failing) = send(&world, "BookAppointment", &booking(json!({"localId": "NM-1", "slot": "1"}))).await;
    world.settle().await;
    assert_eq!(state(&world, &failing).await["state"], "failed");
    let (_, cancel) = send(&world, "CancelReferral", &json!({"localId": "NM-1", "reason": "RAISED_IN_ERROR"})).await;
    let held = state(&world, &cancel).await;
    assert_eq!((&held["state"], &held["heldBy"]), (&json!("queued"), &failing["commands"][0]["id"]), "{held}");
    let pass = async |command: &Value| {
        let id = command["commands"][0]["id"].as_str().expect("an id").to_owned();
        let url = format!("http://{}/v1/commands/{id}/pass", world.http);
        let body = json!({"by": "j.doe", "why": "the patient asked for it"}).to_string();
        let request = client().post(url).header("content-type", "application/json").body(body);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(pass(&cancel).await, 200);
    wait_until_completed(&world, &cancel).await;
    assert_eq!(world.simulator.referral(ubrn.as_str().expect("a UBRN")).expect("made").state, "CANCELLED_REFERRAL");
    assert_eq!(state(&world, &failing).await["state"], "discarded");
    assert_eq!(pass(&cancel).await, 409, "nothing holds it");

    // What may have reached e-RS is never set aside in passing.
    let mut other = create("NM-2", "9994122770");
    other["shortlist"] = json!([{"service": SERVICE}]);
    world.simulator.inject(Fault::on("A011", Action::lost_answer()).times(1));
    let (_, doubtful) = send(&world, "CreateReferral", &other).await;
    world.settle().await;
    assert_eq!(state(&world, &doubtful).await["state"], "in_doubt");
    let (_, cancel) = send(&world, "CancelReferral", &json!({"localId": "NM-2", "reason": "RAISED_IN_ERROR"})).await;
    assert_eq!(pass(&cancel).await, 409);
    assert_eq!(state(&world, &doubtful).await["state"], "in_doubt");
    world.stop().await;
}

/// The order of a thread is changed by two acts, each with its row in the audit log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_set_aside_takes_its_turn_behind_what_passed_it() {
    let world = World::start().await;
    let (_, created) = send(&world, "CreateReferral", &referral()).await;
    world.settle().await;
    let ubrn = state(&world, &created).await["result"]["ubrn"].as_str().expect("a UBRN").to_owned();
    world.simulator.inject(Fault::on("A005", Action::answer(404)).times(1));
    let (_, cancel) = send(&world, "CancelReferral", &json!({"localId": "NM-1", "reason": "RAISED_IN_ERROR"})).await;
    world.settle().await;
    assert_eq!(state(&world, &cancel).await["state"], "failed");
    let (_, letter) = send(&world, "GeneratePatientLetter", &json!({"localId": "NM-1"})).await;
    assert_eq!(state(&world, &letter).await["heldBy"], cancel["commands"][0]["id"]);
    let message = cancel["message"].as_str().expect("an id").to_owned();
    let (status, answer) = replay(&world, &message, "the letter first").await;
    assert_eq!(status, 409, "it is not set aside yet: {answer}");

    let id = letter["commands"][0]["id"].as_str().expect("an id");
    let url = format!("http://{}/v1/commands/{id}/pass", world.http);
    let body = json!({"by": "j.doe", "why": "the letter first"}).to_string();
    let passed = client().post(url).header("content-type", "application/json").body(body).send().await;
    assert_eq!(passed.expect("an answer").status(), 200);
    let (status, taken) = replay(&world, &message, "behind the letter").await;
    assert_eq!(status, 200, "{taken}");
    wait_until_completed(&world, &json!({"commands": [{"id": taken["commands"][0]}]})).await;
    assert_eq!(state(&world, &letter).await["state"], "completed");
    assert_eq!(world.simulator.referral(&ubrn).expect("made").state, "CANCELLED_REFERRAL");
    let calls = world.calls();
    let place = |call: &str| calls.iter().position(|made| *made == call).unwrap_or_else(|| panic!("{call}: {calls:?}"));
    assert!(place("A019") < place("A036"), "{calls:?}");
    let log = world.gateway.store.audit_log(0, 10).await.expect("the store answers");
    let acts: Vec<_> = log.iter().map(|entry| (entry.act.as_str(), entry.why.as_deref())).collect();
    let ours: Vec<_> = acts.into_iter().filter(|(act, _)| ["discard", "replay"].contains(act)).collect();
    assert_eq!(ours, [("discard", Some("the letter first")), ("replay", Some("behind the letter"))]);

    // What was sent in part is not begun anew.
    let (_, failing) = send(&world, "BookAppointment", &booking(json!({"ubrn": "000000070001", "slot": "1"}))).await;
    world.settle().await;
    let id = failing["commands"][0]["id"].as_str().expect("an id");
    let url = format!("http://{}/v1/commands/{id}/discard", world.http);
    let body = json!({"by": "j.doe", "why": "booked by hand"}).to_string();
    let discarded = client().post(url).header("content-type", "application/json").body(body).send().await;
    assert_eq!(discarded.expect("an answer").status(), 200);
    let (status, answer) = replay(&world, failing["message"].as_str().expect("an id"), "once more").await;
    assert_eq!(status, 409);
    assert!(answer["detail"].as_str().is_some_and(|why| why.contains("sent to e-RS already")), "{answer}");
    world.stop().await;
}

async fn wait_until_completed(world: &World, answer: &Value) {
    for _ in 0..500 {
        if state(world, answer).await["state"] == "completed" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{}", state(world, answer).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_for_an_unknown_name_is_taken_once_when_the_name_is_known() {
    let world = World::start().await;
    let cancel = json!({"localId": "NM-1", "reason": "RAISED_IN_ERROR"});
    let (status, refused) = send(&world, "CancelReferral", &cancel).await;
    assert_eq!((status, problem(&refused)), (422, (&json!(204), &json!("/localId"))), "{refused}");
    let message = refused_message(&world).await;
    let replay_it = async || replay(&world, &message, "the referral is known by now").await;
    let (status, still) = replay_it().await;
    assert_eq!((status, problem(&still)), (422, (&json!(204), &json!("/localId"))), "{still}");
    let audited = async || world.acts_of_people().await;
    assert!(audited().await.is_empty(), "nothing was done");

    let (_, created) = send(&world, "CreateReferral", &referral()).await;
    world.settle().await;
    let ubrn = state(&world, &created).await["result"]["ubrn"].as_str().expect("a UBRN").to_owned();
    let (status, taken) = replay_it().await;
    assert_eq!(status, 200, "{taken}");
    world.settle().await;
    assert_eq!(world.simulator.referral(&ubrn).expect("made").state, "CANCELLED_REFERRAL");
    // Whoever asks again gets the same, and nothing is done twice.
    let (status, again) = replay_it().await;
    assert_eq!((status, &again["commands"]), (200, &taken["commands"]), "{again}");
    let (status, answer) = replay(&world, taken["message"].as_str().expect("an id"), "x").await;
    assert_eq!(status, 409, "it was not refused: {answer}");
    let log = audited().await;
    assert_eq!((log.len(), log[0].act.as_str()), (1, "replay"), "it was done once");
    assert_eq!((log[0].by.as_str(), log[0].why.as_deref()), ("j.doe", Some("the referral is known by now")));
    assert_eq!(log[0].subject, format!("message {message}"));
    world.gateway.store.verify().await.expect("the chain is whole");
    world.stop().await;
}

/// The same for a message of HL7 v2, whose control id stays that of the refused one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_of_hl7_is_taken_in_once_more() {
    let world = World::start().await;
    let message = String::from_utf8(sample("14-refi14-v23-northmoor-cancel-no-ubrn.hl7")).expect("ASCII");
    let local_id = message.split('\r').find_map(|line| line.strip_prefix("RF1|")).expect("RF1");
    let local_id = local_id.split('|').nth(5).expect("RF1-6").split('^').next().expect("its id").to_owned();
    let answer = MllpSender::new(world.mllp).deliver_once(message.as_bytes()).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AR", "{}", String::from_utf8_lossy(&answer));
    let id = refused_message(&world).await;
    let patient = message.split('\r').find_map(|line| line.strip_prefix("PID|")).expect("PID");
    let number: String = patient.split('|').nth(1).expect("PID-2").chars().filter(char::is_ascii_digit).collect();
    let (_, created) = send(&world, "CreateReferral", &create(&local_id, &number)).await;
    world.settle().await;
    let ubrn = state(&world, &created).await["result"]["ubrn"].as_str().expect("a UBRN").to_owned();
    let (status, answer) = replay(&world, &id, "the referral is known by now").await;
    assert_eq!(status, 200, "{answer}");
    world.settle().await;
    assert_eq!(world.simulator.referral(&ubrn).expect("made").state, "CANCELLED_REFERRAL", "{}", world.story().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_piece_of_a_message_is_never_taken_alone() {
    let world = World::start().await;
    let piece = sample("69-edge-continuation-2-of-2.hl7");
    let answer = MllpSender::new(world.mllp).deliver_once(&piece).await;
    assert_eq!(field(&answer, b"MSA", 1), b"CR", "{}", String::from_utf8_lossy(&answer));
    let (status, answer) = replay(&world, &refused_message(&world).await, "it looks whole").await;
    assert_eq!(status, 409);
    assert!(answer["detail"].as_str().is_some_and(|why| why.contains("a piece of a message")), "{answer}");
    world.stop().await;
}

/// What came after it was taken already: later, it would be out of its turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_that_its_source_numbered_is_never_taken_out_of_its_turn() {
    let message = String::from_utf8(sample("56-edge-bad-nhs-number.hl7")).expect("ASCII");
    let numbered = message.replacen("|P|2.4", "|P|2.4|1", 1);
    assert_ne!(numbered, message);
    for (protocol, status) in [(true, 409), (false, 422)] {
        let world = World::with(|config| {
            let source = config.sources.iter_mut().find(|source| source.name == "eastvale");
            source.expect("it is configured").sequence_protocol = protocol;
        })
        .await;
        let answer = MllpSender::new(world.mllp).deliver_once(numbered.as_bytes()).await;
        assert_eq!(field(&answer, b"MSA", 1), b"AE", "{}", String::from_utf8_lossy(&answer));
        assert!(answer.windows(5).any(|part| part == b"PID^1"), "{}", String::from_utf8_lossy(&answer));
        let (found, answer) = replay(&world, &refused_message(&world).await, "it is right by now").await;
        assert_eq!(found, status, "{answer}");
        let why = answer["detail"].as_str().unwrap_or_default();
        assert_eq!(why.contains("numbers its messages"), protocol, "{answer}");
        world.stop().await;
    }
}
