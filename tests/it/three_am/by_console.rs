//! With the console alone, in a real browser; the table is mended where tables are kept.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{IN_DOUBT, NO_REFERRAL, NO_RIGHT, NO_ROW, Night, SOON, WAITING};
use crate::console::story::{is_sound, reads};
use crate::console::{PASSWORD, people};
use crate::support::browser::Browser;
use crate::support::serve::{Serve, free_port};

/// At an address of its own, where people sign in; hospitals send to the other.
fn opens_a_console(gateway: &mut Serve, console: SocketAddr) {
    gateway.settings["people"] = people();
    let listeners = gateway.settings["listeners"].as_array_mut().expect("a list");
    listeners[1]["access"] = "open".into();
    listeners[1]["console"] = false.into();
    listeners.push(json!({ "kind": "http", "listen": console.to_string() }));
    gateway.connection("people")["redirect_uri"] = format!("http://{console}/v1/sign-in/callback").into();
}

/// Replays what the problem with this in its section holds up, and waits for its end.
async fn replays(browser: &Browser, section: &str, count: usize, why: &str) {
    browser.follow("Problems").await;
    browser.click(&format!("//section[contains(., '{section}')]//a[contains(., 'replay them all')]")).await;
    reads(browser, &format!("{count} of {count} would be replayed")).await;
    browser.fill("share", "50").await;
    browser.fill("why", why).await;
    browser.press(&format!("Replay {count} in simulator")).await;
    let began = Instant::now();
    // The page follows it by itself.
    while !browser.text().await.contains(": done.") {
        assert!(began.elapsed() < SOON * 2, "{}", browser.text().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_hundred_failures_are_solved_in_the_console_alone() {
    let console = free_port();
    let mut night = Night::at_three(|gateway| opens_a_console(gateway, console)).await;
    let at = |page: &str| format!("http://{console}{page}");
    night.live_traffic();
    let browser = Browser::start().await;
    browser.open(&at("/console")).await;
    browser.fill("name", "clinician").await;
    browser.fill("password", PASSWORD).await;
    browser.press("Sign in").await;
    for part in [
        format!("{NO_RIGHT} failed"),
        format!("{IN_DOUBT} in doubt"),
        format!("{WAITING} waiting for a signed-in user"),
    ] {
        reads(&browser, &part).await;
    }
    is_sound(&browser, "three-overview").await;
    browser.follow("Problems").await;
    for part in [
        format!("{NO_ROW} messages from northmoor are refused since"),
        "codes/northmoor/priority.csv".to_owned(),
        format!("{NO_REFERRAL} messages from northmoor are refused since"),
        format!("{NO_RIGHT} commands CreateReferral from eastvale fail since"),
    ] {
        reads(&browser, &part).await;
    }
    is_sound(&browser, "three-problems").await;

    night.mends_the_table().await;
    replays(&browser, "priority.csv", NO_ROW, "the table has its row").await;
    is_sound(&browser, "three-replayed").await;
    replays(&browser, "Unknown key identifier", NO_REFERRAL, "their referrals are here now").await;
    replays(&browser, "from eastvale fail", NO_RIGHT, "e-RS gave the right back").await;

    for left in (0..IN_DOUBT).rev() {
        browser.open(&at("/console/open?state=in_doubt")).await;
        browser.follow("CreateAdviceRequest").await;
        reads(&browser, "look there, and decide").await;
        let address = browser.address().await;
        let message = address.rsplit('/').next().and_then(|rest| rest.split('#').next()).expect("an id");
        let shown = super::told(&night.gateway, &format!("/v1/messages/{message}")).await;
        // A person looks in e-RS, by patient.
        let made = night.request_of(&shown);
        browser.click("//p[@class='console-acts']/a[contains(., 'Decide')]").await;
        browser.click("#yes").await;
        browser.fill("ubrn", &made).await;
        browser.fill("why", "found in e-RS").await;
        browser.press("Decide").await;
        let began = Instant::now();
        while night.count("state=in_doubt").await > left {
            assert!(began.elapsed() < SOON, "{}", night.gateway.log_end());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    browser.open(&at("/console/mine")).await;
    browser.follow("Sign in to e-RS").await;
    browser.follow("Dr Cy Example").await;
    reads(&browser, "You are Dr Cy Example").await;
    browser.press("Send what is ticked in my name").await;
    reads(&browser, &format!("{WAITING} confirmed")).await;
    night.gateway.settle(SOON).await;

    browser.open(&at("/console")).await;
    reads(&browser, "All is well").await;
    is_sound(&browser, "three-well").await;
    browser.follow("Problems").await;
    reads(&browser, "There are no problems").await;
    browser.follow("Reports").await;
    reads(&browser, "Everything is accounted for").await;
    is_sound(&browser, "three-report").await;
    drop(browser);
    night.ends_well().await;
}
