//! What e-RS refuses, and with which codes; all issues of a request at once.

use super::*;

/// Changes the part of a body at a JSON pointer; `null` takes it away.
pub fn changed(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, last) = pointer.rsplit_once('/').expect("a pointer with a slash");
    let parent = body.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer} is not in the body"));
    match (parent, value) {
        (Value::Object(members), Value::Null) => {
            members.shift_remove(last);
        }
        (Value::Object(members), value) => {
            members.insert(last.to_owned(), value);
        }
        (Value::Array(items), Value::Null) => {
            items.remove(last.parse().expect("an index"));
        }
        (Value::Array(items), value) => match last.parse::<usize>() {
            Ok(index) if index < items.len() => items[index] = value,
            _ => items.push(value),
        },
        _ => panic!("{pointer} is not in a container"),
    }
    body
}

fn services(ids: &[u32]) -> Value {
    ids.iter()
        .map(|id| json!({"item": {"identifier": {"system": "http://fhir.nhs.net/Id/ers-service", "value": id.to_string()}}}))
        .collect::<Vec<_>>()
        .into()
}

#[tokio::test]
async fn a_wrong_create_request_gets_the_documented_code() {
    let bench = Bench::start().await;
    let twenty_one: Vec<u32> = (20001..20022).collect();
    let instant = |text: &str| json!({"name": "eReferralPathwayStart", "valueInstant": text});
    let list = "/parameter/3/resource";
    let criteria = "/parameter/3/resource/contained/0";
    // The body: patient, intention, reminder days, shortlist.
    for (pointer, value, codes) in [
        ("/resourceType".to_owned(), Value::Null, vec!["MISSING_VALUE"]),
        ("/resourceType".into(), json!("Bundle"), vec!["INVALID_FHIR_STRUCTURE"]),
        ("/meta".into(), Value::Null, vec!["MISSING_VALUE"]),
        ("/meta/profile/0".into(), json!("https://example.org/other"), vec!["INVALID_VALUE", "INVALID_VALUE"]),
        ("/unknown".into(), json!(1), vec!["UNEXPECTED_FIELD"]),
        (
            "/parameter".into(),
            json!({}),
            vec!["INVALID_FHIR_STRUCTURE", "MISSING_VALUE", "MISSING_VALUE", "MISSING_VALUE", "MISSING_VALUE"],
        ),
        ("/parameter/0".into(), Value::Null, vec!["MISSING_VALUE"]),
        ("/parameter/0/name".into(), json!("patent"), vec!["UNEXPECTED_FIELD", "MISSING_VALUE"]),
        ("/parameter/0/valueIdentifier/value".into(), json!("9912003880"), vec!["INVALID_VALUE"]),
        ("/parameter/0/valueIdentifier/value".into(), json!(9_912_003_888_u64), vec!["INVALID_VALUE"]),
        ("/parameter/0/valueIdentifier/value".into(), json!("9999000010"), vec!["PATIENT_ERROR"]),
        ("/parameter/0/valueIdentifier/value".into(), json!("9999000029"), vec!["NO_REG_GP_PRACTICE"]),
        (
            "/parameter/0/valueIdentifier/system".into(),
            json!("https://fhir.nhs.uk/Id/nhs-number"),
            vec!["INVALID_VALUE"],
        ),
        ("/parameter/0/valueIdentifier/use".into(), json!("usual"), vec!["UNEXPECTED_FIELD"]),
        ("/parameter/1/valueCoding/code".into(), json!("PERHAPS"), vec!["INVALID_CODE"]),
        ("/parameter/1/valueCoding/system".into(), json!("https://example.org"), vec!["INVALID_VALUE"]),
        ("/parameter/2/valueUnsignedInt".into(), json!(-1), vec!["INVALID_VALUE"]),
        ("/parameter/2/valueUnsignedInt".into(), json!("0"), vec!["INVALID_VALUE"]),
        ("/parameter/2/valueUnsignedInt".into(), json!(1.5), vec!["INVALID_VALUE"]),
        ("/parameter/2/valueUnsignedInt".into(), json!(2_147_483_648_u64), vec!["INVALID_VALUE"]),
        ("/parameter/4".into(), json!({"name": "patient", "valueIdentifier": {}}), vec!["INVALID_FHIR_STRUCTURE"]),
        ("/parameter/4".into(), instant("2030-01-01T00:00:00Z"), vec!["INAPPROPRIATE_VALUE"]),
        ("/parameter/4".into(), instant("2001-01-01T00:00:00Z"), vec!["INAPPROPRIATE_VALUE"]),
        ("/parameter/4".into(), instant("2026-03-16"), vec!["INVALID_VALUE"]),
        ("/parameter/4".into(), instant("2026-03-16T09:30:00"), vec!["INVALID_VALUE"]),
        (format!("{list}/status"), json!("retired"), vec!["INVALID_VALUE"]),
        (format!("{list}/mode"), Value::Null, vec!["MISSING_VALUE"]),
        (format!("{list}/entry"), json!([]), vec!["MISSING_VALUE"]),
        (format!("{list}/entry"), services(&twenty_one), vec!["TOO_MANY_ITEMS"]),
        (format!("{list}/entry"), services(&[20001, 20002, 20001]), vec!["DUPLICATE_SERVICE"]),
        (format!("{list}/entry"), services(&[20081]), vec!["SHORTLISTED_SERVICE_NOT_IN_RESULTS"]), // advice only
        (format!("{list}/entry"), services(&[20031]), vec!["SHORTLISTED_SERVICE_NOT_IN_RESULTS"]), // two week wait only
        (format!("{list}/entry"), services(&[11099]), vec!["SHORTLISTED_SERVICE_NOT_IN_RESULTS"]), // closed
        (format!("{list}/entry/0/item/identifier/value"), json!("eleven"), vec!["INVALID_VALUE"]),
        (format!("{list}/entry/0/item/reference"), json!("x"), vec!["UNEXPECTED_FIELD"]),
        (format!("{list}/extension"), json!([]), vec!["MISSING_VALUE"]),
        (format!("{list}/extension/0/valueReference/reference"), json!("#other"), vec!["REFERENCE_NOT_FOUND"]),
        (format!("{criteria}/parameter/0"), Value::Null, vec!["MISSING_VALUE"]),
        (format!("{criteria}/parameter/0/valueCoding/code"), json!("SOON"), vec!["INVALID_CODE"]),
        (format!("{criteria}/parameter/1/valueCoding/code"), json!("ADULT_MENTAL_ILLNESS"), vec!["INVALID_CODE"]),
        (
            format!("{criteria}/parameter/1/valueCoding/system"),
            json!("http://x/STU3/CodeSystem/CLINIC-TYPE"),
            vec!["INVALID_VALUE"],
        ),
        (
            format!("{criteria}/parameter/1/valueCoding/code"),
            json!("ALLERGY"),
            vec!["SHORTLISTED_SERVICE_NOT_IN_RESULTS"],
        ),
        (format!("{criteria}/parameter/2/valueCoding/code"), json!("ALLERGY_1"), vec!["INAPPROPRIATE_VALUE"]),
        (format!("{criteria}/parameter/3/valueBoolean"), json!("false"), vec!["INVALID_VALUE"]),
        (format!("{criteria}/parameter/4"), json!({"name": "unknownParameter"}), vec!["UNEXPECTED_FIELD"]),
        (
            format!("{criteria}/parameter/4"),
            json!({"name": "distanceLimit", "valueUnsignedInt": -5}),
            vec!["INVALID_VALUE"],
        ),
        (format!("{criteria}/parameter/4"), json!({"name": "postcode", "valueString": ""}), vec!["MISSING_VALUE"]),
        (
            format!("{criteria}/parameter/4"),
            coding("clinicalTerm", "http://snomed.info/sct", "heart"),
            vec!["SNOMED_NOT_FOUND"],
        ),
        (format!("{criteria}/parameter/4"), clinician("namedClinician", "12345"), vec!["INVALID_VALUE"]),
        (
            format!("{criteria}/parameter/4"),
            clinician("namedClinician", "555000000905"),
            vec!["REFERENCED_USER_IS_NOT_SPC"],
        ),
        (format!("{criteria}/parameter/4"), organisation("CLOSED"), vec!["ORGANISATION_IS_CLOSED"]),
    ] {
        let body = changed(referral_request(), &pointer, value.clone());
        let reply = bench.create(&body).await;
        assert_eq!(
            (reply.status, reply.codes()),
            (422, codes.iter().map(|code| (*code).to_owned()).collect()),
            "{pointer} {value}: {}",
            reply.text
        );
    }
    assert!(bench.simulator.creations().is_empty(), "a refused request makes nothing");
}

