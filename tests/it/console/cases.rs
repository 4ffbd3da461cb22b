//! One message looked into at the console: which field became what, and a refused one edited and taken in.

use super::story::{is_sound, reads};
use super::{PASSWORD, Visitor, ers, with_people};
use crate::support::browser::Browser;
use crate::support::referrals::{Patients, northmoor};
use crate::support::sender::MllpSender;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_is_explained_edited_and_taken_in_beside_its_untouched_original() {
    let ers = ers();
    let mut gateway = with_people(&ers).await;
    let (patients, mut sender) = (Patients::new(), MllpSender::new(gateway.mllp));
    sender.deliver(&northmoor("C1", "NM-1", &patients.next(), None)).await;
    let patient = patients.next();
    let wrong = String::from_utf8(northmoor("C2", "NM-2", &patient, None)).expect("ASCII");
    let wrong = wrong.replace("RF1|P|3|", "RF1|P|8|");
    sender.deliver(wrong.as_bytes()).await;

    let browser = Browser::start().await;
    browser.open(&gateway.url("/console/messages?verdict=accepted")).await;
    browser.fill("name", "clinician").await;
    browser.fill("password", PASSWORD).await;
    browser.press("Sign in").await;
    browser.click("(//table//a[contains(@href, '/console/messages/')])[1]").await;
    browser.follow("Which field became what").await;
    reads(&browser, "Choose a field to see where it went").await;
    is_sound(&browser, "explain").await;
    // Forwards: a field, the member that it became, and where that went.
    browser.click("//a[@href='?field=RF1-2']").await;
    reads(&browser, "Lit: what belongs to RF1-2").await;
    let lit = "return [...document.querySelectorAll('.console-lit')].map(one => one.innerText).join('\\n')";
    let lit_now = browser.script(lit).await;
    let lit_now = lit_now.as_str().expect("text");
    assert!(lit_now.contains("/priority") && lit_now.contains("ROUTINE"), "{lit_now}");
    assert!(!lit_now.contains("NM-1"), "{lit_now}");
    is_sound(&browser, "explain-field").await;
    // Backwards: a member, and the field that it was made of.
    browser.click("(//a[@href='?member=%2Fpatient%2FnhsNumber' or @href='?member=/patient/nhsNumber'])[1]").await;
    reads(&browser, "Lit: what belongs to /patient/nhsNumber").await;
    let lit_now = browser.script(lit).await;
    let lit_now = lit_now.as_str().expect("text");
    assert!(lit_now.contains("PID-2") && lit_now.contains("valueIdentifier"), "{lit_now}");
    is_sound(&browser, "explain-member").await;

    browser.open(&gateway.url("/console/messages?verdict=rejected")).await;
    browser.click("(//table//a[contains(@href, '/console/messages/')])[1]").await;
    let original = browser.address().await;
    reads(&browser, "has no row in").await;
    browser.follow("Edit it").await;
    reads(&browser, "The original stays as it came").await;
    is_sound(&browser, "edit").await;
    let replace = |from: &str, to: &str| {
        format!("const one = document.getElementById('content'); one.value = one.value.replace('{from}', '{to}')")
    };
    browser.press("See what would become of it").await;
    reads(&browser, "It would still be refused").await;
    reads(&browser, "Nothing yet").await;
    browser.script(&replace("RF1|P|8|", "RF1|P|2|")).await;
    browser.press("See what would become of it").await;
    reads(&browser, "It would be taken, as CreateReferral").await;
    reads(&browser, "RF1-2").await;
    is_sound(&browser, "edit-looked").await;
    assert_eq!(ers.created(), 1, "looking takes nothing in");
    // What is taken in is what was shown.
    browser.script(&replace("RF1|P|2|", "RF1|P|3|")).await;
    browser.fill("why", "the ward meant urgent").await;
    browser.press("Take it in").await;
    reads(&browser, "You changed it once more").await;
    browser.complaints().await;
    browser.press("Take it in").await;
    reads(&browser, "Somebody edited").await;
    is_sound(&browser, "edited").await;
    browser.follow("What was changed").await;
    reads(&browser, "which stays as it came").await;
    is_sound(&browser, "difference").await;
    let shown = browser.text().await;
    assert!(shown.contains("RF1|P|8|") && shown.contains("RF1|P|3|"), "{shown}");
    browser.open(&original).await;
    reads(&browser, "has no row in").await;
    gateway.settle(std::time::Duration::from_secs(30)).await;
    assert_eq!(ers.created(), 2);

    // An operator who may not see content edits nothing, and a reader who may not act neither.
    let id = original.rsplit('/').next().expect("an id").to_owned();
    for name in ["operator", "reader"] {
        let mut person = Visitor::signed_in(&gateway, name).await;
        let answer = person.get(&gateway, &format!("/console/messages/{id}/edit")).await;
        assert_eq!(answer.status(), reqwest::StatusCode::FORBIDDEN, "{name}");
    }
    drop(browser);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mended_table_is_tried_at_the_page_of_its_problem() {
    let ers = ers();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = crate::trials::mappings(folder.path());
    let mut gateway = crate::support::serve::Serve::new(&ers);
    gateway.settings["people"] = super::people();
    gateway.settings["mappings"] = files.to_str().expect("a path in Unicode").into();
    gateway.start_and_wait().await;
    let (patients, mut sender) = (Patients::new(), MllpSender::new(gateway.mllp));
    for number in 1..=3 {
        let message = northmoor(&format!("C{number}"), &format!("NM-{number}"), &patients.next(), None);
        let wrong = String::from_utf8(message).expect("ASCII").replace("RF1|P|3|", "RF1|P|4|");
        sender.deliver(wrong.as_bytes()).await;
    }
    let table = files.join("codes/northmoor/priority.csv");
    let text = std::fs::read_to_string(&table).expect("it is there");
    let browser = Browser::start().await;
    browser.open(&gateway.url("/console/problems")).await;
    browser.fill("name", "clinician").await;
    browser.fill("password", PASSWORD).await;
    browser.press("Sign in").await;
    reads(&browser, &format!("In mappings/codes/northmoor/priority.csv, as line {}", text.lines().count() + 1)).await;
    is_sound(&browser, "problem-with-its-line").await;
    browser.follow("try the mappings on disk on them").await;
    reads(&browser, "The files on disk are the mappings in use").await;
    is_sound(&browser, "trial-unchanged").await;
    std::fs::write(&table, format!("{}\n4,URGENT,\n", text.trim_end())).expect("written");
    browser.follow("Problems").await;
    browser.follow("try the mappings on disk on them").await;
    reads(&browser, "3 would be taken: 3 CreateReferral").await;
    reads(&browser, "URGENT").await;
    is_sound(&browser, "trial").await;
    browser.follow("replay them all").await;
    reads(&browser, "Try the mappings on disk on them first").await;
    is_sound(&browser, "replay-preview-with-trial").await;
    std::fs::write(&table, "local,ers\n1\n").expect("written");
    browser.follow("Try the mappings on disk").await;
    reads(&browser, "They cannot be tried").await;
    reads(&browser, "a row needs").await;
    is_sound(&browser, "trial-broken").await;
    browser.open(&gateway.url("/console/messages?verdict=rejected")).await;
    browser.click("(//table//a[contains(@href, '/console/messages/')])[1]").await;
    let id = browser.address().await.rsplit('/').next().expect("an id").to_owned();
    let mut person = Visitor::signed_in(&gateway, "clinician").await;
    let answer = person.get(&gateway, &format!("/console/messages/{id}/bundle")).await;
    assert_eq!(answer.headers()["content-type"], "application/zip");
    assert!(answer.bytes().await.expect("bytes").starts_with(b"PK"));
    assert_eq!(ers.created(), 0);
    drop(browser);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
