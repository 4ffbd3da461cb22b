//! At night: many failures of few causes are found by their causes, and replayed at once, with live traffic beside.

use std::time::Duration;

use ers_gateway::simulator::{Action, Fault};

use super::story::{is_sound, reads};
use super::{PASSWORD, ers, with_people};
use crate::support::browser::Browser;
use crate::support::referrals::{Patients, northmoor};
use crate::support::sender::MllpSender;

const FAILED: u64 = 12;
const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_for_one_cause_is_replayed_at_once_and_the_report_says_that_all_is_well() {
    let ers = ers();
    let mut gateway = with_people(&ers).await;
    let refusal = Action::Answer {
        status: 422,
        code: Some("INVALID_VALUE".into()),
        diagnostics: None,
        retry_after: None,
        body: None,
    };
    ers.inject(Fault::on("A011", refusal).times(FAILED));
    let (patients, mut sender) = (Patients::new(), MllpSender::new(gateway.mllp));
    for number in 1..=FAILED {
        sender.deliver(&northmoor(&format!("C{number}"), &format!("NM-{number}"), &patients.next(), None)).await;
    }
    for number in 1..=3 {
        let refused = format!("MSH|^~\\&|NMPAS|RXX00|ERSGW|RXX00|20260316093015||REF^I12|X{number}|P|2.3\rPID|1|123\r");
        sender.deliver(refused.as_bytes()).await;
    }
    let browser = Browser::start().await;
    browser.open(&gateway.url("/console/problems")).await;
    browser.fill("name", "clinician").await;
    browser.fill("password", PASSWORD).await;
    browser.press("Sign in").await;
    reads(&browser, "12 commands CreateReferral from northmoor fail since").await;
    reads(&browser, "3 messages from northmoor are refused since").await;
    is_sound(&browser, "problems").await;
    browser.click("(//section[contains(., '12 commands')]//a)[1]").await;
    reads(&browser, "Only those of one problem").await;
    is_sound(&browser, "messages-of-a-problem").await;
    browser.follow("Problems").await;
    browser.click("//section[contains(., '12 commands')]//a[contains(., 'replay them all')]").await;
    reads(&browser, "12 of 12 would be replayed").await;
    is_sound(&browser, "replay-preview").await;
    browser.fill("why", "e-RS takes them again").await;
    browser.press("Replay 12 in simulator").await;
    // Live traffic beside it.
    sender.deliver(&northmoor("C99", "NM-99", &patients.next(), None)).await;
    reads(&browser, "done").await;
    reads(&browser, "Of failed commands of problem").await;
    let began = std::time::Instant::now();
    while ers.created() < FAILED + 1 {
        assert!(began.elapsed() < SOON, "{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    is_sound(&browser, "replay-done").await;
    browser.follow("Problems").await;
    let shown = browser.text().await;
    assert!(!shown.contains("CreateReferral") && shown.contains("3 messages"), "{shown}");
    browser.follow("Reports").await;
    reads(&browser, "Everything is accounted for").await;
    reads(&browser, "16 messages received = 13 accepted + 3 refused + 0 duplicates + 0 notices").await;
    is_sound(&browser, "report").await;
    browser.follow("Messages").await;
    browser.follow_summary("By an identifier").await;
    browser.fill("value", "9991000007").await;
    browser.press("Find").await;
    reads(&browser, "There is a problem").await;
    browser.complaints().await;
    browser.follow("Replays").await;
    reads(&browser, "clinician").await;
    is_sound(&browser, "replays").await;
    assert_eq!(ers.created(), FAILED + 1, "each once");
    drop(browser);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
