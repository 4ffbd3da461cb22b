//! What a search for services tells beyond the official samples: every extension of A010 that is specified.

use super::walk::walk;
use super::*;

#[test]
fn a_found_service_is_told_with_everything_that_e_rs_says_of_it() {
    let code = |url: &str, code: &str| json!({"url": url, "valueCodeableConcept": {"coding": [{"system": "s", "code": code}]}});
    let text = |url: &str, text: &str| json!({"url": url, "valueString": text});
    let age = json!({"low": {"value": 18, "unit": "YEARS"}, "high": {"value": 100, "unit": "YEARS"}});
    let view = json!([
        text("serviceName", "Hips"),
        code("specialty", "ORTHOPAEDICS"),
        code("bookableType", "INDIRECTLY_BOOKABLE"),
        code("supportedRequestFlowType", "TRIAGE_REQUEST"),
        code("supportedRequestFlowType", "ADVICE_AND_GUIDANCE_REQUEST"),
        code("supportedAppointmentType", "GPSI"),
        {"url": "referralLetterRequired", "valueBoolean": true},
        {"url": "indicativeTreatmentWaitTime", "valueUnsignedInt": 0},
        {"url": "location", "valueReference": {"identifier": {"system": "o", "value": "R69"}, "display": "Cicero-Clinic"}},
        code("genderTreated", "FEMALE"),
        {"url": "ageTreated", "valueRange": age},
        code("additionalRequirementSupported", "TRANSPORT"),
        code("additionalRequirementSupported", "INTERPRETER"),
        text("referrerAlert", "alert"),
        text("exclusions", "none under 18"),
        text("suggestedInvestigations", "X-ray"),
        text("conditionsTreated", "Hip pain"),
        text("linkToNHSWebsite", "https://www.nhs.uk/1"),
    ]);
    let hit = json!([
        {"url": "displayProminently", "valueBoolean": true},
        {"url": "distance", "valueUnsignedInt": 12},
        {"url": "indicativeAppointmentWaitTime", "valueUnsignedInt": 7},
    ]);
    let full = json!({
        "extension": [{"url": "x", "extension": hit}],
        "item": {"identifier": {"value": "11002"}, "extension": [{"url": "y", "extension": view}]},
    });
    let bare = json!({"item": {"identifier": {"value": "11010"}}});
    let answers = |_: &PreparedCall| answer(200, &[], json!({"entry": [full, bare]}));
    let command = json!({
        "requestType": "APPOINTMENT_REQUEST", "sortBy": "IWT", "priority": "ROUTINE",
        "patient": {"nhsNumber": "9912003888"},
    });
    let walk = walk(&set(), ("SearchServices", &command), Some("REFERRING_CLINICIAN"), &answers);
    assert_eq!(
        walk.result()["services"],
        json!([
            {
                "service": "11002", "name": "Hips", "specialty": "ORTHOPAEDICS", "bookableType": "INDIRECTLY_BOOKABLE",
                "requestFlowTypes": ["TRIAGE_REQUEST", "ADVICE_AND_GUIDANCE_REQUEST"], "appointmentType": "GPSI",
                "referralLetterRequired": true, "indicativeAppointmentWaitTime": 7, "indicativeTreatmentWaitTime": 0,
                "distance": 12, "displayProminently": true, "organisation": "R69", "location": "Cicero-Clinic",
                "genderTreated": "FEMALE", "ageTreated": age, "additionalRequirements": ["TRANSPORT", "INTERPRETER"],
                "referrerAlert": "alert", "exclusions": "none under 18", "suggestedInvestigations": "X-ray",
                "conditionsTreated": "Hip pain", "linkToNHSWebsite": "https://www.nhs.uk/1",
            },
            {"service": "11010", "requestFlowTypes": [], "additionalRequirements": []},
        ])
    );
}
