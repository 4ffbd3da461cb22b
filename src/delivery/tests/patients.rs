//! The patient check over time: outages, second questions.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::World;
use crate::command::CommandId;
use crate::simulator::{Action, Fault};

const ADELINE: &str = "9994120034";
const SURVIVOR: &str = "9994129627";
const MINUTES: Duration = Duration::from_secs(300);

async fn refer(world: &World, lasts: Option<Duration>) -> CommandId {
    let patient = json!({ "patient": {
        "nhsNumber": ADELINE, "family": "Testerton", "given": "Adeline Mae", "birthDate": "1957-03-14",
        "gender": "female" } });
    let not_after = lasts.map(|lasts| world.now() + lasts);
    let change = |command: &mut crate::store::NewCommand| command.not_after = not_after;
    world.admit_command("CreateReferral", "R1", patient, b"{}", Vec::new(), change).await
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
    for number in [SURVIVOR, ADELINE] {
        world.simulator().change_patient(ADELINE, number, |record| record["id"] = json!(SURVIVOR));
    }
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
