//! A referral from its making to triage: versions, If-Match, locks, relationships, letters, actions.

use super::*;
use crate::simulator::Availability;

#[tokio::test]
async fn a_referral_gets_its_letter_and_goes_to_triage() {
    let bench = Bench::start().await;
    let mut request = referral_request();
    request["parameter"][3]["resource"]["entry"][0]["item"]["identifier"]["value"] = "50001".into();
    let created = bench.create(&request).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let ubrn = created.json()["id"].as_str().expect("a UBRN").to_owned();
    assert_eq!(ubrn.len(), 12);
    let file = bench.uploaded("letter.pdf", &ubrn).await;
    let linked = bench.link(&ubrn, Some(r#"W/"3""#), &letters(&[&file])).await;
    assert_eq!((linked.status, linked.header("ETag")), (200, r#"W/"5""#), "{}", linked.text);
    let booked = bench.post(APPOINTMENT, &triage(&ubrn, 5, "50001")).await;
    assert_eq!(booked.status, 201, "{}", booked.text);
    let read = bench.get(&format!("/STU3/ReferralRequest/{ubrn}")).await;
    assert_eq!(read.header("ETag"), r#"W/"7""#);
    assert!(read.text.contains("AWAITING_TRIAGE") && read.text.contains(&file), "{}", read.text);
    let again = bench.post(APPOINTMENT, &triage(&ubrn, 7, "50001")).await;
    assert_eq!(again.codes(), ["INVALID_REQUEST_STATE"]);
    assert_eq!(bench.simulator.calls(), ["A011", "A020", "A012", "A016", "A005", "A016"]);
}

#[tokio::test]
async fn a_write_needs_the_current_version_in_the_exact_form() {
    let bench = Bench::start().await;
    let ubrn = bench.created().await;
    let file = bench.uploaded("letter.pdf", &ubrn).await;
    for (if_match, status) in [(None, 412), (Some("3"), 412), (Some(r#""3""#), 412), (Some(r#"W/"2""#), 409)] {
        let reply = bench.link(&ubrn, if_match, &letters(&[&file])).await;
        assert_eq!((reply.status, reply.text.as_str()), (status, ""), "{if_match:?}");
    }
    let mut provider = letters(&[&file]);
    provider["parameter"][0]["resource"]["type"]["coding"][0]["code"] = "PROVIDER".into();
    let refused = bench.link(&ubrn, Some(r#"W/"3""#), &provider).await;
    assert_eq!((refused.status, refused.codes()), (422, vec!["INVALID_VALUE".to_owned()]), "no other is documented");
    assert_eq!(bench.version(&ubrn).await, 3, "nothing has happened");
    assert_eq!(bench.link(&ubrn, Some(r#"W/"3""#), &letters(&[&file])).await.status, 200);
    assert_eq!(bench.link(&ubrn, Some(r#"W/"3""#), &letters(&[&file])).await.status, 409, "a replay is harmless");
    assert_eq!(bench.post(APPOINTMENT, &triage("000000070000", 5, "50001")).await.status, 409);
    assert_eq!(bench.link("000000099999", Some(r#"W/"3""#), &letters(&[&file])).await.status, 404);
}

#[tokio::test]
async fn only_the_current_version_can_be_read() {
    let bench = Bench::start().await;
    let ubrn = bench.created().await;
    let versioned = |version| format!("/STU3/ReferralRequest/{ubrn}/_history/{version}");
    assert_eq!(bench.get(&versioned(3)).await.status, 200);
    let old = bench.get(&versioned(2)).await;
    assert_eq!((old.status, old.codes()), (404, vec!["HISTORY_NOT_SUPPORTED".to_owned()]));
    let unknown = bench.get("/STU3/ReferralRequest/000000099999").await;
    assert_eq!((unknown.status, unknown.text.as_str()), (404, ""));
    assert_eq!(bench.get("/STU3/ReferralRequest/000049146177").await.codes(), ["INVALID_REQUEST_TYPE"]);
}

#[tokio::test]
async fn a_locked_record_refuses_writes_and_can_be_read() {
    let bench = Bench::start().await;
    let ubrn = bench.created().await;
    let file = bench.uploaded("letter.pdf", &ubrn).await;
    bench.simulator.lock(&ubrn);
    let reply = bench.link(&ubrn, Some(r#"W/"3""#), &letters(&[&file])).await;
    assert_eq!((reply.status, reply.text.as_str()), (423, ""));
    assert_eq!(bench.version(&ubrn).await, 3);
    bench.simulator.unlock(&ubrn);
    assert_eq!(bench.link(&ubrn, Some(r#"W/"3""#), &letters(&[&file])).await.status, 200);
}

#[tokio::test]
async fn another_organisation_has_no_relationship_with_the_referral() {
    let bench = Bench::start().await;
    let ubrn = bench.created().await;
    let file = bench.uploaded("letter.pdf", &ubrn).await;
    let bench = bench.acting_as("RXX00", "REFERRING_CLINICIAN");
    let path = format!("/STU3/ReferralRequest/{ubrn}");
    assert_eq!(bench.get(&path).await.codes(), ["NO_RELATIONSHIP"]);
    assert_eq!(bench.link(&ubrn, Some(r#"W/"3""#), &letters(&[&file])).await.codes(), ["NO_RELATIONSHIP"]);
    let bench = bench.acting_as("RXX00", "SERVICE_PROVIDER_CLINICIAN");
    assert_eq!(bench.get(&path).await.status, 200);
}

#[tokio::test]
async fn a_file_can_be_read_once_it_has_been_scanned() {
    let bench = Bench::start().await;
    bench.simulator.clock().freeze(bench.simulator.clock().now());
    let ubrn = bench.created().await;
    let file = bench.uploaded("letter.pdf", &ubrn).await;
    bench.link(&ubrn, Some(r#"W/"3""#), &letters(&[&file])).await;
    let status = |text: &str| {
        let said = |code: &&str| text.contains(&format!("\"code\":\"{code}\""));
        ["PENDING", "AVAILABLE", "THREATS_FOUND"].into_iter().find(said)
    };
    let referral = format!("/STU3/ReferralRequest/{ubrn}");
    let attachment = format!("/R4/{file}");
    assert_eq!(status(&bench.get(&referral).await.text), Some("PENDING"));
    assert_eq!(bench.get(&attachment).await.codes(), ["PENDING"]);

    bench.simulator.clock().advance(Duration::from_secs(30));
    assert_eq!(status(&bench.get(&referral).await.text), Some("AVAILABLE"));
    let redirect = bench.get(&attachment).await;
    assert_eq!((redirect.status, redirect.text.as_str()), (307, ""));
    let location = redirect.header("Location");
    assert!(!location.starts_with(bench.simulator.base_url()));
    let with_token = bench.http.get(location).bearer_auth(&bench.token).send().await.expect("an answer");
    assert_eq!(with_token.status(), 400, "the object store must not see the token");
    let download = seen(bench.http.get(location).send().await.expect("an answer")).await;
    assert_eq!((download.status, download.text.as_str()), (200, "%PDF-1.4 invented"));
    bench.simulator.clock().advance(Duration::from_secs(61));
    assert_eq!(bench.http.get(location).send().await.expect("an answer").status(), 403, "the link is short-lived");

    let id = file.trim_start_matches("Binary/").parse().expect("a UUID");
    assert!(bench.simulator.set_availability(id, Availability::ThreatsFound));
    assert_eq!(status(&bench.get(&referral).await.text), Some("THREATS_FOUND"));
    assert_eq!(bench.get(&attachment).await.codes(), ["THREATS_FOUND"]);
    let unknown = bench.get("/R4/Binary/att-1").await;
    assert_eq!((unknown.status, unknown.codes()), (404, vec!["REC_NOT_FOUND".to_owned()]));
}

#[tokio::test]
async fn available_actions_depend_on_state_and_role() {
    let bench = Bench::start().await;
    let task = |version| {
        format!("/STU3/Task?focus=ReferralRequest/000000070000/_history/{version}&intent=proposal&status=ready")
    };
    let actions = |reply: &Seen| -> Vec<String> {
        let bundle = reply.json();
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .filter_map(|entry| entry["resource"]["code"]["coding"][0]["code"].as_str().map(String::from))
            .collect()
    };
    assert!(actions(&bench.get(&task(6)).await).contains(&"CREATE_APPOINTMENT".to_owned()));
    bench.post(APPOINTMENT, &triage("000000070000", 6, "50001")).await;
    let stale = bench.get(&task(6)).await;
    assert_eq!((stale.status, stale.codes()), (400, vec!["HISTORY_NOT_SUPPORTED".to_owned()]));
    assert_eq!(actions(&bench.get(&task(8)).await), ["CANCEL_REFERRAL"]);
    for (query, code) in [
        ("intent=proposal&status=ready", "MISSING_PARAMETER"),
        ("focus=x&intent=proposal&status=ready", "INVALID_VALUE"),
        ("focus=ReferralRequest/000000070000/_history/8&intent=order&status=ready", "INVALID_VALUE"),
        ("focus=ReferralRequest/000000099999/_history/1&intent=proposal&status=ready", "REFERENCE_NOT_FOUND"),
    ] {
        let reply = bench.get(&format!("/STU3/Task?{query}")).await;
        assert_eq!((reply.status, reply.codes()), (400, vec![code.to_owned()]), "{query}");
    }
    let bench = bench.acting_as("R69", "SERVICE_PROVIDER_CLINICIAN");
    assert_eq!(actions(&bench.get(&task(8)).await), ["RECORD_REVIEW_OUTCOME", "CANCEL_REFERRAL"]);
}

#[tokio::test]
async fn the_oldest_referrals_are_forgotten_on_a_long_run() {
    let retention =
        super::super::Retention { referrals_max: 2, creations_max: 1, ledger_entries_max: 2, ..Default::default() };
    let bench = Bench::with(SimulatorConfig { retention, ..SimulatorConfig::default() }).await;
    let ubrns = [bench.created().await, bench.created().await, bench.created().await];
    assert!(bench.simulator.referral(&ubrns[0]).is_none() && bench.simulator.referral(&ubrns[2]).is_some());
    assert_eq!((bench.simulator.creations().len(), bench.simulator.ledger().len()), (1, 2));
    assert_eq!(bench.simulator.created(), 3);

    // Advice requests take UBRNs of the same numbers.
    let bench = bench.acting_as("R69", "REFERRING_CLINICIAN_ADMIN");
    let mut advice = super::advice::request(&bench).await;
    advice["parameter"].as_array_mut().expect("parameters").remove(4);
    for _ in 0..3 {
        assert_eq!(bench.post(super::advice::CREATE_ADVICE, &advice).await.status, 200);
    }
    let bench = bench.acting_as("R69", "REFERRING_CLINICIAN");
    let last = bench.created().await;
    let kept: Vec<bool> = ubrns.iter().map(|ubrn| bench.simulator.referral(ubrn).is_some()).collect();
    assert_eq!((kept, bench.simulator.referral(&last).is_some()), (vec![false; 3], true));
}
