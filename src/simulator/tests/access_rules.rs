//! Tokens, access modes, business functions, headers and media types.

use super::*;
use crate::simulator::Quota;

/// The access token of an application-restricted client.
pub async fn application(bench: &Bench, client_id: &str) -> String {
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    let mut header = Header::new(Algorithm::RS512);
    header.kid = Some(demonstration::KEY_ID.into());
    let exp = bench.simulator.clock().now().as_second() + 60;
    let claims =
        json!({"iss": client_id, "sub": client_id, "aud": bench.simulator.token_url(), "jti": "p", "exp": exp});
    let key = EncodingKey::from_rsa_pem(demonstration::PRIVATE_KEY_PEM.as_bytes()).expect("the demonstration's key");
    let assertion = jsonwebtoken::encode(&header, &claims, &key).expect("claims that serialise");
    let reply = bench
        .token_call(&[
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &assertion),
        ])
        .await;
    reply.json()["access_token"].as_str().expect("a token").to_owned()
}

#[tokio::test]
async fn without_a_token_nothing_is_answered() {
    let bench = Bench::start().await;
    for (path, code) in [("/STU3/ReferralRequest/000000070000", "NO_ACCESS"), ("/R4/PractitionerRole", "ACCESS_DENIED")]
    {
        let url = format!("{}{path}", bench.simulator.base_url());
        let reply = seen(bench.http.get(&url).send().await.expect("an answer")).await;
        assert_eq!((reply.status, reply.codes()), (401, vec![code.to_owned()]), "{path}");
        assert_eq!(reply.json()["issue"][0]["code"], "login", "{path}");
    }
}

#[tokio::test]
async fn a_wrong_or_old_token_gets_the_fault_of_the_platform_on_stu3() {
    let bench = Bench::start().await;
    let url = format!("{}/STU3/ReferralRequest/000000070000", bench.simulator.base_url());
    let reply = seen(bench.http.get(&url).bearer_auth("made-up").send().await.expect("an answer")).await;
    assert_eq!((reply.status, reply.json()["fault"]["faultstring"].as_str()), (401, Some("Invalid Access Token")));
    bench.simulator.clock().advance(Duration::from_secs(600));
    let reply = bench.get("/STU3/ReferralRequest/000000070000").await;
    assert_eq!((reply.status, reply.json()["fault"]["faultstring"].as_str()), (401, Some("Access Token expired")));
    assert_eq!(bench.get("/R4/PractitionerRole").await.codes(), ["ACCESS_DENIED"]);
}

#[tokio::test]
async fn a_business_function_opens_what_it_is_for() {
    for (organisation, function, path, status, code) in [
        ("R69", "REFERRING_CLINICIAN", CREATE, 201, ""),
        ("R69", "SERVICE_PROVIDER_CLINICIAN", CREATE, 403, "FORBIDDEN"),
        ("R69", "REFERRING_ADMIN", CREATE, 403, "FORBIDDEN"),
        ("R69", "COMMISSIONER", CREATE, 403, "NO_ACCESS"), // not held
        ("R69", "PROVIDER_AUTHORISED_APPLICATION", CREATE, 403, "NO_ACCESS"),
        ("X99", "REFERRING_CLINICIAN", CREATE, 403, "NO_ACCESS"), // not held there
    ] {
        let bench = Bench::start().await.acting_as(organisation, function);
        let reply = bench.post(path, &referral_request()).await;
        let found = reply.codes().first().cloned().unwrap_or_default();
        assert_eq!((reply.status, found.as_str()), (status, code), "{organisation} {function}");
    }
}

#[tokio::test]
async fn the_headers_of_a_user_are_demanded_and_those_of_the_platform_refused() {
    let bench = Bench::start().await;
    let url = format!("{}/STU3/ReferralRequest/000000070000", bench.simulator.base_url());
    let bare = || bench.http.get(&url).bearer_auth(&bench.token);
    let (ods, function) = ("NHSD-End-User-Organisation-ODS", "NHSD-eRS-Business-Function");
    let obo = "NHSD-eRS-On-Behalf-Of-User-ID";
    let admin = "SERVICE_PROVIDER_CLINICIAN_ADMIN";
    for (request, status, code) in [
        (bare(), 400, Some("MISSING_HEADER")),
        (bare().header(ods, "R69"), 400, Some("MISSING_HEADER")),
        (bare().header(ods, "R69").header(function, "REFERRING_CLINICIAN"), 200, None),
        (
            bare().header(ods, "R69").header(function, "REFERRING_CLINICIAN").header(obo, "555000000002"),
            403,
            Some("FORBIDDEN"),
        ),
        (bare().header(ods, "R69").header(function, admin), 400, Some("MISSING_HEADER")),
        (bare().header(ods, "R69").header(function, admin).header(obo, "555000000002"), 200, None),
        (bench.request(Method::GET, "/STU3/ReferralRequest/000000070000").header("x-ers-ods-code", "R69"), 403, None),
    ] {
        let reply = seen(request.send().await.expect("an answer")).await;
        assert_eq!((reply.status, reply.codes().first().map(String::as_str)), (status, code), "{}", reply.text);
    }
}