fn coding(name: &str, system: &str, code: &str) -> Value {
    json!({"name": name, "valueCoding": {"system": system, "code": code}})
}

fn clinician(name: &str, id: &str) -> Value {
    json!({"name": name, "valueIdentifier": {"system": "http://fhir.nhs.net/Id/sds-user-id", "value": id}})
}

fn organisation(code: &str) -> Value {
    let system = "https://directory.spineservices.nhs.uk/STU3/Organization";
    json!({"name": "organisation", "valueIdentifier": {"system": system, "value": code}})
}

#[tokio::test]
async fn every_issue_of_a_request_is_named_with_its_path() {
    let bench = Bench::start().await;
    let body = changed(referral_request(), "/parameter/0/valueIdentifier/value", json!("123"));
    let body = changed(body, "/parameter/2/valueUnsignedInt", json!("0"));
    let body = changed(body, "/parameter/3/resource/contained/0/parameter/1", json!({"name": "unknownParameter"}));
    let reply = bench.create(&body).await;
    let outcome = reply.json();
    let texts: Vec<&str> =
        outcome["issue"].as_array().expect("issues").iter().filter_map(|issue| issue["diagnostics"].as_str()).collect();
    assert_eq!(
        texts,
        [
            "'parameter[0]/valueIdentifier' must be an NHS number",
            "'parameter[2]/valueUnsignedInt' must be a whole number of 0 or more",
            "'parameter[3]/resource/contained[0]/parameter[1]' (unknownParameter) unknown parameter name",
        ]
    );
}

