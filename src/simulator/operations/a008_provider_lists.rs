//! A008 for providers: what waits for their review, and what was handed to them because no slot could be booked.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::Act;
use super::a008_worklist::{DOCUMENTED, PROFILE, RULES, SELECTOR, answer_of, coded, list_of, list_type};
use crate::simulator::exchange::Answer;
use crate::simulator::people::is_sds_user_id;
use crate::simulator::referral::{Appointment, Referral, State};
use crate::simulator::referral_resource::{instant, profile};
use crate::simulator::refusal::Refusal;
use crate::simulator::services::Service;
use crate::simulator::validation::element::{Element, System};
use crate::simulator::validation::parameters::Parameters;
use crate::simulator::validation::{Issues, criteria};

const REVIEW: &str = "REFERRALS_FOR_REVIEW";
const SLOT_ISSUES: &str = "APPOINTMENT_SLOT_ISSUES";
/// Unattended software of a provider.
const APPLICATION: &str = "PROVIDER_AUTHORISED_APPLICATION";
const USER: &str = "http://fhir.nhs.net/Id/sds-user-id";
const NHS_NUMBER: &str = "http://fhir.nhs.net/Id/nhs-number";

/// Whether something is assigned to a referral, and what.
#[derive(Clone, Copy)]
enum Assigned<'a> {
    Anything,
    Nothing,
    Exactly(&'a str),
    Whatever,
}

impl Assigned<'_> {
    fn fits(self, found: Option<&str>) -> bool {
        match self {
            Self::Anything => found.is_some(),
            Self::Nothing => found.is_none(),
            Self::Exactly(wanted) => found == Some(wanted),
            Self::Whatever => true,
        }
    }
}

/// Which list, and what of it. A023 takes the same filters.
pub struct Request<'a> {
    list: &'static str,
    service: Option<&'a str>,
    location: Option<&'a str>,
    specialty: Assigned<'a>,
    clinician: Assigned<'a>,
}

impl Request<'_> {
    /// Only what is with a service of the caller.
    pub fn fits(&self, act: &Act<'_>, service: &Service, specialty: Option<&str>, clinician: Option<&str>) -> bool {
        service.organisation == act.caller.organisation
            && self.service.is_none_or(|wanted| wanted == service.id)
            && self.location.is_none_or(|wanted| wanted == service.organisation)
            && self.specialty.fits(specialty)
            && self.clinician.fits(clinician)
    }
}

/// A referral at a service of the caller.
struct Held {
    referral: Referral,
    appointment: Appointment,
    service: Service,
    /// Of the criteria.
    specialty: Option<String>,
    named_clinician: Option<String>,
}

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let request = read(act, SELECTOR, &[REVIEW, SLOT_ISSUES])?;
    if let (APPLICATION, Some(service)) = (act.caller.function.as_str(), request.service)
        && !act.world.worklists.admits(&act.caller.holder.client_id, service, act.now)
    {
        return Err(Refusal::Status(429));
    }
    let held: Vec<Held> = act.world.referrals.all().into_iter().filter_map(|one| held(act, &request, one)).collect();
    let entries: Vec<Value> = held
        .iter()
        .map(|held| if request.list == REVIEW { for_review(held, act) } else { slot_issue(held, act) })
        .collect();
    let mut worklist = list_of(entries);
    if request.list == REVIEW && !held.is_empty() {
        worklist["contained"] = people(&held).into();
    }
    answer_of(worklist)
}

pub fn read<'a>(act: &Act<'a>, selector: &str, lists: &[&'static str]) -> Result<Request<'a>, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, PROFILE, &RULES, &mut issues);
    let list = list_type(&parameters, selector, lists, &mut issues);
    let service = parameters.one("service").and_then(|value| service(act, value, &mut issues));
    // Unattended software asks for one service at a time.
    if act.caller.function == APPLICATION && parameters.one("service").is_none() {
        issues.add("MISSING_VALUE", "parameter", "(service) is mandatory for this application");
    }
    let location = parameters.one("location").and_then(|value| {
        let code = value.identifier("https://directory.spineservices.nhs.uk/STU3/Organization", &mut issues)?;
        if !criteria::is_ods_code(code) {
            issues.add("INVALID_VALUE", &value.path, "must be an ODS code");
        }
        Some(code)
    });
    let specialty = parameters.one("specialty").and_then(|value| {
        value.object(&["coding"], &mut issues)?;
        let coding = value.required("coding", &mut issues)?.only_item(&mut issues)?;
        Some((coding.coding(System::ReferenceData("SPECIALTY"), &mut issues)?, value.path.clone()))
    });
    let clinician = parameters.one("clinician").and_then(|value| {
        let id = value.identifier(USER, &mut issues)?;
        if !is_sds_user_id(id) {
            issues.add("INVALID_VALUE", &value.path, "must be an SDS user id of 12 digits");
        }
        Some((id, value.path.clone()))
    });
    let specialty = assigned(&parameters, "specialtyAssignedIndicator", specialty, &mut issues);
    let clinician = assigned(&parameters, "clinicianAssignedIndicator", clinician, &mut issues);
    issues.or(list.map(|list| Request { list, service, location, specialty, clinician }))
}

