//! A041: what a UBRN stands for, with the published samples.

use super::access_rules::application;
use super::specification::{schema, violations};
use super::*;
use crate::simulator::referral::Ubrn;

const PATH: &str = "/R4/ServiceRequest";

/// The answer of this simulator, and the sample, both without what is another's each time.
fn comparable(mut bundle: Value, bench: &Bench) -> Value {
    for member in ["id", "meta", "timestamp"] {
        bundle[member] = Value::Null;
    }
    bundle["link"][0]["url"] = Value::Null;
    for entry in bundle["entry"].as_array_mut().into_iter().flatten() {
        let id = entry["resource"]["id"].as_str().expect("an id").to_owned();
        assert_eq!((id.len(), &id[1..2]), (38, "."), "{id}");
        let url = entry["fullUrl"].as_str().expect("a URL").replace(bench.simulator.base_url(), "_baseUrl_");
        assert_eq!(url, format!("_baseUrl_/R4/ServiceRequest/{id}"));
        entry["fullUrl"] = Value::Null;
        entry["resource"]["id"] = id[..2].into();
        entry["resource"]["meta"]["versionId"] = Value::Null;
        entry["resource"]["identifier"][0]["value"] = Value::Null;
    }
    bundle
}

#[tokio::test]
async fn a_ubrn_is_found_as_the_samples_have_it() {
    let bench = Bench::start().await;
    // An advice request that was converted keeps its UBRN.
    let converted = bench.simulator.world.advice.with(Ubrn(49_146_177), |advice| advice.clone()).expect("seeded");
    bench.simulator.world.advice.insert(crate::simulator::advice::AdviceRequest {
        ubrn: Ubrn(70_001),
        status: "ADVICE_CONVERTED",
        ..converted
    });
    bench.simulator.world.referrals.with(Ubrn(70_001), |referral| referral.patient = "9912003888".into());
    for (ubrn, sample) in [
        ("000000070000", "referral"),
        ("000049146177", "advice"),
        ("000000070001", "referral-and-advice"),
        ("000000099999", "empty"),
    ] {
        let sample = example(&format!("a041-search-service-requests/response-example-{sample}.json"));
        for token in [ubrn.to_owned(), format!("https%3A%2F%2Ffhir.nhs.uk%2FId%2FUBRN%7C{ubrn}")] {
            let reply = bench.get(&format!("{PATH}?identifier={token}")).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            let found = reply.json();
            assert_eq!(violations(&schema(PATH, "get", 200), &found), Vec::<String>::new(), "{found}");
            let link = found["link"][0]["url"].as_str().expect("a link");
            let encoded = format!("{PATH}?identifier=https%3A%2F%2Ffhir.nhs.uk%2FId%2FUBRN%7C{ubrn}");
            assert!(link.ends_with(&encoded), "{link}");
            assert_eq!(comparable(found, &bench), comparable(sample.clone(), &bench), "{token}");
        }
    }
    let found = bench.get(&format!("{PATH}?identifier=000000070000")).await.json();
    assert_eq!(found["entry"][0]["resource"]["meta"]["versionId"], "6");
    let cancellation = super::changes::cancellation("intend-private-without-comment");
    bench.act("000000070000", "cancelReferral", Some(r#"W/"6""#), &cancellation).await;
    let found = bench.get(&format!("{PATH}?identifier=000000070000")).await.json();
    assert_eq!(found["entry"][0]["resource"]["status"], "revoked");
}

#[tokio::test]
async fn a_wrong_search_is_a_bad_request_and_a_foreign_ubrn_finds_nothing() {
    let bench = Bench::start().await;
    let ubrn = bench.created().await;
    for query in [
        "",
        "?identifier=",
        "?identifier=70000",
        "?identifier=https%3A%2F%2Ffhir.nhs.uk%2FId%2Fnhs-number%7C000000070000",
        "?identifier=000000070000&identifier=000000070001",
        "?identifier=000000070000&status=active",
    ] {
        let refused = bench.get(&format!("{PATH}{query}")).await;
        assert_eq!((refused.status, refused.codes()), (400, vec!["REC_BAD_REQUEST".to_owned()]), "{query}");
        assert_eq!(violations(&schema(PATH, "get", 400), &refused.json()), Vec::<String>::new(), "{query}");
    }
    let token = application(&bench, demonstration::PROVIDER_CLIENT_ID).await;
    let url = format!("{}{PATH}?identifier={ubrn}", bench.simulator.base_url());
    let refused = seen(bench.http.get(url).bearer_auth(&token).send().await.expect("an answer")).await;
    assert_eq!((refused.status, refused.codes()), (403, vec!["REC_FORBIDDEN".to_owned()]), "for users only");
    let elsewhere = bench.acting_as("RXX00", "REFERRING_CLINICIAN");
    assert_eq!(elsewhere.get(&format!("{PATH}?identifier={ubrn}")).await.json()["total"], 0);
    let provider = elsewhere.acting_as("RXX00", "SERVICE_PROVIDER_CLINICIAN");
    assert_eq!(provider.get(&format!("{PATH}?identifier={ubrn}")).await.json()["total"], 1);
}
