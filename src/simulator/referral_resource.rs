//! A referral as a `ReferralRequest` (`eRS-ReferralRequest-1`), key by key as the published samples have it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::decisions::ReviewOutcome;
use super::exchange::Answer;
use super::referral::{Appointment, Cancellation, Letter, Referral};
use super::world::{NHS_NUMBER, World};

/// Commissioning rule organisation of referrals: that of the published samples.
const COMMISSIONING_RULE_ORGANISATION: &str = "R69";

pub fn answer(status: u16, referral: &Referral, world: &World, now: Timestamp) -> Answer {
    Answer::fhir(status, &resource(referral, world, now))
        .with("ETag", format!("W/\"{}\"", referral.version))
        .about(referral.ubrn)
}

pub fn resource(referral: &Referral, world: &World, now: Timestamp) -> Value {
    let mut contained = vec![criteria(referral), shortlist(referral, world)];
    if let Some(appointment) = &referral.appointment {
        let mut inner = appointment_resource(appointment, referral, world);
        inner["id"] = "appointment".into();
        contained.push(inner);
    }
    let documents = referral.letters.iter().map(|letter| (letter, ("REFERRER", "Referrer")));
    let of_provider = referral.provider_files.iter().map(|file| (file, ("PROVIDER", "Provider")));
    let mut supporting: Vec<Value> = Vec::new();
    for (letter, kind) in documents.chain(of_provider) {
        let id = format!("DocumentReference-{}", letter.number);
        contained.push(document_reference(letter, &id, kind, world, now));
        supporting.push(json!({"reference": format!("#{id}")}));
    }
    if referral.was_advice {
        supporting.push(json!({"reference": format!("CommunicationRequest/{}", referral.ubrn)}));
    }
    let mut resource = json!({
        "id": referral.ubrn.to_string(),
        "meta": {"versionId": referral.version.to_string(), "profile": [profile("eRS-ReferralRequest-1")]},
        "resourceType": "ReferralRequest",
        "extension": extensions(referral, world),
        "contained": contained,
        "status": if referral.state == super::referral::State::CancelledReferral { "cancelled" } else { "active" },
        "subject": {"identifier": {"system": NHS_NUMBER, "value": referral.patient}},
        "supportingInfo": supporting,
        "intent": "plan",
        "identifier": [{"system": "https://fhir.nhs.uk/Id/ers-request-id", "value": format!("r.{}", referral.request_id)}],
    });
    if let Some(specialty) = booked_specialty(referral, world) {
        let system = format!("{}/STU3/CodeSystem/SPECIALTY", world.addresses.base_url);
        resource["specialty"] = json!({"coding": [{"system": system, "code": specialty}]});
    }
    resource
}

/// Shown once a service has been chosen.
fn booked_specialty(referral: &Referral, world: &World) -> Option<String> {
    let service = &referral.appointment.as_ref()?.service;
    world.services.find(service)?.specialty.clone()
}

pub fn profile(name: &str) -> String {
    format!("https://fhir.nhs.uk/STU3/StructureDefinition/{name}")
}

pub fn extension(name: &str, value_name: &str, value: Value) -> Value {
    json!({"url": profile(&format!("Extension-eRS-{name}-1")), value_name: value})
}

fn extensions(referral: &Referral, world: &World) -> Vec<Value> {
    let mut all = Vec::with_capacity(9);
    if let Some(appointment) = &referral.appointment {
        all.push(extension("Appointment", "valueReference", json!({"reference": "#appointment"})));
        let reference = format!("Appointment/{}", appointment.id);
        all.push(extension("Appointment-Reference", "valueReference", json!({"reference": reference})));
    }
    if let Some(first) = referral.clinical_information_first {
        all.push(extension("ClinicalInfoFirstSubmitted", "valueDateTime", instant(first).into()));
    }
    if let Some(last) = referral.clinical_information_last {
        all.push(extension("ClinicalInfoLastUpdated", "valueDateTime", instant(last).into()));
    }
    if let Some(start) = &referral.pathway_start {
        all.push(extension("eReferralPathwayStart", "valueInstant", start.as_str().into()));
    }
    let coding = json!({
        "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-Priority-1",
        "code": referral.priority,
        "display": priority_display(referral.priority),
    });
    all.push(extension("ReferralPriority", "valueCodeableConcept", json!({"coding": [coding]})));
    all.push(extension("ReferralShortlist", "valueReference", json!({"reference": "#shortlist"})));
    let rule =
        json!({"system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": COMMISSIONING_RULE_ORGANISATION});
    all.push(extension("Commissioning-Rule-Org", "valueIdentifier", rule));
    all.push(json!({"url": profile("Extension-eRS-ReferralState-1"), "extension": state(referral, world)}));
    all.extend(referral.additional_requirements.iter().map(|requirement| {
        let coding = json!({
            "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-AdditionalRequirementType-1",
            "code": requirement.code(),
            "display": requirement.display(),
        });
        extension("PatientAdditionalRequirement", "valueCoding", coding)
    }));
    all
}

