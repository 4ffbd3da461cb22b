//! Answers have the keys of the published samples, no more and no fewer.

use std::collections::BTreeSet;

use super::*;

/// The paths of all members, array indices left out. Open lists are judged by their kinds elsewhere.
fn keys(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                let path = format!("{at}/{name}");
                found.insert(path.clone());
                keys(inner, &path, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, at, found)),
        _ => {}
    }
}

pub fn same_keys(answer: &Value, sample: &str, optional: &[&str]) {
    let (mut own, mut published) = (BTreeSet::new(), BTreeSet::new());
    keys(answer, "", &mut own);
    keys(&example(sample), "", &mut published);
    let differing: Vec<_> =
        own.symmetric_difference(&published).filter(|path| !optional.iter().any(|part| path.contains(part))).collect();
    assert!(differing.is_empty(), "{sample}: {differing:?}");
}

#[tokio::test]
async fn a_created_referral_looks_like_the_sample() {
    let bench = Bench::in_the_time_of_the_samples().await;
    let reply = bench.create(&example("a011-create-referral/request-minimal.json")).await;
    same_keys(&reply.json(), "a011-create-referral/response-referral-request.json", &[]);
    let (own, sample) = (reply.json(), example("a011-create-referral/response-referral-request.json"));
    assert_eq!(own["contained"][0], sample["contained"][0], "the criteria");
    assert_eq!(own["contained"][1], sample["contained"][1], "the shortlist");
    assert_eq!(own["subject"], sample["subject"]);
    let sorted = |resource: &Value| {
        let mut all: Vec<String> =
            resource["extension"].as_array().into_iter().flatten().map(Value::to_string).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&own), sorted(&sample), "the extensions");
}