#[tokio::test]
async fn the_referring_clinician_of_an_administrator_must_be_one() {
    let bench = Bench::start().await.acting_as("R69", "REFERRING_CLINICIAN_ADMIN");
    for (id, code) in [
        ("555000000901", "REFERENCED_USER_IS_NOT_ACTIVE"),
        ("555000000902", "REFERENCED_USER_IS_NOT_RC"),
        ("555000000903", "REFERENCED_USER_IS_NOT_RC_AT_ORG"),
        ("555000000904", "REFERENCED_USER_NOT_IN_ORG"),
        ("21600556514", "INVALID_VALUE"), // a leading zero lost
    ] {
        let body = changed(referral_request(), "/parameter/4", clinician("referringClinician", id));
        assert_eq!(bench.create(&body).await.codes(), [code], "{id}");
    }
}

#[tokio::test]
async fn what_is_not_listed_is_refused_when_only_the_known_counts() {
    let bench = Bench::with(SimulatorConfig {
        any_service: false,
        any_patient: false,
        any_clinician: false,
        any_reference_code: false,
        ..SimulatorConfig::default()
    })
    .await;
    let body = changed(referral_request(), "/parameter/0/valueIdentifier/value", json!("9999000037"));
    let body = changed(body, "/parameter/3/resource/entry", services(&[99999]));
    assert_eq!(
        bench.create(&body).await.codes(),
        ["REFERENCE_NOT_FOUND", "INVALID_CODE", "INVALID_CODE", "REFERENCE_NOT_FOUND"]
    );
}