fn service<'a>(act: &Act<'_>, value: &Element<'a>, issues: &mut Issues) -> Option<&'a str> {
    let id = value.identifier("http://fhir.nhs.net/Id/ers-service", issues)?;
    match act.world.services.find(id) {
        None => issues.add("REFERENCE_NOT_FOUND", &value.path, "the service is not known"),
        Some(service) if service.organisation != act.caller.organisation => {
            issues.add("NO_RELATIONSHIP", &value.path, "the service is another organisation's");
        }
        Some(_) => {}
    }
    Some(id)
}

/// What an indicator and the value that goes with it ask for.
fn assigned<'a>(
    parameters: &Parameters<'_>,
    indicator: &str,
    value: Option<(&'a str, String)>,
    issues: &mut Issues,
) -> Assigned<'a> {
    let code = parameters.one(indicator).and_then(|found| {
        found.object(&["coding"], issues)?;
        let coding = found.required("coding", issues)?.only_item(issues)?;
        let system = "https://fhir.nhs.uk/STU3/CodeSystem/eRS-AssignedIndicator-1";
        coding.one_of(system, &["ASSIGNED", "NOT_ASSIGNED"], issues)
    });
    match (code, value) {
        (Some("ASSIGNED"), Some((value, _))) => Assigned::Exactly(value),
        (Some("ASSIGNED"), None) => Assigned::Anything,
        (Some(_), None) => Assigned::Nothing,
        (None, None) => Assigned::Whatever,
        (Some(_), Some((_, path))) => {
            issues.add("INVALID_VALUE", &path, format_args!("{indicator} says that none is assigned"));
            Assigned::Nothing
        }
        (None, Some((_, path))) => {
            issues.add("MISSING_VALUE", &path, format_args!("{indicator} must be ASSIGNED"));
            Assigned::Whatever
        }
    }
}

fn held(act: &Act<'_>, request: &Request<'_>, referral: Referral) -> Option<Held> {
    let listed = match (request.list, referral.state) {
        (REVIEW, State::Booked) => referral.review.is_pending(),
        (REVIEW, State::AwaitingTriage) | (SLOT_ISSUES, State::DeferredToProvider) => true,
        _ => false,
    };
    let appointment = referral.appointment.clone().filter(|_| listed)?;
    let service = act.world.services.find(&appointment.service)?.into_owned();
    let parameters: Value = serde_json::from_str(&referral.criteria).unwrap_or_default();
    let criterion = |name: &str, value: &str| {
        let found = parameters.as_array()?.iter().find(|one| one["name"] == name)?;
        found.pointer(value)?.as_str().map(str::to_owned)
    };
    let specialty = criterion("specialty", "/valueCoding/code").or_else(|| service.specialty.clone());
    let named_clinician = criterion("namedClinician", "/valueIdentifier/value");
    let clinician = appointment.clinician.as_deref().or(named_clinician.as_deref());
    let fits = request.fits(act, &service, specialty.as_deref(), clinician);
    fits.then_some(Held { referral, appointment, service, specialty, named_clinician })
}

/// Those whom the items name, each once.
fn people(held: &[Held]) -> Vec<Value> {
    let clinicians: BTreeSet<&String> =
        held.iter().flat_map(|held| held.appointment.clinician.iter().chain(&held.named_clinician)).collect();
    let patients: BTreeSet<&String> = held.iter().map(|held| &held.referral.patient).collect();
    let person = |kind: &str, system: &str, id: &String| {
        json!({
            "id": format!("{kind}-{id}"),
            "meta": {"profile": [profile(&format!("eRS-{kind}-1"))]},
            "resourceType": kind,
            "identifier": [{"system": system, "value": id}],
        })
    };
    let clinicians = clinicians.into_iter().map(|id| person("Practitioner", USER, id));
    clinicians.chain(patients.into_iter().map(|id| person("Patient", NHS_NUMBER, id))).collect()
}

