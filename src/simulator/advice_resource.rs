//! An advice request as a `CommunicationRequest` (`eRS-CommunicationRequest-1`) and its messages as
//! `Communication`s (`eRS-Communication-1`), key by key as the published samples have them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::advice::{AdviceRequest, Message, Role};
use super::referral::Letter;
use super::referral_resource::{
    criteria_resource, document_reference, extension, instant, priority_display, profile, shortlist_resource,
};
use super::world::{NHS_NUMBER, World};

const SENDER: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/Extension-PractitionerRole-Reference-1";
const SERVICE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/Extension-HealthcareService-Reference-1";
const REQUESTER: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/Extension-Communication-Requester-1";

/// What a search asks for besides the messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Included {
    pub requesters: bool,
    pub senders: bool,
    pub files: bool,
}

pub fn request(advice: &AdviceRequest, world: &World, now: Timestamp) -> Value {
    let role = contained_id(&advice.requester);
    let mut contained = vec![
        criteria_resource(&advice.criteria),
        shortlist_resource(&advice.services, world),
        practitioner_role(&advice.requester, &role),
    ];
    let files: Vec<_> =
        advice.messages.iter().flat_map(|message| message.files.iter().map(move |f| (message, f))).collect();
    for (message, file) in &files {
        let id = format!("DocumentReference-{}", file.number);
        contained.push(attachment(file, message, &id, world, now));
    }
    let reference = json!({"url": SENDER, "valueReference": {"reference": format!("#{role}")}});
    let mut resource = json!({
        "id": advice.ubrn.to_string(),
        "meta": {"versionId": advice.version.to_string(), "profile": [profile("eRS-CommunicationRequest-1")]},
        "resourceType": "CommunicationRequest",
        "extension": extensions(advice, world),
        "contained": contained,
        "status": "active",
        "category": [{"coding": [{
            "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-AdviceAndGuidanceStatus-1",
            "code": advice.status,
        }]}],
        "subject": {"identifier": {"system": NHS_NUMBER, "value": advice.patient}},
        "recipient": recipient(advice),
        "sender": {"extension": [reference]},
        "requester": {"agent": {"extension": [reference]}},
        "identifier": [{
            "system": "https://fhir.nhs.uk/Id/ers-request-id",
            "value": format!("a.{}", advice.request_id),
        }],
    });
    if !files.is_empty() {
        let payload = files.iter().map(|(_, file)| content(&format!("#DocumentReference-{}", file.number)));
        resource["payload"] = payload.collect();
    }
    resource
}

fn extensions(advice: &AdviceRequest, world: &World) -> Vec<Value> {
    let priority = json!({
        "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-Priority-1",
        "code": advice.priority,
        "display": priority_display(advice.priority),
    });
    let allowed = if advice.conversion == "AUTHORISED_TO_CONVERT" { "has allowed" } else { "has not allowed" };
    let conversion = json!({
        "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-ProviderConversionAuthorisation-1",
        "code": advice.conversion,
        "display": format!("Referrer {allowed} the Service Provider to convert the Advice and Guidance to a Referral"),
    });
    let mut all = vec![
        extension("ReferralPriority", "valueCodeableConcept", json!({"coding": [priority]})),
        extension("ProviderConversionAuthorisation", "valueCoding", conversion),
        extension("ReferralShortlist", "valueReference", json!({"reference": "#shortlist"})),
    ];
    if let Some(code) = &advice.specialty {
        let system = format!("{}/STU3/CodeSystem/SPECIALTY", world.addresses.base_url);
        let display = world.reference_data.display("SPECIALTY", code).unwrap_or(code);
        all.push(extension("Specialty", "valueCoding", json!({"system": system, "code": code, "display": display})));
    }
    all
}

/// The first message with everything it names inside it, as A044 answers it.
pub fn opening_message(advice: &AdviceRequest, world: &World, now: Timestamp) -> Value {
    advice.messages.first().map_or(Value::Null, |message| whole_message(advice, message, world, now))
}

/// The last one in the same way, as A026 answers it.
pub fn latest_message(advice: &AdviceRequest, world: &World, now: Timestamp) -> Value {
    advice.messages.last().map_or(Value::Null, |message| whole_message(advice, message, world, now))
}

fn whole_message(advice: &AdviceRequest, message: &Message, world: &World, now: Timestamp) -> Value {
    let mut contained: Vec<Value> = Vec::new();
    for file in &message.files {
        let id = format!("DocumentReference-{}", file.number);
        contained.push(attachment(file, message, &id, world, now));
    }
    for role in roles(message, Included { requesters: true, senders: true, files: false }) {
        contained.push(practitioner_role(role, &contained_id(role)));
    }
    let reference = |kind: &str, id: &str| format!("#{kind}{}{id}", if kind == "PractitionerRole" { "." } else { "-" });
    let mut resource = communication(advice, message, &reference);
    resource["contained"] = contained.into();
    resource
}

