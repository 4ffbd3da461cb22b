//! Worklists that are looked at by themselves, on a simulated clock.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::world::World;
use crate::command::CommandId;
use crate::config::Watch;
use crate::events::EventSchemas;
use crate::mapping::hex;
use crate::simulator::{Action, Availability, Fault};
use crate::store::{MessageFilter, NewDocument, SearchStore as _, StoredEvent};

/// A service for triage of the simulator's provider.
const TRIAGE: &str = "50001";
const HOUR: Duration = Duration::from_secs(3_600);
/// Of the published samples, sent for triage.
const SAMPLE: &str = "000000070000";
const BOOKED: &str = "000000070003";
const DEFERRED: &str = "000000070001";

/// A referral of each kind that a provider's lists have.
fn filled(world: &World) {
    assert!(world.simulator().send_for_triage(SAMPLE, TRIAGE));
    assert!(world.simulator().book(BOOKED, 70_009, "11008006"), "the slot is free");
    assert!(world.simulator().defer(DEFERRED, "11021"));
}

fn watch(settings: Value) -> Watch {
    let mut whole = json!({"name": "knee", "connection": "ers", "list": "REFERRALS_FOR_REVIEW"});
    whole.as_object_mut().expect("an object").extend(settings.as_object().expect("an object").clone());
    serde_json::from_value(whole).expect("a watch")
}

/// A world with this user's function at the provider, whose watch is looked at every ten minutes.
async fn watched(list: &str, settings: Value) -> World {
    let world = World::started_before_the_simulator("SERVICE_PROVIDER_CLINICIAN").await;
    filled(&world);
    world.watch("one", vec![watch(json!({"list": list, "every": "10m", "settings": settings}))]);
    world
}

fn told(events: &[StoredEvent], ubrn: &str) -> Vec<String> {
    let seen = events.iter().filter(|event| event.source == "knee" && event.data["ubrn"] == ubrn);
    seen.map(|event| event.name.clone()).collect()
}

/// As `rest`, in a few steps: what is due in each is done in its last minute.
async fn pass(world: &World, time: Duration) {
    const STEP: Duration = Duration::from_secs(1_800);
    const WORK: Duration = Duration::from_secs(60);
    let mut left = time;
    while !left.is_zero() {
        let step = left.min(STEP);
        tokio::time::advance(step.saturating_sub(WORK)).await;
        world.rest(step.min(WORK)).await;
        left -= step;
    }
}

/// Valid, all of them.
async fn events(world: &World) -> Vec<StoredEvent> {
    let events = world.events().await;
    let schemas = EventSchemas::built_in();
    for event in &events {
        assert_eq!(schemas.violations(&event.name, &event.data), [], "{} {}", event.name, event.data);
    }
    events
}

async fn commands(world: &World, name: &str) -> Vec<CommandId> {
    let filter = MessageFilter { max: 1_000, ..MessageFilter::default() };
    let mut found = Vec::new();
    for message in world.store.messages(filter).await.expect("readable") {
        let commands = world.store.commands_of(message.id).await.expect("readable");
        found.extend(commands.into_iter().filter(|command| command.name == name).map(|command| command.id));
    }
    found
}

#[tokio::test(start_paused = true)]
async fn everything_on_a_providers_list_is_told_with_what_ers_knows_of_it() {
    let world = watched("REFERRALS_FOR_REVIEW", json!({})).await;
    pass(&world, HOUR).await;
    let events = events(&world).await;
    let received: Vec<&StoredEvent> = events.iter().filter(|event| event.name == "ReferralReceived").collect();
    assert!(received.len() >= 2, "{events:#?}");
    for event in &received {
        for member in ["version", "state", "priority", "patient"] {
            assert!(event.data[member].is_string(), "{member}: {}", event.data);
        }
    }
    // A booking is told beside, and only once in an hour of looks.
    let booked = received.iter().find(|event| event.data["state"] == "BOOKED").expect("a booked one");
    let ubrn = booked.data["ubrn"].as_str().expect("a UBRN");
    assert_eq!(told(&events, ubrn), ["ReferralReceived", "AppointmentNoticed"]);
    let noticed = events.iter().find(|event| event.name == "AppointmentNoticed").expect("it was told");
    assert_eq!(noticed.data["change"], "booked");
    assert_eq!(noticed.data["appointment"]["status"], "booked");
    assert!(noticed.data["appointment"]["start"].is_string(), "{}", noticed.data);
}

