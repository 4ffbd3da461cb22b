//! A real browser: Debian's Chromium without a screen, driven by its own driver (W3C WebDriver).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::serve::free_port;
use super::waiting::client;

const DRIVER: &str = "/usr/bin/chromedriver";
const SOON: Duration = Duration::from_secs(30);
/// Key of an element in WebDriver's answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Ends the driver, and with it the browser, with the pipe, however the test ends.
const KEEPER: &str = r#"
set -m
"$@" </dev/null &
driver=$!
read -r word
kill -KILL -- "-$driver"
wait "$driver" 2>/dev/null
"#;

pub struct Browser {
    keeper: Child,
    session: String,
    _folder: tempfile::TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        assert!(
            Path::new(DRIVER).exists(),
            "Chromium's driver is not installed ({DRIVER} is missing). This test needs a real browser: \
             install it with `apt-get install chromium-driver`, or run ./test, which does."
        );
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port().port();
        let keeper = Command::new("bash")
            .args(["-c", KEEPER, "bash", DRIVER, &format!("--port={port}"), "--log-level=SEVERE"])
            .env("HOME", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the driver starts");
        let driver = format!("http://127.0.0.1:{port}");
        let began = Instant::now();
        while client().get(format!("{driver}/status")).send().await.is_err() {
            assert!(began.elapsed() < SOON, "the driver does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": [
                "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,1000",
                format!("--user-data-dir={}", folder.path().join("profile").display()),
            ]},
        }}});
        let made = ask("POST", &format!("{driver}/session"), wanted).await;
        let id = made["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {made}"));
        Self { keeper, session: format!("{driver}/session/{id}"), _folder: folder }
    }

    async fn command(&self, method: &str, path: &str, body: Value) -> Value {
        ask(method, &format!("{}{path}", self.session), body).await
    }

    pub async fn open(&self, url: &str) {
        self.command("POST", "/url", json!({ "url": url })).await;
    }

    pub async fn address(&self) -> String {
        self.command("GET", "/url", Value::Null).await.as_str().unwrap_or_default().to_owned()
    }

    /// What a person reads on the page.
    pub async fn text(&self) -> String {
        self.script("return document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    pub async fn script(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", json!({"script": script, "args": []})).await
    }

    async fn find(&self, selector: &str) -> String {
        let using = if selector.starts_with(['/', '(']) { "xpath" } else { "css selector" };
        let found = self.command("POST", "/element", json!({"using": using, "value": selector})).await;
        found[ELEMENT].as_str().unwrap_or_else(|| panic!("{selector} is not on the page: {found}")).to_owned()
    }

    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        let answer = self.command("POST", &format!("/element/{element}/click"), json!({})).await;
        assert!(answer.is_null(), "{selector} cannot be clicked: {answer}");
    }

    pub async fn follow(&self, link: &str) {
        self.click(&format!("//a[contains(normalize-space(.), '{link}')]")).await;
    }

    pub async fn follow_summary(&self, text: &str) {
        self.click(&format!("//summary[contains(normalize-space(.), '{text}')]")).await;
    }

    pub async fn press(&self, button: &str) {
        self.click(&format!("//button[normalize-space(.)='{button}']")).await;
    }

    pub async fn fill(&self, field: &str, text: &str) {
        let element = self.find(&format!("#{field}")).await;
        self.command("POST", &format!("/element/{element}/clear"), json!({})).await;
        self.command("POST", &format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// A picture of the whole page.
    pub async fn picture(&self, name: &str) {
        let height = self.script("return Math.min(document.documentElement.scrollHeight + 80, 4000)").await;
        self.command("POST", "/window/rect", json!({"width": 1280, "height": height})).await;
        let shot = self.command("GET", "/screenshot", Value::Null).await;
        let png = STANDARD.decode(shot.as_str().expect("a picture")).expect("base64");
        let folder = PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
        let folder = folder.join("console-pictures");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(format!("{name}.png")), png).expect("a file");
    }

    /// What the browser itself complained about since this was last asked.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", json!({"type": "browser"})).await;
        let entries = log.as_array().unwrap_or_else(|| panic!("no log: {log}"));
        entries.iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What axe-core finds against WCAG 2.2 A and AA.
    pub async fn barriers(&self) -> Vec<String> {
        let Some(axe) = std::env::var_os("ERS_GATEWAY_TEST_AXE") else {
            panic!("ERS_GATEWAY_TEST_AXE names no axe.min.js: ./test installs one (tests/console/requirements.txt)")
        };
        let axe = std::fs::read_to_string(axe).expect("axe-core");
        self.script(&format!("{axe}\nwindow.axe = axe;")).await;
        let script = "const done = arguments[arguments.length - 1]; axe.run(document, {runOnly: {type: 'tag', values: \
                      ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']}}).then(found => done(found.violations.map(one => \
                      one.id + ': ' + one.help + ' at ' + one.nodes.map(node => node.target.join(' ')).join(', '))), \
                      error => done([String(error)]))";
        let found = self.command("POST", "/execute/async", json!({"script": script, "args": []})).await;
        let found = found.as_array().unwrap_or_else(|| panic!("axe did not run: {found}"));
        found.iter().map(|one| one.as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The value of the answer; of a refusal the whole answer.
async fn ask(method: &str, url: &str, body: Value) -> Value {
    let method = method.parse().expect("a method");
    let mut request = client().request(method, url).timeout(SOON);
    if !body.is_null() {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.expect("the driver answers");
    let mut answer: Value = answer.json().await.expect("JSON");
    answer["value"].take()
}
