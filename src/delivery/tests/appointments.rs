//! Slots and appointments against the simulator: what each command becomes, with how many calls, and what is told.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::World;
use crate::command::CommandId;
use crate::events::EventSchemas;
use crate::simulator::services::Slot;
use crate::simulator::{Action, Fault, SimulatorConfig, SimulatorHandle};
use crate::store::CommandView;

/// Not booked, version 3, of [`PATIENT`]; its only service is [`SERVICE`].
pub(super) const UBRN: &str = "000000070003";
pub(super) const PATIENT: &str = "9994122770";
pub(super) const SERVICE: &str = "20021";
const CLINICIAN: &str = "555012340001";

pub(super) fn slot(number: i64, clinician: Option<&str>) -> Slot {
    let first: jiff::Timestamp = "2026-04-11T09:00:00Z".parse().expect("a literal instant");
    let start = first + jiff::SignedDuration::from_hours(number);
    Slot {
        id: format!("2002{number:04}"),
        service: SERVICE.into(),
        start,
        end: start + jiff::SignedDuration::from_mins(30),
        clinician: clinician.map(String::from),
    }
}

/// `number` slots; the first has a named clinician.
pub(super) fn offering(number: i64) -> SimulatorConfig {
    let slots = (0..number).map(|number| slot(number, (number == 0).then_some(CLINICIAN))).collect();
    SimulatorConfig { slots, ..SimulatorConfig::default() }
}

/// As a sender writes it who has chosen the slot.
pub(super) fn chosen(number: i64) -> Value {
    let slot = slot(number, None);
    json!({
        "ubrn": UBRN, "service": SERVICE, "slot": slot.id, "start": slot.start.to_string(), "end": slot.end.to_string(),
    })
}

pub(super) struct Scene {
    pub(super) world: World,
    pub(super) simulator: SimulatorHandle,
    calls_before: usize,
}

impl Scene {
    pub(super) async fn with(config: SimulatorConfig) -> Self {
        let (world, simulator) = World::with_simulator(config).await;
        Self { world, simulator, calls_before: 0 }
    }

    /// About [`UBRN`] unless it says otherwise.
    pub(super) async fn admit(&self, thread: &str, name: &str, mut body: Value) -> CommandId {
        body.as_object_mut().expect("a literal object").entry("ubrn").or_insert(UBRN.into());
        self.world.admit_as(name, thread, body, b"{}", Vec::new()).await
    }

    /// The command at rest in that state; [`Scene::calls`] counts from here.
    pub(super) async fn carry_out(&mut self, thread: &str, name: &str, body: Value, state: &str) -> CommandView {
        self.calls_before = self.simulator.calls().len();
        let command = self.admit(thread, name, body).await;
        self.world.until(command, state).await
    }

    /// Of the last command.
    pub(super) fn calls(&self) -> Vec<&'static str> {
        self.simulator.calls().split_off(self.calls_before)
    }

    pub(super) fn state(&self) -> &'static str {
        self.simulator.referral(UBRN).expect("seeded").state
    }

    /// Names of all events so far; each is checked against its schema.
    pub(super) async fn events(&self) -> Vec<String> {
        let schemas = EventSchemas::built_in();
        let events = self.world.events().await;
        for event in &events {
            assert_eq!(schemas.violations(&event.name, &event.data), [], "{}: {}", event.name, event.data);
        }
        events.into_iter().map(|event| event.name).collect()
    }
}