#[tokio::test(start_paused = true)]
async fn a_slot_issue_is_read_again_at_each_look_and_told_when_something_changed() {
    let world = watched("APPOINTMENT_SLOT_ISSUES", json!({})).await;
    pass(&world, HOUR).await;
    assert_eq!(told(&events(&world).await, DEFERRED), ["SlotIssueRaised"]);
    assert!(world.simulator().calls().iter().filter(|call| **call == "A005").count() >= 2, "it is read again");
    assert!(world.simulator().touch(DEFERRED));
    pass(&world, HOUR).await;
    assert_eq!(told(&events(&world).await, DEFERRED), ["SlotIssueRaised", "ReferralUpdated"]);
}

#[tokio::test(start_paused = true)]
async fn a_referrers_lists_are_told_in_their_own_words() {
    for (list, name) in
        [("AWAITING_BOOKING", "ReferralAwaitsBooking"), ("LETTERS_OUTSTANDING", "ReferralLettersOutstanding")]
    {
        let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
        world.watch("one", vec![watch(json!({"list": list, "every": "10m"}))]);
        let body = json!({
            "patient": {"nhsNumber": "9994120034"}, "referrer": {"sdsUserId": "555012345678"}, "priority": "ROUTINE",
            "shortlist": [{"service": "20001"}], "letterIntention": "NEED_TO_ADD_LATER", "firstReminderDays": 1,
        });
        let made = world.admit_as("CreateReferral", "R-1", body, b"{}", Vec::new()).await;
        world.until(made, "completed").await;
        let ubrn = world.simulator().creations()[0].ubrn.to_string();
        pass(&world, HOUR).await;
        let names = told(&events(&world).await, &ubrn);
        assert!(names.contains(&name.to_owned()), "{list}: {names:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_for_advice_is_told_with_its_conversation() {
    let world = watched("ADVICE_AND_GUIDANCE_REQUESTS", json!({})).await;
    pass(&world, HOUR).await;
    let ubrn = world.simulator().advice_requests()[0].clone();
    let events = events(&world).await;
    assert_eq!(told(&events, &ubrn), ["AdviceRequested"]);
    let requested = &events[0].data;
    assert_eq!(requested["status"], "PROVIDER_RESPONSE_REQUIRED", "{requested}");
    assert!(requested["messages"][0]["text"].is_string(), "{requested}");
    // Answered, it is somebody else's turn.
    let body = json!({"ubrn": ubrn, "outcome": "RETURN_TO_REFERRER_WITH_ADVICE", "guidance": "Refer to physiotherapy",
        "recommendation": "ADVICE_ONLY_NO_REFERRAL_RECOMMENDED", "priority": "ROUTINE"});
    let answered = world.admit_as("SendAdviceResponse", "R-1", body, b"{}", Vec::new()).await;
    world.until(answered, "completed").await;
    pass(&world, HOUR).await;
    let names = told(&self::events(&world).await, &ubrn);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(matches!(names[1].as_str(), "AdviceUpdated" | "AdviceLeftList"), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_still_scanned_is_fetched_when_it_is_through() {
    for (finding, status, fetched_by, old) in [
        (Availability::Available, "AVAILABLE", Some("A042"), false),
        (Availability::Available, "AVAILABLE", Some("A006"), true),
        (Availability::ThreatsFound, "THREATS_FOUND", None, false),
        (Availability::ValidationFailed, "VALIDATION_FAILED", None, false),
    ] {
        let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
        world.simulator().scan_finds("letter.txt", finding);
        let sha256 = hex(&Sha256::digest(b"hello"));
        let file = json!({"fileName": "letter.txt", "contentType": "text/plain", "bytes": 5, "sha256": sha256,
            "content": {"in": "document", "number": 1}});
        let documents = vec![NewDocument { number: 1, content: "hello".into() }];
        let body = json!({"ubrn": SAMPLE, "letters": [file]});
        let attached = world.admit_as("AttachLetters", "R-1", body, b"{}", documents).await;
        world.until(attached, "completed").await;
        let world = world.with_function("SERVICE_PROVIDER_CLINICIAN").await;
        filled(&world);
        let settings = json!({"every": "10m", "settings": {"documents": true, "attachmentsStu3": old}});
        world.watch("one", vec![watch(settings)]);
        world.rest(Duration::from_secs(20)).await;
        pass(&world, HOUR).await;
        let events = events(&world).await;
        let new = told(&events, SAMPLE);
        assert_eq!(new.first().map(String::as_str), Some("ReferralReceived"), "{events:#?}");
        assert_eq!(new.last().map(String::as_str), Some("ReferralDocumentsCollected"), "{new:?}");
        let collected = &events.last().expect("an event").data;
        assert_eq!(collected["patient"], "9912003888", "a message to a hospital names it: {collected}");
        let collected = &collected["documents"][0];
        assert_eq!((&collected["fileName"], &collected["status"]), (&json!("letter.txt"), &json!(status)));
        assert_eq!(collected["sha256"].is_string(), fetched_by.is_some(), "{collected}");
        let fetches: Vec<_> =
            ["A006", "A042"].into_iter().filter(|call| world.simulator().calls().contains(call)).collect();
        assert!(fetches.iter().all(|call| Some(*call) == fetched_by), "{fetches:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_while_it_compares_tells_nothing_twice_and_forgets_nothing() {
    for after in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144] {
        let world = World::started_before_the_simulator("SERVICE_PROVIDER_CLINICIAN").await;
        filled(&world);
        let stage = world.watch("one", vec![watch(json!({"every": "10m"}))]);
        world.rest(Duration::from_millis(1_000 + after)).await;
        stage.shutdown().cancel();
        let world = world.killed_and_restarted().await;
        world.watch("two", vec![watch(json!({"every": "10m"}))]);
        pass(&world, HOUR).await;
        let events = events(&world).await;
        let mut received: BTreeMap<String, u32> = BTreeMap::new();
        for event in events.iter().filter(|event| event.name == "ReferralReceived") {
            *received.entry(event.data["ubrn"].to_string()).or_default() += 1;
        }
        assert!(received.len() >= 2 && received.values().all(|count| *count == 1), "{after} ms: {received:?}");
    }
}

/// Days of e-RS on which a call was made, with how often.
fn looks_a_day(world: &World) -> BTreeMap<String, usize> {
    let mut days = BTreeMap::new();
    for entry in world.simulator().ledger().iter().filter(|entry| entry.operation == "A008") {
        let at: Timestamp = entry.at;
        let day = at.to_zoned(TimeZone::get("Europe/London").expect("a zone")).date().to_string();
        *days.entry(day).or_default() += 1;
    }
    days
}

/// Two instances, restarts, e-RS failing now and then, and a person who asks as well.
#[tokio::test(start_paused = true)]
async fn a_week_without_a_user_never_asks_more_than_twice_a_day_and_tells_every_change_once() {
    let world = World::started_unattended(Vec::new()).await;
    let watches = || vec![watch(json!({"services": [TRIAGE], "at": ["07:00:00", "13:00:00"]}))];
    let both = || vec![world.watch("one", watches()), world.watch("two", watches())];
    let mut stages = both();
    filled(&world);
    let mut wanted = vec!["ReferralReceived".to_owned()];
    for day in 0..7_u32 {
        if day == 3 {
            // e-RS is down while a look is due.
            world.simulator().inject(Fault::on("A008", Action::answer(503)).times(1));
        }
        for half in 0..12 {
            pass(&world, HOUR * 2).await;
            if (day + half) % 5 == 0 {
                stages.drain(..).for_each(|stage| stage.shutdown().cancel());
                stages = both();
            }
        }
        if day < 6 {
            assert!(world.simulator().touch(SAMPLE));
            wanted.push("ReferralUpdated".to_owned());
        }
    }
    let looks = looks_a_day(&world);
    assert!(looks.len() >= 7 && looks.values().all(|looks| *looks <= 2), "{looks:?}");
    assert!(looks.values().filter(|looks| **looks == 2).count() >= 5, "{looks:?}");
    assert_eq!(told(&events(&world).await, SAMPLE), wanted);
    assert!(commands(&world, "WatchWorklist").await.len() <= 16, "one for each time");
}
