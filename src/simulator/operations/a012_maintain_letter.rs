//! A012 Maintain referral letter: replaces the set of linked files.

use std::collections::HashSet;

use uuid::Uuid;

use super::Act;
use super::subject::{check_patient, check_writable, if_match, with_referral};
use crate::simulator::exchange::Answer;
use crate::simulator::files::File;
use crate::simulator::referral::{Letter, Referral, Review, State};
use crate::simulator::referral_resource;
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::element::Element;
use crate::simulator::validation::parameters::{Parameters, Rule, repeating};
use crate::simulator::validation::{Issues, instant};

const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-MaintainReferralLetter-Parameters-1";
const DOCUMENT_PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-DocumentReference-1";
const RULES: [Rule; 1] = [repeating("referralLetterFile", "resource")];

const DOCUMENTED: [&str; 14] = [
    "REFERENCE_NOT_FOUND",
    "INAPPROPRIATE_VALUE",
    "MISSING_VALUE",
    "INVALID_STATE",
    "INVALID_REQUEST_TYPE",
    "INVALID_REQUEST_STATE",
    "NO_RELATIONSHIP",
    "PATIENT_ERROR",
    "INVALID_VALUE",
    "UNEXPECTED_FIELD",
    "INVALID_FHIR_STRUCTURE",
    "CONFLICTING_VALUES",
    "DUPLICATE_FILENAME",
    "NO_CHANGES_DETECTED",
];

/// A file to be linked, as a DocumentReference names it.
pub struct Wanted<'a> {
    pub file: Uuid,
    pub description: Option<&'a str>,
    pub path: String,
}

pub fn answer(act: &Act<'_>, ubrn: &str) -> Result<Answer, Refusal> {
    let version = if_match(act.call)?;
    with_referral(act, ubrn, |referral| {
        check_patient(act, &referral.patient)?;
        let wanted = read(act)?;
        check_writable(act, referral, version)?;
        if referral.state == State::CancelledReferral {
            return Err(Refusal::unprocessable("INVALID_REQUEST_STATE", "the referral has been cancelled"));
        }
        let files = check_files(act, referral, &wanted)?;
        replace(act, referral, &wanted, files);
        Ok(referral_resource::answer(200, referral, act.world, act.now))
    })
}

fn read<'a>(act: &Act<'a>) -> Result<Vec<Wanted<'a>>, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, PROFILE, &RULES, &mut issues);
    let documents = parameters.all("referralLetterFile");
    let wanted: Vec<Wanted<'a>> =
        documents.iter().filter_map(|document| read_document(document, "REFERRER", &mut issues)).collect();
    issues.or(Some(wanted))
}

/// `kind` is in `eRS-AttachmentType-1`. A044 asks the same of its files.
pub fn read_document<'a>(document: &Element<'a>, kind: &'static str, issues: &mut Issues) -> Option<Wanted<'a>> {
    document.object(&["resourceType", "id", "meta", "type", "status", "indexed", "description", "content"], issues)?;
    document.resource("DocumentReference", &[DOCUMENT_PROFILE], issues);
    if let Some(found) = document.required("type", issues) {
        found.object(&["coding", "text"], issues);
        let coding = found.required("coding", issues).and_then(|coding| coding.only_item(issues));
        let system = "https://fhir.nhs.uk/STU3/CodeSystem/eRS-AttachmentType-1";
        coding.and_then(|coding| coding.one_of(system, &[kind], issues));
    }
    if let Some(status) = document.required("status", issues) {
        status.fixed("current", issues);
    }
    if let Some(indexed) = document.required("indexed", issues)
        && let Some(Err(why)) = indexed.text(issues).map(instant::parse)
    {
        issues.add("INVALID_VALUE", &indexed.path, why);
    }
    let description = document.optional("description").and_then(|text| text.text(issues));
    let content = document.required("content", issues)?.only_item(issues)?;
    content.object(&["attachment"], issues)?;
    let attachment = content.required("attachment", issues)?;
    attachment.object(&["url"], issues)?;
    let url = attachment.required("url", issues)?;
    let text = url.text(issues)?;
    let file = text.strip_prefix("Binary/").and_then(|id| id.parse().ok());
    if file.is_none() {
        issues.add("INVALID_VALUE", &url.path, "must be Binary/ and the id of an uploaded file");
    }
    Some(Wanted { file: file?, description, path: url.path })
}

/// The wanted files, once each of them may be linked to this referral.
fn check_files(act: &Act<'_>, referral: &Referral, wanted: &[Wanted<'_>]) -> Result<Vec<File>, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let mut names = HashSet::new();
    let mut files = Vec::with_capacity(wanted.len());
    for Wanted { file: id, path, .. } in wanted {
        let Some(file) = act.world.files.get(*id) else {
            issues.add("REFERENCE_NOT_FOUND", path, "no such file");
            continue;
        };
        let attached_here = referral.letters.iter().any(|letter| letter.file == *id);
        if !attached_here && file.linked_to.is_some_and(|other| other != referral.ubrn) {
            issues.add("INVALID_STATE", path, "the file is linked to another request");
        } else if !attached_here && file.meant_for != Some(referral.ubrn) {
            issues.add("INAPPROPRIATE_VALUE", path, "the file was not uploaded for this referral");
        }
        if !names.insert(file.name.to_lowercase()) {
            issues.add("DUPLICATE_FILENAME", path, "another file of this set has the same name");
        }
        files.push(file);
    }
    let before: HashSet<Uuid> = referral.letters.iter().map(|letter| letter.file).collect();
    if issues.is_empty() && before == wanted.iter().map(|wanted| wanted.file).collect() {
        issues.add("NO_CHANGES_DETECTED", "parameter", "these files are linked already");
    }
    issues.refuse_if_any()?;
    Ok(files)
}

/// The file as the caller attaches it now.
pub fn letter(act: &Act<'_>, wanted: &Wanted<'_>, file: File) -> Letter {
    Letter {
        number: act.world.referrals.next_number(),
        file: wanted.file,
        name: file.name,
        content_type: file.content_type,
        size: file.size,
        description: wanted.description.map(String::from),
        indexed: act.now,
        attached_by: act.caller.holder.user().to_owned(),
        organisation: act.caller.organisation.clone(),
    }
}

fn replace(act: &Act<'_>, referral: &mut Referral, wanted: &[Wanted<'_>], files: Vec<File>) {
    for letter in &referral.letters {
        act.world.files.link(letter.file, None);
    }
    let before = std::mem::take(&mut referral.letters);
    for (wanted, file) in wanted.iter().zip(files) {
        act.world.files.link(wanted.file, Some(referral.ubrn));
        let kept = before.iter().find(|letter| letter.file == wanted.file);
        let mut letter = kept.cloned().unwrap_or_else(|| letter(act, wanted, file));
        letter.description = wanted.description.map(String::from);
        referral.letters.push(letter);
    }
    if referral.clinical_information_first.is_some() {
        referral.clinical_information_last = Some(act.now);
    } else {
        referral.clinical_information_first = Some(act.now);
    }
    // What was accepted is looked at again.
    if referral.review == Review::Done {
        referral.review = Review::LetterChanged;
    }
    referral.raise_version(act.now);
}
