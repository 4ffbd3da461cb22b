//! The retired interface: what professional sessions must be asked like, and what they refuse.

use super::*;

const SESSIONS: &str = "/v1/ProfessionalSession";
const REFERRAL: &str = "/STU3/v1/ReferralRequest/000000070000";
const TYPE_INFO: &str = "uk.nhs.ers.xapi.dto.v1.session.ProfessionalSession";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const ASID: (&str, &str) = ("XAPI_ASID", demonstration::ASID);

async fn ask(bench: &Bench, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Seen {
    let mut request = bench.http.request(method, format!("{}{path}", bench.simulator.legacy_base_url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    seen(request.body(body.to_owned()).send().await.expect("an answer")).await
}

fn about(more: &Value) -> String {
    let mut body = json!({ "typeInfo": TYPE_INFO, "token": demonstration::SMARTCARD_TOKEN });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body.to_string()
}

fn permission(function: &str, organisation: &str) -> Value {
    json!({ "permission": { "businessFunction": function, "orgIdentifier": organisation } })
}

#[tokio::test]
async fn a_session_is_made_of_a_smartcard_that_is_in_and_of_nothing_else() {
    let bench = Bench::start().await;
    let good = about(&json!({}));
    let fhir = ("Content-Type", "application/json+fhir");
    for (what, headers, body, status) in [
        ("no system", &[JSON][..], good.clone(), 400),
        ("an unknown system", &[JSON, ("XAPI_ASID", "1")], good.clone(), 403),
        ("as FHIR", &[fhir, ASID], good.clone(), 415),
        ("no JSON", &[JSON, ASID], "{".to_owned(), 400),
        ("another type", &[JSON, ASID], about(&json!({ "typeInfo": "x" })), 422),
        ("no token", &[JSON, ASID], about(&json!({ "token": "" })), 422),
        ("an unknown token", &[JSON, ASID], about(&json!({ "token": "x" })), 422),
        ("a member too many", &[JSON, ASID], about(&permission("REFERRING_CLINICIAN", "R69")), 422),
        ("a key", &[JSON, ASID, ("HTTP_X_SESSION_KEY", "x")], good.clone(), 422),
        ("as it is meant", &[JSON, ASID], good.clone(), 201),
    ] {
        let answer = ask(&bench, Method::POST, SESSIONS, headers, &body).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
    }
    assert_eq!(bench.simulator.professional_sessions(), 1);
    let made = ask(&bench, Method::POST, SESSIONS, &[JSON, ASID], &good).await.json();
    assert!(made["id"].as_str().is_some_and(|id| id.starts_with("pro-xapi-session_")), "{made}");
    assert_eq!((&made["permission"], &made["user"]["identifier"]), (&Value::Null, &json!(demonstration::USER)));
    assert!(made["user"]["permissions"].as_array().is_some_and(|all| all.len() > 5), "{made}");
    bench.simulator.take_out_smartcard(demonstration::SMARTCARD_TOKEN);
    assert_eq!(bench.simulator.professional_sessions(), 0);
    assert_eq!(ask(&bench, Method::POST, SESSIONS, &[JSON, ASID], &good).await.status, 422, "it is out");
}

#[tokio::test]
async fn a_session_does_nothing_before_a_function_is_chosen_nor_after_its_end() {
    let bench = Bench::start().await;
    let made = ask(&bench, Method::POST, SESSIONS, &[JSON, ASID], &about(&json!({}))).await.json();
    let id = made["id"].as_str().expect("a key").to_owned();
    let (own, key) = (format!("{SESSIONS}/{id}"), ("HTTP_X_SESSION_KEY", id.as_str()));
    assert_eq!(ask(&bench, Method::GET, REFERRAL, &[ASID, key], "").await.status, 403, "nothing was chosen");
    let chosen = about(&permission("REFERRING_CLINICIAN", "R69"));
    for (what, headers, body, status) in [
        ("no key", &[JSON, ASID][..], chosen.clone(), 401),
        ("another key", &[JSON, ASID, ("HTTP_X_SESSION_KEY", "x")], chosen.clone(), 401),
        ("no permission", &[JSON, ASID, key], about(&json!({})), 422),
        ("another's", &[JSON, ASID, key], about(&permission("REFERRING_CLINICIAN", "X99")), 422),
        ("another token", &[JSON, ASID, key], chosen.replace("demonstration-smartcard", "x"), 422),
        ("as it is meant", &[JSON, ASID, key], chosen.clone(), 200),
        ("the same once more", &[JSON, ASID, key], chosen.clone(), 200),
    ] {
        let answer = ask(&bench, Method::PUT, &own, headers, &body).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
    }
    let fhir = ("Accept", "application/json+fhir");
    for (what, path, headers, status) in [
        ("no system", REFERRAL, &[key][..], 400),
        ("no key", REFERRAL, &[ASID], 401),
        ("today's path", "/STU3/ReferralRequest/000000070000", &[ASID, key], 404),
        ("R4", "/R4/v1/HealthcareService/11002", &[ASID, key], 404),
        ("today's token", REFERRAL, &[ASID, key, ("Authorization", "Bearer x")], 400),
        ("today's headers", REFERRAL, &[ASID, key, ("NHSD-eRS-Business-Function", "REFERRING_CLINICIAN")], 400),
        ("today's media type", REFERRAL, &[ASID, key, ("Accept", FHIR)], 406),
        ("as it is meant", REFERRAL, &[ASID, key, fhir], 200),
    ] {
        let answer = ask(&bench, Method::GET, path, headers, "").await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
    }
    let read = ask(&bench, Method::GET, REFERRAL, &[ASID, key, fhir], "").await;
    assert_eq!(
        (read.header("content-type"), read.json()["id"].as_str()),
        ("application/json+fhir", Some("000000070000"))
    );
    assert!(!read.header("x_ers_transaction_id").is_empty());
    let search = "/STU3/v1/ReferralRequest/$ers.fetchworklist";
    assert_eq!(ask(&bench, Method::POST, search, &[ASID, key, ("Content-Type", FHIR)], "{}").await.status, 415);
    assert_eq!(ask(&bench, Method::DELETE, &own, &[ASID], "").await.status, 401);
    assert_eq!(ask(&bench, Method::DELETE, &own, &[ASID, key], "").await.status, 204);
    assert_eq!(ask(&bench, Method::DELETE, &own, &[ASID, key], "").await.status, 401);
    assert_eq!(ask(&bench, Method::GET, REFERRAL, &[ASID, key, fhir], "").await.status, 401);
    assert_eq!(bench.simulator.professional_sessions(), 0);
}
