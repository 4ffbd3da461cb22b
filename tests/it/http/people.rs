//! People who sign in, over real sockets: browsers, the gateway as a process, the simulator as identity provider.

use std::time::{Duration, Instant};

use ers_gateway::environment::Environment;
use ers_gateway::simulator::demonstration::{FIRST_CLINICIAN, SECOND_CLINICIAN, UNVERIFIED};
use ers_gateway::simulator::{Action, Fault, Simulator, SimulatorConfig, SimulatorHandle};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::postgres::Postgres;
use crate::support::referrals::create;
use crate::support::serve::Serve;

const SOON: Duration = Duration::from_secs(30);

fn ers() -> SimulatorHandle {
    Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free")
}

/// Northmoor's people sign in there.
pub fn settle(gateway: &mut Serve, ers: &SimulatorHandle) {
    settle_of(gateway, ers, "northmoor");
}

/// The people of this source sign in there.
pub fn settle_of(gateway: &mut Serve, ers: &SimulatorHandle, source: &str) {
    let redirect_uri = gateway.url("/v1/sign-in/callback");
    gateway.settings["connections"].as_array_mut().expect("a list").push(json!({
        "name": "people",
        "access": "sign_in",
        "base_url": ers.base_url(),
        "token_url": ers.token_url(),
        "client_id": "demonstration-user-application",
        "client_secret": "demonstration-secret",
        "authorize_url": ers.authorize_url(),
        "userinfo_url": ers.userinfo_url(),
        "redirect_uri": redirect_uri,
        "organisations": ["RXX00"],
    }));
    let source = gateway.source(source).as_object_mut().expect("a source");
    source.remove("connection");
    source.insert("connections".into(), json!(["people"]));
    source.insert("users".into(), json!({"CY": FIRST_CLINICIAN, "DI": SECOND_CLINICIAN}));
}

/// Somebody's browser: it follows nothing by itself, and keeps its cookies.
pub struct Browser {
    client: reqwest::Client,
    cookies: Vec<(String, String)>,
}

impl Browser {
    pub fn new() -> Self {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(SOON)
            .build()
            .expect("a client");
        Self { client, cookies: Vec::new() }
    }

