//! What a person on call does, in a real browser: from a failed message to the proof that it was done.

use std::time::{Duration, Instant};

use ers_gateway::simulator::{Action, Fault};

use super::{PASSWORD, ers, with_people};
use crate::support::browser::Browser;
use crate::support::referrals::northmoor;
use crate::support::sender::MllpSender;

const SOON: Duration = Duration::from_secs(30);

pub async fn reads(browser: &Browser, wanted: &str) {
    let began = Instant::now();
    while !browser.text().await.contains(wanted) {
        assert!(began.elapsed() < SOON, "{wanted:?} does not appear: {}", browser.text().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A page as it must be: everybody can use it, and the browser has nothing to say against it.
pub async fn is_sound(browser: &Browser, name: &str) {
    browser.picture(name).await;
    assert_eq!(browser.barriers().await, [""; 0], "{name}");
    assert_eq!(browser.complaints().await, [""; 0], "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_finds_what_failed_replays_it_and_sees_that_it_was_done() {
    let ers = ers();
    let mut gateway = with_people(&ers).await;
    let refusal = Action::Answer {
        status: 422,
        code: Some("INVALID_VALUE".into()),
        diagnostics: None,
        retry_after: None,
        body: None,
    };
    ers.inject(Fault::on("A011", refusal).times(2));
    let mut sender = MllpSender::new(gateway.mllp);
    for number in 1..=3 {
        let message = northmoor(&format!("C{number}"), &format!("NM-{number}"), "9994120034", None);
        sender.deliver(&message).await;
    }
    sender.deliver(b"MSH|^~\\&|NMPAS|RXX00|ERSGW|RXX00|20260316093015||REF^I12|C9|P|2.3\rPID|1|123\r").await;

    let browser = Browser::start().await;
    browser.open(&gateway.url("/")).await;
    is_sound(&browser, "sign-in").await;
    browser.fill("name", "clinician").await;
    browser.fill("password", "wrong").await;
    browser.press("Sign in").await;
    reads(&browser, "The name or the password is wrong").await;
    // That the answer is 401 is told by the browser, and meant.
    browser.complaints().await;
    is_sound(&browser, "sign-in-refused").await;
    browser.fill("name", "clinician").await;
    browser.fill("password", PASSWORD).await;
    browser.press("Sign in").await;

    reads(&browser, "2 failed").await;
    reads(&browser, "What these patients need was not done in e-RS").await;
    reads(&browser, "Nobody checks patients before they are referred").await;
    is_sound(&browser, "overview").await;
    browser.follow("2 failed").await;
    reads(&browser, "INVALID_VALUE").await;
    is_sound(&browser, "open-work").await;
    browser.follow("CreateReferral").await;
    reads(&browser, "It was not done. INVALID_VALUE").await;
    is_sound(&browser, "message-failed").await;
    let story = browser.address().await;

    browser.follow("What it says").await;
    reads(&browser, "Patient name").await;
    reads(&browser, "TESTERTON").await;
    browser.script("document.querySelectorAll('details').forEach(one => one.open = true)").await;
    is_sound(&browser, "content").await;

    browser.open(&story).await;
    browser.click("//p[@class='console-acts']/a[contains(., 'Replay')]").await;
    reads(&browser, "goes back into the queue, at the step where it stopped").await;
    is_sound(&browser, "act-replay").await;
    browser.fill("why", "the service was open again").await;
    browser.press("Replay it").await;
    let began = Instant::now();
    while !browser.text().await.contains("e-RS has done it") {
        assert!(began.elapsed() < SOON, "{}", browser.text().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Its address has a fragment: opening it again would load nothing.
        browser.script("location.reload()").await;
    }
    reads(&browser, "the service was open again — by clinician").await;
    is_sound(&browser, "message-done").await;

    browser.follow("Overview").await;
    reads(&browser, "1 failed").await;
    browser.follow("1 failed").await;
    browser.follow("CreateReferral").await;
    browser.follow("Give up").await;
    reads(&browser, "This cannot be taken back").await;
    browser.fill("why", "done by hand").await;
    browser.press("Give it up").await;
    reads(&browser, "Somebody gave it up").await;
    browser.follow("Overview").await;
    reads(&browser, "All is well").await;
    is_sound(&browser, "overview-well").await;

    browser.follow("Messages").await;
    browser.fill("control_id", "C9").await;
    browser.press("Search").await;
    reads(&browser, "Refused").await;
    is_sound(&browser, "messages").await;
    browser.click("//tbody//a").await;
    reads(&browser, "What is wrong with it").await;
    is_sound(&browser, "message-refused").await;
    browser.follow("Take it in once more").await;
    browser.fill("why", "to see what is still wrong").await;
    browser.press("Take it in").await;
    reads(&browser, "It is still refused, and nothing was stored").await;
    browser.complaints().await;
    is_sound(&browser, "act-still-refused").await;

    browser.press("Sign out").await;
    reads(&browser, "Password").await;
    browser.fill("name", "security").await;
    browser.fill("password", PASSWORD).await;
    browser.press("Sign in").await;
    browser.follow("Audit log").await;
    for act in ["replay: command", "discard: command", "sign in: console", "view: content of message"] {
        reads(&browser, act).await;
    }
    is_sound(&browser, "audit").await;

    assert_eq!(ers.created(), 2, "the one that came through at once, and the one that was replayed");
    drop(browser);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
