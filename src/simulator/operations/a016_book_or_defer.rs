//! A016 Book or defer appointment: a slot taken, the referral handed to the provider, or sent for triage.

use super::Act;
use super::subject::{check_patient, check_relationship, check_writable, reference_parts};
use crate::simulator::exchange::Answer;
use crate::simulator::people::is_sds_user_id;
use crate::simulator::referral::{Appointment, BookingFailure, Referral, Review, State, Ubrn};
use crate::simulator::referral_resource::appointment_answer;
use crate::simulator::refusal::Refusal;
use crate::simulator::services::{Flow, Service, Slot};
use crate::simulator::validation::element::Element;
use crate::simulator::validation::{Issues, instant};
use crate::simulator::world::NHS_NUMBER;

pub const PROFILES: [&str; 2] = [
    "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-Appointment-1",
    "https://fhir.hl7.org.uk/STU3/StructureDefinition/CareConnect-Appointment-1",
];
const REASON_SYSTEM: &str = "https://fhir.nhs.uk/STU3/CodeSystem/eRS-ReviewReason-1";
const REASONS: [&str; 4] = ["NO_SLOTS_AT_SERVICE", "SLOT_NOT_AVAILABLE", "BOOKING_ATTEMPT_PROBLEM", "TRIAGE"];
const COMMENT_CHARACTERS_MAX: usize = 1000;

const DOCUMENTED: [&str; 15] = [
    "INVALID_VALUE",
    "INVALID_CODE",
    "REFERENCE_NOT_FOUND",
    "NO_RELATIONSHIP",
    "INAPPROPRIATE_VALUE",
    "SERVICE_UNAVAILABLE",
    "INVALID_REQUEST_STATE",
    "MISSING_VALUE",
    "PATIENT_ERROR",
    "INVALID_STATE",
    "INAPPROPRIATE_SLOT",
    "SLOT_NOT_AVAILABLE",
    "UNABLE_TO_CONFIRM_APPOINTMENT",
    "SLOTS_CURRENTLY_AVAILABLE",
    "THIS_SLOT_IS_AVAILABLE",
];

struct Request<'a> {
    /// Absent for a booking.
    reason: Option<&'static str>,
    slot: Option<(&'a str, String)>,
    start: Option<&'a str>,
    end: Option<&'a str>,
    comment: Option<&'a str>,
    referral: (Ubrn, u32),
    service: &'a str,
    patient: &'a str,
    clinician: Option<&'a str>,
}

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let request = read(act)?;
    let (ubrn, version) = request.referral;
    act.world
        .referrals
        .with(ubrn, |referral| {
            check_relationship(act, referral.organisation.as_deref())?;
            check_patient(act, &referral.patient)?;
            check_writable(act, referral, version)?;
            let service = check(act, referral, &request)?;
            let appointment = carry_out(act, &request, &service)?;
            referral.state = match request.reason {
                None => State::Booked,
                Some("TRIAGE") => State::AwaitingTriage,
                Some(_) => State::DeferredToProvider,
            };
            (referral.booking_failure, referral.review) = (None, Review::Never);
            referral.raise_version(act.now);
            let answer = appointment_answer(201, &appointment, referral, act.world);
            referral.appointment = Some(appointment);
            Ok(answer)
        })
        .unwrap_or_else(|| {
            let text = "'incomingReferral[0]/reference' no such referral";
            Err(Refusal::unprocessable("REFERENCE_NOT_FOUND", text))
        })
}

fn read<'a>(act: &Act<'a>) -> Result<Request<'a>, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let body = Element::body(act.body);
    let allowed = [
        "resourceType",
        "id",
        "meta",
        "language",
        "status",
        "reason",
        "description",
        "start",
        "end",
        "slot",
        "comment",
        "incomingReferral",
        "participant",
    ];
    let request = body.object(&allowed, &mut issues).and_then(|_| read_members(&body, &mut issues));
    issues.or(request)
}

