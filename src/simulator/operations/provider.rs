//! What the decisions of providers have in common: the service must be the caller's own, a cancelled appointment must be
//! accounted for in their system, files must have been uploaded for the request.

use std::collections::HashSet;

use super::Act;
use super::a012_maintain_letter::{Wanted, letter, read_document};
use crate::simulator::referral::{Letter, Referral, Ubrn};
use crate::simulator::refusal::Refusal;
use crate::simulator::services::Service;
use crate::simulator::validation::Issues;
use crate::simulator::validation::element::Element;
use crate::simulator::validation::parameters::{Parameters, Rule, optional};

pub const COMMENTS_CHARACTERS_MAX: usize = 2000;
pub const GUIDANCE_CHARACTERS_MAX: usize = 8000;
/// Mandatory where the appointment was not booked through e-RS, and nowhere else.
pub const CANCELLED_IN_PAS: Rule = optional("appointmentCancelledInPAS", "valueBoolean");

/// Any number of files.
pub const fn files(name: &'static str) -> Rule {
    Rule { name, value: "resource", mandatory: false, repeats: true }
}

/// The service that the referral is with, which must be the caller's.
pub fn own_service(act: &Act<'_>, referral: &Referral) -> Result<Service, Refusal> {
    let service = referral.appointment.as_ref().and_then(|appointment| act.world.services.find(&appointment.service));
    match service {
        Some(service) if service.organisation == act.caller.organisation => Ok(service.into_owned()),
        Some(_) => {
            Err(Refusal::unprocessable("NO_RELATIONSHIP", "the referral is with another organisation's service"))
        }
        None => Err(Refusal::unprocessable("INVALID_REQUEST_STATE", "the referral is with no service")),
    }
}

/// `appointmentCancelledInPAS`, where the request has it.
pub fn cancelled_in_pas<'a>(parameters: &Parameters<'a>, issues: &mut Issues) -> Option<Element<'a>> {
    let said = parameters.one("appointmentCancelledInPAS")?;
    said.boolean(issues);
    Some(Element { value: said.value, path: said.path.clone() })
}

/// An appointment at an indirectly bookable service is in the provider's own system only.
pub fn check_cancelled_in_pas(service: &Service, said: Option<&Element<'_>>, issues: &mut Issues) {
    match (service.directly_bookable, said) {
        (false, None) => {
            let text = "(appointmentCancelledInPAS) is mandatory for an indirectly bookable service";
            issues.add("VALUE_IS_REQUIRED", "parameter", text);
        }
        (true, Some(said)) => {
            issues.add("FIELD_NOT_PERMITTED", &said.path, "is for indirectly bookable services only");
        }
        (false, Some(_)) | (true, None) => {}
    }
}

pub fn priority(value: &Element<'_>, issues: &mut Issues) -> Option<&'static str> {
    let system = "https://fhir.nhs.uk/STU3/CodeSystem/eRS-Priority-1";
    value.one_of(system, &["ROUTINE", "URGENT", "TWO_WEEK_WAIT"], issues)
}

/// `kind` is in `eRS-AttachmentType-1`.
pub fn wanted_files<'a>(
    parameters: &Parameters<'a>,
    name: &str,
    kind: &'static str,
    issues: &mut Issues,
) -> Vec<Wanted<'a>> {
    parameters.all(name).iter().filter_map(|document| read_document(document, kind, issues)).collect()
}

/// The wanted files, as far as they may be linked to this request. `names` are those of files that are there already.
pub fn linkable<'n>(
    act: &Act<'_>,
    ubrn: Ubrn,
    wanted: &[Wanted<'_>],
    names: impl Iterator<Item = &'n Letter>,
    issues: &mut Issues,
) -> Vec<Letter> {
    let mut names: HashSet<String> = names.map(|letter| letter.name.to_lowercase()).collect();
    let mut files = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let path = &wanted.path;
        let Some(file) = act.world.files.get(wanted.file) else {
            issues.add("REFERENCE_NOT_FOUND", path, "no such file");
            continue;
        };
        if file.linked_to.is_some() {
            issues.add("INVALID_STATE", path, "the file is linked already");
        } else if file.meant_for != Some(ubrn) {
            issues.add("INAPPROPRIATE_VALUE", path, "the file was not uploaded for this request");
        }
        if !names.insert(file.name.to_lowercase()) {
            issues.add("DUPLICATE_FILENAME", path, "another file of this request has the same name");
        }
        files.push(letter(act, wanted, file));
    }
    files
}

pub fn link(act: &Act<'_>, ubrn: Ubrn, files: &[Letter]) {
    for file in files {
        act.world.files.link(file.file, Some(ubrn));
    }
}
