//! Going live at the console: what it would come to is read before it is done, and it is switched back.

use std::time::{Duration, Instant};

use super::story::{is_sound, reads};
use super::{PASSWORD, Visitor, ers, with_people};
use crate::support::browser::Browser;
use crate::support::referrals::{Patients, northmoor};
use crate::support::sender::MllpSender;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_pauses_a_source_plans_a_service_and_sees_what_each_comes_to() {
    let ers = ers();
    let mut gateway = with_people(&ers).await;
    let (patients, mut sender) = (Patients::new(), MllpSender::new(gateway.mllp));
    let browser = Browser::start().await;
    browser.open(&gateway.url("/console/sources")).await;
    browser.fill("name", "clinician").await;
    browser.fill("password", PASSWORD).await;
    browser.press("Sign in").await;
    reads(&browser, "as the settings say").await;
    is_sound(&browser, "sources").await;

    let act = |name: &str, act: &str| format!("//tr[contains(., '{name}')]//a[starts-with(., '{act}')]");
    browser.click(&act("northmoor", "Pause")).await;
    reads(&browser, "0 commands of northmoor that wait now").await;
    is_sound(&browser, "switch-pause").await;
    browser.fill("why", "the old interface sends as well").await;
    browser.press("Pause").await;
    reads(&browser, "by clinician: the old interface sends as well").await;
    sender.deliver(&northmoor("C1", "NM-1", &patients.next(), None)).await;
    browser.follow("Overview").await;
    reads(&browser, "The source northmoor is paused, by clinician").await;
    is_sound(&browser, "overview-paused").await;
    browser.follow("Sources").await;
    browser.click(&act("northmoor", "Resume")).await;
    reads(&browser, "1 command of northmoor that waits now goes to e-RS").await;
    is_sound(&browser, "switch-resume").await;
    assert_eq!(ers.created(), 0, "nothing is done before somebody says so");
    browser.fill("why", "it has stopped").await;
    browser.press("Resume").await;
    let began = Instant::now();
    while ers.created() < 1 {
        assert!(began.elapsed() < SOON, "{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // One service of another source, from a time on.
    browser.click(&act("eastvale", "Shadow")).await;
    browser.fill("service", "20002").await;
    browser.script("document.getElementById('from').value = '2099-01-01T08:00'").await;
    browser.press("See what that would come to").await;
    reads(&browser, "The time is more than a year ahead").await;
    browser.complaints().await;
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    let soon = soon.strftime("%Y-%m-%dT08:00").to_string();
    browser.fill("service", "20002").await;
    browser.script(&format!("document.getElementById('from').value = '{soon}'")).await;
    browser.press("See what that would come to").await;
    reads(&browser, "What comes from then on for service 20002 is rehearsed only").await;
    is_sound(&browser, "switch-planned").await;
    browser.fill("why", "as agreed").await;
    browser.click("//button[contains(., 'Rehearse only')]").await;
    reads(&browser, "service 20002").await;
    reads(&browser, "shadow from").await;
    is_sound(&browser, "sources-planned").await;

    browser.click("//tr[contains(., 'northmoor')]//a[contains(., 'beside what was sent')]").await;
    browser.fill("sent", "localId,priority\nNM-7,URGENT").await;
    browser.press("Compare").await;
    reads(&browser, "0 referrals that northmoor rehearsed").await;
    is_sound(&browser, "comparison").await;

    // Who may not act sees how things stand, and no way to switch them.
    let mut viewer = Visitor::signed_in(&gateway, "viewer").await;
    let page = viewer.get(&gateway, "/console/sources").await.text().await.expect("a page");
    assert!(page.contains("service 20002") && !page.contains("/paused"), "{page}");
    assert!(!page.contains("as agreed"), "a reason may name a patient: {page}");
    drop(browser);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
