//! Everything that the specification allows in a request, as commands carried out against the simulator. What passes on
//! the way is checked against the specification (`World::until`).

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::world::World;
use crate::command::CommandId;
use crate::simulator::SimulatorConfig;
use crate::store::{CommandView, NewDocument};

const UBRN: &str = "000000070000";
const CLINICIAN: &str = "021600556514";
const REASONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ers/examples/a004-retrieve-reference-data");

/// Every criterion of `eRS-ServiceSearchCriteria-Parameters-1`.
fn every_criterion(provisioning: &str) -> Value {
    json!({
        "indicativeAppointmentWaitTimeLimit": 0, "postcode": "BR1 1AB", "distanceLimit": 2_147_483_647,
        "clinicalTerm": "386661006", "namedClinician": CLINICIAN, "organisation": "R69", "place": "St. Mary’s, Ynys Môn",
        "commissioningProvisioning": provisioning, "ageAndGenderAppropriate": false,
    })
}

const PROVISIONINGS: [&str; 4] =
    ["ALL_AVAILABLE_FOR_BOOKING", "ALL_SERVICES", "LOCALLY_COMMISSIONABLE", "NATIONALLY_AVAILABLE"];

/// Priority and criteria: one of each, and together with specialty and clinic type, which may be absent.
fn searches() -> Vec<Value> {
    let of = |priority: &str, more: Value| with(json!({"priority": priority}), more);
    let mut searches = vec![
        of("ROUTINE", json!({})),
        of("URGENT", json!({"specialty": "CARDIOLOGY"})),
        of("TWO_WEEK_WAIT", json!({"specialty": "ALLERGY", "clinicType": "ALLERGY_1"})),
        of("URGENT", json!({"clinicType": "HEART_FAILURE", "criteria": {}})),
    ];
    for provisioning in PROVISIONINGS {
        let more = json!({
            "specialty": "CARDIOLOGY", "clinicType": "HEART_FAILURE", "criteria": every_criterion(provisioning),
        });
        searches.push(of("ROUTINE", more));
    }
    for (name, value) in every_criterion("ALL_SERVICES").as_object().cloned().unwrap_or_default() {
        searches.push(of("ROUTINE", json!({"criteria": { name: value }})));
    }
    searches
}

fn with(mut body: Value, more: Value) -> Value {
    let members: Map<String, Value> = more.as_object().cloned().expect("an object");
    body.as_object_mut().expect("an object").extend(members);
    body
}

/// As long as it may be, in letters of more than one byte.
fn long(characters: usize) -> String {
    "é".repeat(characters)
}

