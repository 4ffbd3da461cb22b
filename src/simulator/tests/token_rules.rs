//! The token endpoint, rule by rule.

use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::*;

fn header() -> Value {
    json!({"alg": "RS512", "typ": "JWT", "kid": demonstration::KEY_ID})
}

fn claims(bench: &Bench, jti: &str) -> Value {
    let client_id = demonstration::PROVIDER_CLIENT_ID;
    json!({
        "iss": client_id,
        "sub": client_id,
        "aud": bench.simulator.token_url(),
        "jti": jti,
        "exp": bench.simulator.clock().now().as_second() + 240,
    })
}

/// Signs whatever is given, sensible or not.
fn signed(header: &Value, claims: &Value) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    let key = EncodingKey::from_rsa_pem(demonstration::PRIVATE_KEY_PEM.as_bytes()).expect("the demonstration's key");
    let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::RS512).expect("an RSA key signs");
    format!("{message}.{signature}")
}

async fn present(bench: &Bench, assertion: &str) -> Seen {
    bench
        .token_call(&[
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
        ])
        .await
}

fn with(mut value: Value, name: &str, new: Value) -> Value {
    match new {
        Value::Null => {
            value.as_object_mut().expect("an object").remove(name);
        }
        new => value[name] = new,
    }
    value
}

