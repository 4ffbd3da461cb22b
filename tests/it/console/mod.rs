//! The pages for people: who opens them, what they refuse, and what a person does with them in a real browser.

mod access;
mod attacks;
mod cases;
mod clinicians;
mod elsewhere;
mod night;
mod sources;
pub mod story;

use std::time::Duration;

use ers_gateway::console::password_digest;
use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Simulator, SimulatorConfig, SimulatorHandle};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::serve::Serve;

pub const PASSWORD: &str = "correct horse battery";

fn ers() -> SimulatorHandle {
    Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free")
}

/// Name, role, and whether content may be seen.
const PEOPLE: [(&str, &str, bool); 5] = [
    ("viewer", "viewer", false),
    ("reader", "viewer", true),
    ("operator", "operator", false),
    ("clinician", "operator", true),
    ("security", "administrator", false),
];

pub fn people() -> Value {
    let digest = password_digest(PASSWORD, b"salt of the tests").expect("a digest");
    PEOPLE
        .iter()
        .map(|(name, role, content)| json!({"name": name, "password": digest, "role": role, "content": content}))
        .collect()
}

async fn with_people(ers: &SimulatorHandle) -> Serve {
    let mut gateway = Serve::new(ers);
    gateway.settings["people"] = people();
    gateway.start_and_wait().await;
    gateway
}

/// Like a browser: keeps its cookie; follows nothing by itself.
pub struct Visitor {
    client: Client,
    pub cookie: Option<String>,
}

impl Visitor {
    pub fn new() -> Self {
        let client = Client::builder().redirect(Policy::none()).timeout(Duration::from_secs(30)).build();
        Self { client: client.expect("a client"), cookie: None }
    }

    pub async fn signed_in(gateway: &Serve, name: &str) -> Self {
        let mut visitor = Self::new();
        let answer = visitor.sign_in(gateway, name, PASSWORD).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{name}");
        visitor
    }

    pub async fn sign_in(&mut self, gateway: &Serve, name: &str, password: &str) -> Response {
        self.post(gateway, "/console/sign-in", &[("name", name), ("password", password)]).await
    }

    pub async fn get(&mut self, gateway: &Serve, path: &str) -> Response {
        let mut request = self.client.get(gateway.url(path));
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        self.keep(request.send().await.expect("an answer"))
    }

    pub async fn post(&mut self, gateway: &Serve, path: &str, form: &[(&str, &str)]) -> Response {
        let mut request = self.client.post(gateway.url(path)).form(form).header("sec-fetch-site", "same-origin");
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        self.keep(request.send().await.expect("an answer"))
    }

    fn keep(&mut self, answer: Response) -> Response {
        if let Some(cookie) = answer.headers().get("set-cookie") {
            let cookie = cookie.to_str().expect("text");
            self.cookie = Some(cookie.split(';').next().unwrap_or_default().to_owned());
        }
        answer
    }

    /// What stands in each form of this session.
    pub async fn form(&mut self, gateway: &Serve, path: &str) -> String {
        let page = self.get(gateway, path).await.text().await.expect("a page");
        let (_, rest) = page.split_once("name=\"form\" value=\"").unwrap_or_else(|| panic!("no form: {page}"));
        rest.split('"').next().unwrap_or_default().to_owned()
    }
}
