//! Referrals by the dozen: patients who do not exist, each with a number of their own, and messages about them.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

/// NHS numbers of the test range, each given once.
pub struct Patients {
    next: AtomicU32,
}

impl Patients {
    pub fn new() -> Self {
        Self { next: AtomicU32::new(100_000) }
    }

    pub fn next(&self) -> String {
        loop {
            let number = format!("999{:06}", self.next.fetch_add(1, Ordering::Relaxed));
            let sum: u32 = number.bytes().zip((2..=10).rev()).map(|(digit, by)| u32::from(digit - b'0') * by).sum();
            match 11 - sum % 11 {
                10 => {}
                11 => return format!("{number}0"),
                check => return format!("{number}{check}"),
            }
        }
    }
}

/// A REF^I12 as Northmoor's system sends it. With a diagnosis, which goes along as a letter.
pub fn northmoor(control_id: &str, local_id: &str, nhs_number: &str, diagnosis: Option<&str>) -> Vec<u8> {
    let mut message = format!(
        "MSH|^~\\&|NMPAS|RXX00|ERSGW|RXX00|20260316093015||REF^I12|{control_id}|P|2.3\r\
         RF1|P|3|110^TRAUMA AND ORTHOPAEDICS|AM|O|{local_id}|20260316\r\
         PRD|RP|FABRIKATOR^OLIVIA^^^DR|1 MADE UP STREET^^TESTFORD|^^^Z99001||555012345678^SDS~G9912345^GMP\r\
         PRD|RT|KNEE CLINIC A|||^^^RXX01|20001^ERS\r\
         PID|1|{nhs_number}|H100200||TESTERTON^ADELINE^MAE^^MRS||19570314|F|||1 IMAGINARY CLOSE^^TESTFORD^^ZZ99 1ZZ\r"
    );
    if let Some(diagnosis) = diagnosis {
        message.push_str(&format!("DG1|1|READ|N245.|{diagnosis}|20260301\r"));
    }
    message.push_str("PV1|1|O\r");
    message.into_bytes()
}

/// A canonical CreateReferral.
pub fn create(local_id: &str, nhs_number: &str) -> Value {
    json!({
        "localId": local_id,
        "patient": {"nhsNumber": nhs_number},
        "referrer": {"sdsUserId": "555012345678"},
        "priority": "ROUTINE",
        "specialty": "TRAUMA_AND_ORTHOPAEDICS",
        "clinicType": "NOT_OTHERWISE_SPECIFIED",
        "shortlist": [{"service": "20001"}],
        "letterIntention": "NEED_TO_ADD_LATER",
        "firstReminderDays": 0,
    })
}

/// A canonical AttachLetters with one letter, for a referral that is known by its local id.
pub fn attach(local_id: &str, file_name: &str, base64: &str) -> Value {
    json!({
        "localId": local_id,
        "letters": [{"fileName": file_name, "contentType": "text/plain", "base64": base64}],
    })
}

/// A message of `tests/data/hl7`, by the beginning of its name.
pub fn sample(number: &str) -> Vec<u8> {
    in_folder(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hl7"), number)
}

/// A sample of FHIR by the start of its name.
pub fn fhir_sample(number: &str) -> String {
    let bytes = in_folder(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fhir"), number);
    String::from_utf8(bytes).expect("the samples are UTF-8")
}

fn in_folder(folder: &str, number: &str) -> Vec<u8> {
    let mut names = std::fs::read_dir(folder).expect("the samples are there").flatten().map(|entry| entry.path());
    let path = names
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(number)))
        .unwrap_or_else(|| panic!("no sample {number}"));
    std::fs::read(path).expect("the sample can be read")
}