#[tokio::test]
async fn a_signed_assertion_buys_a_token_that_works() {
    let bench = Bench::start().await;
    let reply = present(&bench, &signed(&header(), &claims(&bench, "one"))).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let grant = reply.json();
    assert_eq!((&grant["expires_in"], &grant["token_type"]), (&json!("599"), &json!("Bearer")));
    assert!(grant["refresh_token"].is_null() && grant["issued_at"].is_string());
    let token = grant["access_token"].as_str().expect("a token");
    let url = format!("{}/STU3/ReferralRequest/000000070000", bench.simulator.base_url());
    let reply = seen(bench.http.get(url).bearer_auth(token).send().await.expect("an answer")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

#[tokio::test]
async fn a_library_made_assertion_is_accepted() {
    let bench = Bench::start().await;
    let mut header = Header::new(Algorithm::RS512);
    header.kid = Some(demonstration::KEY_ID.into());
    let key = EncodingKey::from_rsa_pem(demonstration::PRIVATE_KEY_PEM.as_bytes()).expect("the demonstration's key");
    let assertion = jsonwebtoken::encode(&header, &claims(&bench, "library"), &key).expect("claims that serialise");
    assert_eq!(present(&bench, &assertion).await.status, 200);
}

#[tokio::test]
async fn a_wrong_assertion_is_refused_for_its_reason() {
    let bench = Bench::start().await;
    let now = bench.simulator.clock().now().as_second();
    let good = || claims(&bench, "unused");
    for (header, claims, status, about) in [
        (with(header(), "alg", json!("RS256")), good(), 400, "alg"),
        (with(header(), "alg", json!("none")), good(), 400, "alg"),
        (with(header(), "typ", Value::Null), good(), 400, "typ"),
        (with(header(), "kid", Value::Null), good(), 400, "kid is missing"),
        (with(header(), "kid", json!("other")), good(), 401, "kid is not"),
        (header(), with(good(), "exp", Value::Null), 400, "exp is missing"),
        (header(), with(good(), "exp", json!("soon")), 400, "exp must be"),
        (header(), with(good(), "exp", json!(now - 1)), 400, "exp is in the past"),
        (header(), with(good(), "exp", json!(now + 330)), 400, "exp is more"),
        (header(), with(good(), "jti", Value::Null), 400, "jti is missing"),
        (header(), with(good(), "jti", json!(7)), 400, "jti must be a string"),
        (header(), with(good(), "sub", json!("other")), 400, "the same"),
        (header(), with(good(), "iss", Value::Null), 400, "iss and sub"),
        (header(), with(good(), "aud", json!("https://example.org/oauth2/token")), 401, "aud"),
        (header(), with(with(good(), "iss", json!("nobody")), "sub", json!("nobody")), 401, "known client"),
    ] {
        let reply = present(&bench, &signed(&header, &claims)).await;
        let body = reply.json();
        let description = body["error_description"].as_str().unwrap_or_default();
        assert_eq!(
            (reply.status, body["error"].as_str()),
            (status, Some("invalid_request")),
            "{about}: {}",
            reply.text
        );
        assert!(description.contains(about), "{about}: {description}");
        assert!(body["message_id"].is_string(), "{about}");
    }
    let mut tampered = signed(&header(), &good());
    tampered.truncate(tampered.len() - 8);
    assert_eq!(present(&bench, &format!("{tampered}AAAAAAAA")).await.status, 401, "a changed signature");
    for nonsense in ["x", "a.b", "a.b.c", "a.b.c.d"] {
        assert_eq!(present(&bench, nonsense).await.status, 400, "{nonsense}");
    }
    // None of these has used up the jti, and 10 seconds more than documented are let pass.
    let long = with(good(), "exp", json!(bench.simulator.clock().now().as_second() + 305));
    assert_eq!(present(&bench, &signed(&header(), &long)).await.status, 200);
}

#[tokio::test]
async fn an_assertion_is_never_accepted_twice() {
    let bench = Bench::start().await;
    let assertion = signed(&header(), &claims(&bench, "once"));
    assert_eq!(present(&bench, &assertion).await.status, 200);
    let again = present(&bench, &assertion).await;
    assert_eq!((again.status, again.json()["error"].as_str()), (400, Some("invalid_request")));
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_successor_lives_no_longer() {
    let bench = Bench::start().await;
    bench.simulator.clock().freeze(at("2026-03-16T09:30:00Z"));
    bench.simulator.reset();
    let first = bench.refresh(demonstration::REFRESH_TOKEN).await.json();
    assert_eq!((&first["expires_in"], &first["refresh_token_expires_in"]), (&json!("599"), &json!("43199")));
    assert_eq!(first["refresh_count"], "1");
    let reused = bench.refresh(demonstration::REFRESH_TOKEN).await;
    assert_eq!((reused.status, reused.json()["error"].as_str()), (401, Some("invalid_grant")));
    bench.simulator.clock().advance(Duration::from_secs(3600));
    let second = bench.refresh(first["refresh_token"].as_str().expect("a successor")).await.json();
    assert_eq!((&second["refresh_token_expires_in"], &second["refresh_count"]), (&json!("39599"), &json!("2")));
    bench.simulator.clock().advance(Duration::from_secs(39_599));
    let late = bench.refresh(second["refresh_token"].as_str().expect("a successor")).await;
    assert_eq!((late.status, late.json()["error"].as_str()), (401, Some("invalid_grant")));
}

#[tokio::test]
async fn other_grants_and_clients_are_refused() {
    let bench = Bench::start().await;
    let refresh = |client_id, secret| {
        vec![
            ("grant_type", "refresh_token"),
            ("client_id", client_id),
            ("client_secret", secret),
            ("refresh_token", "x"),
        ]
    };
    for (form, status, error) in [
        (vec![("grant_type", "password")], 400, "unsupported_grant_type"),
        (vec![("x", "y")], 400, "invalid_request"),
        (vec![("grant_type", "client_credentials")], 400, "invalid_request"),
        (
            vec![("grant_type", "client_credentials"), ("client_assertion_type", "x"), ("client_assertion", "y")],
            400,
            "invalid_request",
        ),
        (refresh("nobody", "x"), 401, "invalid_client"),
        (refresh(demonstration::USER_CLIENT_ID, "x"), 401, "invalid_client"),
        (refresh(demonstration::PROVIDER_CLIENT_ID, "x"), 401, "unauthorized_client"),
        (refresh(demonstration::USER_CLIENT_ID, demonstration::USER_CLIENT_SECRET), 401, "invalid_grant"),
    ] {
        let reply = bench.token_call(&form).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (status, Some(error)), "{form:?}");
    }
    let url = bench.simulator.token_url();
    let json = bench.http.post(url).header("Content-Type", "application/json").body("{}").send().await;
    assert_eq!(json.expect("an answer").status(), 400);
}