/// What the items of both lists begin with.
fn beginning(held: &Held, act: &Act<'_>, patient: Value, named_clinician: Option<Value>) -> Vec<Value> {
    let referral = &held.referral;
    let mut item = vec![coded("priority", "Priority", referral.priority, None)];
    item.extend(held.specialty.as_ref().map(|code| {
        let system = format!("{}/STU3/CodeSystem/SPECIALTY", act.world.addresses.base_url);
        json!({"url": "specialty", "valueCodeableConcept": {"coding": [{"system": system, "code": code}]}})
    }));
    item.push(json!({"url": "patient", "valueReference": patient}));
    item.extend(named_clinician.map(|reference| json!({"url": "namedClinician", "valueReference": reference})));
    let start = referral.pathway_start.clone().unwrap_or_else(|| instant(referral.created));
    item.push(json!({"url": "eReferralPathwayStart", "valueDateTime": start}));
    item.push(json!({"url": "clinicalInfoPrinted", "valueBoolean": false}));
    item
}

fn service_reference(service: &Service) -> Value {
    let identifier = json!({"system": "http://fhir.nhs.net/Id/ers-service", "value": service.id});
    json!({"url": "service", "valueReference": {"identifier": identifier, "display": service.name}})
}

fn entry(held: &Held, name: &str, item: Vec<Value>) -> Value {
    json!({
        "extension": [{"extension": item, "url": profile(&format!("Extension-eRS-{name}-WorkListItem-1"))}],
        "item": {"reference": format!("ReferralRequest/{}", held.referral.ubrn)},
    })
}

fn for_review(held: &Held, act: &Act<'_>) -> Value {
    let (referral, appointment) = (&held.referral, &held.appointment);
    let contained = |kind: &str, id: &str| json!({"reference": format!("#{kind}-{id}")});
    let named = held.named_clinician.as_ref().map(|id| contained("Practitioner", id));
    let mut item = beginning(held, act, contained("Patient", &referral.patient), named);
    if let Some(clinician) = &appointment.clinician {
        let reference = contained("Practitioner", clinician);
        item.push(json!({"url": "allocatedClinician", "valueReference": reference}));
    }
    let (code, display) = referral.review.on_worklists();
    item.push(coded("requestContextStatus", "RequestContextStatus", code, Some(display)));
    for (name, at) in [
        ("clinicalInfoFirstSubmitted", referral.clinical_information_first),
        ("clinicalInfoLastUpdated", referral.clinical_information_last),
    ] {
        item.extend(at.map(|at| json!({"url": name, "valueDateTime": instant(at)})));
    }
    item.extend(appointment.start.as_ref().map(|at| json!({"url": "appointmentStart", "valueDateTime": at})));
    let kind = if referral.state == State::Booked { "APPOINTMENT" } else { "TRIAGE_DEFERRAL" };
    item.push(coded("referralType", "ReferralType", kind, None));
    item.push(service_reference(&held.service));
    item.push(json!({"url": "referralRequestVersion", "valueInteger": referral.version}));
    entry(held, "ReferralsforReview", item)
}

fn slot_issue(held: &Held, act: &Act<'_>) -> Value {
    let (referral, appointment) = (&held.referral, &held.appointment);
    let identified = |system: &str, value: &str| json!({"identifier": {"system": system, "value": value}});
    let named = held.named_clinician.as_ref().map(|id| identified(USER, id));
    let mut item = beginning(held, act, identified(NHS_NUMBER, &referral.patient), named);
    item.push(json!({"url": "ubrnReceived", "valueDateTime": instant(appointment.created)}));
    let days = act.world.reference_data.contact_days(referral.priority);
    let expected = instant(appointment.created + SignedDuration::from_hours(24 * days));
    item.push(json!({"url": "patientContactExpected", "valueDate": expected.get(..10).unwrap_or(&expected)}));
    let information = match (referral.letters.is_empty(), referral.letter_intended) {
        (false, _) => "PRESENT",
        (true, true) => "NOT_DUE",
        (true, false) => "NOT_APPLICABLE",
    };
    item.push(coded("clinicalInformationStatus", "ClinicalInformationStatus", information, None));
    item.extend(appointment.reason.map(|reason| coded("reason", "ReviewReason", reason, None)));
    item.push(service_reference(&held.service));
    entry(held, "AppointmentSlotIssues", item)
}
