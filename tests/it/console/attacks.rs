//! What a hostile page, browser or message tries against the console.

use std::time::{Duration, Instant};

use ers_gateway::simulator::{Action, Fault, SimulatorHandle};
use reqwest::StatusCode;

use super::{PASSWORD, Visitor, ers, people, with_people};
use crate::support::referrals::northmoor;
use crate::support::sender::MllpSender;
use crate::support::serve::Serve;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_acts_from_another_site_or_with_the_form_of_another_session() {
    let ers = ers();
    let mut gateway = with_people(&ers).await;
    let command = failed(&gateway, &ers).await;
    let path = format!("/console/commands/{command}/discard");
    let mut operator = Visitor::signed_in(&gateway, "operator").await;
    let cookie = operator.cookie.clone().expect("a cookie");
    let own = operator.form(&gateway, &path).await;
    let others = Visitor::signed_in(&gateway, "clinician").await.form(&gateway, &path).await;
    for (form, site, expected) in [
        (own.as_str(), "cross-site", StatusCode::FORBIDDEN),
        (&own, "same-site", StatusCode::FORBIDDEN),
        (&others, "same-origin", StatusCode::BAD_REQUEST),
        ("", "same-origin", StatusCode::BAD_REQUEST),
    ] {
        let request = reqwest::Client::new()
            .post(gateway.url(&path))
            .header("cookie", &cookie)
            .header("sec-fetch-site", site)
            .form(&[("form", form), ("why", "because")]);
        assert_eq!(request.send().await.expect("an answer").status(), expected, "{form} from {site}");
    }
    let foreign = reqwest::Client::new().post(gateway.url(&path)).header("cookie", &cookie);
    let foreign = foreign.header("origin", "https://evil.example").form(&[("form", own.as_str()), ("why", "because")]);
    assert_eq!(foreign.send().await.expect("an answer").status(), StatusCode::FORBIDDEN, "an old browser");
    assert_eq!(state(&gateway, &mut operator, &command).await, "failed", "none of them did anything");
    let answer = operator.post(&gateway, &path, &[("form", &own), ("why", "because"), ("by", "somebody else")]).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let again = operator.post(&gateway, &path, &[("form", &own), ("why", "because")]).await;
    assert_eq!(again.status(), StatusCode::CONFLICT, "a page that is sent twice acts once");
    let mut security = Visitor::signed_in(&gateway, "security").await;
    let log = security.get(&gateway, "/console/audit").await.text().await.expect("a page");
    assert!(log.contains("discard: command") && log.contains("operator (account)"), "{log}");
    assert!(!log.contains("somebody else"), "whoever is signed in acts under that name: {log}");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_act_of_a_page_of_another_site_is_refused_where_everybody_may_act() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    let path = "/v1/commands/0199f2c4-0000-7000-8000-000000000000/discard";
    for (header, value, status) in [
        ("sec-fetch-site", "cross-site", 403),
        ("origin", "https://evil.example", 403),
        ("sec-fetch-site", "same-origin", 404),
        ("accept", "*/*", 404),
    ] {
        let request = reqwest::Client::new().post(gateway.url(path)).header(header, value);
        let answer = request.body(r#"{"by": "x", "why": "y"}"#).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{header}: {value}");
    }
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_cannot_be_planted_guessed_or_kept() {
    let ers = ers();
    let mut gateway = with_people(&ers).await;
    let mut visitor = Visitor { cookie: Some("ers-gateway=planted".into()), ..Visitor::new() };
    let answer = visitor.sign_in(&gateway, "operator", PASSWORD).await;
    let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = visitor.cookie.clone().expect("a cookie");
    assert_ne!(cookie, "ers-gateway=planted");
    let mut bent = cookie.clone().into_bytes();
    let middle = bent.len() / 2;
    bent[middle] = if bent[middle] == b'A' { b'B' } else { b'A' };
    let mut other = Visitor { cookie: Some(String::from_utf8(bent).expect("ASCII")), ..Visitor::new() };
    assert_eq!(other.get(&gateway, "/console").await.status(), StatusCode::SEE_OTHER, "one byte is another");
    let page = visitor.get(&gateway, "/console").await;
    assert_eq!(page.status(), StatusCode::OK);
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers()["x-frame-options"], "DENY");
    assert_eq!(page.headers()["cache-control"], "no-store");
    let form = visitor.form(&gateway, "/console").await;
    assert_eq!(visitor.post(&gateway, "/console/sign-out", &[("form", &form)]).await.status(), StatusCode::SEE_OTHER);
    let mut kept = Visitor { cookie: Some(cookie), ..Visitor::new() };
    assert_eq!(
        kept.get(&gateway, "/console").await.status(),
        StatusCode::SEE_OTHER,
        "who kept the cookie is out as well"
    );

    let mut viewer = Visitor::signed_in(&gateway, "viewer").await;
    let mut changed = people();
    changed.as_array_mut().expect("a list").retain(|person| person["name"] != "viewer");
    gateway.settings["people"] = changed;
    std::fs::write(gateway.folder.path().join("gateway.yaml"), gateway.settings.to_string()).expect("written");
    gateway.signal("HUP");
    let began = Instant::now();
    while viewer.get(&gateway, "/console").await.status() != StatusCode::SEE_OTHER {
        assert!(began.elapsed() < SOON, "{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    for _ in 0..5 {
        let answer = Visitor::new().sign_in(&gateway, "reader", "wrong").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    let locked = Visitor::new().sign_in(&gateway, "reader", PASSWORD).await;
    assert_eq!(locked.status(), StatusCode::UNAUTHORIZED);
    assert!(locked.text().await.expect("a page").contains("Too many wrong passwords"));
    let unknown = Visitor::new().sign_in(&gateway, "correct horse battery", "x").await.text().await.expect("a page");
    assert!(unknown.contains("The name or the password is wrong"));
    let log = gateway.log();
    assert!(!log.contains(PASSWORD), "not even where it was typed into the wrong field");
    let mut security = Visitor::signed_in(&gateway, "security").await;
    let log = security.get(&gateway, "/console/audit").await.text().await.expect("a page");
    assert!(log.contains("refuse sign in") && log.contains("somebody unknown") && !log.contains(PASSWORD), "{log}");
    let mut elsewhere = Visitor::new();
    let form = [("name", "security"), ("password", PASSWORD), ("to", "https://evil.example/console")];
    let answer = elsewhere.post(&gateway, "/console/sign-in", &form).await;
    assert_eq!(answer.headers()["location"], "/console");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_message_says_is_text_on_every_page() {
    let ers = ers();
    let mut gateway = with_people(&ers).await;
    let hostile = "<script>alert(1)</script>{{7*7}}' OR 1=1 --";
    let message = String::from_utf8(northmoor("X<b>1", "NM<i>1", "9994120034", None)).expect("UTF-8");
    let message = message.replace("TESTERTON", hostile).replace("KNEE CLINIC A", "\"><img src=x onerror=alert(1)>");
    MllpSender::new(gateway.mllp).deliver(message.as_bytes()).await;
    let mut reader = Visitor::signed_in(&gateway, "clinician").await;
    let list = reader.get(&gateway, "/console/messages?source=%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    let searched = list.text().await.expect("a page");
    assert!(!searched.contains("<script>alert"), "{searched}");
    let list = reader.get(&gateway, "/console/messages").await.text().await.expect("a page");
    assert!(!list.contains("X<b>1") && list.contains("X&#60;b&#62;1"), "{list}");
    let (_, rest) = list.split_once("href=\"/console/messages/").expect("a message");
    let id = rest.split('"').next().expect("an id").to_owned();
    for page in [format!("/console/messages/{id}"), format!("/console/messages/{id}/content")] {
        let shown = reader.get(&gateway, &page).await.text().await.expect("a page");
        for raw in ["<script>alert", "<img", "<i>1", "X<b>"] {
            assert!(!shown.contains(raw), "{page} has {raw}");
        }
    }
    let content = reader.get(&gateway, &format!("/console/messages/{id}/content")).await.text().await.expect("a page");
    assert!(
        content.contains("&#60;script&#62;alert(1)") && content.contains("{{7*7}}"),
        "it is shown, as text: {content}"
    );
    assert!(content.contains("Patient name"), "{content}");
    let mut viewer = Visitor::signed_in(&gateway, "viewer").await;
    let story = viewer.get(&gateway, &format!("/console/messages/{id}")).await.text().await.expect("a page");
    assert!(
        !story.contains("9994120034") && !story.contains("alert(1)"),
        "the story has nothing of the patient: {story}"
    );
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

/// A referral that e-RS refuses. The id of its command.
pub async fn failed(gateway: &Serve, ers: &SimulatorHandle) -> String {
    let refusal = Action::Answer {
        status: 422,
        code: Some("INVALID_VALUE".into()),
        diagnostics: None,
        retry_after: None,
        body: None,
    };
    ers.inject(Fault::on("A011", refusal).times(1));
    MllpSender::new(gateway.mllp).deliver(&northmoor("F1", "F-1", "9994120034", None)).await;
    let mut operator = Visitor::signed_in(gateway, "operator").await;
    let began = Instant::now();
    loop {
        let open = operator.get(gateway, "/console/open?state=failed").await.text().await.expect("a page");
        if let Some((_, rest)) = open.split_once("href=\"/console/messages/") {
            let (_, command) = rest.split('"').next().and_then(|link| link.split_once('#')).expect("a command");
            return command.to_owned();
        }
        assert!(began.elapsed() < SOON, "{open}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn state(gateway: &Serve, visitor: &mut Visitor, command: &str) -> &'static str {
    for state in ["failed", "in_doubt", "unauthorised", "waiting", "queued"] {
        let open = visitor.get(gateway, &format!("/console/open?state={state}")).await.text().await.expect("a page");
        if open.contains(command) {
            return state;
        }
    }
    "not open"
}

/// Each patient who is searched for is a row of its own, and a listener that belongs to a source hides nobody's looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_search_and_look_of_a_person_is_noted() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    gateway.settings["people"] = people();
    gateway.settings["listeners"][1]["source"] = "northmoor".into();
    gateway.start_and_wait().await;
    MllpSender::new(gateway.mllp).deliver(&northmoor("C1", "NM-1", "9994120034", None)).await;
    let mut reader = Visitor::signed_in(&gateway, "clinician").await;
    let mut found = String::new();
    for number in ["9994120034", "9994121405", "9994120034"] {
        let form = [("kind", "nhs"), ("value", number)];
        let page = reader.post(&gateway, "/console/messages/search", &form).await.text().await.expect("a page");
        assert!(!page.contains(number), "{page}");
        if number == "9994120034" {
            found = page;
        }
    }
    let (_, rest) = found.split_once("href=\"/console/messages/").expect("the message is found by its patient");
    let id = rest.split('"').next().expect("an id").to_owned();
    for page in [format!("/console/messages/{id}"), format!("/console/messages/{id}/content")] {
        assert_eq!(reader.get(&gateway, &page).await.status(), StatusCode::OK);
    }
    let mut viewer = Visitor::signed_in(&gateway, "viewer").await;
    let open = viewer.get(&gateway, "/console/messages").await.text().await.expect("a page");
    assert!(!open.contains("By an identifier"), "{open}");
    let mut security = Visitor::signed_in(&gateway, "security").await;
    let log = security.get(&gateway, "/console/audit").await.text().await.expect("a page");
    assert_eq!(log.matches("search: messages by NHS number").count(), 2, "{log}");
    assert!(
        log.contains(&format!("view: message {id}")) && log.contains(&format!("view: content of message {id}")),
        "{log}"
    );
    assert!(!log.contains("9994120034"), "{log}");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