    async fn ask(&mut self, method: Method, url: &str, body: Option<&Value>) -> Response {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = self.client.request(method, url).header("cookie", cookies.join("; "));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.expect("an answer");
        for line in answer.headers().get_all("set-cookie") {
            let line = line.to_str().expect("text");
            assert!(line.contains("HttpOnly") && line.contains("SameSite=Lax") && line.contains("Path=/"), "{line}");
            let (name, value) = line.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            self.cookies.retain(|(held, _)| held != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    async fn get(&mut self, gateway: &Serve, path: &str) -> Response {
        self.ask(Method::GET, &gateway.url(path), None).await
    }

    /// To the identity provider and back to the gateway's door. Where it is told to come back to.
    async fn goes_to_sign_in(&mut self, gateway: &Serve, user: &str) -> String {
        let sent = self.get(gateway, "/v1/sign-in/start?then=/v1/waiting/mine").await;
        assert_eq!(sent.status(), 302, "{:?}", sent.text().await);
        let way = location(&sent);
        let page = self.ask(Method::GET, &way, None).await;
        assert!(page.text().await.expect("a page").contains("Who signs in?"));
        let back = self.ask(Method::GET, &format!("{way}&person={user}"), None).await;
        assert_eq!(back.status(), 302);
        location(&back)
    }

    pub async fn signs_in(&mut self, gateway: &Serve, user: &str) {
        let back = self.goes_to_sign_in(gateway, user).await;
        let arrived = self.ask(Method::GET, &back, None).await;
        assert_eq!((arrived.status().as_u16(), location(&arrived).as_str()), (302, "/v1/waiting/mine"));
    }

    pub async fn confirms(&mut self, gateway: &Serve, body: &Value) -> Value {
        let answer = self.ask(Method::POST, &gateway.url("/v1/waiting/confirm"), Some(body)).await;
        assert_eq!(answer.status(), 200);
        told(answer).await
    }
}

fn location(answer: &Response) -> String {
    answer.headers()["location"].to_str().expect("text").to_owned()
}

async fn told(answer: Response) -> Value {
    answer.json().await.expect("JSON")
}

pub async fn sends(gateway: &Serve, local_id: &str, nhs_number: &str, author: &str) -> String {
    let mut body = create(local_id, nhs_number);
    body["author"] = author.into();
    let url = gateway.url("/v1/commands/CreateReferral?source=northmoor");
    let sent = crate::support::waiting::client().post(url).json(&body).send().await.expect("an answer");
    assert_eq!(sent.status(), 202);
    told(sent).await["commands"][0]["id"].as_str().expect("an id").to_owned()
}

pub async fn until(gateway: &Serve, command: &str, state: &str, limit: Duration) -> Value {
    let began = Instant::now();
    loop {
        let shown = told(crate::support::waiting::get(gateway.url(&format!("/v1/commands/{command}"))).await).await;
        if shown["state"] == state {
            return shown;
        }
        assert!(began.elapsed() < limit, "{state} was expected: {shown}\n{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Users in whose name referrals were made, in order.
pub fn made_by(ers: &SimulatorHandle) -> Vec<String> {
    let ledger = ers.ledger();
    let made = ledger.iter().filter(|entry| entry.operation == "A011" && entry.status == 201);
    made.map(|entry| entry.user.as_deref().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clinicians_wait_one_signs_in_and_theirs_go_out_in_their_name() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    settle(&mut gateway, &ers);
    gateway.start_and_wait().await;
    let first = sends(&gateway, "NM-1", "9994122770", "CY").await;
    let others = sends(&gateway, "NM-2", "9994120034", "DI").await;
    let second = sends(&gateway, "NM-3", "9994121405", "CY").await;
    for command in [&first, &others, &second] {
        until(&gateway, command, "unauthorised", SOON).await;
    }
    let at = gateway.url("");
    let listed = crate::cli::gateway(&["waiting", "list", "--api", &at]).output().expect("the program runs");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains(FIRST_CLINICIAN) && listed.contains(SECOND_CLINICIAN) && listed.contains("no"), "{listed}");

    let mut browser = Browser::new();
    assert_eq!(browser.get(&gateway, "/v1/waiting/mine").await.status(), 401, "nobody is signed in here");
    browser.signs_in(&gateway, FIRST_CLINICIAN).await;
    let session = told(browser.get(&gateway, "/v1/sign-in/session").await).await;
    assert_eq!((&session["user"], &session["name"]), (&json!(FIRST_CLINICIAN), &json!("Dr Cy Example")));
    let left = session["secondsLeft"].as_i64().expect("a number");
    assert!((43_000..=43_199).contains(&left), "{left}");
    assert_eq!(session["role"], json!({"organisation": "RXX00", "businessFunction": "REFERRING_CLINICIAN"}));
    let mine = told(browser.get(&gateway, "/v1/waiting/mine").await).await;
    let ids: Vec<&str> =
        mine["waiting"].as_array().expect("a list").iter().filter_map(|one| one["command"].as_str()).collect();
    assert_eq!(ids, [&first, &second]);
    assert!(made_by(&ers).is_empty(), "nothing goes by itself");
    let said = browser.confirms(&gateway, &json!({"commands": [first, others]})).await;
    let outcomes: Vec<_> = said["outcomes"].as_array().expect("a list").iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["CONFIRMED", "NOT_WAITING"]);
    until(&gateway, &first, "completed", SOON).await;
    assert_eq!(browser.confirms(&gateway, &json!({"all": true})).await["confirmed"], 1);
    until(&gateway, &second, "completed", SOON).await;
    until(&gateway, &others, "unauthorised", SOON).await;
    assert_eq!(made_by(&ers), [FIRST_CLINICIAN, FIRST_CLINICIAN]);
    let sessions = told(crate::support::waiting::get(gateway.url("/v1/sign-in/sessions")).await).await;
    assert_eq!(sessions["sessions"][0]["user"], FIRST_CLINICIAN);

    // A page of another site gets nothing done with somebody's cookie.
    let forged = browser.client.post(gateway.url("/v1/waiting/confirm")).header("origin", "https://evil.test");
    let cookie = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    let forged = forged.header("cookie", &cookie).body(r#"{"all": true}"#).send().await.expect("an answer");
    assert_eq!(forged.status(), 403);
    let out = browser.ask(Method::DELETE, &gateway.url("/v1/sign-in/session"), None).await;
    assert_eq!(out.status(), 204);
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    let kept = browser.client.get(gateway.url("/v1/sign-in/session")).header("cookie", &cookie).send().await;
    assert_eq!(kept.expect("an answer").status(), 401, "a cookie of before opens nothing");
    let metrics = crate::support::waiting::get(gateway.url("/metrics")).await.text().await.expect("text");
    assert!(metrics.contains(r#"gateway_sign_ins_total{connection="people",outcome="signed_in"} 1"#), "{metrics}");
    for secret in ["demonstration-secret", &cookie] {
        assert!(!gateway.log().contains(secret), "no secret is logged");
    }
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_is_finished_once_and_where_it_began() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    settle(&mut gateway, &ers);
    gateway.start_and_wait().await;
    // Fixation: an attacker's sign-in is not finished in a victim's browser, nor a cookie that the attacker set used.
    let (mut attacker, mut victim) = (Browser::new(), Browser::new());
    let back = attacker.goes_to_sign_in(&gateway, SECOND_CLINICIAN).await;
    let refused = victim.ask(Method::GET, &back, None).await;
    assert_eq!((refused.status().as_u16(), victim.cookies.len()), (400, 0));
    assert_eq!(told(refused).await["type"], "urn:ers-gateway:problem:sign-in-not-known");
    assert_eq!(attacker.ask(Method::GET, &back, None).await.status(), 400, "and it is over");
    victim.cookies = vec![("ers-person".into(), "chosen-by-the-attacker".into())];
    let back = victim.goes_to_sign_in(&gateway, FIRST_CLINICIAN).await;
    assert_eq!(victim.ask(Method::GET, &back, None).await.status(), 302);
    let own: Vec<_> = victim.cookies.iter().filter(|(name, _)| name == "ers-person").collect();
    assert!(own.len() == 1 && own[0].1 != "chosen-by-the-attacker", "{own:?}");
    // Once more with the same state.
    assert_eq!(victim.ask(Method::GET, &back, None).await.status(), 400);
    let mut unverified = Browser::new();
    let back = unverified.goes_to_sign_in(&gateway, UNVERIFIED).await;
    let refused = unverified.ask(Method::GET, &back, None).await;
    assert_eq!(refused.status(), 403);
    let why = told(refused).await;
    assert_eq!(why["type"], "urn:ers-gateway:problem:identity-assurance");
    assert!(why["detail"].as_str().is_some_and(|text| text.contains("registration authority")), "{why}");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_a_refresh_is_found_and_explained_and_the_person_signs_in_again() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    settle(&mut gateway, &ers);
    gateway.start_and_wait().await;
    let mut browser = Browser::new();
    browser.signs_in(&gateway, FIRST_CLINICIAN).await;
    // The token server takes the refresh token, and its answer never comes.
    let fault = ers.inject(Fault::on("token", Action::Hang { after_commit: true }).times(1));
    let command = sends(&gateway, "NM-1", "9994122770", "CY").await;
    let began = Instant::now();
    while ers.fired(fault) == 0 {
        assert!(began.elapsed() < SOON, "{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gateway.kill();
    gateway.start_and_wait().await;
    // Whoever marked it may still live for a minute.
    let shown = until(&gateway, &command, "unauthorised", Duration::from_secs(120)).await;
    let why = shown["transitions"].to_string();
    assert!(why.contains("its successor never arrived or was never stored"), "{why}");
    assert!(why.contains(&format!("user {FIRST_CLINICIAN} must sign in again at the gateway")), "{why}");
    assert!(made_by(&ers).is_empty());
    browser.signs_in(&gateway, FIRST_CLINICIAN).await;
    assert_eq!(browser.confirms(&gateway, &json!({"all": true})).await["confirmed"], 1);
    until(&gateway, &command, "completed", SOON).await;
    assert_eq!(made_by(&ers), [FIRST_CLINICIAN]);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

/// Whoever signs in at one of two gateways is signed in at both, and both act in their name; what is used once is used once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_share_who_is_signed_in_and_refresh_one_after_the_other() {
    let short = SimulatorConfig { access_token_lifetime: Duration::from_secs(4), ..SimulatorConfig::default() };
    let ers = Simulator::start(short, Environment::system()).expect("port 0 is free");
    let postgres = Postgres::shared();
    let url = postgres.new_schema();
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    let key: [u8; 32] = rand::random();
    std::fs::write(&keys, base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key)).expect("a key file");
    let mut gateways = [1, 2].map(|number| {
        let mut gateway = Serve::new(&ers).on_database(&format!("gateway-{number}"), &url, &keys);
        settle(&mut gateway, &ers);
        gateway
    });
    // Browsers know one address, that of a balancer.
    let shared = gateways[0].url("/v1/sign-in/callback");
    for gateway in &mut gateways {
        gateway.connection("people")["redirect_uri"] = shared.as_str().into();
        gateway.start_and_wait().await;
    }
    let mut browser = Browser::new();
    // Begun at the first, finished at the second, as behind a balancer.
    let back = browser.goes_to_sign_in(&gateways[0], FIRST_CLINICIAN).await;
    let at_the_other = back.replace(&gateways[0].url(""), &gateways[1].url(""));
    assert_ne!(back, at_the_other);
    assert_eq!(browser.ask(Method::GET, &at_the_other, None).await.status(), 302);
    for gateway in &gateways {
        let session = told(browser.get(gateway, "/v1/sign-in/session").await).await;
        assert_eq!(session["user"], FIRST_CLINICIAN);
    }
    let patients = crate::support::referrals::Patients::new();
    let mut commands = Vec::new();
    for number in 0..16 {
        let gateway = &gateways[number % 2];
        commands.push(sends(gateway, &format!("NM-{number}"), &patients.next(), "CY").await);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    for command in &commands {
        until(&gateways[0], command, "completed", Duration::from_secs(60)).await;
    }
    assert_eq!(made_by(&ers), vec![FIRST_CLINICIAN; 16]);
    let refused = ers.ledger().iter().filter(|entry| entry.operation == "token" && entry.status != 200).count();
    assert_eq!(refused, 0, "no refresh token was used twice");
    for gateway in &mut gateways {
        assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    }
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_begins_sign_ins_without_end_is_held_back_and_who_is_on_the_way_arrives() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    settle(&mut gateway, &ers);
    gateway.start_and_wait().await;
    let mut clinician = Browser::new();
    let back = clinician.goes_to_sign_in(&gateway, FIRST_CLINICIAN).await;
    for _ in 0..120 {
        let image = crate::support::waiting::client().get(gateway.url("/v1/sign-in/start"));
        let image = image.header("sec-fetch-dest", "image").send().await.expect("an answer");
        assert_eq!(image.status(), 403, "a page that shows it begins nothing");
    }
    let (mut hasty, mut begun) = (Browser::new(), 0);
    let held_back = loop {
        let answer = hasty.get(&gateway, "/v1/sign-in/start").await;
        if answer.status() != 302 {
            break answer;
        }
        begun += 1;
        assert!(begun < 900, "nobody is held back, and the first who left is forgotten at 1,000");
    };
    assert!(begun >= 99, "a hospital may stand behind an address: {begun}");
    assert_eq!(held_back.status(), 429);
    let wait: u64 = held_back.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(told(held_back).await["type"], "urn:ers-gateway:problem:too-many-tries");
    let arrived = clinician.ask(Method::GET, &back, None).await;
    assert_eq!((arrived.status().as_u16(), location(&arrived).as_str()), (302, "/v1/waiting/mine"));
    assert_eq!(clinician.get(&gateway, "/v1/sign-in/session").await.status(), 200);
    // Whoever has arrived makes room for the next.
    assert_eq!(Browser::new().get(&gateway, "/v1/sign-in/start").await.status(), 302);
    let metrics = crate::support::waiting::get(gateway.url("/metrics")).await.text().await.expect("text");
    assert!(metrics.contains("gateway_http_tries_total{outcome=\"held_back\",tried=\"sign_in\"} 1"), "{metrics}");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