/// A letter of each kind that A020 takes.
fn letters() -> (Value, Vec<NewDocument>) {
    let kinds = [
        ("txt", "text/plain"),
        ("pdf", "application/pdf"),
        ("xml", "text/xml"),
        ("rtf", "text/rtf"),
        ("rtx", "text/rtf"),
        ("au", "audio/basic"),
        ("mp3", "audio/mpeg"),
        ("png", "image/png"),
        ("gif", "image/gif"),
        ("jpg", "image/jpeg"),
        ("jpe", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("tif", "image/tiff"),
        ("tiff", "image/tiff"),
        ("mpg", "video/mpeg"),
        ("mpeg", "video/mpeg"),
        ("mpe", "video/mpeg"),
        ("doc", "application/msword"),
        ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("dcm", "application/dicom"),
    ];
    let (mut handles, mut documents) = (Vec::new(), Vec::new());
    for (number, (extension, content_type)) in (1..).zip(kinds) {
        let content = format!("letter {number}");
        let mut handle = json!({
            "fileName": format!("letter-{number}.{extension}"), "contentType": content_type, "bytes": content.len(),
            "sha256": format!("{:x}", Sha256::digest(&content)), "content": { "in": "document", "number": number },
        });
        if number % 2 == 0 {
            handle["description"] = long(1_000).into();
            handle["indexed"] = "2021-06-24T13:22:13.311000+00:00".into();
        }
        handles.push(handle);
        documents.push(NewDocument { number, content: content.into() });
    }
    (handles.into(), documents)
}

impl World {
    /// One after the other, each of a referral of its own; all are carried out.
    async fn carry_out_all(&self, name: &str, bodies: Vec<Value>) -> Vec<CommandView> {
        let mut done = Vec::new();
        for (number, body) in bodies.into_iter().enumerate() {
            let command = self.admit_as(name, &format!("{name} {number}"), body, b"{}", Vec::new()).await;
            done.push(self.until(command, "completed").await);
        }
        done
    }

    async fn one_call_for_triage(business_function: &str) -> Self {
        let world = Self::started_before_the_simulator(business_function).await;
        world.set_source(|source| {
            source.settings.insert("triageInOneCall".into(), true.into());
        });
        world
    }

    /// The command in either of its ends, with the code of a failure.
    async fn end_of(&self, command: CommandId) -> String {
        for _ in 0..200 {
            match self.command(command).await.state.name() {
                "completed" => return "completed".into(),
                "failed" => return self.failure(command).await.0,
                _ => self.rest(std::time::Duration::from_millis(500)).await,
            }
        }
        panic!("{command} does not end");
    }
}

#[tokio::test(start_paused = true)]
async fn services_are_searched_by_every_criterion() {
    let patient = json!({"patient": {"nhsNumber": "9912003888"}, "referrer": {"sdsUserId": CLINICIAN}});
    for function in ["REFERRING_CLINICIAN", "REFERRING_CLINICIAN_ADMIN"] {
        let world = World::started_before_the_simulator(function).await;
        let mut bodies = Vec::new();
        for search in searches() {
            let search = with(search, patient.clone());
            let appointment = json!({
                "requestType": "APPOINTMENT_REQUEST", "sortBy": "IWT", "commissioningRuleOrganisation": "R69",
            });
            bodies.push(with(search.clone(), appointment));
            let advice = json!({"requestType": "ADVICE_AND_GUIDANCE_REQUEST", "sortBy": "DISTANCE"});
            bodies.push(with(search, advice));
        }
        world.carry_out_all("SearchServices", bodies).await;
    }
}

#[tokio::test(start_paused = true)]
async fn referrals_are_made_with_every_criterion_and_up_to_twenty_services() {
    let services: Vec<Value> = (30_001..30_021).map(|id: u32| json!({"service": id.to_string()})).collect();
    for function in ["REFERRING_CLINICIAN", "REFERRING_CLINICIAN_ADMIN"] {
        let world = World::started_before_the_simulator(function).await;
        let mut bodies = Vec::new();
        for search in searches() {
            let more = json!({"referrer": {"sdsUserId": CLINICIAN}, "shortlist": [{"service": "20011"}]});
            bodies.push(with(search, more));
        }
        for (count, intention, days) in [
            (1, "NEED_TO_ADD_LATER", 0),
            (2, "NOT_INTENDING_TO_ADD", 1),
            (20, "NEED_TO_ADD_LATER", 365),
            (20, "NOT_INTENDING_TO_ADD", 2_147_483_647_u32),
        ] {
            bodies.push(json!({
                "referrer": {"sdsUserId": CLINICIAN}, "shortlist": services[..count], "letterIntention": intention,
                "firstReminderDays": days, "pathwayStart": "2025-03-17T00:00:00.000+01:00",
            }));
        }
        let (count, done) = (bodies.len(), world.carry_out_all("CreateReferral", bodies).await);
        assert_eq!((done.len(), world.simulator().created()), (count, count as u64));
        let ubrn = done.last().and_then(|last| last.plan["result"]["ubrn"].as_str()).expect("a UBRN");
        assert_eq!(world.simulator().referral(ubrn).expect("made").services.len(), 20);
    }
}

#[tokio::test(start_paused = true)]
async fn a_letter_of_every_kind_goes_with_a_referral_and_with_an_advice_request() {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let (letters, documents) = letters();
    let count = documents.len();
    let more = json!({"letters": letters, "letterIntention": "NEED_TO_ADD_LATER"});
    let create = world.admit_as("CreateReferral", "R1", more, b"{}", documents).await;
    let done = world.until(create, "completed").await;
    let ubrn = done.plan["result"]["ubrn"].as_str().expect("a UBRN");
    assert_eq!(world.simulator().referral(ubrn).expect("made").letters.len(), count);

    let (letters, documents) = self::letters();
    let attach = json!({"ubrn": UBRN, "letters": letters});
    let attach = world.admit_as("AttachLetters", "R2", attach, b"{}", documents).await;
    world.until(attach, "completed").await;
    assert_eq!(world.simulator().referral(UBRN).expect("seeded").letters.len(), count);

    let (letters, documents) = self::letters();
    let advice = with(advice(), json!({"letters": letters}));
    let advice = world.admit_as("CreateAdviceRequest", "R3", advice, b"{}", documents).await;
    world.until(advice, "completed").await;
    let talk = world.admit_as("RetrieveAdviceConversation", "R3", json!({}), b"{}", Vec::new()).await;
    let talk = world.until(talk, "completed").await;
    assert_eq!(talk.plan["result"]["files"].as_array().map(Vec::len), Some(count));
}

fn advice() -> Value {
    json!({
        "patient": {"nhsNumber": "9994120034"}, "referrer": {"sdsUserId": CLINICIAN}, "priority": "ROUTINE",
        "service": "20081", "conversion": "NOT_AUTHORISED_TO_CONVERT", "request": long(8_000),
    })
}

#[tokio::test(start_paused = true)]
async fn advice_is_asked_for_with_every_criterion() {
    for function in ["REFERRING_CLINICIAN", "REFERRING_CLINICIAN_ADMIN"] {
        let world = World::started_before_the_simulator(function).await;
        let mut bodies = vec![with(advice(), json!({"conversion": "AUTHORISED_TO_CONVERT", "request": "?"}))];
        bodies.extend(searches().into_iter().map(|search| with(advice(), search)));
        world.carry_out_all("CreateAdviceRequest", bodies).await;
    }
}

#[tokio::test(start_paused = true)]
async fn shortlists_are_changed_with_every_criterion_and_up_to_twenty_services() {
    let services: Vec<Value> = (30_001..30_021).map(|id: u32| json!({"service": id.to_string()})).collect();
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    let mut bodies = Vec::new();
    for (search, count) in searches().into_iter().zip([1, 2, 20].into_iter().cycle()) {
        let more = json!({
            "ubrn": UBRN, "shortlist": services[..count], "letterIntention": "NEED_TO_ADD_LATER",
            "firstReminderDays": 2_147_483_647,
        });
        bodies.push(with(search, more));
    }
    world.carry_out_all("ChangeShortlist", bodies).await;
}

#[tokio::test(start_paused = true)]
async fn one_call_for_triage_takes_every_criterion() {
    let triage = json!({
        "shortlist": [{"service": "20049"}], "letterIntention": "NEED_TO_ADD_LATER", "firstReminderDays": 0,
        "then": "triage", "referrer": {"sdsUserId": CLINICIAN},
    });
    for function in ["REFERRING_CLINICIAN", "REFERRING_CLINICIAN_ADMIN"] {
        let world = World::one_call_for_triage(function).await;
        for (number, search) in searches().into_iter().enumerate() {
            let (letters, documents) = letters();
            let body = with(with(search.clone(), triage.clone()), json!({"letters": letters}));
            let create = world.admit_as("CreateReferral", &format!("R{number}"), body, b"{}", documents).await;
            world.until(create, "completed").await;

            let made = world
                .admit_as(
                    "CreateReferral",
                    &format!("S{number}"),
                    json!({"referrer": {"sdsUserId": CLINICIAN}}),
                    b"{}",
                    Vec::new(),
                )
                .await;
            world.until(made, "completed").await;
            let mut change = with(search, triage.clone());
            change.as_object_mut().expect("an object").shift_remove("referrer");
            change["letterIntention"] = ["NEED_TO_ADD_LATER", "NOT_INTENDING_TO_ADD"][number % 2].into();
            let change = world.admit_as("ChangeShortlist", &format!("S{number}"), change, b"{}", Vec::new()).await;
            world.until(change, "completed").await;
        }
        let calls = world.simulator().calls();
        let made = |call: &str| calls.iter().filter(|one| **one == call).count();
        assert_eq!((made("A021"), made("A032"), made("A016")), (searches().len(), searches().len(), 0));
    }
}

#[tokio::test(start_paused = true)]
async fn appointments_are_booked_deferred_and_sent_for_triage_with_clinicians_and_comments() {
    let (world, simulator) = World::with_simulator(SimulatorConfig::default()).await;
    let clinician = "555012340001";
    let book = json!({
        "ubrn": "000000070001", "service": "20013", "slot": "20013003", "start": "2040-05-02T10:00:00+01:00",
        "end": "2040-05-02T09:30:00.000Z", "clinician": clinician, "comment": long(1_000),
    });
    world.carry_out_all("BookAppointment", vec![book]).await;
    assert_eq!(simulator.referral("000000070001").expect("seeded").state, "BOOKED");
    for (reason, slot, named) in [
        ("NO_SLOTS_AT_SERVICE", None, None),
        ("BOOKING_ATTEMPT_PROBLEM", None, None),
        ("BOOKING_ATTEMPT_PROBLEM", Some("11000021"), Some(clinician)),
        ("SLOT_NOT_AVAILABLE", Some("11000021"), None),
        ("SLOT_NOT_AVAILABLE", Some("11000021"), Some(clinician)),
    ] {
        for comment in [None, Some(long(1_000))] {
            let (world, simulator) = World::with_simulator(SimulatorConfig::default()).await;
            let mut body = json!({"ubrn": UBRN, "service": "11000", "reason": reason});
            for (name, value) in [("slot", slot), ("clinician", named), ("comment", comment.as_deref())] {
                if let Some(value) = value {
                    body[name] = value.into();
                }
            }
            world.carry_out_all("DeferAppointment", vec![body]).await;
            assert_eq!(simulator.referral(UBRN).expect("seeded").state, "DEFERRED_TO_PROVIDER", "{reason}");
        }
    }
    for more in [json!({}), json!({"comment": long(1_000), "clinician": clinician})] {
        let (world, simulator) = World::with_simulator(SimulatorConfig::default()).await;
        let body = with(json!({"ubrn": UBRN, "service": "50001"}), more);
        world.carry_out_all("SendForTriage", vec![body]).await;
        assert_eq!(simulator.referral(UBRN).expect("seeded").state, "AWAITING_TRIAGE");
    }
}

#[tokio::test(start_paused = true)]
async fn slots_are_searched_for_every_priority_and_of_a_clinician() {
    let (world, _) = World::with_simulator(SimulatorConfig::default()).await;
    let mut bodies = Vec::new();
    for priority in ["ROUTINE", "URGENT", "TWO_WEEK_WAIT"] {
        for more in [json!({}), json!({"clinician": "555012340001"}), json!({"commissioningRuleOrganisation": "RXX00"})]
        {
            bodies.push(with(json!({"ubrn": "000000070001", "service": "20013", "priority": priority}), more));
        }
    }
    let found: Vec<Option<usize>> = world
        .carry_out_all("SearchSlots", bodies)
        .await
        .iter()
        .map(|done| done.plan["result"]["slots"].as_array().map(Vec::len))
        .collect();
    assert_eq!(found, [Some(3), Some(1), Some(3)].repeat(3));
}

/// The codes of a published list, each with whether it wants a comment.
fn reasons(list: &str, fits: impl Fn(&[Value]) -> bool) -> Vec<(String, bool)> {
    let text = std::fs::read_to_string(format!("{REASONS}/response-{list}-code-system.json")).expect("the sample");
    let list: Value = serde_json::from_str(&text).expect("the sample is JSON");
    let concepts = list["concept"].as_array().expect("concepts").iter();
    concepts
        .filter_map(|concept| {
            let properties = concept["property"].as_array().expect("properties");
            let wants = properties.iter().any(|one| one["code"] == "commentIsMandatory" && one["valueBoolean"] == true);
            fits(properties).then(|| (concept["code"].as_str().expect("a code").to_owned(), wants))
        })
        .collect()
}

fn has(properties: &[Value], name: &str, code: &str) -> bool {
    properties.iter().any(|one| one["code"] == name && one["valueCoding"]["code"] == code)
}

fn in_force(properties: &[Value]) -> bool {
    let end = properties.iter().find(|one| one["code"] == "effectiveTo");
    end.and_then(|end| end["valueDateTime"].as_str()).is_none_or(|end| end > "2026-03-16T09:30:00Z")
}

#[tokio::test(start_paused = true)]
async fn an_appointment_is_cancelled_for_every_reason_with_a_comment_and_without() {
    let reasons = reasons("appointment-cancellation-reason", |properties| {
        has(properties, "usage", "CANCEL")
            && has(properties, "businessFunction", "REFERRING_CLINICIAN")
            && in_force(properties)
    });
    assert!(reasons.len() > 3, "{reasons:?}");
    for (reason, wants_comment) in reasons {
        for comment in [None, Some(long(1_000))] {
            let (world, simulator) = World::with_simulator(SimulatorConfig::default()).await;
            let ubrn = "000000070001";
            let book = json!({
                "ubrn": ubrn, "service": "20013", "slot": "20013003", "start": "2040-05-02T09:00:00Z",
                "end": "2040-05-02T09:30:00Z", "clinician": "555012340001",
            });
            world.carry_out_all("BookAppointment", vec![book]).await;
            let mut body = json!({"reason": reason});
            if let Some(comment) = &comment {
                body["comment"] = comment.as_str().into();
            }
            let command = world.about(ubrn, "CancelAppointment", body).await;
            let refused = wants_comment && comment.is_none();
            let expected =
                if refused { ("MISSING_VALUE", "BOOKED") } else { ("completed", "APPT_CANCELLED_BY_PATIENT") };
            let end = world.end_of(command).await;
            assert_eq!((end.as_str(), simulator.referral(ubrn).expect("seeded").state), expected, "{reason}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_referral_is_cancelled_for_every_reason_with_a_comment_and_without() {
    let kind = "appointmentRequestCancellationReasonType";
    for (function, triaged, at_least) in [
        ("REFERRING_CLINICIAN", false, 5),
        ("REFERRING_CLINICIAN_ADMIN", false, 5),
        ("SERVICE_PROVIDER_CLINICIAN", false, 4),
        ("SERVICE_PROVIDER_CLINICIAN", true, 8),
    ] {
        let refers = function.starts_with("REFERRING");
        let reasons = reasons("referral-cancellation-reason", |properties| {
            has(properties, "referrerUsage", "CANCEL_REFERRAL")
                && has(properties, "businessFunction", function)
                && in_force(properties)
                && (refers || has(properties, kind, "PROVIDER_TRIAGE") == triaged)
        });
        assert!(reasons.len() > at_least, "{function}: {reasons:?}");
        for (reason, wants_comment) in reasons {
            for comment in [None, Some(long(2_000))] {
                let world = World::started_before_the_simulator(function).await;
                if !refers {
                    assert!(world.simulator().send_for_triage(UBRN, "50001"));
                    assert!(!triaged || world.simulator().accept_to_book_later(UBRN));
                }
                let mut body = json!({"reason": reason});
                if let Some(comment) = &comment {
                    body["comment"] = comment.as_str().into();
                }
                let command = world.about(UBRN, "CancelReferral", body).await;
                let refused = wants_comment && comment.is_none();
                let expected = if refused { "COMMENT_REQUIRED" } else { "completed" };
                assert_eq!(world.end_of(command).await, expected, "{function}: {reason}");
                let state = world.simulator().referral(UBRN).expect("seeded").state;
                assert_eq!(state == "CANCELLED_REFERRAL", !refused, "{reason}: {state}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn worklists_of_a_provider_are_narrowed_down_by_everything() {
    let world = World::started_before_the_simulator("SERVICE_PROVIDER_CLINICIAN").await;
    assert!(world.simulator().send_for_triage(UBRN, "50001"));
    let mut bodies = Vec::new();
    for list in ["REFERRALS_FOR_REVIEW", "APPOINTMENT_SLOT_ISSUES"] {
        for more in [
            json!({}),
            json!({"service": "50001", "location": "R69"}),
            json!({"specialtyAssigned": "ASSIGNED", "specialty": "CARDIOLOGY", "clinicianAssigned": "NOT_ASSIGNED"}),
            json!({"specialtyAssigned": "NOT_ASSIGNED", "clinicianAssigned": "ASSIGNED", "clinician": CLINICIAN}),
        ] {
            bodies.push(with(json!({"list": list}), more));
        }
    }
    let done = world.carry_out_all("RetrieveWorklist", bodies).await;
    let shown = |view: &CommandView| view.plan["result"]["worklist"].to_string().contains(UBRN);
    let found: Vec<bool> = done.iter().map(shown).collect();
    assert_eq!(found, [true, true, true, false, false, false, false, false]);
}
