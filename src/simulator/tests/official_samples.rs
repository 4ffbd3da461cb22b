//! Every published request sample gets the documented answer; some of them have errors of their own.

use super::*;

#[tokio::test]
async fn the_create_samples_are_accepted_in_their_time() {
    let bench = Bench::in_the_time_of_the_samples().await;
    let reply = bench.create(&example("a011-create-referral/request-minimal.json")).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(reply.header("ETag"), r#"W/"3""#);
    let named = example("a011-create-referral/request-minimal-request-with-referring-clinician.json");
    let reply = bench.create(&named).await;
    assert_eq!(reply.codes(), ["FIELD_NOT_PERMITTED"], "a clinician names nobody");
    let bench = bench.acting_as("R69", "REFERRING_CLINICIAN_ADMIN");
    assert_eq!(bench.create(&named).await.status, 201);
    let reply = bench.create(&example("a011-create-referral/request-minimal.json")).await;
    assert_eq!(reply.codes(), ["VALUE_IS_REQUIRED"], "an administrator names the clinician");
}

#[tokio::test]
async fn the_create_sample_is_too_old_two_years_later() {
    let bench = Bench::start().await;
    bench.simulator.clock().set(at("2026-03-16T09:30:00Z"));
    bench.simulator.reset();
    let token = bench.refresh(demonstration::REFRESH_TOKEN).await;
    let bench = bench.signed_in_by(&token);
    let reply = bench.create(&example("a011-create-referral/request-minimal.json")).await;
    assert_eq!((reply.status, reply.codes()), (422, vec!["INAPPROPRIATE_VALUE".to_owned()]));
}

#[tokio::test]
async fn the_search_samples_find_what_their_answers_show() {
    let bench = Bench::start().await;
    for (sample, found, without) in [
        ("request-rc-minimal.json", "11002", "20081"),
        ("request-rc-search-for-advice-service.json", "11010", "11002"),
        ("request-rc-search-with-commissioning-rule-organisation.json", "11002", "11099"),
    ] {
        let reply = bench.post(SEARCH, &example(&format!("a010-patient-service-search/{sample}"))).await;
        assert_eq!(reply.status, 200, "{sample}: {}", reply.text);
        let list = reply.json();
        let services: Vec<&str> = list["entry"]
            .as_array()
            .expect("entries")
            .iter()
            .filter_map(|entry| entry["item"]["identifier"]["value"].as_str())
            .collect();
        assert!(services.contains(&found) && !services.contains(&without), "{sample}: {services:?}");
    }
    // This one names a referring clinician, so it is an administrator's.
    let sample = example("a010-patient-service-search/request-rc-search-by-clinical-term.json");
    assert_eq!(bench.post(SEARCH, &sample).await.codes(), ["FIELD_NOT_PERMITTED"]);
    let bench = bench.acting_as("R69", "REFERRING_CLINICIAN_ADMIN");
    assert_eq!(bench.post(SEARCH, &sample).await.status, 200);
}

#[tokio::test]
async fn the_letter_samples_are_accepted_for_the_referral_they_were_uploaded_for() {
    let bench = Bench::start().await;
    let ubrn = "000000070000";
    let one = example("a012-maintain-referral-letter/request-single-document-reference.json");
    let reply = bench.link(ubrn, Some(r#"W/"6""#), &one).await;
    assert_eq!((reply.status, reply.header("ETag")), (200, r#"W/"8""#), "{}", reply.text);
    let two = example("a012-maintain-referral-letter/request-multiple-document-references.json");
    let reply = bench.link(ubrn, Some(r#"W/"8""#), &two).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(bench.simulator.referral(ubrn).expect("a referral").letters, ["testResults.pdf", "testResult1.png"]);
}

#[tokio::test]
async fn the_triage_sample_sends_the_referral_for_triage() {
    let bench = Bench::start().await;
    let reply = bench.post(APPOINTMENT, &example("a016-book-or-defer-appointment/request-triage-deferral.json")).await;
    assert_eq!((reply.status, reply.header("ETag")), (201, r#"W/"1""#), "{}", reply.text);
    assert_eq!(reply.json()["incomingReferral"][0]["reference"], "ReferralRequest/000000070000/_history/8");
    let referral = bench.simulator.referral("000000070000").expect("a referral");
    assert_eq!((referral.state, referral.reason), ("AWAITING_TRIAGE", Some("TRIAGE")));
}

#[tokio::test]
async fn the_deferral_samples_are_accepted_where_no_slot_is_free() {
    for sample in ["request-minimal-deferral.json", "request-deferral-booking-attempt-problem.json"] {
        let bench = Bench::start().await;
        let reply = bench.post(APPOINTMENT, &example(&format!("a016-book-or-defer-appointment/{sample}"))).await;
        assert_eq!(reply.status, 201, "{sample}: {}", reply.text);
        let referral = bench.simulator.referral("000000070000").expect("a referral");
        assert_eq!(referral.state, "DEFERRED_TO_PROVIDER", "{sample}");
    }
}

#[tokio::test]
async fn the_booking_sample_takes_its_slot_while_it_lies_ahead() {
    let booking = example("a016-book-or-defer-appointment/request-minimal-booking.json");
    let late = Bench::start().await;
    assert_eq!(late.post(APPOINTMENT, &booking).await.codes(), ["SLOT_NOT_AVAILABLE"]);

    let bench = Bench::start().await;
    bench.simulator.clock().set(at("2022-07-01T00:00:00Z"));
    let token = bench.refresh_after_reset().await;
    let bench = bench.signed_in_by(&token);
    let problem = example("a016-book-or-defer-appointment/request-deferral-booking-attempt-problem.json");
    assert_eq!(bench.post(APPOINTMENT, &problem).await.codes(), ["SLOTS_CURRENTLY_AVAILABLE"]);
    let reply = bench.post(APPOINTMENT, &booking).await;
    assert_eq!((reply.status, reply.header("ETag")), (201, r#"W/"0""#), "{}", reply.text);
    assert_eq!(bench.simulator.referral("000000070000").expect("a referral").state, "BOOKED");
}

#[tokio::test]
async fn the_upload_sample_is_stored() {
    let bench = Bench::start().await;
    let file = format!("{}/tests/data/ers/examples/a020-upload-file/request-upload.txt", env!("CARGO_MANIFEST_DIR"));
    let content = std::fs::read(file).expect("the sample is there");
    let reply = bench.upload("request-upload.txt", "text/plain", Some("000000070000"), content).await;
    assert_eq!((reply.status, reply.text.as_str()), (201, ""));
    assert!(reply.header("Location").starts_with("Binary/"));
}

#[tokio::test]
async fn reference_data_is_that_of_the_samples() {
    let bench = Bench::start().await;
    for key in [
        "SPECIALTY",
        "CLINIC-TYPE",
        "APPOINTMENT-CANCELLATION-REASON",
        "REFERRAL-CANCELLATION-REASON",
        "APPOINTMENT-NON-ATTENDANCE-REASON",
        "PRIORITY",
    ] {
        let reply = bench.get(&format!("/STU3/CodeSystem/{key}")).await;
        assert_eq!(reply.status, 200, "{key}");
        let sample = format!("a004-retrieve-reference-data/response-{}-code-system.json", key.to_lowercase());
        let expected = example(&sample).to_string().replace("_baseUrl_", bench.simulator.base_url());
        let expected = expected.replace("_baseurl_", bench.simulator.base_url());
        let expected: Value = serde_json::from_str(&expected).expect("still JSON");
        assert_eq!(reply.json(), expected, "{key}");
    }
    assert_eq!(bench.get("/STU3/CodeSystem/NO-SUCH-LIST").await.status, 404);
}