fn read_members<'a>(body: &Element<'a>, issues: &mut Issues) -> Option<Request<'a>> {
    body.resource("Appointment", &PROFILES, issues);
    if let Some(id) = body.required("id", issues) {
        id.text(issues);
    }
    read_constants(body, issues);
    let status = body.required("status", issues).and_then(|status| read_status(&status, issues));
    let reason = body.optional("reason").and_then(|reason| read_reason(&reason, issues));
    let slot = body.optional("slot").and_then(|slot| read_slot(&slot, issues));
    let start = body.optional("start").and_then(|at| read_instant(&at, issues));
    let end = body.optional("end").and_then(|at| read_instant(&at, issues));
    let comment = read_comment(body, issues);
    let referral = body.required("incomingReferral", issues).and_then(|list| read_referral(&list, issues));
    let participants = body.required("participant", issues).map(|list| read_participants(&list, issues));
    match status {
        Some("booked") => check_booking_members(body, issues),
        Some(_) => check_deferral_members(body, reason, issues),
        None => {}
    }
    let participants = participants?;
    let booked = status? == "booked";
    Some(Request {
        reason: if booked { None } else { Some(reason?) },
        slot,
        start,
        end,
        comment,
        referral: referral?,
        service: participants.service?,
        patient: participants.patient?,
        clinician: participants.clinician,
    })
}

fn read_status<'a>(status: &Element<'a>, issues: &mut Issues) -> Option<&'a str> {
    match status.text(issues)? {
        text @ ("booked" | "proposed") => Some(text),
        "cancelled" => {
            issues.add("INAPPROPRIATE_VALUE", &status.path, "an appointment is cancelled by updating it");
            None
        }
        _ => {
            issues.add("INVALID_CODE", &status.path, "must be booked or proposed");
            None
        }
    }
}

fn check_booking_members(body: &Element<'_>, issues: &mut Issues) {
    for name in ["slot", "start", "end"] {
        body.required(name, issues);
    }
    if let Some(reason) = body.optional("reason") {
        issues.add("INAPPROPRIATE_VALUE", &reason.path, "a booking has no reason");
    }
}

fn check_deferral_members(body: &Element<'_>, reason: Option<&str>, issues: &mut Issues) {
    body.required("reason", issues);
    if let Some(slot) = body.optional("slot") {
        if matches!(reason, Some("NO_SLOTS_AT_SERVICE" | "TRIAGE")) {
            issues.add("INAPPROPRIATE_VALUE", &slot.path, "is not allowed with this reason");
        }
    } else if reason == Some("SLOT_NOT_AVAILABLE") {
        issues.add("MISSING_VALUE", "slot", "must name the slot that was not available");
    }
}

fn read_reason(reason: &Element<'_>, issues: &mut Issues) -> Option<&'static str> {
    let concept = reason.only_item(issues)?;
    concept.object(&["coding"], issues)?;
    concept.required("coding", issues)?.only_item(issues)?.one_of(REASON_SYSTEM, &REASONS, issues)
}

fn read_slot<'a>(slot: &Element<'a>, issues: &mut Issues) -> Option<(&'a str, String)> {
    let item = slot.only_item(issues)?;
    item.object(&["reference"], issues)?;
    let reference = item.required("reference", issues)?;
    let id = reference.text(issues)?.strip_prefix("Slot/").filter(|id| !id.is_empty());
    if id.is_none() {
        issues.add("INVALID_VALUE", &reference.path, "must be Slot/ and an id");
    }
    Some((id?, reference.path))
}

fn read_instant<'a>(at: &Element<'a>, issues: &mut Issues) -> Option<&'a str> {
    let text = at.text(issues)?;
    match instant::parse(text) {
        Ok(_) => Some(text),
        Err(why) => {
            issues.add("INVALID_VALUE", &at.path, why);
            None
        }
    }
}

/// What an appointment always says of itself.
pub fn read_constants(body: &Element<'_>, issues: &mut Issues) {
    for (name, expected) in [("language", "en"), ("description", "e-Referral Appointment")] {
        if let Some(found) = body.required(name, issues) {
            found.fixed(expected, issues);
        }
    }
}