#[tokio::test]
async fn an_application_may_read_as_provider_and_never_create() {
    let bench = Bench::start().await;
    let token = application(&bench, demonstration::PROVIDER_CLIENT_ID).await;
    let call = |method, path: &str| {
        bench.http.request(method, format!("{}{path}", bench.simulator.base_url())).bearer_auth(&token)
    };
    let create = call(Method::POST, CREATE).header("Content-Type", FHIR).body(referral_request().to_string());
    for (request, status, codes) in [
        (call(Method::GET, "/STU3/ReferralRequest/000000070000"), 200, vec![]),
        (call(Method::GET, "/STU3/CodeSystem/PRIORITY"), 200, vec![]),
        (create, 403, vec!["FORBIDDEN"]),
        (call(Method::GET, "/R4/PractitionerRole"), 403, vec!["REC_FORBIDDEN"]),
        (
            call(Method::GET, "/STU3/CodeSystem/PRIORITY").header("NHSD-End-User-Organisation-ODS", "R69"),
            403,
            vec!["NO_ACCESS"],
        ),
    ] {
        let reply = seen(request.send().await.expect("an answer")).await;
        assert_eq!((reply.status, reply.codes()), (status, codes.iter().map(|code| (*code).to_owned()).collect()));
    }
}

#[tokio::test]
async fn the_requests_of_a_patient_whose_record_cannot_be_used_are_closed() {
    use crate::simulator::referral::Ubrn;
    let bench = Bench::start().await;
    bench.simulator.world.referrals.with(Ubrn(70_000), |referral| referral.patient = "9999000010".into());
    bench.simulator.world.advice.with(Ubrn(49_146_177), |advice| advice.patient = "9999000010".into());
    let of_referral = |operation: &str| format!("/STU3/ReferralRequest/000000070000{operation}");
    let of_advice = |operation: &str| format!("/STU3/CommunicationRequest/000049146177{operation}");
    let post = |path: String| bench.request(Method::POST, &path);
    let write = |operation: &str, sample: &str| {
        let request = post(of_referral(operation)).header("Content-Type", FHIR).header("If-Match", r#"W/"6""#);
        request.body(example(sample).to_string())
    };
    let letter = "a012-maintain-referral-letter/request-single-document-reference.json";
    let shortlist = "a031-change-shortlist/request-unbooked-referral.json";
    let cancellation = "a036-cancel-referral/request-intend-private-without-comment.json";
    let conversation = "/STU3/Communication?based-on=CommunicationRequest/000049146177/_history/1";
    for (request, status) in [
        (bench.request(Method::GET, &of_referral("")), 422),
        (bench.request(Method::GET, &of_referral("/_history/6")), 422),
        (post(of_referral("/$ers.generateCRI")), 422),
        (write("/$ers.maintainReferralLetter", letter), 422),
        (write("/$ers.changeShortlist", shortlist), 422),
        (write("/$ers.cancelReferral", cancellation), 422),
        (bench.request(Method::GET, &of_advice("")), 422),
        (bench.request(Method::GET, conversation), 400),
        (post(of_advice("/$ers.generateCRI")), 422),
    ] {
        let reply = seen(request.send().await.expect("an answer")).await;
        assert_eq!((reply.status, reply.codes()), (status, vec!["PATIENT_ERROR".to_owned()]), "{}", reply.text);
    }
    assert_eq!(bench.simulator.referral("000000070000").expect("a referral").version, 6, "nothing was done");
    // The letter to a patient knows no such refusal.
    let letter = seen(post(of_referral("/$ers.generatePatientLetter")).send().await.expect("an answer")).await;
    assert_eq!(letter.status, 200, "{}", letter.text);
}

#[tokio::test]
async fn media_types_are_those_of_fhir() {
    let bench = Bench::start().await;
    let post = |content_type: &str| {
        let request = bench.request(Method::POST, CREATE).body(referral_request().to_string());
        request.header("Content-Type", content_type)
    };
    for (request, status) in [
        (post("application/json"), 415),
        (post("application/fhir+json; charset=utf-8"), 201),
        (post(FHIR).header("Accept", "application/xml"), 406),
        (post(FHIR).header("Accept", "application/xml, application/fhir+json;q=0.5"), 201),
        (post(FHIR).header("Accept", "*/*"), 201),
    ] {
        let reply = seen(request.send().await.expect("an answer")).await;
        assert_eq!(reply.status, status);
        if status > 400 {
            assert_eq!((reply.text.as_str(), reply.header("Content-Type")), ("", "text/plain"));
        }
    }
    let r4 = bench.request(Method::GET, "/R4/PractitionerRole").header("Accept", "text/html");
    assert_eq!(seen(r4.send().await.expect("an answer")).await.codes(), ["REC_NOT_ACCEPTABLE"]);
}

#[tokio::test]
async fn the_correlation_id_comes_back_with_an_id_of_the_transaction() {
    let bench = Bench::start().await;
    let request = bench.request(Method::GET, "/STU3/CodeSystem/PRIORITY");
    let request = request.header("X-Correlation-ID", "any text").header("X-Request-ID", "mine");
    let reply = seen(request.send().await.expect("an answer")).await;
    assert_eq!(reply.header("X-Correlation-ID"), "any text");
    assert!(reply.header("X-Request-ID").len() > 37, "a UUID, a dash and a number: {}", reply.header("X-Request-ID"));
}

#[tokio::test]
async fn the_quota_answers_too_many_requests_in_the_shape_of_the_path() {
    let bench = Bench::start().await;
    bench.simulator.clock().freeze(bench.simulator.clock().now());
    bench.simulator.set_quota(Some(Quota::PRODUCTION));
    assert_eq!(bench.get("/STU3/CodeSystem/PRIORITY").await.status, 200);
    let stu3 = bench.get("/STU3/CodeSystem/PRIORITY").await;
    assert_eq!((stu3.status, stu3.text.as_str()), (429, ""));
    let r4 = bench.get("/R4/PractitionerRole").await;
    assert_eq!((r4.status, r4.codes()), (429, vec!["TOO_MANY_REQUESTS".to_owned()]));
    bench.simulator.clock().advance(Duration::from_millis(84));
    assert_eq!(bench.get("/STU3/CodeSystem/PRIORITY").await.status, 200);
}