/// The messages as entries of a Bundle, and what they refer to.
pub fn conversation(advice: &AdviceRequest, included: Included, world: &World, now: Timestamp) -> Vec<Value> {
    let base = &world.addresses.base_url;
    let entry = |kind: &str, resource: Value, mode: &str| {
        let url = format!("{base}/STU3/{kind}/{}", resource["id"].as_str().unwrap_or_default());
        json!({"fullUrl": url, "resource": resource, "search": {"mode": mode}})
    };
    let reference = |kind: &str, id: &str| format!("{kind}/{id}");
    let messages = advice.messages.iter();
    let mut entries: Vec<Value> =
        messages.map(|message| entry("Communication", communication(advice, message, &reference), "match")).collect();
    let mut known: Vec<&Role> = Vec::new();
    for role in advice.messages.iter().flat_map(|message| roles(message, included)) {
        if !known.contains(&role) {
            known.push(role);
            entries.push(entry("PractitionerRole", practitioner_role(role, &role.id()), "include"));
        }
    }
    for message in advice.messages.iter().filter(|_| included.files) {
        for file in &message.files {
            let id = file.number.to_string();
            entries.push(entry("DocumentReference", attachment(file, message, &id, world, now), "include"));
        }
    }
    entries
}

/// The author and whom they act for, each once.
fn roles(message: &Message, included: Included) -> Vec<&Role> {
    let mut roles = Vec::new();
    if included.senders {
        roles.push(&message.author);
    }
    if included.requesters && !roles.contains(&&message.requester) {
        roles.push(&message.requester);
    }
    roles
}

fn communication(advice: &AdviceRequest, message: &Message, reference: &dyn Fn(&str, &str) -> String) -> Value {
    let role = |role: &Role| json!({"reference": reference("PractitionerRole", &role.id())});
    let based_on = format!("CommunicationRequest/{}/_history/{}", advice.ubrn, advice.version);
    let mut resource = json!({
        "id": message.number.to_string(),
        "meta": {"versionId": "0", "profile": [profile("eRS-Communication-1")]},
        "resourceType": "Communication",
        "extension": [{"url": REQUESTER, "valueReference": role(&message.requester)}],
        "basedOn": [{"reference": based_on}],
        "status": "completed",
        "category": [{"coding": [{
            "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-CommunicationSentBy-1",
            "code": if message.of_provider { "RESPONDER" } else { "REQUESTER" },
        }]}],
        "recipient": if message.of_provider { referrer(advice) } else { recipient(advice) },
        "sent": instant(message.sent),
        "sender": {"extension": [{"url": SENDER, "valueReference": role(&message.author)}]},
        "note": [{"text": message.text}],
    });
    if !message.files.is_empty() {
        let payload = message.files.iter();
        let payload = payload.map(|file| content(&reference("DocumentReference", &file.number.to_string())));
        resource["payload"] = payload.collect();
    }
    resource
}

fn attachment(file: &Letter, message: &Message, id: &str, world: &World, now: Timestamp) -> Value {
    let kind = if message.of_provider {
        ("GUIDANCE_RESPONSE", "Guidance Response")
    } else {
        ("ADVICE_REQUEST", "Advice Request")
    };
    let mut document = document_reference(file, id, kind, world, now);
    let user = json!({"system": "http://fhir.nhs.net/Id/sds-user-id", "value": message.requester.user});
    if let Some(extensions) = document["content"][0]["attachment"]["extension"].as_array_mut() {
        extensions.push(extension("AttachedOnBehalfOf", "valueReference", json!({"identifier": user})));
    }
    document
}

fn content(reference: &str) -> Value {
    json!({"contentReference": {"reference": reference}})
}

fn recipient(advice: &AdviceRequest) -> Vec<Value> {
    let service = |id: &String| {
        let identifier = json!({"system": "http://fhir.nhs.net/Id/ers-service", "value": id});
        json!({"extension": [{"url": SERVICE, "valueReference": {"identifier": identifier}}]})
    };
    advice.services.iter().map(service).collect()
}

fn referrer(advice: &AdviceRequest) -> Vec<Value> {
    let system = "https://fhir.nhs.uk/Id/ods-organization-code";
    vec![json!({"identifier": {"system": system, "value": advice.requester.organisation}})]
}

fn contained_id(role: &Role) -> String {
    format!("PractitionerRole.{}", role.id())
}

fn practitioner_role(role: &Role, id: &str) -> Value {
    let organisation = json!({"system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": role.organisation});
    json!({
        "id": id,
        "meta": {"profile": ["https://fhir.hl7.org.uk/STU3/StructureDefinition/CareConnect-PractitionerRole-1"]},
        "resourceType": "PractitionerRole",
        "practitioner": {"identifier": {"system": "http://fhir.nhs.net/Id/sds-user-id", "value": role.user}},
        "organization": {"identifier": organisation},
        "code": [{"coding": [{
            "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-BusinessFunction-1",
            "code": role.function,
        }]}],
    })
}
