//! A034 Update appointment: the only update there is cancels a directly booked one, and its slot is free again.

use super::Act;
use super::a016_book_or_defer::{PROFILES, read_comment, read_constants, read_participants, read_referral};
use super::subject::{if_match, with_appointment};
use crate::simulator::exchange::Answer;
use crate::simulator::referral::{Appointment, Referral, State, Ubrn};
use crate::simulator::referral_resource::appointment_answer;
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::Issues;
use crate::simulator::validation::element::{Element, System};

const REASONS: &str = "APPOINTMENT-CANCELLATION-REASON";

const DOCUMENTED: [&str; 8] = [
    "INVALID_REQUEST_STATE",
    "INVALID_VALUE",
    "INAPPROPRIATE_VALUE",
    "MISSING_VALUE",
    "UNEXPECTED_FIELD",
    "NO_RELATIONSHIP",
    "PATIENT_ERROR",
    "UNABLE_TO_CANCEL_APPOINTMENT",
];

struct Request<'a> {
    id: &'a str,
    version: &'a str,
    reason: &'a str,
    comment: Option<&'a str>,
    referral: Ubrn,
    service: &'a str,
    patient: &'a str,
}

pub fn answer(act: &Act<'_>, id: &str) -> Result<Answer, Refusal> {
    let version = if_match(act.call)?;
    with_appointment(act, id, |referral| {
        if act.world.is_locked(referral.ubrn) {
            return Err(Refusal::Status(423));
        }
        let appointment = referral.appointment.as_ref().ok_or(Refusal::Status(404))?;
        if appointment.version != version {
            return Err(Refusal::Status(409));
        }
        let request = read(act)?;
        check(act, referral, appointment, &request)?;
        Ok(cancel(act, referral, &request))
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
        "comment",
        "incomingReferral",
        "participant",
    ];
    let request = body.object(&allowed, &mut issues).and_then(|_| read_members(&body, &mut issues));
    issues.or(request)
}

fn read_members<'a>(body: &Element<'a>, issues: &mut Issues) -> Option<Request<'a>> {
    body.resource("Appointment", &PROFILES, issues);
    let version = body.optional("meta").and_then(|meta| meta.required("versionId", issues)?.text(issues));
    let id = body.required("id", issues).and_then(|id| id.text(issues));
    read_constants(body, issues);
    if let Some(status) = body.required("status", issues)
        && status.text(issues).is_some_and(|text| text != "cancelled")
    {
        issues.add("INAPPROPRIATE_VALUE", &status.path, "an appointment can only be cancelled");
    }
    let reason = body.required("reason", issues).and_then(|reason| read_reason(&reason, issues));
    let comment = read_comment(body, issues);
    let referral = body.required("incomingReferral", issues).and_then(|list| read_referral(&list, issues));
    let participants = body.required("participant", issues).map(|list| read_participants(&list, issues))?;
    Some(Request {
        id: id?,
        version: version?,
        reason: reason?,
        comment,
        referral: referral?.0,
        service: participants.service?,
        patient: participants.patient?,
    })
}

fn read_reason<'a>(reason: &Element<'a>, issues: &mut Issues) -> Option<&'a str> {
    let concept = reason.only_item(issues)?;
    concept.object(&["coding"], issues)?;
    let coding = concept.required("coding", issues)?.only_item(issues)?;
    coding.coding(System::ReferenceData(REASONS), issues)
}

/// The rules that need the appointment, its referral and the reference data.
fn check(act: &Act<'_>, referral: &Referral, appointment: &Appointment, request: &Request<'_>) -> Result<(), Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let bookable = act.world.services.find(&appointment.service).is_some_and(|service| service.directly_bookable);
    if referral.state != State::Booked || !bookable || !appointment.lies_ahead(act.now) {
        issues.add("INVALID_REQUEST_STATE", "id", "the appointment is not a directly booked one that lies ahead");
    }
    if request.id != appointment.id.to_string() {
        issues.add("INAPPROPRIATE_VALUE", "id", "is another appointment than that of the path");
    }
    if request.version != appointment.version.to_string() {
        issues.add("INAPPROPRIATE_VALUE", "meta/versionId", "is not the current version");
    }
    if request.referral != referral.ubrn {
        issues.add("INAPPROPRIATE_VALUE", "incomingReferral", "the appointment belongs to another referral");
    }
    if request.service != appointment.service || request.patient != referral.patient {
        issues.add("INAPPROPRIATE_VALUE", "participant", "is not that of the appointment");
    }
    let reason = act.world.reference_data.cancellation_reason(REASONS, "CANCEL", request.reason, act.now);
    match reason.filter(|reason| reason.is_for(&act.caller.function)) {
        None => issues.add("INAPPROPRIATE_VALUE", "reason", "The reason provided is not valid in this case"),
        Some(reason) if reason.comment_is_mandatory && request.comment.is_none() => {
            issues.add("MISSING_VALUE", "comment", "is missing.");
        }
        Some(_) => {}
    }
    issues.refuse_if_any()
}

fn cancel(act: &Act<'_>, referral: &mut Referral, request: &Request<'_>) -> Answer {
    referral.state = State::AppointmentCancelledByPatient;
    referral.raise_version(act.now);
    let mut appointment = referral.appointment.take().expect("the caller has found the appointment in this referral");
    if let Some(slot) = appointment.cancel(request.reason, request.comment) {
        act.world.services.give_back(&slot);
    }
    let answer = appointment_answer(200, &appointment, referral, act.world);
    referral.appointment = Some(appointment);
    answer
}
