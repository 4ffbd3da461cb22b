//! Two clinicians whose referrals wait: in a real browser one signs in to e-RS, confirms, and exactly theirs go out, in order.

use std::time::{Duration, Instant};

use ers_gateway::simulator::demonstration::{FIRST_CLINICIAN, SECOND_CLINICIAN};

use super::story::{is_sound, reads};
use super::{PASSWORD, ers, people};
use crate::http::people::{made_by, sends, settle, until};
use crate::support::browser::Browser;
use crate::support::serve::Serve;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clinician_signs_in_confirms_and_exactly_theirs_go_out_in_their_name() {
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
    // From now on people sign in to the console as well; that opens nothing at e-RS.
    gateway.settings["people"] = people();
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    gateway.start_and_wait().await;

    let browser = Browser::start().await;
    browser.open(&gateway.url("/console")).await;
    browser.fill("name", "operator").await;
    browser.fill("password", PASSWORD).await;
    browser.press("Sign in").await;
    reads(&browser, "3 waiting for a signed-in user").await;
    is_sound(&browser, "overview-waiting").await;
    browser.open(&gateway.url("/console/mine")).await;
    reads(&browser, "Sign in with your NHS account").await;
    is_sound(&browser, "mine-sign-in").await;
    browser.follow("Sign in to e-RS").await;
    reads(&browser, "Who signs in?").await;
    browser.follow("Dr Cy Example").await;
    reads(&browser, "You are Dr Cy Example").await;
    reads(&browser, "NM-1").await;
    let shown = browser.text().await;
    assert!(shown.contains("NM-3") && !shown.contains("NM-2"), "{shown}");
    is_sound(&browser, "mine").await;
    browser.press("Send what is ticked in my name").await;
    reads(&browser, "2 confirmed: they go in their order").await;
    let began = Instant::now();
    while made_by(&ers).len() < 2 {
        assert!(began.elapsed() < SOON, "{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    browser.open(&gateway.url("/console/mine")).await;
    reads(&browser, "Nothing waits in your name").await;
    is_sound(&browser, "mine-done").await;
    browser.open(&gateway.url("/console")).await;
    reads(&browser, "1 waiting for a signed-in user").await;
    assert_eq!(made_by(&ers), [FIRST_CLINICIAN, FIRST_CLINICIAN]);
    assert!(!made_by(&ers).contains(&SECOND_CLINICIAN.to_owned()));
    browser.open(&gateway.url("/console/mine")).await;
    browser.press("Sign out of e-RS").await;
    reads(&browser, "Sign in with your NHS account").await;
    drop(browser);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
