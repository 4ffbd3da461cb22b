//! Going live at the console: what it would come to is read before it is done, and it is switched back.

use std::time::{Duration, Instant};

use reqwest::StatusCode;

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
    reads(&browser, "In shadow or paused").await;
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

    // Somebody else is quicker than who has read the page: it is told anew, and nothing is done.
    let mut operator = Visitor::signed_in(&gateway, "operator").await;
    browser.open(&gateway.url("/console/sources/source/eastvale/paused")).await;
    reads(&browser, "of eastvale that wait now").await;
    let path = "/console/sources/source/eastvale/shadow";
    let form = operator.form(&gateway, path).await;
    let given = |seen: &'static str| [("form", form.clone()), ("seen", seen.to_owned()), ("why", "mine".to_owned())];
    let post = async |operator: &mut Visitor, seen: &'static str| {
        let given = given(seen);
        let given: Vec<(&str, &str)> = given.iter().map(|(name, value)| (*name, value.as_str())).collect();
        operator.post(&gateway, path, &given).await.status()
    };
    assert_eq!(post(&mut operator, "").await, StatusCode::BAD_REQUEST, "it was not seen what it would come to");
    assert_eq!(post(&mut operator, "0").await, StatusCode::CONFLICT);
    assert_eq!(post(&mut operator, "1").await, StatusCode::SEE_OTHER);
    browser.fill("why", "it does not know of that").await;
    browser.press("Pause").await;
    reads(&browser, "Somebody has switched it since this page was opened").await;
    reads(&browser, "The source eastvale is in shadow now; the last decision that stands is by operator").await;
    // Of the status alone.
    assert_eq!(browser.complaints().await.len(), 1);
    is_sound(&browser, "switch-meanwhile").await;
    browser.fill("why", "it knows of it now").await;
    browser.press("Pause").await;
    reads(&browser, "it knows of it now").await;
    // One service is paused by itself.
    browser.click(&act("service 20002", "Pause")).await;
    reads(&browser, "A command for several services waits while one of them is paused").await;
    browser.fill("why", "its clinic is closed").await;
    browser.press("Pause").await;
    reads(&browser, "its clinic is closed").await;
    is_sound(&browser, "sources-service-paused").await;
    browser.follow("Overview").await;
    reads(&browser, "source eastvale, service 20002").await;
    reads(&browser, "Service 20002 of the source eastvale is paused, by clinician").await;
    is_sound(&browser, "overview-modes").await;

    // Who may not act sees how things stand, and no way to switch them.
    let mut viewer = Visitor::signed_in(&gateway, "viewer").await;
    let page = viewer.get(&gateway, "/console/sources").await.text().await.expect("a page");
    assert!(page.contains("service 20002") && !page.contains("/paused"), "{page}");
    assert!(!page.contains("as agreed"), "a reason may name a patient: {page}");
    drop(browser);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