pub fn priority_display(code: &str) -> &'static str {
    match code {
        "ROUTINE" => "Routine",
        "URGENT" => "Urgent",
        _ => "Two Week Wait",
    }
}

fn state(referral: &Referral, world: &World) -> Vec<Value> {
    let coding = json!({
        "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-ReferralState-1",
        "code": referral.state.code(),
        "display": referral.state.display(),
    });
    let mut parts = vec![json!({"url": "state", "valueCoding": coding})];
    if let Some((reason, comments)) = state_reason(referral, world) {
        parts.push(json!({"url": "reason", "valueCoding": reason}));
        parts.extend(comments.map(|comments| json!({"url": "comments", "valueString": comments})));
    }
    parts
}

/// Why the referral is in its state, as a Coding, and what was said about it.
pub fn state_reason<'r>(referral: &'r Referral, world: &World) -> Option<(Value, Option<&'r str>)> {
    let listed = |key: &str, code: &str| {
        let system = format!("{}/STU3/CodeSystem/{key}", world.addresses.base_url);
        json!({"system": system, "code": code, "display": world.reference_data.display(key, code).unwrap_or(code)})
    };
    if let Some(Cancellation { reason, comments }) = &referral.cancellation {
        return Some((listed("REFERRAL-CANCELLATION-REASON", reason), comments.as_deref()));
    }
    let appointment = referral.appointment.as_ref()?;
    match &appointment.cancellation {
        Some(code) => Some((listed("APPOINTMENT-CANCELLATION-REASON", code), appointment.comment.as_deref())),
        None => appointment.reason.map(|code| {
            let comments = ReviewOutcome::parse(code).and(appointment.comment.as_deref());
            (review_reason(code), comments)
        }),
    }
}

/// In the list of outcomes, or in that of the reasons to be reviewed at all.
fn review_reason(code: &str) -> Value {
    match ReviewOutcome::parse(code) {
        Some(outcome) => json!({
            "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-ReviewOutcome-1",
            "code": code,
            "display": outcome.display(),
        }),
        None => json!({"system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-ReviewReason-1", "code": code}),
    }
}

fn criteria(referral: &Referral) -> Value {
    criteria_resource(&referral.criteria)
}

/// From the `parameter` array of the criteria as JSON text.
pub fn criteria_resource(parameters: &str) -> Value {
    let parameters: Value =
        serde_json::from_str(parameters).expect("the criteria were written by the simulator as JSON");
    json!({
        "id": "serviceSearchCriteria",
        "meta": {"profile": [profile("eRS-ServiceSearchCriteria-Parameters-1")]},
        "resourceType": "Parameters",
        "parameter": parameters,
    })
}

fn shortlist(referral: &Referral, world: &World) -> Value {
    shortlist_resource(&referral.shortlist, world)
}

pub fn shortlist_resource(services: &[String], world: &World) -> Value {
    let entry = |id: &String| {
        let name = world.services.find(id).map(|service| service.name.clone()).unwrap_or_default();
        let identifier = json!({"system": "http://fhir.nhs.net/Id/ers-service", "value": id});
        json!({"item": {"identifier": identifier, "display": name}})
    };
    let entries: Vec<Value> = services.iter().map(entry).collect();
    json!({
        "id": "shortlist",
        "meta": {"profile": [profile("eRS-Shortlist-List-1")]},
        "resourceType": "List",
        "extension": [extension("Shortlist-SearchCriteria", "valueReference", json!({"reference": "#serviceSearchCriteria"}))],
        "status": "current",
        "mode": "snapshot",
        "entry": entries,
    })
}