#[tokio::test]
async fn a_wrong_search_gets_the_documented_code() {
    let bench = Bench::start().await;
    let sample = || example("a010-patient-service-search/request-rc-search-with-commissioning-rule-organisation.json");
    for (pointer, value, codes) in [
        ("/parameter/0/valueCoding/code", json!("TRIAGE_REQUEST"), vec!["INVALID_CODE"]),
        ("/parameter/0/valueCoding/code", json!("ADVICE_AND_GUIDANCE_REQUEST"), vec!["FIELD_NOT_PERMITTED"]),
        ("/parameter/1", Value::Null, vec!["MISSING_VALUE"]),
        ("/parameter/2/valueIdentifier/value", json!("1"), vec!["INVALID_VALUE"]),
        ("/parameter/3/resource", json!("x"), vec!["INVALID_FHIR_STRUCTURE"]),
        ("/parameter/3/resource/id", Value::Null, vec!["MISSING_VALUE"]),
    ] {
        let reply = bench.post(SEARCH, &changed(sample(), pointer, value)).await;
        assert_eq!(reply.codes(), codes, "{pointer}: {}", reply.text);
    }
    let nothing = changed(sample(), "/parameter/3/resource/parameter/1/valueCoding/code", json!("ALLERGY"));
    let nothing = changed(nothing, "/parameter/3/resource/parameter/2/valueCoding/code", json!("ALLERGY_1"));
    let reply = bench.post(SEARCH, &nothing).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let services = reply.json()["entry"].as_array().map(Vec::len);
    assert_eq!(services, Some(10 + 2), "those of any specialty that are routine, urgent and bookable or triaging");
}

