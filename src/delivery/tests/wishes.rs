//! A slot for a patient who has chosen none: which one, and who is told.

use serde_json::{Value, json};

use super::world::World;
use crate::command::CommandId;
use crate::simulator::services::Slot;
use crate::simulator::{Action, Fault, SimulatorConfig, SimulatorHandle};

/// Not booked; two of the services on its shortlist.
const UBRN: &str = "000000070003";
const SERVICE: &str = "20021";
const CLINICIAN: &str = "555012340001";

fn slot(service: &str, number: u32, start: &str, clinician: Option<&str>) -> Slot {
    let start: jiff::Timestamp = start.parse().expect("a literal instant");
    Slot {
        id: format!("{service}{number:04}"),
        service: service.into(),
        start,
        end: start + jiff::SignedDuration::from_mins(30),
        clinician: clinician.map(String::from),
    }
}

async fn wishing(slots: Vec<Slot>) -> (World, SimulatorHandle) {
    let (world, simulator) = World::with_simulator(SimulatorConfig { slots, ..SimulatorConfig::default() }).await;
    world.set_source(|source| source.book_by_wish = true);
    (world, simulator)
}

async fn book(world: &World, more: Value) -> CommandId {
    let mut body = json!({ "ubrn": UBRN, "service": SERVICE, "windowStart": "2026-04-13", "windowEnd": "2026-04-17" });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    world.admit_as("BookAppointment", "R1", body, b"{}", Vec::new()).await
}

/// Monday to Friday of one week, latest first; and one on the Saturday before.
fn a_week() -> Vec<Slot> {
    let days = ["17", "16", "15", "14", "13", "11"];
    let mut slots: Vec<Slot> =
        (0..).zip(days).map(|(number, day)| slot(SERVICE, number, &format!("2026-04-{day}T09:00:00Z"), None)).collect();
    slots[3].clinician = Some(CLINICIAN.into());
    slots
}

#[tokio::test(start_paused = true)]
async fn the_earliest_slot_of_the_time_span_is_booked_and_the_patient_must_be_told() {
    for (more, day) in [
        (json!({}), "13"),
        (json!({ "days": ["WED", "FRI"] }), "15"),
        (json!({ "windowStart": "2026-04-16" }), "16"),
        (json!({ "clinician": CLINICIAN }), "14"),
    ] {
        let (world, simulator) = wishing(a_week()).await;
        let command = book(&world, more.clone()).await;
        let done = world.until(command, "completed").await;
        assert_eq!(simulator.calls(), ["A005", "A015", "A016", "A019"], "{more}");
        let result = &done.plan["result"];
        assert!(result["start"].as_str().is_some_and(|start| start.starts_with(&format!("2026-04-{day}"))), "{result}");
        assert_eq!(simulator.referral(UBRN).expect("seeded").state, "BOOKED");
        assert_eq!(world.event_names().await, ["AppointmentBooked", "PatientMustBeTold", "PatientLetterGenerated"]);
        for event in world.events().await {
            assert_eq!(
                crate::events::EventSchemas::built_in().violations(&event.name, &event.data),
                [],
                "{}",
                event.name
            );
        }
        assert_eq!(world.events().await[1].data["start"], result["start"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_taken_meanwhile_is_followed_by_the_next_best() {
    let (world, simulator) = wishing(a_week()).await;
    let taken = Action::Answer {
        status: 422,
        code: Some("SLOT_NOT_AVAILABLE".into()),
        diagnostics: None,
        retry_after: None,
        body: None,
    };
    simulator.inject(Fault::on("A016", taken.clone()).times(2));
    let command = book(&world, json!({})).await;
    let done = world.until(command, "completed").await;
    assert_eq!(simulator.calls(), ["A005", "A015", "A016", "A016", "A016", "A019"]);
    assert!(done.plan["result"]["start"].as_str().is_some_and(|start| start.starts_with("2026-04-15")));

    // When all are gone nothing is booked, and a person decides; released, it looks anew.
    let (world, simulator) = wishing(a_week()).await;
    simulator.inject(Fault::on("A016", taken));
    let command = book(&world, json!({})).await;
    assert_eq!(world.failure(command).await.0, "SLOT_NOT_AVAILABLE");
    assert_eq!(simulator.calls().len(), 2 + 5);
    assert_eq!(world.event_names().await, ["CommandFailed"]);
    simulator.clear_faults();
    world.replay(command).await;
    world.until(command, "completed").await;
    assert_eq!(simulator.calls()[7..], ["A005", "A015", "A016", "A019"]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_changes_in_between_is_read_and_searched_for_again() {
    let (world, simulator) = wishing(a_week()).await;
    simulator.inject(Fault::on("A016", Action::answer(409)).times(1));
    let command = book(&world, json!({})).await;
    world.until(command, "completed").await;
    assert_eq!(simulator.calls(), ["A005", "A015", "A016", "A005", "A015", "A016", "A019"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_booked_where_no_service_offers_a_slot_in_time() {
    let (world, simulator) = wishing(a_week()).await;
    let later = json!({ "windowStart": "2026-05-01", "windowEnd": "2026-05-31" });
    let command = book(&world, later).await;
    let (code, text) = world.failure(command).await;
    assert!(code == "NO_SLOT_IN_TIME" && text.contains("defer to the provider"), "{code}: {text}");
    assert_eq!(simulator.calls(), ["A005", "A015"]);
    // All pages are read, since nobody says in which order slots come.
    let many = (0..250).map(|number| slot(SERVICE, number, "2026-06-01T09:00:00Z", None));
    let (world, simulator) = wishing(many.chain([slot(SERVICE, 9_000, "2026-06-02T09:00:00Z", None)]).collect()).await;
    let command = book(&world, json!({ "windowStart": "2026-06-02", "windowEnd": "2026-06-02" })).await;
    world.until(command, "completed").await;
    assert_eq!(simulator.calls(), ["A005", "A015", "A015", "A015", "A016", "A019"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_referral_is_booked_at_the_first_of_its_services_that_offers_a_slot() {
    let slots = vec![slot("11010", 1, "2026-04-14T09:00:00+01:00", None)];
    let (world, simulator) = wishing(slots).await;
    let more = json!({
        "shortlist": [{ "service": "11002" }, { "service": "11010" }], "specialty": "CARDIOLOGY", "then": "book",
        "windowStart": "2026-04-13", "windowEnd": "2026-04-17",
    });
    let command = world.admit_as("CreateReferral", "R1", more, b"{}", Vec::new()).await;
    let done = world.until(command, "completed").await;
    assert_eq!(simulator.calls(), ["A011", "A005", "A015", "A015", "A016", "A019"]);
    let ubrn = done.plan["result"]["ubrn"].as_str().expect("a UBRN").to_owned();
    assert_eq!(simulator.referral(&ubrn).expect("made").state, "BOOKED");
    assert_eq!(
        world.event_names().await,
        ["ReferralCreated", "AppointmentBooked", "PatientMustBeTold", "PatientLetterGenerated"]
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_chooses_a_slot_unless_the_source_says_so() {
    let (world, simulator) = wishing(a_week()).await;
    world.set_source(|_| {});
    let command = book(&world, json!({})).await;
    assert_eq!(world.failure(command).await.0, "BOOKING_BY_WISH_IS_OFF");
    assert!(simulator.calls().is_empty());
}