/// `kind` is a code of `eRS-AttachmentType-1` and its display.
pub fn document_reference(letter: &Letter, id: &str, kind: (&str, &str), world: &World, now: Timestamp) -> Value {
    // A file that has been forgotten for lack of room had been scanned long before.
    let status = world.files.get(letter.file).map_or("AVAILABLE", |file| file.availability(now).code());
    let user = |id: &str| json!({"identifier": {"system": "http://fhir.nhs.net/Id/sds-user-id", "value": id}});
    let organisation =
        json!({"identifier": {"system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": letter.organisation}});
    let availability =
        json!({"system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-AvailabilityStatus-1", "code": status});
    let mut resource = json!({
        "id": id,
        "meta": {"profile": [profile("eRS-DocumentReference-1")]},
        "resourceType": "DocumentReference",
        "type": {"coding": [{
            "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-AttachmentType-1",
            "code": kind.0,
            "display": kind.1,
        }]},
        "status": "current",
        "indexed": instant(letter.indexed),
        "content": [{"attachment": {
            "id": letter.number.to_string(),
            "extension": [
                extension("AttachedBy", "valueReference", user(&letter.attached_by)),
                extension("AvailabilityStatus", "valueCoding", availability),
                extension("AttachedByOrganisation", "valueReference", organisation),
            ],
            "contentType": letter.content_type,
            "url": format!("Binary/{}", letter.file),
            "size": letter.size,
            "title": letter.name,
            "creation": letter.indexed.strftime("%Y-%m-%d").to_string(),
        }}],
    });
    if let Some(description) = &letter.description {
        resource["description"] = description.as_str().into();
    }
    resource
}

/// With the version in its ETag.
pub fn appointment_answer(status: u16, appointment: &Appointment, referral: &Referral, world: &World) -> Answer {
    Answer::fhir(status, &appointment_resource(appointment, referral, world))
        .with("ETag", format!("W/\"{}\"", appointment.version))
        .about(referral.ubrn)
}

/// `eRS-Appointment-1`, as A016, A034 and A038 answer it.
pub fn appointment_resource(appointment: &Appointment, referral: &Referral, world: &World) -> Value {
    let name = world.services.find(&appointment.service).map(|service| service.name.clone()).unwrap_or_default();
    let service = json!({"system": "http://fhir.nhs.net/Id/ers-service", "value": appointment.service});
    let mut participants = vec![
        json!({"actor": {"identifier": service, "display": name}, "status": "accepted"}),
        json!({"actor": {"identifier": {"system": NHS_NUMBER, "value": referral.patient}}, "status": "accepted"}),
    ];
    if let Some(clinician) = &appointment.clinician {
        let kind =
            json!({"coding": [{"system": "http://hl7.org/fhir/ValueSet/encounter-participant-type", "code": "CON"}]});
        let actor = json!({"identifier": {"system": "http://fhir.nhs.net/Id/sds-user-id", "value": clinician}});
        participants.push(json!({"type": kind, "actor": actor, "status": "accepted"}));
    }
    let mut resource = json!({
        "id": appointment.id.to_string(),
        "meta": {
            "versionId": appointment.version.to_string(),
            "profile": [
                profile("eRS-Appointment-1"),
                "https://fhir.hl7.org.uk/STU3/StructureDefinition/CareConnect-Appointment-1",
            ],
        },
        "language": "en",
        "resourceType": "Appointment",
        "status": appointment.status,
    });
    if let Some(reason) = appointment.reason {
        resource["reason"] = json!([{"coding": [review_reason(reason)]}]);
    }
    if let Some(code) = &appointment.cancellation {
        let system = format!("{}/STU3/CodeSystem/APPOINTMENT-CANCELLATION-REASON", world.addresses.base_url);
        resource["reason"] = json!([{"coding": [{"system": system, "code": code}]}]);
    }
    resource["description"] = "e-Referral Appointment".into();
    for (name, value) in [("start", &appointment.start), ("end", &appointment.end)] {
        if let Some(value) = value {
            resource[name] = value.as_str().into();
        }
    }
    if let Some(slot) = &appointment.slot {
        resource["slot"] = json!([{"reference": format!("Slot/{slot}")}]);
    }
    resource["created"] = instant(appointment.created).into();
    if let Some(comment) = &appointment.comment {
        resource["comment"] = comment.as_str().into();
    }
    resource["incomingReferral"] = json!([{"reference": referral.current_reference()}]);
    resource["participant"] = participants.into();
    resource
}

/// Milliseconds and `Z`, as e-RS writes instants.
pub fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
