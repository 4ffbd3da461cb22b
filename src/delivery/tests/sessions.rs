//! Tokens: refreshed when refused, single-use, stored before use, and what happens when one is lost.

use std::path::Path;

use serde_json::{Value, json};

use super::fake_ers::Does;
use super::world::{Wanted, World, user_restricted};
use crate::config::{Access, Connection, SignedJwt};
use crate::environment::Environment;
use crate::ers::{Client, Session, SessionVault, TokenError, VaultError};

#[tokio::test(start_paused = true)]
async fn one_401_is_answered_with_a_new_token() {
    let world = World::started().await;
    world.ers.will([Does::Answers(401, "NO_ACCESS", json!({}))]);
    let command = world.admit("R1").await;
    world.until(command, "completed").await;
    assert_eq!(world.ers.calls(), ["A011", "A011"]);
    let bearers: Vec<_> = world.ers.seen().iter().map(|seen| seen.header("authorization").map(str::to_owned)).collect();
    assert_eq!(bearers, [Some("Bearer access-1".into()), Some("Bearer access-2".into())]);
    let forms = world.ers.token_forms();
    assert!(forms[0].contains("refresh_token=seed"), "{forms:?}");
    assert!(forms[1].contains("refresh_token=refresh-1"), "the successor is used: {forms:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_401_needs_a_person() {
    let world = World::started().await;
    world.ers.will([Does::Answers(401, "NO_ACCESS", json!({})), Does::Answers(401, "NO_ACCESS", json!({}))]);
    let command = world.admit("R1").await;
    world.until(command, "unauthorised").await;
    world.rest(std::time::Duration::from_secs(3_600)).await;
    assert_eq!(world.ers.calls(), ["A011", "A011"]);
    assert_eq!(world.event_names().await, ["AuthorisationRequired"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_stored_successor_wins_over_the_configured_token() {
    let world = World::started().await;
    let command = world.admit("R1").await;
    world.until(command, "completed").await;
    let restarted = world.killed_and_restarted().await;
    let command = restarted.admit("R2").await;
    restarted.until(command, "completed").await;
    let forms = world.ers.token_forms();
    assert!(forms[1].contains("refresh_token=refresh-1"), "{forms:?}");
}

#[tokio::test(start_paused = true)]
async fn an_ended_session_is_said_once_and_needs_a_sign_in() {
    let world = World::started().await;
    world.ers.token_server_says(401, json!({ "error": "invalid_grant" }));
    let command = world.admit("R1").await;
    world.until(command, "unauthorised").await;
    let why = world.reasons(command).await.join("; ");
    assert!(why.contains("sign in again and set `refresh_token` of connection ers"), "{why}");
    let another = world.admit("R2").await;
    world.until(another, "unauthorised").await;
    assert_eq!(world.ers.token_forms().len(), 1, "a dead session is not tried again");
}

/// Whoever asked does not wait until somebody has signed in.
#[tokio::test(start_paused = true)]
async fn a_read_that_nobody_may_make_fails_at_once_and_says_why() {
    let ended = World::started().await;
    ended.ers.token_server_says(401, json!({ "error": "invalid_grant" }));
    let mut connection = user_restricted();
    if let Access::UserRestricted(user) = &mut connection.access {
        user.business_function = "AUTHORISED_APPLICATION".into();
    }
    let not_permitted = World::new(Wanted { connection, ..Wanted::default() }).await;
    not_permitted.start();
    for (world, told) in [(ended, "sign in again"), (not_permitted, "does not permit it")] {
        let began = world.now();
        let command = world.about("000000070001", "RetrieveReferral", json!({})).await;
        let (code, text) = world.failure(command).await;
        assert_eq!(code, "NOT_AUTHORISED", "{text}");
        assert!(text.contains(told) && text.contains("ers"), "{text}");
        assert!(world.now().duration_since(began) < jiff::SignedDuration::from_secs(10));
        assert!(world.ers.calls().is_empty());
        assert!(!world.event_names().await.contains(&"AuthorisationRequired".to_owned()), "nothing is held");
    }
}

#[tokio::test(start_paused = true)]
async fn a_newly_configured_token_begins_a_new_session_when_the_old_one_has_ended() {
    let world = World::started().await;
    world.ers.token_server_says(401, json!({ "error": "invalid_grant" }));
    let command = world.admit("R1").await;
    world.until(command, "unauthorised").await;
    let mut connection = user_restricted();
    if let Access::UserRestricted(user) = &mut connection.access {
        user.refresh_token = Some("reseeded".into());
    }
    let restarted = world.reconfigured_and_restarted(connection).await;
    let command = restarted.admit("R2").await;
    restarted.until(command, "completed").await;
    assert!(world.ers.token_forms()[1].contains("refresh_token=reseeded"));
}

#[tokio::test(start_paused = true)]
async fn a_successor_lost_in_a_crash_is_found_and_explained() {
    // The refresh is marked and sent; then the process dies before the answer is stored.
    let world = World::new(Wanted::default()).await;
    let vault = Fails::after(1);
    let client = client(&world, vault.clone());
    let lost = client.tokens.token().await;
    assert!(matches!(lost, Err(TokenError::Unavailable { .. })), "{lost:?}");
    let restarted = self::client(&world, vault.recovered());
    world.rest(std::time::Duration::from_secs(120)).await;
    world.ers.token_server_says(401, json!({ "error": "invalid_grant" }));
    let Err(TokenError::SignInNeeded(why)) = restarted.tokens.token().await else { panic!("a person must sign in") };
    assert!(why.contains("its successor never arrived or was never stored"), "{why}");
    assert!(why.contains("set `refresh_token` of connection ers"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_cannot_be_stored_is_not_used_and_not_lost() {
    let world = World::new(Wanted::default()).await;
    let vault = Fails::after(1);
    let client = client(&world, vault.clone());
    assert!(client.tokens.token().await.is_err());
    assert!(client.tokens.token().await.is_err(), "still not stored");
    vault.recovered();
    client.tokens.token().await.expect("stored at last");
    assert_eq!(world.ers.token_forms().len(), 1, "the token server was asked once");
}

#[tokio::test(start_paused = true)]
async fn many_callers_make_one_token_request() {
    let world = World::new(Wanted::default()).await;
    let client = std::sync::Arc::new(client(&world, Fails::never()));
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.tokens.token().await.is_ok() })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.expect("a caller"));
    }
    assert_eq!(world.ers.token_forms().len(), 1);
    // Until a minute before it expires.
    world.rest(std::time::Duration::from_secs(530)).await;
    client.tokens.token().await.expect("in hand");
    assert_eq!(world.ers.token_forms().len(), 1);
    world.rest(std::time::Duration::from_secs(10)).await;
    client.tokens.token().await.expect("a new one");
    assert_eq!(world.ers.token_forms().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_signed_jwt_is_made_afresh_for_each_request() {
    let world = World::new(Wanted::default()).await;
    let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/simulator/demonstration-key.pem");
    let connection = Connection {
        access: Access::ApplicationRestricted(SignedJwt {
            private_key: key,
            kid: "key-1".into(),
            unattended: Vec::new(),
        }),
        ..user_restricted()
    };
    let client = Client::new(&connection, world.ers.clone(), Box::new(Fails::never()), &world.environment)
        .expect("the demonstration key");
    world.ers.token_server_says(400, json!({ "error": "invalid_request" }));
    client.tokens.token().await.expect("the second assertion is taken");
    let claims: Vec<Value> = world
        .ers
        .token_forms()
        .iter()
        .map(|form| {
            assert!(form.starts_with("grant_type=client_credentials&client_assertion_type=urn%3Aietf"), "{form}");
            let jwt = form.split("client_assertion=").nth(1).expect("an assertion");
            let parts: Vec<&str> = jwt.split('.').collect();
            let header = decode(parts[0]);
            assert_eq!(
                (&header["alg"], &header["kid"], &header["typ"]),
                (&json!("RS512"), &json!("key-1"), &json!("JWT"))
            );
            decode(parts[1])
        })
        .collect();
    assert_ne!(claims[0]["jti"], claims[1]["jti"]);
    let now = world.now().as_second();
    for claims in claims {
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("client"), &json!("client")));
        assert_eq!(claims["aud"], super::fake_ers::TOKEN_URL);
        let expires = claims["exp"].as_i64().expect("seconds");
        assert!(expires > now && expires <= now + 300);
    }
}

fn decode(part: &str) -> Value {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn client(world: &World, vault: Fails) -> Client {
    let environment: &Environment = &world.environment;
    Client::new(&user_restricted(), world.ers.clone(), Box::new(vault), environment).expect("no key to read")
}

/// A vault in memory whose disk fills up.
#[derive(Clone)]
struct Fails {
    kept: std::sync::Arc<parking_lot::Mutex<Kept>>,
}

struct Kept {
    session: Option<(Vec<u8>, u64)>,
    saves_left: u64,
}

impl Fails {
    /// So many saves work.
    fn after(saves: u64) -> Self {
        Self { kept: std::sync::Arc::new(parking_lot::Mutex::new(Kept { session: None, saves_left: saves })) }
    }

    fn never() -> Self {
        Self::after(u64::MAX)
    }

    fn recovered(&self) -> Self {
        self.kept.lock().saves_left = u64::MAX;
        self.clone()
    }
}

#[async_trait::async_trait]
impl SessionVault for Fails {
    async fn load(&self) -> Result<Option<(Session, u64)>, VaultError> {
        let kept = self.kept.lock();
        Ok(kept.session.as_ref().map(|(bytes, version)| (serde_json::from_slice(bytes).expect("a session"), *version)))
    }

    async fn save(&self, session: &Session, expected: Option<u64>) -> Result<u64, VaultError> {
        let mut kept = self.kept.lock();
        if kept.saves_left == 0 {
            return Err(VaultError::Unavailable("disk full".into()));
        }
        kept.saves_left -= 1;
        if kept.session.as_ref().map(|(_, version)| *version) != expected {
            return Err(VaultError::Outdated);
        }
        let version = expected.unwrap_or(0) + 1;
        kept.session = Some((serde_json::to_vec(session).expect("a session"), version));
        Ok(version)
    }
}