pub fn read_comment<'a>(body: &Element<'a>, issues: &mut Issues) -> Option<&'a str> {
    body.optional("comment")?.text_up_to(COMMENT_CHARACTERS_MAX, issues)
}

pub fn read_referral(list: &Element<'_>, issues: &mut Issues) -> Option<(Ubrn, u32)> {
    let item = list.only_item(issues)?;
    item.object(&["reference"], issues)?;
    let reference = item.required("reference", issues)?;
    let parts = reference_parts(reference.text(issues)?);
    if parts.is_none() {
        issues.add("INVALID_VALUE", &reference.path, "must be ReferralRequest/{ubrn}/_history/{version}");
    }
    parts
}

#[derive(Default)]
pub struct Participants<'a> {
    pub service: Option<&'a str>,
    pub patient: Option<&'a str>,
    pub clinician: Option<&'a str>,
}

pub fn read_participants<'a>(list: &Element<'a>, issues: &mut Issues) -> Participants<'a> {
    let mut found = Participants::default();
    for item in list.array(issues).unwrap_or_default() {
        read_participant(&item, &mut found, issues);
    }
    for (role, present) in [("service", found.service.is_some()), ("patient", found.patient.is_some())] {
        if !present {
            issues.add("MISSING_VALUE", &list.path, format_args!("must have a {role}"));
        }
    }
    found
}

fn read_participant<'a>(item: &Element<'a>, found: &mut Participants<'a>, issues: &mut Issues) -> Option<()> {
    const SERVICE: &str = "http://fhir.nhs.net/Id/ers-service";
    const USER: &str = "http://fhir.nhs.net/Id/sds-user-id";
    item.object(&["type", "actor", "status"], issues)?;
    if let Some(status) = item.required("status", issues) {
        status.fixed("accepted", issues);
    }
    let actor = item.required("actor", issues)?;
    actor.object(&["identifier", "display"], issues)?;
    let identifier = actor.required("identifier", issues)?;
    let system = identifier.value["system"].as_str().unwrap_or_default();
    let place = match system {
        SERVICE => &mut found.service,
        NHS_NUMBER => &mut found.patient,
        USER => &mut found.clinician,
        _ => {
            issues.add("INVALID_VALUE", &identifier.path, "must be a service, a patient or a clinician");
            return None;
        }
    };
    let value = identifier.identifier(system, issues)?;
    if place.replace(value).is_some() {
        issues.add("INVALID_VALUE", &identifier.path, "occurs twice");
    }
    if system == USER {
        let kind = item.required("type", issues)?;
        kind.object(&["coding"], issues)?;
        let coding = kind.required("coding", issues)?.only_item(issues)?;
        coding.one_of("http://hl7.org/fhir/ValueSet/encounter-participant-type", &["CON"], issues);
        if !is_sds_user_id(value) {
            issues.add("INVALID_VALUE", &identifier.path, "must be an SDS user id of 12 digits");
        }
    }
    Some(())
}

/// The rules that need the referral and the service.
fn check(act: &Act<'_>, referral: &Referral, request: &Request<'_>) -> Result<Service, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    if !referral.state.waits_for_referrer() {
        issues.add("INVALID_REQUEST_STATE", "incomingReferral[0]/reference", "the referral is not waiting for this");
    }
    if referral.patient != request.patient {
        issues.add("INAPPROPRIATE_VALUE", "participant", "the patient is not that of the referral");
    }
    if !referral.shortlist.iter().any(|id| id == request.service) {
        issues.add("INAPPROPRIATE_VALUE", "participant", "the service is not on the shortlist");
    }
    let service = act.world.services.find(request.service);
    match &service {
        None => issues.add("REFERENCE_NOT_FOUND", "participant", "the service is not known"),
        Some(service) if !service.offered => {
            issues.add("SERVICE_UNAVAILABLE", "participant", "the service is no longer offered");
        }
        Some(service) => match request.reason {
            None => check_booking(act, request, service, &mut issues),
            Some(reason) => check_deferral(act, referral, request, service, reason, &mut issues),
        },
    }
    issues.or(service.map(std::borrow::Cow::into_owned))
}

