//! The patient check over time: outages, second questions.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::World;
use crate::command::CommandId;
use crate::simulator::{Action, Fault};

const ADELINE: &str = "9994120034";
const SURVIVOR: &str = "9994129627";
const MINUTES: Duration = Duration::from_secs(300);

fn known_as(number: &str) -> Value {
    json!({ "patient": {
        "nhsNumber": number, "family": "Testerton", "given": "Adeline Mae", "birthDate": "1957-03-14",
        "gender": "female" } })
}

async fn refer(world: &World, lasts: Option<Duration>) -> CommandId {
    let not_after = lasts.map(|lasts| world.now() + lasts);
    let change = |command: &mut crate::store::NewCommand| command.not_after = not_after;
    world.admit_command("CreateReferral", "R1", known_as(ADELINE), b"{}", Vec::new(), change).await
}

/// PDS has merged her number into another.
fn merge(world: &World) {
    for number in [SURVIVOR, ADELINE] {
        world.simulator().change_patient(ADELINE, number, |record| record["id"] = json!(SURVIVOR));
    }
}

/// e-RS asks to come again in an hour.
fn busy(world: &World, call: &str) {
    let later = Action::Answer { status: 429, code: None, diagnostics: None, retry_after: Some(3_600), body: None };
    world.simulator().inject(Fault::on(call, later).times(1));
}

fn asked(world: &World) -> usize {
    world.simulator().calls().into_iter().filter(|call| *call == "PDS").count()
}

#[tokio::test(start_paused = true)]
async fn a_pds_that_stays_away_is_asked_no_longer_than_the_command_may_wait() {
    let world = World::started_with_patient_check(MINUTES).await;
    world.simulator().inject(Fault::on("PDS", Action::answer(503)));
    let command = refer(&world, Some(Duration::from_secs(3_600))).await;
    let failed = world.until(command, "failed").await;
    assert_eq!(serde_json::to_value(&failed.state).expect("a state")["why"]["code"], "EXPIRED");
    assert_eq!(world.simulator().created(), 0);
    let asked_by_then = asked(&world);
    assert!(asked_by_then > 2, "asked {asked_by_then} times");
    world.rest(Duration::from_secs(7_200)).await;
    assert_eq!(asked(&world), asked_by_then);
}

#[tokio::test(start_paused = true)]
async fn a_number_that_replaced_the_senders_outlives_a_second_question() {
    let world = World::started_with_patient_check(Duration::from_secs(10)).await;
    merge(&world);
    let busy = Action::Answer { status: 429, code: None, diagnostics: None, retry_after: Some(60), body: None };
    world.simulator().inject(Fault::on("A011", busy).times(1));
    let command = refer(&world, None).await;
    world.until(command, "completed").await;
    assert!(asked(&world) > 1, "the finding is older than it is kept");
    assert_eq!(world.simulator().creations()[0].nhs_number.as_ref(), SURVIVOR);
    let plan: Value = world.command(command).await.plan;
    assert_eq!(plan["patient"]["number"], SURVIVOR);
    let told = world.event_names().await.into_iter().filter(|name| name == "PatientNumberSuperseded").count();
    assert_eq!(told, 1);
}

#[tokio::test(start_paused = true)]
async fn a_merged_number_is_not_followed_while_something_else_is_open_for_the_patient() {
    // The other referral has the number that survived, or the one that was merged into it.
    for number in [SURVIVOR, ADELINE] {
        let world = World::started_with_patient_check(MINUTES).await;
        busy(&world, "A011");
        if number == SURVIVOR {
            merge(&world);
        }
        let open = world.admit_as("CreateReferral", "R2", known_as(number), b"{}", Vec::new()).await;
        world.until(open, "waiting").await;
        if number == ADELINE {
            merge(&world);
            world.rest(MINUTES * 2).await;
        }

        let command = refer(&world, None).await;
        let held = world.until(command, "failed").await;
        let why = serde_json::to_value(&held.state).expect("a state")["why"].clone();
        assert_eq!(why["code"], "PATIENT_OPEN_ELSEWHERE", "{number}: {why}");
        let text = why["text"].as_str().expect("a text");
        assert!(text.contains(&open.to_string()), "{text}");
        assert!(!text.contains(ADELINE) && !text.contains(SURVIVOR), "{text}");
        assert_eq!(world.simulator().created(), 0, "{number}");
        assert_eq!(world.event_names().await, ["CommandFailed"], "the number was not followed");

        // A person looked: it goes out under the number of today, however much is open.
        world.replay(command).await;
        world.until(command, "completed").await;
        assert_eq!(world.simulator().creations()[0].nhs_number.as_ref(), SURVIVOR, "{number}");
        let plan: Value = world.command(command).await.plan;
        let notes = plan["patient"]["notes"].to_string();
        assert!(notes.contains("released by a person who was told"), "{notes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_merged_number_is_followed_past_its_own_thread_past_questions_and_what_is_finished() {
    let world = World::started_with_patient_check(MINUTES).await;
    merge(&world);
    let first = world.admit_as("CreateReferral", "R2", known_as(SURVIVOR), b"{}", Vec::new()).await;
    let first = world.until(first, "completed").await;
    // A question about her waits for e-RS.
    busy(&world, "A005");
    let mut question = known_as(SURVIVOR);
    question["ubrn"] = first.known["ubrn"].clone();
    question["patient"] = json!({ "nhsNumber": SURVIVOR });
    let question = world.admit_as("RetrieveReferral", "R9", question, b"{}", Vec::new()).await;
    world.rest(Duration::from_secs(2)).await;
    assert_ne!(world.command(question).await.state.name(), "completed");
    // What follows in its own thread waits for it.
    let command = refer(&world, None).await;
    let follows = json!({ "patient": { "nhsNumber": ADELINE }, "service": "11002", "reason": "NO_SLOTS_AT_SERVICE" });
    world.admit_as("DeferAppointment", "R1", follows, b"{}", Vec::new()).await;
    world.until(command, "completed").await;
    assert_eq!(world.simulator().created(), 2);
    assert_eq!(world.simulator().creations()[1].nhs_number.as_ref(), SURVIVOR);
}
