//! Signing in at the simulated platform, rule by rule.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::*;

const REDIRECT: &str = "http://127.0.0.1:1/v1/sign-in/callback";
const VERIFIER: &str = "a-verifier-that-nobody-else-knows-0123456789";

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))
}

/// As a browser is sent there; a value replaced, or left out.
async fn authorize(bench: &Bench, changes: &[(&str, Option<&str>)]) -> Seen {
    let challenge = challenge();
    let mut query = vec![
        ("client_id", demonstration::USER_CLIENT_ID),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("state", "s p"),
        ("nonce", "n"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("person", demonstration::FIRST_CLINICIAN),
    ];
    for (name, value) in changes {
        query.retain(|(held, _)| held != name);
        query.extend(value.map(|value| (*name, value)));
    }
    seen(bench.http.get(bench.simulator.authorize_url()).query(&query).send().await.expect("an answer")).await
}

fn said(seen: &Seen, name: &str) -> Option<String> {
    let back = reqwest::Url::parse(seen.header("location")).ok()?;
    back.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

async fn exchange(bench: &Bench, code: &str, changes: &[(&str, Option<&str>)]) -> Seen {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("client_id", demonstration::USER_CLIENT_ID),
        ("client_secret", demonstration::USER_CLIENT_SECRET),
        ("redirect_uri", REDIRECT),
        ("code", code),
        ("code_verifier", VERIFIER),
    ];
    for (name, value) in changes {
        form.retain(|(held, _)| held != name);
        form.extend(value.map(|value| (*name, value)));
    }
    bench.token_call(&form).await
}

async fn code(bench: &Bench, person: &str) -> String {
    said(&authorize(bench, &[("person", Some(person))]).await, "code").expect("a code")
}

#[tokio::test]
async fn a_code_buys_a_session_once() {
    let bench = Bench::start().await;
    let back = authorize(&bench, &[]).await;
    assert_eq!((back.status, said(&back, "state").as_deref()), (302, Some("s p")));
    let code = said(&back, "code").expect("a code");
    let reply = exchange(&bench, &code, &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = reply.json();
    let expires = ["expires_in", "refresh_token_expires_in", "refresh_count"].map(|name| reply[name].as_str());
    assert_eq!(expires, [Some("599"), Some("43199"), Some("0")]);
    let claims = reply["id_token"].as_str().and_then(|token| token.split('.').nth(1)).expect("an id token");
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON");
    assert_eq!((&claims["nonce"], &claims["aud"]), (&json!("n"), &json!(demonstration::USER_CLIENT_ID)));
    let token = reply["access_token"].as_str().expect("a token");
    let who = bench.http.get(bench.simulator.userinfo_url()).bearer_auth(token).send().await.expect("an answer");
    assert_eq!(seen(who).await.json()["nhsid_useruid"], demonstration::FIRST_CLINICIAN);
    let refresh_token = reply["refresh_token"].as_str().expect("a refresh token").to_owned();
    // Whoever shows the code again ends what it began (RFC 6749 4.1.2).
    let again = exchange(&bench, &code, &[]).await;
    assert_eq!((again.status, again.json()["error"].as_str()), (401, Some("invalid_grant")));
    let ended = bench.refresh(&refresh_token).await;
    assert_eq!((ended.status, ended.json()["error"].as_str()), (401, Some("invalid_grant")));
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let bench = Bench::start().await;
    for (changes, status, error) in [
        (vec![("code_verifier", Some("another"))], 401, "invalid_grant"),
        (vec![("code_verifier", None)], 401, "invalid_grant"),
        (vec![("redirect_uri", Some("http://127.0.0.1:2/"))], 401, "invalid_grant"),
        (vec![("code", Some("invented"))], 401, "invalid_grant"),
        (vec![("client_secret", Some("wrong"))], 401, "invalid_client"),
        (vec![("client_id", Some("unknown"))], 401, "invalid_client"),
        (vec![("client_id", Some(demonstration::PROVIDER_CLIENT_ID))], 401, "unauthorized_client"),
        (vec![("grant_type", Some("password"))], 400, "unsupported_grant_type"),
        (vec![("code", None)], 400, "invalid_request"),
    ] {
        let code = code(&bench, demonstration::FIRST_CLINICIAN).await;
        let reply = exchange(&bench, &code, &changes).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (status, Some(error)), "{changes:?}");
    }
    let late = code(&bench, demonstration::FIRST_CLINICIAN).await;
    bench.simulator.clock().advance(Duration::from_secs(61));
    assert_eq!(exchange(&bench, &late, &[]).await.json()["error"], "invalid_grant");
    let withdrawn = code(&bench, demonstration::FIRST_CLINICIAN).await;
    bench.simulator.revoke_client(demonstration::USER_CLIENT_ID, true);
    assert_eq!(exchange(&bench, &withdrawn, &[]).await.json()["error"], "access_denied");
    bench.simulator.revoke_client(demonstration::USER_CLIENT_ID, false);
    assert_eq!(exchange(&bench, &withdrawn, &[]).await.status, 200);
}

#[tokio::test]
async fn a_browser_goes_back_with_what_became_of_it() {
    let bench = Bench::start().await;
    for (changes, status, error) in [
        (vec![("person", Some("nobody"))], 302, Some("access_denied")),
        (vec![("response_type", Some("token"))], 302, Some("unsupported_response_type")),
        (vec![("code_challenge_method", Some("plain"))], 302, Some("invalid_request")),
        (vec![("state", None)], 400, None),
        (vec![("client_id", Some("unknown"))], 400, None),
        (vec![("redirect_uri", Some("http://elsewhere.test/"))], 400, None),
    ] {
        let back = authorize(&bench, &changes).await;
        assert_eq!((back.status, said(&back, "error").as_deref()), (status, error), "{changes:?}");
    }
    let page = authorize(&bench, &[("person", None)]).await;
    assert!(page.status == 200 && page.text.contains(demonstration::SECOND_CLINICIAN), "{}", page.text);
}

#[tokio::test]
async fn e_rs_has_nobody_who_signed_in_too_weakly() {
    let bench = Bench::start().await;
    for (person, status, kind) in [
        (demonstration::FIRST_CLINICIAN, 200, None),
        (demonstration::UNVERIFIED, 401, Some("forbidden")),
        (demonstration::WEAKLY_SIGNED_IN, 401, Some("login")),
    ] {
        let code = code(&bench, person).await;
        let reply = exchange(&bench, &code, &[]).await.json();
        let refreshed = bench.refresh(reply["refresh_token"].as_str().expect("a token")).await.json();
        for token in [&reply["access_token"], &refreshed["access_token"]] {
            let url = format!("{}/R4/PractitionerRole", bench.simulator.base_url());
            let token = token.as_str().expect("a token");
            let answer = seen(bench.http.get(url).bearer_auth(token).send().await.expect("an answer")).await;
            assert_eq!(answer.status, status, "{person}: {}", answer.text);
            assert_eq!(answer.json()["issue"][0]["code"].as_str(), kind, "refreshing does not help {person}");
        }
    }
}