#[tokio::test]
async fn a_referral_with_letters_looks_like_the_sample() {
    let bench = Bench::start().await;
    let body = example("a012-maintain-referral-letter/request-multiple-document-references.json");
    let reply = bench.link("000000070000", Some(r#"W/"6""#), &body).await;
    let unused = ["valueString", "valueUnsignedInt"]; // in the criteria of the sample
    same_keys(
        &reply.json(),
        "a012-maintain-referral-letter/response-referral-request-with-multiple-document-references.json",
        &unused,
    );
}

#[tokio::test]
async fn an_appointment_looks_like_the_sample() {
    for sample in ["triage-deferral", "minimal-deferral", "deferral-booking-attempt-problem"] {
        let bench = Bench::start().await;
        let request = example(&format!("a016-book-or-defer-appointment/request-{sample}.json"));
        let reply = bench.post(APPOINTMENT, &request).await;
        let response = format!("a016-book-or-defer-appointment/response-{sample}.json");
        same_keys(&reply.json(), &response, &[]);
        let (mut own, mut published) = (reply.json(), example(&response));
        for changing in ["id", "created"] {
            own[changing] = Value::Null;
            published[changing] = Value::Null;
        }
        assert_eq!(own, published, "{sample}");
    }
}

#[tokio::test]
async fn a_deferred_referral_looks_like_the_sample() {
    let bench = Bench::start().await;
    bench.post(APPOINTMENT, &example("a016-book-or-defer-appointment/request-minimal-deferral.json")).await;
    let reply = bench.get("/STU3/ReferralRequest/000000070000").await;
    // The sample has letters, a pathway start and richer criteria.
    let unused = [
        "/content",
        "DocumentReference",
        "/contained/type",
        "/contained/indexed",
        "valueInstant",
        "valueDateTime",
        "valueString",
        "valueUnsignedInt",
        "/supportingInfo/reference",
        "/specialty/coding/display",
    ];
    same_keys(&reply.json(), "a005-retrieve-referral-request/response-deferred-to-provider.json", &unused);
}

#[tokio::test]
async fn lists_and_bundles_look_like_the_samples() {
    let bench = Bench::start().await;
    let search = bench.post(SEARCH, &example("a010-patient-service-search/request-rc-minimal.json")).await;
    let sample = "a010-patient-service-search/response-triage-and-appointment-request-type.json";
    same_keys(&search.json(), sample, &[]);
    let roles = bench.get("/R4/PractitionerRole").await;
    same_keys(&roles.json(), "a030-retrieve-business-functions/response-practitioner-role-bundle.json", &[]);
    let task = "/STU3/Task?focus=ReferralRequest/000000070000/_history/6&intent=proposal&status=ready";
    same_keys(&bench.get(task).await.json(), "a029-available-actions/response-with-create-appointment.json", &[]);
}

#[tokio::test]
async fn worklists_look_like_the_samples() {
    let bench = Bench::start().await;
    let list = |name: &str| example(&format!("a008-retrieve-worklist/request-minimal-{name}.json"));
    for name in ["awaiting-booking", "letters-outstanding", "assessment-returned-cancelled-dna"] {
        let ubrn = bench.created().await;
        if name == "assessment-returned-cancelled-dna" {
            let body = super::changes::cancellation("intend-private-without-comment");
            assert_eq!(bench.act(&ubrn, "cancelReferral", Some(r#"W/"3""#), &body).await.status, 200);
        }
        let reply = bench.post(WORKLIST, &list(name)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.text.contains(&format!("ReferralRequest/{ubrn}")), "{name}: {}", reply.text);
        same_keys(&reply.json(), &format!("a008-retrieve-worklist/response-{name}.json"), &[]);
    }
    let cancelled = bench.post(WORKLIST, &list("assessment-returned-cancelled-dna")).await.json();
    let sample = example("a008-retrieve-worklist/response-assessment-returned-cancelled-dna.json");
    let base = bench.simulator.base_url();
    for part in [0, 6, 7] {
        let own = cancelled["entry"][0]["extension"][0]["extension"][part].to_string();
        let published = sample["entry"][0]["extension"][0]["extension"][part].to_string();
        let patient = "9462979626";
        assert_eq!(own, published.replace(patient, "9912003888").replace("_baseurl_", base), "patient, status, reason");
    }
    let nothing = bench.post(WORKLIST, &list("rejected-triage-response")).await.json();
    assert_eq!(nothing["emptyReason"]["coding"][0]["code"], "nilknown");
}

#[tokio::test]
async fn a_worklist_is_that_of_the_callers_organisation_and_takes_no_filters() {
    let bench = Bench::start().await;
    let ubrn = bench.created().await;
    let mut request = example("a008-retrieve-worklist/request-minimal-awaiting-booking.json");
    let service = json!({"system": "http://fhir.nhs.net/Id/ers-service", "value": "11002"});
    request["parameter"]
        .as_array_mut()
        .expect("parameters")
        .push(json!({"name": "service", "valueIdentifier": service}));
    assert_eq!(bench.post(WORKLIST, &request).await.codes(), ["UNEXPECTED_FIELD"]);
    let review = example("a008-retrieve-worklist/request-minimal-referrals-for-review.json");
    assert_eq!(bench.post(WORKLIST, &review).await.codes(), ["INVALID_CODE"], "that is a provider's");
    let minimal = example("a008-retrieve-worklist/request-minimal-awaiting-booking.json");
    assert!(bench.post(WORKLIST, &minimal).await.text.contains(&ubrn));
    let elsewhere = bench.acting_as("RXX00", "REFERRING_CLINICIAN");
    let own = elsewhere.created().await;
    let listed = elsewhere.post(WORKLIST, &minimal).await.text;
    assert!(listed.contains(&own) && !listed.contains(&ubrn), "{listed}");
}

#[tokio::test]
async fn services_are_read_one_by_one_together_and_by_their_version() {
    let bench = Bench::start().await;
    let one = bench.get("/R4/HealthcareService/11002").await;
    assert_eq!((one.status, one.header("ETag")), (200, r#"W/"1""#), "{}", one.text);
    // The minimal sample has neither state nor characteristics.
    let minimal = "a033-retrieve-healthcare-service/response-sample-service-with-minimum-attributes.json";
    same_keys(&one.json(), minimal, &["/active", "/characteristic"]);
    let several = bench.get("/R4/HealthcareService?_id=11002,11010").await.json();
    assert_eq!(several["total"], 2, "{several}");
    let searched = "a035-search-healthcare-services/response-search-service-with-minmumal-attributes.json";
    same_keys(&several, searched, &["/characteristic"]);
    let request = bench.request(Method::HEAD, "/R4/HealthcareService/11002");
    let version = seen(request.send().await.expect("an answer")).await;
    assert_eq!((version.status, version.header("ETag"), version.text.as_str()), (200, r#"W/"1""#, ""));
    for (path, status, code) in [
        ("/R4/HealthcareService/none", 404, "REC_NOT_FOUND"),
        ("/R4/HealthcareService", 400, "REC_BAD_REQUEST"),
        ("/R4/HealthcareService?_id=", 400, "REC_BAD_REQUEST"),
        ("/R4/HealthcareService?_id=1&_id=2", 400, "REC_BAD_REQUEST"),
    ] {
        let refused = bench.get(path).await;
        assert_eq!((refused.status, refused.codes()), (status, vec![code.to_owned()]), "{path}");
    }
    let ids = vec!["11002"; 21].join(",");
    assert_eq!(bench.get(&format!("/R4/HealthcareService?_id={ids}")).await.status, 400, "21 are too many");
}

#[tokio::test]
async fn a_referral_with_another_shortlist_looks_like_the_sample() {
    for sample in ["unbooked-referral", "unbooked-referral-mixed-shortlist"] {
        let bench = Bench::start().await;
        let body = example(&format!("a031-change-shortlist/request-{sample}.json"));
        let reply = bench.act("000000070000", "changeShortlist", Some(r#"W/"6""#), &body).await;
        // The sample has a pathway start.
        let sample = format!("a031-change-shortlist/response-{sample}.json");
        same_keys(&reply.json(), &sample, &["valueInstant"]);
    }
}

#[tokio::test]
async fn a_cancelled_referral_looks_like_the_sample() {
    // In the criteria and the letters of the samples.
    let criteria = "/parameter/resource/contained/parameter";
    // The booking of the sample names no clinician.
    let mut unused = vec!["valueUnsignedInt", criteria, "DocumentReference", "specialty", "/participant/type"];
    let bench = Bench::start().await;
    let reply = bench
        .act(
            "000000070000",
            "cancelReferral",
            Some(r#"W/"6""#),
            &super::changes::cancellation("patient-request-cancellation-other"),
        )
        .await;
    same_keys(&reply.json(), "a036-cancel-referral/response-cancelled-referral-patient-other.json", &unused);

    let bench = super::changes::booked().await;
    bench.simulator.note_requirement("000000070000", crate::simulator::AdditionalRequirement::Transport);
    let reply = bench
        .act(
            "000000070000",
            "cancelReferral",
            Some(&format!("W/\"{}\"", bench.version("000000070000").await)),
            &super::changes::cancellation("referrer-cancellation"),
        )
        .await;
    let sample = "a036-cancel-referral/response-cancelled-booked-referral-referrer-cancellation.json";
    // That of a booking which was no longer required has them in the contained appointment too.
    unused.extend(["/contained/reason", "/contained/comment"]);
    same_keys(&reply.json(), sample, &unused);
}

#[tokio::test]
async fn an_advice_request_looks_like_the_samples() {
    use super::advice::{CREATE_ADVICE, administrator, request};
    let bench = administrator().await;
    let reply = bench.post(CREATE_ADVICE, &request(&bench).await).await;
    // The file of the sample is not shown on its request yet.
    let unused = ["/parameter/resource/contained", "/parameter/resource/payload"];
    same_keys(&reply.json(), "a044-create-advice-request/response-example-rca-with-attachments.json", &unused);
    let created = reply.json();
    let ubrn = created["parameter"][0]["resource"]["id"].as_str().expect("a UBRN");
    let read = bench.get(&format!("/STU3/CommunicationRequest/{ubrn}")).await;
    same_keys(&read.json(), "a024-retrieve-advice-request/response-with-attachment-file-reference.json", &[]);
    let conversation = format!(
        "/STU3/Communication?based-on=CommunicationRequest/{ubrn}/_history/1\
         &_include=Communication:requester-practitionerrole:PractitionerRole\
         &_include=Communication:sender-practitionerrole:PractionerRole\
         &_include=Communication:content-reference:DocumentReference"
    );
    let sample = "a025-retrieve-advice-conversation/response-attachment-uploaded-from-rcs.json";
    same_keys(&bench.get(&conversation).await.json(), sample, &[]);
}

#[tokio::test]
async fn refusals_look_like_the_samples() {
    let bench = Bench::start().await;
    let mut body = referral_request();
    body["parameter"][0]["name"] = "unknownParameter".into();
    same_keys(&bench.create(&body).await.json(), "errors/stu3-422-unexpected-field.json", &[]);
    let url = format!("{}/STU3/CodeSystem/PRIORITY", bench.simulator.base_url());
    let stranger = seen(bench.http.get(url).send().await.expect("an answer")).await;
    same_keys(&stranger.json(), "errors/stu3-401-unauthorised.json", &[]);
    bench.simulator.inject(crate::simulator::Fault::on("A005", crate::simulator::Action::answer(503)));
    let down = bench.get("/STU3/ReferralRequest/000000070000").await;
    assert_eq!(down.json(), example("errors/stu3-503-service-unavailable.json"));
    let ubrn = bench.created().await;
    let file = bench.uploaded("letter.pdf", &ubrn).await;
    let pending = bench.get(&format!("/R4/{file}")).await.json();
    same_keys(&pending, "errors/r4-422.json", &[]);
    assert_eq!(pending["issue"], example("errors/r4-422.json")["issue"]);
}
