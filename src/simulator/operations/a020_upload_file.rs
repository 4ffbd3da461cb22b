//! A020 Upload file to document store.

use super::Act;
use crate::simulator::access::essence;
use crate::simulator::exchange::Answer;
use crate::simulator::files::File;
use crate::simulator::referral::Ubrn;
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::Issues;

/// 5 MB.
pub const FILE_BYTES_MAX: usize = 5 * 1024 * 1024;
const FILE_NAME_CHARACTERS_MAX: usize = 255;

/// The content types that e-RS stores, each with the extensions that go with it.
pub const CONTENT_TYPES: [(&str, &[&str]); 14] = [
    ("text/plain", &["txt"]),
    ("application/pdf", &["pdf"]),
    ("text/xml", &["xml"]),
    ("text/rtf", &["rtf", "rtx"]),
    ("audio/basic", &["au"]),
    ("audio/mpeg", &["mp3"]),
    ("image/png", &["png"]),
    ("image/gif", &["gif"]),
    ("image/jpeg", &["jpg", "jpe", "jpeg"]),
    ("image/tiff", &["tif", "tiff"]),
    ("video/mpeg", &["mpg", "mpeg", "mpe"]),
    ("application/msword", &["doc"]),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", &["docx"]),
    ("application/dicom", &["dcm"]),
];

const DOCUMENTED: [&str; 5] =
    ["CONFLICTING_VALUES", "FILE_SIZE_ERROR", "INAPPROPRIATE_VALUE", "INVALID_VALUE", "MISSING_VALUE"];

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let content_type = act.call.header("Content-Type").map(essence).unwrap_or_default();
    let name = file_name(act, &content_type, &mut issues);
    let meant_for = meant_for(act, &mut issues);
    let size = act.call.body.len();
    if size == 0 {
        issues.add("FILE_SIZE_ERROR", "body", "the file is empty");
    } else if size > FILE_BYTES_MAX || act.call.body_cut {
        issues.add("FILE_SIZE_ERROR", "body", format_args!("the file is larger than {FILE_BYTES_MAX} bytes"));
    }
    let name = issues.or(name)?;
    let id = act.world.environment.random_id();
    let file = File {
        name: name.to_owned(),
        content_type,
        size,
        content: Some(act.call.body.clone()),
        meant_for,
        linked_to: None,
        scan: act.world.files.scan(name, act.now),
    };
    act.world.files.insert(id, file);
    let mut answer = Answer::bare(201).with("Location", format!("Binary/{id}"));
    answer.ubrn = meant_for;
    Ok(answer)
}

fn file_name<'a>(act: &Act<'a>, content_type: &str, issues: &mut Issues) -> Option<&'a str> {
    const HEADER: &str = "NHSD-eRS-File-Name";
    let Some(name) = act.call.header(HEADER).map(str::trim).filter(|name| !name.is_empty()) else {
        issues.add("MISSING_VALUE", HEADER, "is mandatory");
        return None;
    };
    let hostile = |letter: char| letter.is_control() || matches!(letter, '/' | '\\');
    if name.chars().count() > FILE_NAME_CHARACTERS_MAX || name.contains(hostile) {
        issues.add("INVALID_VALUE", HEADER, "is not a file name");
        return None;
    }
    let Some(extension) = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()) else {
        issues.add("INVALID_VALUE", HEADER, "must have an extension");
        return None;
    };
    match CONTENT_TYPES.iter().find(|(_, extensions)| extensions.contains(&extension.as_str())) {
        None => issues.add("INVALID_VALUE", HEADER, "has an extension that is not supported"),
        Some((expected, _)) if *expected != content_type => {
            issues.add("CONFLICTING_VALUES", HEADER, format_args!("the extension is for {expected}"));
        }
        Some(_) => return Some(name),
    }
    None
}

fn meant_for(act: &Act<'_>, issues: &mut Issues) -> Option<Ubrn> {
    const HEADER: &str = "NHSD-eRS-Referral-ID";
    let text = act.call.header(HEADER)?;
    let Some(ubrn) = Ubrn::parse(text) else {
        issues.add("INVALID_VALUE", HEADER, "must be a UBRN");
        return None;
    };
    if act.world.referrals.with(ubrn, |_| ()).is_none() && act.world.advice.with(ubrn, |_| ()).is_none() {
        issues.add("INAPPROPRIATE_VALUE", HEADER, "no such request");
    }
    Some(ubrn)
}
