//! Answers about referrals and advice are valid against the published specification.

use super::advice::{CREATE_ADVICE, administrator, request};
use super::changes::{booked, cancellation};
use super::specification::{schema, violations};
use super::*;

const UBRN: &str = "000000070000";

/// An answer of 200.
fn check(method: &str, path: &str, reply: &Seen) {
    assert_eq!(reply.status, 200, "{path}: {}", reply.text);
    assert_eq!(violations(&schema(path, method, 200), &reply.json()), Vec::<String>::new(), "{path}");
}

#[tokio::test]
async fn changed_and_cancelled_referrals_are_valid_against_the_published_schema() {
    const CHANGE: &str = "/STU3/ReferralRequest/{ubrn}/$ers.changeShortlist";
    const CANCEL: &str = "/STU3/ReferralRequest/{ubrn}/$ers.cancelReferral";
    let bench = Bench::start().await;
    let body = example("a031-change-shortlist/request-unbooked-referral-mixed-shortlist.json");
    let changed = bench.act(UBRN, "changeShortlist", Some(r#"W/"6""#), &body).await;
    check("post", CHANGE, &changed);
    let mut nameless = changed.json();
    nameless["id"] = json!(70_000);
    assert_ne!(violations(&schema(CHANGE, "post", 200), &nameless), Vec::<String>::new(), "the schema asks something");
    let body = cancellation("no-longer-required");
    check("post", CANCEL, &bench.act(UBRN, "cancelReferral", Some(r#"W/"8""#), &body).await);
    let bench = booked().await;
    bench.simulator.note_requirement(UBRN, crate::simulator::AdditionalRequirement::Advocacy);
    let version = format!("W/\"{}\"", bench.version(UBRN).await);
    check("post", CANCEL, &bench.act(UBRN, "cancelReferral", Some(&version), &body).await);
}

#[tokio::test]
async fn worklists_are_valid_against_the_published_schema() {
    let bench = Bench::start().await;
    bench.created().await;
    bench.act(UBRN, "cancelReferral", Some(r#"W/"6""#), &cancellation("intend-private-without-comment")).await;
    for list in ["awaiting-booking", "letters-outstanding", "assessment-returned-cancelled-dna"] {
        let mut reply =
            bench.post(WORKLIST, &example(&format!("a008-retrieve-worklist/request-minimal-{list}.json"))).await;
        // The description has this text where the environment's URL stands.
        reply.text = reply.text.replace(bench.simulator.base_url(), "_baseurl_");
        check("post", WORKLIST, &reply);
        let mut misspelt = reply.json();
        let url = &mut misspelt["entry"][0]["extension"][0]["url"];
        *url = url.as_str().expect("a URL").to_uppercase().into();
        assert_ne!(violations(&schema(WORKLIST, "post", 200), &misspelt), Vec::<String>::new(), "{list}");
    }
}

#[tokio::test]
async fn advice_is_valid_against_the_published_schema() {
    let bench = administrator().await;
    let created = bench.post(CREATE_ADVICE, &request(&bench).await).await;
    check("post", CREATE_ADVICE, &created);
    let created = created.json();
    let ubrn = created["parameter"][0]["resource"]["id"].as_str().expect("a UBRN");
    let read = bench.get(&format!("/STU3/CommunicationRequest/{ubrn}")).await;
    check("get", "/STU3/CommunicationRequest/{ubrn}", &read);
    let conversation = format!(
        "/STU3/Communication?based-on=CommunicationRequest/{ubrn}/_history/1\
         &_include=Communication:sender-practitionerrole:PractionerRole\
         &_include=Communication:content-reference:DocumentReference"
    );
    check("get", "/STU3/Communication", &bench.get(&conversation).await);
}