fn check_booking(act: &Act<'_>, request: &Request<'_>, service: &Service, issues: &mut Issues) {
    if !service.takes(Flow::Appointment) || !service.directly_bookable {
        issues.add("INVALID_STATE", "participant", "the service cannot be booked here");
        return;
    }
    let Some((id, path)) = &request.slot else { return };
    let Some(slot) = act.world.services.slot(id) else {
        issues.add("REFERENCE_NOT_FOUND", path, "no such slot");
        return;
    };
    let same = |text: Option<&str>, at| text.and_then(|text| instant::parse(text).ok()) == Some(at);
    let fits = slot.service == service.id && same(request.start, slot.start) && same(request.end, slot.end);
    if !fits || slot.clinician.as_deref() != request.clinician {
        issues.add("INAPPROPRIATE_SLOT", path, "the slot has another service, clinician or time");
    } else if !act.world.services.is_free(slot, act.now) {
        issues.add("SLOT_NOT_AVAILABLE", path, "the slot is taken or has passed");
    }
}

fn check_deferral(
    act: &Act<'_>,
    referral: &Referral,
    request: &Request<'_>,
    service: &Service,
    reason: &str,
    issues: &mut Issues,
) {
    let path = "reason[0]/coding[0]";
    if reason == "TRIAGE" {
        if !service.takes(Flow::Triage) {
            issues.add("INAPPROPRIATE_VALUE", path, "the service does not triage");
        }
        return;
    }
    if !service.takes(Flow::Appointment) {
        issues.add("INAPPROPRIATE_VALUE", path, "a triage service takes the reason TRIAGE only");
        return;
    }
    let failed = referral.booking_failure;
    let slots = act.world.services.has_free_slots(&service.id, act.now);
    match reason {
        "NO_SLOTS_AT_SERVICE" if slots => issues.add("SLOTS_CURRENTLY_AVAILABLE", path, "the service has slots"),
        "BOOKING_ATTEMPT_PROBLEM" if slots && failed != Some(BookingFailure::PasNotResponding) => {
            issues.add("SLOTS_CURRENTLY_AVAILABLE", path, "no booking attempt has failed, and the service has slots");
        }
        "SLOT_NOT_AVAILABLE" => {
            let Some((id, path)) = &request.slot else { return };
            let Some(slot) = act.world.services.slot(id) else {
                issues.add("REFERENCE_NOT_FOUND", path, "no such slot");
                return;
            };
            if slot.service != service.id {
                issues.add("INAPPROPRIATE_SLOT", path, "the slot belongs to another service");
            } else if failed != Some(BookingFailure::PasRespondedWithError) && act.world.services.is_free(slot, act.now)
            {
                issues.add("THIS_SLOT_IS_AVAILABLE", path, "the slot can be booked");
            }
        }
        _ => {}
    }
}

/// Takes the slot, where there is one to take.
fn carry_out(act: &Act<'_>, request: &Request<'_>, service: &Service) -> Result<Appointment, Refusal> {
    let booked = request.reason.is_none();
    let slot: Option<&Slot> = request.slot.as_ref().and_then(|(id, _)| act.world.services.slot(id));
    if booked && !slot.is_some_and(|slot| act.world.services.take(slot)) {
        return Err(Refusal::unprocessable("SLOT_NOT_AVAILABLE", "'slot[0]/reference' the slot is taken"));
    }
    let text = |value: Option<&str>| value.filter(|_| booked).map(String::from);
    Ok(Appointment {
        id: act.world.referrals.next_number(),
        version: u32::from(!booked),
        status: if booked { "booked" } else { "proposed" },
        reason: request.reason,
        cancellation: None,
        service: service.id.clone(),
        slot: slot.map(|slot| slot.id.clone()),
        start: text(request.start),
        end: text(request.end),
        clinician: request.clinician.map(String::from),
        comment: request.comment.map(String::from),
        created: act.now,
    })
}