#[tokio::test]
async fn a_wrong_letter_request_gets_the_documented_code() {
    let bench = Bench::start().await;
    let ubrn = bench.created().await;
    let file = bench.uploaded("letter.pdf", &ubrn).await;
    let document = "/parameter/0/resource";
    for (pointer, value, codes) in [
        ("/parameter".to_owned(), json!([]), vec!["MISSING_VALUE"]),
        ("/parameter/0/name".into(), json!("letter"), vec!["UNEXPECTED_FIELD", "MISSING_VALUE"]),
        (format!("{document}/meta/profile/0"), json!("x"), vec!["INVALID_VALUE", "INVALID_VALUE"]),
        (format!("{document}/status"), json!("superseded"), vec!["INVALID_VALUE"]),
        (format!("{document}/indexed"), Value::Null, vec!["MISSING_VALUE"]),
        (format!("{document}/indexed"), json!("2021-06-24"), vec!["INVALID_VALUE"]),
        (format!("{document}/type/coding/0/system"), json!("x"), vec!["INVALID_VALUE"]),
        (format!("{document}/content"), json!([]), vec!["MISSING_VALUE"]),
        (format!("{document}/content/0/attachment/title"), json!("x"), vec!["UNEXPECTED_FIELD"]),
        (format!("{document}/content/0/attachment/url"), json!("letter.pdf"), vec!["INVALID_VALUE"]),
        (
            format!("{document}/content/0/attachment/url"),
            json!("Binary/00000000-0000-4000-8000-000000000000"),
            vec!["REFERENCE_NOT_FOUND"],
        ),
    ] {
        let reply = bench.link(&ubrn, Some(r#"W/"3""#), &changed(letters(&[&file]), &pointer, value)).await;
        assert_eq!(
            (reply.status, reply.codes()),
            (422, codes.iter().map(|code| (*code).to_owned()).collect()),
            "{pointer}: {}",
            reply.text
        );
    }
}

#[tokio::test]
async fn files_are_linked_under_the_rules_of_maintain_referral_letter() {
    let bench = Bench::start().await;
    let (ubrn, other) = (bench.created().await, bench.created().await);
    let first = bench.uploaded("letter.pdf", &ubrn).await;
    let namesake = bench.uploaded("LETTER.pdf", &ubrn).await;
    let elsewhere = bench.uploaded("elsewhere.pdf", &other).await;
    let loose = bench.upload("loose.pdf", "application/pdf", None, b"x".to_vec()).await.header("Location").to_owned();
    for (files, codes) in [
        (vec![&*first, &*namesake], vec!["DUPLICATE_FILENAME"]),
        (vec![&*first, &*first], vec!["DUPLICATE_FILENAME"]),
        (vec![&*elsewhere], vec!["INAPPROPRIATE_VALUE"]),
        (vec![&*loose], vec!["INAPPROPRIATE_VALUE"]),
        (vec![&*loose, &*first, &*namesake], vec!["INAPPROPRIATE_VALUE", "DUPLICATE_FILENAME"]),
    ] {
        let reply = bench.link(&ubrn, Some(r#"W/"3""#), &letters(&files)).await;
        assert_eq!(reply.codes(), codes, "{files:?}");
    }
    assert_eq!(bench.link(&ubrn, Some(r#"W/"3""#), &letters(&[&first])).await.status, 200);
    let again = bench.link(&ubrn, Some(r#"W/"5""#), &letters(&[&first])).await;
    assert_eq!((again.status, again.codes()), (422, vec!["NO_CHANGES_DETECTED".to_owned()]));
    let taken = bench.link(&other, Some(r#"W/"3""#), &letters(&[&first])).await;
    assert_eq!(taken.codes(), ["INVALID_STATE"]);
    assert_eq!(
        bench.link("000049146177", Some(r#"W/"3""#), &letters(&[&first])).await.codes(),
        ["INVALID_REQUEST_TYPE"]
    );
}

#[tokio::test]
async fn a_wrong_appointment_gets_a_code_that_is_documented_for_it() {
    let bench = Bench::start().await;
    let reason = "/reason/0/coding/0/code";
    let service = "/participant/0/actor/identifier/value";
    let patient = "/participant/1/actor/identifier/value";
    let slot = json!([{"reference": "Slot/11000021"}]);
    for (pointer, value, codes) in [
        ("/meta/profile/1", Value::Null, vec!["INVALID_VALUE"]),
        ("/language", json!("cy"), vec!["INVALID_VALUE"]),
        ("/description", Value::Null, vec!["MISSING_VALUE"]),
        ("/status", json!("cancelled"), vec!["INAPPROPRIATE_VALUE"]),
        ("/status", json!("arrived"), vec!["INVALID_CODE"]),
        ("/status", json!("booked"), vec!["MISSING_VALUE", "MISSING_VALUE", "MISSING_VALUE", "INAPPROPRIATE_VALUE"]),
        ("/surprise", json!(true), vec!["INVALID_VALUE"]),
        ("/reason", Value::Null, vec!["MISSING_VALUE"]),
        (reason, json!("BECAUSE"), vec!["INVALID_CODE"]),
        (reason, json!("NO_SLOTS_AT_SERVICE"), vec!["INAPPROPRIATE_VALUE"]), // a triage service
        (reason, json!("SLOT_NOT_AVAILABLE"), vec!["MISSING_VALUE"]),
        ("/slot", slot, vec!["INAPPROPRIATE_VALUE"]),
        ("/comment", json!("x".repeat(1001)), vec!["INVALID_VALUE"]),
        ("/incomingReferral", json!([]), vec!["MISSING_VALUE"]),
        ("/incomingReferral/0/reference", json!("ReferralRequest/000000070000"), vec!["INVALID_VALUE"]),
        (
            "/incomingReferral/0/reference",
            json!("ReferralRequest/000000099999/_history/1"),
            vec!["REFERENCE_NOT_FOUND"],
        ),
        (service, json!("11002"), vec!["INAPPROPRIATE_VALUE"]), // does not triage
        (service, json!("51002"), vec!["INAPPROPRIATE_VALUE"]), // not on the shortlist
        (patient, json!("9994120034"), vec!["INAPPROPRIATE_VALUE"]),
        ("/participant/1", Value::Null, vec!["MISSING_VALUE"]),
        ("/participant/1/status", json!("declined"), vec!["INVALID_VALUE"]),
        (
            "/participant/2",
            json!({"status": "accepted", "actor": {"identifier": {"system": "x", "value": "1"}}}),
            vec!["INVALID_VALUE"],
        ),
    ] {
        let body = changed(triage("000000070000", 6, "50001"), pointer, value);
        let reply = bench.post(APPOINTMENT, &body).await;
        assert_eq!(
            (reply.status, reply.codes()),
            (422, codes.iter().map(|code| (*code).to_owned()).collect()),
            "{pointer}: {}",
            reply.text
        );
    }
    assert_eq!(bench.simulator.referral("000000070000").expect("a referral").version, 6);
}

#[tokio::test]
async fn a_wrong_upload_gets_the_documented_code() {
    let bench = Bench::start().await;
    let large = vec![b'x'; 5 * 1024 * 1024];
    let too_large = vec![b'x'; 5 * 1024 * 1024 + 1];
    let ubrn = Some("000000070000");
    for (name, kind, ubrn, content, status, codes) in [
        ("a.pdf", "application/pdf", ubrn, large, 201, vec![]),
        ("a.pdf", "application/pdf", ubrn, too_large, 422, vec!["FILE_SIZE_ERROR"]),
        ("a.pdf", "application/pdf", ubrn, vec![], 422, vec!["FILE_SIZE_ERROR"]),
        ("a.pdf", "text/plain", ubrn, b"x".to_vec(), 422, vec!["CONFLICTING_VALUES"]),
        ("a.PDF", "application/pdf; charset=utf-8", ubrn, b"x".to_vec(), 201, vec![]),
        ("a.exe", "application/pdf", ubrn, b"x".to_vec(), 422, vec!["INVALID_VALUE"]),
        ("pdf", "application/pdf", ubrn, b"x".to_vec(), 422, vec!["INVALID_VALUE"]),
        ("../a.pdf", "application/pdf", ubrn, b"x".to_vec(), 422, vec!["INVALID_VALUE"]),
        ("", "application/pdf", ubrn, vec![], 422, vec!["MISSING_VALUE", "FILE_SIZE_ERROR"]),
        ("a.pdf", "application/pdf", Some("70000"), b"x".to_vec(), 422, vec!["INVALID_VALUE"]),
        ("a.pdf", "application/pdf", Some("000000099999"), b"x".to_vec(), 422, vec!["INAPPROPRIATE_VALUE"]),
        ("a.zip", "application/zip", ubrn, b"x".to_vec(), 415, vec![]),
        ("a.jpeg", "image/jpeg", None, b"x".to_vec(), 201, vec![]),
    ] {
        let reply = bench.upload(name, kind, ubrn, content).await;
        assert_eq!(
            (reply.status, reply.codes()),
            (status, codes.iter().map(|code| (*code).to_owned()).collect()),
            "{name} {kind} {ubrn:?}: {}",
            reply.text
        );
    }
}

#[tokio::test]
async fn what_is_no_json_is_malformed() {
    let bench = Bench::start().await;
    for text in ["", "{", "nonsense"] {
        let request = bench.request(Method::POST, CREATE).header("Content-Type", FHIR).body(text);
        let reply = seen(request.send().await.expect("an answer")).await;
        assert_eq!((reply.status, reply.text.as_str()), (400, ""), "{text}");
    }
    for body in [json!([]), json!("x"), json!({}), Value::Null] {
        let reply = bench.create(&body).await;
        assert_eq!(reply.status, 422, "{body}");
        assert!(!reply.codes().is_empty(), "{body}");
    }
}