pub(super) fn code(command: &CommandView) -> String {
    let state = serde_json::to_value(&command.state).expect("a state");
    state["why"]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_searched_for_and_booked_with_the_fewest_calls() {
    let mut scene = Scene::with(offering(3)).await;
    let found = scene.carry_out("R1", "SearchSlots", json!({"service": SERVICE}), "completed").await;
    assert_eq!(scene.calls(), ["A005", "A015"]);
    let slots = &found.plan["result"]["slots"];
    assert_eq!((slots.as_array().map(Vec::len), &slots[0]["clinician"]), (Some(3), &json!(CLINICIAN)));
    let vouched = json!({"service": SERVICE, "priority": "URGENT", "commissioningRuleOrganisation": "R69"});
    scene.carry_out("R1", "SearchSlots", vouched, "completed").await;
    assert_eq!(scene.calls(), ["A015"], "what the sender says need not be read, slots must");

    // Exactly what the search has found, with the patient whom the sender means.
    let body = json!({
        "service": SERVICE, "slot": slots[0]["slot"], "start": slots[0]["start"], "end": slots[0]["end"],
        "clinician": slots[0]["clinician"], "patient": {"nhsNumber": PATIENT},
    });
    let booked = scene.carry_out("R1", "BookAppointment", body, "completed").await;
    assert_eq!((scene.calls(), scene.state()), (vec!["A005", "A016"], "BOOKED"));
    assert_eq!(booked.known["version"], "5", "the version after the booking");
    assert_eq!(scene.events().await, ["AppointmentBooked"]);
    let event = &scene.world.events().await[0].data;
    let result = &booked.plan["result"];
    assert_eq!((&event["ubrn"], &event["appointment"]), (&json!(UBRN), &result["appointment"]));
    assert_eq!(
        (&event["slot"], &event["start"], &event["version"]),
        (&slots[0]["slot"], &slots[0]["start"], &json!("0"))
    );

    let shown = scene.carry_out("R1", "RetrieveAppointment", json!({}), "completed").await;
    assert_eq!(scene.calls(), ["A005", "A038"]);
    let shown = &shown.plan["result"];
    assert_eq!((&shown["appointment"], &shown["status"]), (&result["appointment"], &json!("booked")));
    assert_eq!((&shown["slot"], &shown["clinician"]), (&slots[0]["slot"], &json!(CLINICIAN)));
    let by_id = json!({"appointment": result["appointment"]});
    scene.carry_out("R1", "RetrieveAppointment", by_id, "completed").await;
    assert_eq!(scene.calls(), ["A038"]);
    // Its UBRN is known by now.
    let by_local_id = scene.world.admit_as("RetrieveAppointment", "R1", json!({}), b"{}", Vec::new()).await;
    let shown = scene.world.until(by_local_id, "completed").await;
    assert_eq!(shown.plan["result"]["ubrn"], UBRN);
}

#[tokio::test(start_paused = true)]
async fn slots_on_several_pages_are_all_found() {
    let mut scene = Scene::with(offering(130)).await;
    let found = scene.carry_out("R1", "SearchSlots", json!({"service": SERVICE}), "completed").await;
    assert_eq!(scene.calls(), ["A005", "A015", "A015"]);
    let slots = found.plan["result"]["slots"].as_array().expect("slots").clone();
    assert_eq!((slots.len(), &slots[129]["slot"]), (130, &json!(slot(129, None).id)));
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_taken_or_does_not_fit_is_not_booked() {
    let mut config = offering(2);
    config.slots[1].start = "2026-03-01T09:00:00Z".parse().expect("a literal instant");
    let mut scene = Scene::with(config).await;
    let mut without_clinician = chosen(0);
    without_clinician["patient"] = json!({"nhsNumber": PATIENT});
    let failed = scene.carry_out("R1", "BookAppointment", without_clinician, "failed").await;
    assert_eq!((code(&failed).as_str(), scene.calls()), ("INAPPROPRIATE_SLOT", vec!["A005", "A016"]));
    let mut passed = chosen(1);
    passed["start"] = "2026-03-01T09:00:00Z".into();
    let late = scene.carry_out("R2", "BookAppointment", passed, "failed").await;
    assert_eq!((code(&late).as_str(), scene.state()), ("SLOT_NOT_AVAILABLE", "NOT_BOOKED"));
    // A service that takes no bookings here: nothing was done, so nothing is in doubt.
    let mut by_telephone = chosen(1);
    by_telephone["ubrn"] = "000000070007".into();
    by_telephone["service"] = "20061".into();
    let refused = scene.carry_out("R3", "BookAppointment", by_telephone, "failed").await;
    assert_eq!(code(&refused), "INVALID_STATE");
    assert_eq!(scene.events().await, ["CommandFailed", "CommandFailed", "CommandFailed"]);
}

#[tokio::test(start_paused = true)]
async fn a_booking_waits_for_a_locked_record_and_is_in_doubt_without_an_answer() {
    let scene = Scene::with(offering(2)).await;
    scene.simulator.lock(UBRN);
    let command = scene.admit("R1", "BookAppointment", chosen(1)).await;
    scene.world.until(command, "waiting").await;
    scene.simulator.unlock(UBRN);
    scene.world.until(command, "completed").await;
    assert_eq!(scene.simulator.calls().iter().filter(|call| **call == "A005").count(), 1, "what is read stays read");

    let mut scene_of_doubt = Scene::with(offering(2)).await;
    scene_of_doubt.simulator.inject(Fault::on("A016", Action::lost_answer()).times(1));
    scene_of_doubt.carry_out("R1", "BookAppointment", chosen(1), "in_doubt").await;
    assert_eq!((scene_of_doubt.calls(), scene_of_doubt.state()), (vec!["A005", "A016"], "BOOKED"));
    // It was booked after all: the claim that the attempt failed is not passed on.
    let claim = json!({"ubrn": UBRN, "service": SERVICE, "reason": "BOOKING_ATTEMPT_PROBLEM"});
    let refused = scene_of_doubt.carry_out("R2", "DeferAppointment", claim, "failed").await;
    assert_eq!((code(&refused).as_str(), scene_of_doubt.calls()), ("BOOKED_AFTER_ALL", vec!["A005"]));
    assert_eq!(scene_of_doubt.events().await, ["CommandInDoubt", "CommandFailed"]);
}

#[tokio::test(start_paused = true)]
async fn a_referral_is_sent_for_triage() {
    let mut scene = Scene::with(SimulatorConfig::default()).await;
    let body = json!({"ubrn": "000000070000", "service": "50001"});
    let done = scene.carry_out("R1", "SendForTriage", body, "completed").await;
    assert_eq!(scene.calls(), ["A005", "A016"]);
    let referral = scene.simulator.referral("000000070000").expect("seeded");
    assert_eq!((referral.state, referral.reason), ("AWAITING_TRIAGE", Some("TRIAGE")));
    assert_eq!(done.known["version"], json!(referral.version.to_string()));
    assert_eq!(scene.events().await, ["ReferralSentForTriage"]);
    let other = json!({"ubrn": UBRN, "service": "50001"});
    let refused = scene.carry_out("R2", "SendForTriage", other, "failed").await;
    assert_eq!(code(&refused), "INAPPROPRIATE_VALUE", "a service that is not on the shortlist");
}

#[tokio::test(start_paused = true)]
async fn an_appointment_is_cancelled_and_its_slot_is_free_again() {
    let mut scene = Scene::with(offering(2)).await;
    let booked = scene.carry_out("R1", "BookAppointment", chosen(1), "completed").await;
    let appointment = &booked.plan["result"]["appointment"];
    let cancel = json!({"appointment": appointment, "reason": "PATIENT_HOLIDAY", "comment": "Patient abroad"});
    let done = scene.carry_out("R1", "CancelAppointment", cancel, "completed").await;
    assert_eq!((scene.calls(), scene.state()), (vec!["A005", "A029", "A038", "A034"], "APPT_CANCELLED_BY_PATIENT"));
    assert_eq!((&done.plan["result"]["appointmentVersion"], &done.known["version"]), (&json!("1"), &json!("7")));
    assert_eq!(scene.events().await, ["AppointmentBooked", "AppointmentCancelled"]);
    assert_eq!(scene.world.events().await[1].data["reason"], "PATIENT_HOLIDAY");
    scene.carry_out("R1", "BookAppointment", chosen(1), "completed").await;
    assert_eq!((scene.calls(), scene.state()), (vec!["A005", "A016"], "BOOKED"));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_changed_is_read_again_before_it_is_booked() {
    let scene = Scene::with(offering(2)).await;
    scene.simulator.inject(Fault::on("A016", Action::delay(Duration::from_secs(10))).times(1));
    let command = scene.admit("R1", "BookAppointment", chosen(1)).await;
    scene.world.rest(Duration::from_secs(5)).await;
    assert!(scene.simulator.touch(UBRN));
    scene.world.until(command, "completed").await;
    assert_eq!((scene.calls(), scene.state()), (vec!["A005", "A016", "A005", "A016"], "BOOKED"));
    assert_eq!(scene.events().await, ["AppointmentBooked"]);

    // What changes each time is left to a person, and nothing is in doubt: the version guards the write.
    let mut scene = Scene::with(offering(2)).await;
    scene.simulator.inject(Fault::on("A016", Action::answer(409)));
    let failed = scene.carry_out("R1", "BookAppointment", chosen(1), "failed").await;
    assert_eq!((code(&failed).as_str(), scene.calls().len(), scene.state()), ("http_409", 8, "NOT_BOOKED"));
    scene.simulator.clear_faults();
    scene.world.replay(failed.id).await;
    scene.world.until(failed.id, "completed").await;
    assert_eq!(scene.calls()[8..], ["A005", "A016"], "released, it reads anew");
}

#[tokio::test(start_paused = true)]
async fn a_rebooking_reads_the_version_again_and_does_not_cancel_twice() {
    let mut scene = Scene::with(offering(3)).await;
    scene.carry_out("R1", "BookAppointment", chosen(1), "completed").await;
    scene.simulator.inject(Fault::on("A016", Action::answer(409)).times(1));
    scene.carry_out("R1", "RebookAppointment", rebooking(2), "completed").await;
    assert_eq!(scene.calls(), ["A005", "A029", "A015", "A038", "A034", "A016", "A005", "A016"]);
    assert_eq!(scene.events().await, ["AppointmentBooked", "AppointmentCancelled", "AppointmentBooked"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_that_is_refused_leaves_the_appointment_as_it_is() {
    for (body, refusal, calls) in [
        (json!({"reason": "INTEND_PRIVATE"}), "INAPPROPRIATE_VALUE", 4),
        (json!({"reason": "PATIENT_OTHER_ENGAGEMENT"}), "MISSING_VALUE", 4), // demands a comment
        (json!({"reason": "PATIENT_ILL", "appointment": "1"}), "APPOINTMENT_DIFFERS", 1),
    ] {
        let mut scene = Scene::with(offering(2)).await;
        scene.carry_out("R1", "BookAppointment", chosen(1), "completed").await;
        let refused = scene.carry_out("R1", "CancelAppointment", body, "failed").await;
        assert_eq!((code(&refused).as_str(), scene.calls().len()), (refusal, calls));
        assert_eq!(scene.state(), "BOOKED", "{refusal}");
    }
    let mut scene = Scene::with(offering(2)).await;
    let body = json!({"ubrn": UBRN, "reason": "PATIENT_ILL"});
    let refused = scene.carry_out("R1", "CancelAppointment", body, "failed").await;
    assert_eq!((code(&refused).as_str(), scene.calls()), ("NO_APPOINTMENT", vec!["A005"]));
    // e-RS does not offer it to this user.
    scene.carry_out("R2", "BookAppointment", chosen(1), "completed").await;
    scene.simulator.inject(Fault::on(
        "A029",
        Action::Answer {
            status: 200,
            code: None,
            diagnostics: None,
            retry_after: None,
            body: Some(json!({"resourceType": "Bundle", "entry": []}).to_string()),
        },
    ));
    let refused = scene.carry_out("R2", "CancelAppointment", json!({"reason": "PATIENT_ILL"}), "failed").await;
    assert_eq!((code(&refused).as_str(), scene.calls()), ("CANCELLATION_NOT_OFFERED", vec!["A005", "A029"]));
}

fn rebooking(number: i64) -> Value {
    let mut body = chosen(number);
    body["reason"] = "PATIENT_ILL".into();
    body
}

#[tokio::test(start_paused = true)]
async fn an_appointment_is_given_up_for_another_slot() {
    let mut scene = Scene::with(offering(3)).await;
    scene.carry_out("R1", "BookAppointment", chosen(1), "completed").await;
    let done = scene.carry_out("R1", "RebookAppointment", rebooking(2), "completed").await;
    assert_eq!(scene.calls(), ["A005", "A029", "A015", "A038", "A034", "A016"]);
    assert_eq!((scene.state(), &done.known["version"]), ("BOOKED", &json!("9")));
    assert_eq!(scene.events().await, ["AppointmentBooked", "AppointmentCancelled", "AppointmentBooked"]);
    let shown = scene.carry_out("R1", "RetrieveAppointment", json!({}), "completed").await;
    assert_eq!(shown.plan["result"]["slot"], json!(slot(2, None).id));
}

#[tokio::test(start_paused = true)]
async fn an_appointment_is_kept_when_the_other_slot_is_not_offered() {
    let mut scene = Scene::with(offering(2)).await;
    scene.carry_out("R1", "BookAppointment", chosen(1), "completed").await;
    let refused = scene.carry_out("R1", "RebookAppointment", rebooking(7), "failed").await;
    assert_eq!((code(&refused).as_str(), scene.calls()), ("SLOT_NOT_AVAILABLE", vec!["A005", "A029", "A015"]));
    assert_eq!(scene.state(), "BOOKED");
    assert_eq!(scene.events().await, ["AppointmentBooked", "CommandFailed"], "nobody is without an appointment");
}

#[tokio::test(start_paused = true)]
async fn a_booking_that_does_not_follow_the_cancellation_is_told_loudly() {
    let answer = |status, code: Option<&str>| Action::Answer {
        status,
        code: code.map(String::from),
        diagnostics: None,
        retry_after: None,
        body: None,
    };
    for (fault, halt, own) in [
        (answer(422, Some("SLOT_NOT_AVAILABLE")), "failed", "CommandFailed"),
        (answer(504, None), "in_doubt", "CommandInDoubt"),
        (answer(401, None), "unauthorised", "AuthorisationRequired"),
        (answer(423, None), "waiting", ""),
    ] {
        let mut scene = Scene::with(offering(3)).await;
        let booked = scene.carry_out("R1", "BookAppointment", chosen(1), "completed").await;
        scene.simulator.inject(Fault::on("A016", fault));
        scene.carry_out("R1", "RebookAppointment", rebooking(2), halt).await;
        assert_eq!(scene.state(), "APPT_CANCELLED_BY_PATIENT");
        let mut events = vec!["AppointmentBooked", "AppointmentCancelled", "PatientWithoutAppointment"];
        events.extend((!own.is_empty()).then_some(own));
        assert_eq!(scene.events().await, events, "{halt}");
        let told = &scene.world.events().await[2].data;
        assert_eq!((&told["ubrn"], &told["localId"], &told["booking"]), (&json!(UBRN), &json!("R1"), &json!(halt)));
        let cancelled = &booked.plan["result"]["appointment"];
        assert_eq!((&told["cancelled"], &told["slot"]), (cancelled, &json!(slot(2, None).id)));
    }
    // Waiting is told once, however long it lasts.
    let mut scene = Scene::with(offering(3)).await;
    scene.carry_out("R1", "BookAppointment", chosen(1), "completed").await;
    scene.simulator.inject(Fault::on("A016", answer(429, None)).times(5));
    scene.carry_out("R1", "RebookAppointment", rebooking(2), "completed").await;
    let events = ["AppointmentBooked", "AppointmentCancelled", "PatientWithoutAppointment", "AppointmentBooked"];
    assert_eq!(scene.events().await, events);
    // Nor is it forgotten by a crash while the booking is on its way.
    let mut scene = Scene::with(offering(3)).await;
    scene.carry_out("R1", "BookAppointment", chosen(1), "completed").await;
    scene.simulator.inject(Fault::on("A016", Action::delay(Duration::from_secs(3_600))));
    let command = scene.admit("R1", "RebookAppointment", rebooking(2)).await;
    scene.world.rest(Duration::from_secs(30)).await;
    assert_eq!(scene.world.attempts(command).await.last().expect("calls").call, "A016");
    let restarted = scene.world.killed_and_restarted().await;
    restarted.until(command, "in_doubt").await;
    let events = restarted.events().await;
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    let wanted = ["AppointmentBooked", "AppointmentCancelled", "PatientWithoutAppointment", "CommandInDoubt"];
    assert_eq!(names, wanted);
    assert_eq!(EventSchemas::built_in().violations(names[2], &events[2].data), [], "{}", events[2].data);
    // Before the cancellation nobody is without an appointment.
    let mut scene = Scene::with(offering(3)).await;
    scene.carry_out("R1", "BookAppointment", chosen(1), "completed").await;
    scene.simulator.inject(Fault::on("A034", answer(502, None)));
    scene.carry_out("R1", "RebookAppointment", rebooking(2), "in_doubt").await;
    assert_eq!(scene.state(), "BOOKED");
    assert_eq!(scene.events().await, ["AppointmentBooked", "CommandInDoubt"]);
}

#[tokio::test(start_paused = true)]
async fn an_appointment_is_known_by_what_the_sender_calls_it() {
    let mut scene = Scene::with(offering(4)).await;
    let named = |mut body: Value, placer: &str| {
        body["placerAppointment"] = placer.into();
        body
    };
    scene.carry_out("R1", "BookAppointment", named(chosen(1), "APT-1"), "completed").await;
    let rebooked = scene.carry_out("R1", "RebookAppointment", named(rebooking(2), "APT-1"), "completed").await;
    let appointment = &rebooked.plan["result"]["appointment"];
    assert_eq!(rebooked.known["appointments"], json!([{"placer": "APT-1", "appointment": appointment}]));
    // An appointment that was never booked is not confused with the one that stands.
    let other = named(json!({"reason": "PATIENT_ILL"}), "APT-2");
    let refused = scene.carry_out("R1", "CancelAppointment", other, "failed").await;
    assert_eq!((code(&refused).as_str(), scene.state()), ("APPOINTMENT_UNKNOWN", "BOOKED"));
    scene.world.discard(refused.id).await;
    let cancel = named(json!({"reason": "PATIENT_ILL"}), "APT-1");
    scene.carry_out("R1", "CancelAppointment", cancel.clone(), "completed").await;
    scene.carry_out("R1", "BookAppointment", named(chosen(3), "APT-3"), "completed").await;
    // Nor is one that is long cancelled.
    let late = scene.carry_out("R1", "CancelAppointment", cancel, "failed").await;
    assert_eq!((code(&late).as_str(), scene.state()), ("APPOINTMENT_DIFFERS", "BOOKED"));
}
