//! Referrals handed to their provider because no slot can be booked: when that is allowed, and what is told.

use std::time::Duration;

use serde_json::json;

use super::appointments::{PATIENT, SERVICE, Scene, UBRN, chosen, code, offering, slot};
use crate::simulator::{Action, Fault};

#[tokio::test(start_paused = true)]
async fn a_referral_is_deferred_only_when_no_slot_is_offered() {
    let claim = || json!({"ubrn": UBRN, "service": SERVICE, "reason": "NO_SLOTS_AT_SERVICE", "comment": "No slots"});
    let mut scene = Scene::with(offering(1)).await;
    let refused = scene.carry_out("R1", "DeferAppointment", claim(), "failed").await;
    assert_eq!(code(&refused), "SLOTS_CURRENTLY_AVAILABLE");
    assert_eq!((scene.calls(), scene.state()), (vec!["A005", "A015"], "NOT_BOOKED"), "e-RS is not even asked to defer");
    assert_eq!(scene.events().await, ["CommandFailed"]);

    // Whether that one slot is free only e-RS can say.
    let of_slot = json!({"service": SERVICE, "reason": "SLOT_NOT_AVAILABLE", "slot": slot(0, None).id});
    let refused = scene.carry_out("R2", "DeferAppointment", of_slot, "failed").await;
    assert_eq!((code(&refused).as_str(), scene.calls()), ("THIS_SLOT_IS_AVAILABLE", vec!["A005", "A016"]));
    assert_eq!(scene.state(), "NOT_BOOKED");

    let mut scene = Scene::with(offering(0)).await;
    let done = scene.carry_out("R1", "DeferAppointment", claim(), "completed").await;
    assert_eq!((scene.calls(), scene.state()), (vec!["A005", "A015", "A016"], "DEFERRED_TO_PROVIDER"));
    assert_eq!(scene.events().await, ["AppointmentDeferred"]);
    let event = &scene.world.events().await[0].data;
    assert_eq!((&event["reason"], &event["service"]), (&json!("NO_SLOTS_AT_SERVICE"), &json!(SERVICE)));
    assert_eq!(event["appointment"], done.plan["result"]["appointment"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_referral_is_handed_to_its_provider_only_when_no_slot_is_offered() {
    let create = || {
        json!({
            "patient": {"nhsNumber": PATIENT}, "shortlist": [{"service": SERVICE}, {"service": "11002"}],
            "specialty": "CARDIOLOGY", "then": "defer", "comment": "No slots",
        })
    };
    let scene = Scene::with(offering(0)).await;
    let deferred = scene.world.admit_as("CreateReferral", "R1", create(), b"{}", Vec::new()).await;
    let done = scene.world.until(deferred, "completed").await;
    assert_eq!(scene.calls(), ["A011", "A005", "A015", "A016"]);
    let ubrn = done.plan["result"]["ubrn"].as_str().expect("a UBRN").to_owned();
    let referral = scene.simulator.referral(&ubrn).expect("made");
    assert_eq!((referral.state, referral.reason), ("DEFERRED_TO_PROVIDER", Some("NO_SLOTS_AT_SERVICE")));
    assert_eq!(scene.events().await, ["ReferralCreated", "AppointmentDeferred"]);
    let event = &scene.world.events().await[1].data;
    assert_eq!((&event["ubrn"], &event["service"]), (&json!(ubrn), &json!(SERVICE)));
    assert_eq!(event["appointment"], done.plan["result"]["appointment"]);

    // A slot is offered: the referral is made and told, and a person decides.
    let scene = Scene::with(offering(1)).await;
    let refused = scene.world.admit_as("CreateReferral", "R1", create(), b"{}", Vec::new()).await;
    let made = scene.world.until(refused, "failed").await;
    assert_eq!((code(&made).as_str(), scene.calls()), ("SLOTS_CURRENTLY_AVAILABLE", vec!["A011", "A005", "A015"]));
    assert_eq!(scene.events().await, ["ReferralCreated", "CommandFailed"]);
    let ubrn = made.known["ubrn"].as_str().expect("a UBRN").to_owned();
    assert_eq!(scene.simulator.referral(&ubrn).expect("made").state, "NOT_BOOKED");
    // Replayed once the slot is gone, it defers what was made, and makes nothing anew.
    assert!(scene.simulator.book(UBRN, 70_900, &slot(0, None).id), "the slot is free");
    scene.world.replay(refused).await;
    scene.world.until(refused, "completed").await;
    assert_eq!(scene.simulator.referral(&ubrn).expect("made").state, "DEFERRED_TO_PROVIDER");
    assert_eq!(scene.calls().iter().filter(|call| **call == "A011").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_referral_whose_deferral_was_not_answered_is_read_and_nothing_is_sent_twice() {
    let scene = Scene::with(offering(0)).await;
    scene.simulator.inject(Fault::on("A016", Action::lost_answer()).times(1));
    let create = json!({"patient": {"nhsNumber": PATIENT}, "shortlist": [{"service": SERVICE}], "then": "defer"});
    let command = scene.world.admit_as("CreateReferral", "R1", create, b"{}", Vec::new()).await;
    let doubtful = scene.world.until(command, "in_doubt").await;
    let ubrn = doubtful.known["ubrn"].as_str().expect("a UBRN");
    assert_eq!(scene.simulator.referral(ubrn).expect("made").state, "DEFERRED_TO_PROVIDER");
    scene.world.rest(Duration::from_secs(3_600)).await;
    assert_eq!(scene.calls(), ["A011", "A005", "A015", "A016", "A005", "A038"]);
    let told = ["ReferralCreated", "CommandInDoubt", "DoubtSettled", "AppointmentDeferred"];
    assert_eq!(scene.events().await, told);
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_permits_the_deferral_that_names_it() {
    for (status, mut claim) in [
        (502, json!({"reason": "SLOT_NOT_AVAILABLE", "slot": slot(1, None).id})),
        (504, json!({"reason": "BOOKING_ATTEMPT_PROBLEM"})),
    ] {
        let mut scene = Scene::with(offering(2)).await;
        scene.simulator.inject(Fault::on("A016", Action::answer(status)).times(1));
        scene.carry_out("R1", "BookAppointment", chosen(1), "in_doubt").await;
        claim["ubrn"] = UBRN.into();
        claim["service"] = SERVICE.into();
        scene.carry_out("R2", "DeferAppointment", claim, "completed").await;
        assert_eq!((scene.calls(), scene.state()), (vec!["A005", "A016"], "DEFERRED_TO_PROVIDER"), "{status}");
        assert_eq!(scene.events().await, ["CommandInDoubt", "AppointmentDeferred"], "{status}");
    }
}
