//! Every page with every role and none, made from the table of pages, so that a new one cannot escape.

use ers_gateway::console::PAGES;
use ers_gateway::inbound::http::callers::Needs;
use reqwest::StatusCode;

use super::{PEOPLE, Visitor, ers, with_people};

/// What a role opens, by what a page needs.
fn opens(needs: Needs, role: &str, content: bool) -> bool {
    match needs {
        Needs::Nothing | Needs::See => true,
        Needs::Content => content,
        Needs::Act => role != "viewer",
        Needs::ActOnContent => role != "viewer" && content,
        Needs::Audit | Needs::Administer => role == "administrator",
        Needs::AdministerContent => role == "administrator" && content,
        Needs::Watch | Needs::Send | Needs::SeeOwn => panic!("no page needs this: say here who opens it"),
        // Of e-RS, who are others than those who have an account here.
        Needs::SignedIn => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_opens_for_those_who_may_and_for_nobody_else() {
    let ers = ers();
    let mut gateway = with_people(&ers).await;
    let id = "0199f2c4-0000-7000-8000-000000000000";
    let mut asked = 0;
    for (method, path, needs, _) in &PAGES {
        let address = path.replace("{id}", id).replace("{act}", "replay").replace("{name}", "console.css");
        if path.ends_with("/sign-out") {
            continue; // It ends the session that asks.
        }
        let form = [("form", ""), ("why", "a test"), ("by", "somebody")];
        let mut nobody = Visitor::new();
        let answer = match *method {
            "get" => nobody.get(&gateway, &address).await,
            _ => nobody.post(&gateway, &address, &form).await,
        };
        let status = answer.status();
        match (needs, *method) {
            (Needs::Nothing, _) => assert_ne!(status, StatusCode::FORBIDDEN, "{method} {path} by nobody"),
            (_, "get") => {
                assert_eq!(status, StatusCode::SEE_OTHER, "{method} {path} by nobody");
                let to = answer.headers()["location"].to_str().expect("an address").to_owned();
                assert!(to.starts_with("/console/sign-in?to=%2Fconsole"), "{to}");
            }
            _ => assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} by nobody"),
        }
        for (name, role, content) in PEOPLE {
            if *needs == Needs::Nothing {
                continue;
            }
            let mut person = Visitor::signed_in(&gateway, name).await;
            let answer = match *method {
                "get" => person.get(&gateway, &address).await,
                _ => person.post(&gateway, &address, &form).await,
            };
            let refused = answer.status() == StatusCode::FORBIDDEN;
            assert_eq!(refused, !opens(*needs, role, content), "{method} {path} by {name}: {}", answer.status());
            assert!(!answer.status().is_server_error(), "{method} {path} by {name}: {}", answer.status());
            asked += 1;
        }
    }
    assert!(asked > 50, "{asked}");
    let api = Visitor::signed_in(&gateway, "clinician").await;
    let cookie = api.cookie.clone().expect("a cookie");
    let answer = reqwest::Client::new().get(gateway.url("/v1/messages")).header("cookie", cookie).send().await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::UNAUTHORIZED, "the API is for tokens");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
