//! What it costs to compare a worklist as large as e-RS answers at most, in this process: read, compared with the list
//! before, and written as the next comparison finds it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::exit::CliError;
use super::Scale;
use super::figure::Figure;
use super::process::Process;
use crate::mapping::{Entries, MappingSet};

const LIST: &str = "REFERRALS_FOR_REVIEW";
/// e-RS answers 10 MB at most.
const ANSWER_BYTES_MAX: usize = 10_000_000;
/// One entry in so many is new, changed or gone.
const DIFFERS: u64 = 50;

pub(super) fn measure(scale: &Scale) -> Result<Vec<Figure>, CliError> {
    let broken = |why: &str| CliError::Unavailable(why.to_owned());
    let set = MappingSet::built_in().map_err(|_| broken("the built-in mapping set is broken"))?;
    let worklist = set.worklist(LIST).ok_or_else(|| broken("there is no such worklist"))?;
    let me = Process(std::process::id());
    let resident = me.resident_mb();
    me.forget_peak();
    let (before, count) = answer(0);
    let (answer, _) = answer(1);
    let before = serde_json::to_vec(&worklist.entries(&before).map_err(broken)?).unwrap_or_default();
    let compare = || -> Result<usize, CliError> {
        let now = worklist.entries(&answer).map_err(broken)?;
        let was: Entries = serde_json::from_slice(&before).map_err(|_| broken("the list before is no JSON"))?;
        let differences = worklist.differences(&was, &now).len();
        std::hint::black_box(serde_json::to_vec(&now).unwrap_or_default());
        Ok(differences)
    };
    let differences = compare()?;
    // From before the answers were made: what was freed meanwhile and is used again counts as well.
    let memory = me.peak_mb() - resident;
    let began = Instant::now();
    let mut rounds: Vec<Duration> = Vec::new();
    while began.elapsed() < scale.measured || rounds.is_empty() {
        let round = Instant::now();
        std::hint::black_box(compare()?);
        rounds.push(round.elapsed());
    }
    rounds.sort_unstable();
    let median = rounds[rounds.len() / 2].as_secs_f64() * 1e3;
    let size = answer.len() as f64 / 1e6;
    Ok(vec![
        Figure::new(format!("comparing a worklist of {count} entries, {size:.1} MB"), median, "ms")
            .less_than(500.0)
            .limited_by(format!("reading its JSON; {differences} differences")),
        Figure::new("  memory on top, two answers included", memory, "MB")
            .less_than(100.0)
            .limited_by("the two answers, and the list before and now"),
    ])
}

/// As many entries as fit, in the shape of the published answer. With another `round`, some differ.
/// Written entry by entry: a tree of all of it would be measured as well.
fn answer(round: u64) -> (Vec<u8>, usize) {
    let mut text = Vec::with_capacity(ANSWER_BYTES_MAX);
    text.extend_from_slice(br#"{"resourceType":"List","status":"current","mode":"snapshot","entry":["#);
    let mut count = 0;
    for number in 0_u64.. {
        let one = entry(number, round).to_string();
        if text.len() + one.len() > ANSWER_BYTES_MAX - 100_000 {
            break;
        }
        if count > 0 {
            text.push(b',');
        }
        text.extend_from_slice(one.as_bytes());
        count += 1;
    }
    text.extend_from_slice(b"]}");
    (text, count)
}

fn entry(number: u64, round: u64) -> Value {
    const SYSTEM: &str = "https://fhir.nhs.uk/STU3/CodeSystem/eRS";
    let coded = |name: &str, system: &str, code: &str| {
        let coding = json!({"system": format!("{SYSTEM}-{system}-1"), "code": code, "display": code});
        json!({"url": name, "valueCodeableConcept": {"coding": [coding]}})
    };
    let differs = round > 0 && number.is_multiple_of(DIFFERS);
    let key = if differs && number.is_multiple_of(2 * DIFFERS) { 900_000 + number } else { number };
    let version = if differs { 8 } else { 7 };
    let at = "2026-03-16T09:30:00.000Z";
    json!({
        "extension": [{
            "url": "https://fhir.nhs.uk/STU3/StructureDefinition/Extension-eRS-ReferralsforReview-WorkListItem-1",
            "extension": [
                coded("priority", "Priority", if number.is_multiple_of(20) { "TWO_WEEK_WAIT" } else { "ROUTINE" }),
                coded("specialty", "Specialty", "CARDIOLOGY"),
                {"url": "patient", "valueReference": {"reference": format!("#Patient-{:010}", 9_990_000_000 + number)}},
                {"url": "allocatedClinician", "valueReference": {"reference": "#Practitioner-555012340001"}},
                {"url": "eReferralPathwayStart", "valueDateTime": at},
                {"url": "clinicalInfoPrinted", "valueBoolean": false},
                coded("requestContextStatus", "RequestContextStatus", "NEVER_REVIEWED"),
                {"url": "clinicalInfoFirstSubmitted", "valueDateTime": at},
                {"url": "clinicalInfoLastUpdated", "valueDateTime": at},
                {"url": "appointmentStart", "valueDateTime": at},
                coded("referralType", "ReferralType", "APPOINTMENT"),
                {"url": "service", "valueReference": {
                    "identifier": {"system": "http://fhir.nhs.net/Id/ers-service", "value": "11012"},
                    "display": "Excellent Cardiology Business Service 12",
                }},
                {"url": "referralRequestVersion", "valueInteger": version},
            ],
        }],
        "item": {"reference": format!("ReferralRequest/{key:012}")},
    })
}
