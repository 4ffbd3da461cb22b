//! People of a trust sign in at its identity provider, which here is one by others than us, in a real browser.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;

use super::story::{is_sound, reads};
use super::{PASSWORD, Visitor, ers, people};
use crate::support::browser::Browser;
use crate::support::serve::{Serve, free_port};
use crate::support::waiting::client;

const SOON: Duration = Duration::from_secs(30);

/// oidc-provider-mock, as a process of its own.
struct Provider {
    process: Child,
    issuer: String,
}

impl Provider {
    async fn start() -> Self {
        let Some(program) = std::env::var_os("ERS_GATEWAY_TEST_PROVIDER") else {
            panic!("ERS_GATEWAY_TEST_PROVIDER names no OpenID provider: ./test installs one (tests/provider/install)")
        };
        let users = [
            json!({"sub": "17", "preferred_username": "night.shift", "groups": ["staff", "on call"]}),
            json!({"sub": "18", "preferred_username": "looks.only", "groups": ["staff"]}),
            json!({"sub": "19", "preferred_username": "payroll", "groups": ["money"]}),
            json!({"sub": "20", "preferred_username": "operator", "groups": ["on call"]}),
        ];
        let port = free_port().port();
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string(), "--require-nonce", "true"]);
        for user in users {
            command.args(["--user-claims", &user.to_string()]);
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the provider starts");
        let provider = Self { process, issuer: format!("http://127.0.0.1:{port}") };
        let began = Instant::now();
        while client().get(&provider.issuer).send().await.is_err() {
            assert!(began.elapsed() < SOON, "the provider does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        provider
    }

    fn settings(&self, gateway: &Serve) -> serde_json::Value {
        json!({
            "issuer": self.issuer,
            "client_id": "ers-gateway",
            "client_secret": "a secret of the tests",
            "redirect_uri": gateway.url("/console/sign-in/back"),
            "post_logout_redirect_uri": gateway.url("/console/sign-in"),
            "groups": {"viewer": ["staff"], "operator": ["on call"], "content": ["on call"]},
        })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn goes_as(browser: &Browser, user: &str) {
    browser.follow("Sign in with your organisation").await;
    reads(browser, "Authenticate predefined users").await;
    browser.click(&format!("//button[@name='sub'][@value='{user}']")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_sign_in_at_the_trusts_provider_and_are_what_their_groups_are_for() {
    let (ers, provider) = (ers(), Provider::start().await);
    let mut gateway = Serve::new(&ers);
    gateway.settings["people"] = people();
    gateway.settings["identity_provider"] = provider.settings(&gateway);
    gateway.start_and_wait().await;

    let browser = Browser::start().await;
    browser.open(&gateway.url("/console/problems")).await;
    reads(&browser, "Or with an account of this gateway").await;
    is_sound(&browser, "sign-in-with-provider").await;
    goes_as(&browser, "17").await;
    // Where they wanted to go.
    reads(&browser, "There are no problems").await;
    reads(&browser, "night.shift").await;
    // Those were about the provider's pages.
    browser.complaints().await;
    browser.open(&gateway.url("/console/problems")).await;
    is_sound(&browser, "signed-in-by-provider").await;
    browser.open(&gateway.url("/console/replays")).await;
    reads(&browser, "everything that failed").await;
    browser.press("Sign out").await;
    // Here first, and there for who wants it.
    reads(&browser, "Your session at this console is over").await;
    is_sound(&browser, "signed-out-by-provider").await;
    browser.follow("Sign out at your organisation").await;
    reads(&browser, "End Session").await;
    browser.follow_summary("Request parameters").await;
    reads(&browser, "client_id").await;
    browser.press("End session").await;
    reads(&browser, "Or with an account of this gateway").await;
    browser.complaints().await;

    goes_as(&browser, "18").await;
    reads(&browser, "looks.only").await;
    browser.open(&gateway.url("/console/replays/new?of=failed")).await;
    reads(&browser, "Your role does not allow this").await;
    browser.complaints().await;
    browser.open(&gateway.url("/console")).await;
    browser.press("Sign out").await;
    browser.follow("Sign in again").await;

    for (user, why) in [("19", "You are in no group"), ("20", "an account of this gateway has that one already")] {
        goes_as(&browser, user).await;
        reads(&browser, why).await;
        browser.complaints().await;
    }
    browser.picture("refused-by-provider").await;
    assert_eq!(browser.barriers().await, [""; 0]);
    // An account of the gateway is there still, and sees who came.
    browser.fill("name", "security").await;
    browser.fill("password", PASSWORD).await;
    browser.press("Sign in").await;
    browser.follow("Audit log").await;
    for part in ["night.shift", "looks.only", "refuse sign in"] {
        reads(&browser, part).await;
    }
    drop(browser);

    let log = gateway.log();
    assert!(!log.contains("a secret of the tests") && !log.contains("code="), "no secret is logged");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_comes_back_who_did_not_leave_from_here() {
    let (ers, provider) = (ers(), Provider::start().await);
    let mut gateway = Serve::new(&ers);
    gateway.settings["identity_provider"] = provider.settings(&gateway);
    gateway.start_and_wait().await;
    // With a provider alone nothing is open to everybody.
    assert_eq!(client().get(gateway.url("/v1/messages")).send().await.expect("an answer").status(), 401);

    let mut visitor = Visitor::new();
    let left = visitor.get(&gateway, "/console/sign-in/elsewhere?to=//evil.example").await;
    assert_eq!(left.status(), StatusCode::SEE_OTHER);
    let way = left.headers()["location"].to_str().expect("text").to_owned();
    for part in ["code_challenge_method=S256", "response_type=code", "nonce=", "scope=openid%20profile"] {
        assert!(way.contains(part), "{part} is not in {way}");
    }
    let granted = client().post(&way).form(&[("sub", "17")]).send().await;
    let back = granted.expect("an answer");
    // The tests' client follows nothing by itself, or is at the gateway already, without the cookie.
    let back = match back.headers().get("location") {
        Some(location) => location.to_str().expect("text").to_owned(),
        None => back.url().to_string(),
    };
    let path = back.strip_prefix(&gateway.url("")).expect("back to the gateway").to_owned();
    let stranger = Visitor::new().get(&gateway, &path).await;
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED, "another browser");
    let other_state = path.replace("state=", "state=x");
    assert_eq!(visitor.get(&gateway, &other_state).await.status(), StatusCode::UNAUTHORIZED, "another sign-in");
    let state = path.split("state=").nth(1).and_then(|rest| rest.split('&').next()).expect("a state");
    let denied = visitor.get(&gateway, &format!("/console/sign-in/back?error=access_denied&state={state}")).await;
    assert_eq!(denied.status(), StatusCode::UNAUTHORIZED);
    assert!(denied.text().await.expect("a page").contains("did not let you in (access_denied)"));
    let way_cookie = visitor.cookie.clone();
    let arrived = visitor.get(&gateway, &path).await;
    assert_eq!(arrived.status(), StatusCode::OK);
    assert!(!arrived.text().await.expect("a page").contains("evil"), "nobody is sent elsewhere");
    let mut again = Visitor::new();
    again.cookie = way_cookie;
    let twice = again.get(&gateway, &path).await;
    assert_eq!(twice.status(), StatusCode::UNAUTHORIZED, "a code is good once");

    let form = visitor.form(&gateway, "/console").await;
    let cookie = visitor.cookie.clone();
    drop(provider);
    // Signing out does not hang on the provider.
    let out = visitor.post(&gateway, "/console/sign-out", &[("form", &form)]).await;
    assert_eq!(out.status(), StatusCode::OK);
    let page = out.text().await.expect("a page");
    assert!(page.contains("Your session at this console is over") && page.contains("close the browser"), "{page}");
    assert!(!page.contains("night.shift"), "{page}");
    visitor.cookie = cookie;
    assert_eq!(visitor.get(&gateway, "/console").await.status(), StatusCode::SEE_OTHER, "the old cookie opens nothing");
    let away = Visitor::new().get(&gateway, "/console/sign-in/elsewhere").await;
    assert_eq!(away.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(away.text().await.expect("a page").contains("cannot be reached now"));
    for _ in 0..120 {
        let answer = Visitor::new().get(&gateway, "/console/sign-in/elsewhere").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "nobody is held back for what is not theirs");
    }
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_without_end_or_comes_back_from_nowhere_is_held_back() {
    let (ers, provider) = (ers(), Provider::start().await);
    let mut gateway = Serve::new(&ers);
    gateway.settings["identity_provider"] = provider.settings(&gateway);
    gateway.start_and_wait().await;
    let way = gateway.url("/console/sign-in/elsewhere");
    for _ in 0..120 {
        let image = client().get(&way).header("sec-fetch-dest", "image").send().await.expect("an answer");
        assert_eq!(image.status(), StatusCode::FORBIDDEN);
    }
    let mut begun = 0;
    let held_back = loop {
        let answer = Visitor::new().get(&gateway, "/console/sign-in/elsewhere").await;
        match answer.status() {
            StatusCode::SEE_OTHER => begun += 1,
            _ => break answer,
        }
        assert!(begun < 1_000, "nobody is held back");
    };
    assert!(begun >= 100, "images count for nothing: {begun}");
    assert_eq!(held_back.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(held_back.headers().contains_key("retry-after"));
    assert!(held_back.text().await.expect("a page").contains("Too many sign-ins were begun from this address"));
    let mut came = 0;
    while Visitor::new().get(&gateway, "/console/sign-in/back?code=x&state=y").await.status()
        == StatusCode::UNAUTHORIZED
    {
        came += 1;
        assert!(came < 1_000, "nobody is held back");
    }
    let told = gateway.log().matches("a sign-in at the identity provider was refused").count();
    assert_eq!(told, came, "what is held back does not fill the log");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
