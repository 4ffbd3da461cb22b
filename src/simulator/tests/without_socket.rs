//! The simulator as a transport: no socket, a simulated clock, the same answers each time.

use super::*;
use crate::ers::{Body, Request, Transport, TransportError};
use crate::simulator::{Action, Fault, InProcess};

fn request(url: String, headers: Vec<(String, String)>, body: String) -> Request {
    Request { method: "POST".into(), url, headers, body: Body::Bytes(body.into()), timeout: Duration::from_secs(60) }
}

async fn token(simulator: &SimulatorHandle, transport: &InProcess) -> String {
    let form = format!(
        "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
        demonstration::USER_CLIENT_ID,
        demonstration::USER_CLIENT_SECRET,
        demonstration::REFRESH_TOKEN
    );
    let headers = vec![("Content-Type".into(), "application/x-www-form-urlencoded".into())];
    let reply = transport.send(request(simulator.token_url().into(), headers, form)).await.expect("an answer");
    let grant: Value = serde_json::from_slice(&reply.body).expect("JSON");
    grant["access_token"].as_str().expect("a token").to_owned()
}

fn create(simulator: &SimulatorHandle, token: &str) -> Request {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = vec![
        header("Authorization", &format!("Bearer {token}")),
        header("NHSD-End-User-Organisation-ODS", "R69"),
        header("NHSD-eRS-Business-Function", "REFERRING_CLINICIAN"),
        header("Content-Type", FHIR),
    ];
    request(format!("{}{CREATE}", simulator.base_url()), headers, referral_request().to_string())
}

#[tokio::test(start_paused = true)]
async fn a_seeded_world_answers_the_same_each_time() {
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let environment = Environment::simulated(7, at("2026-03-16T09:30:00Z"));
        let simulator = Simulator::in_process(SimulatorConfig::default(), environment);
        let transport = simulator.transport();
        let token = token(&simulator, &transport).await;
        let reply = transport.send(create(&simulator, &token)).await.expect("an answer");
        assert_eq!((reply.status, reply.header("etag")), (201, Some(r#"W/"3""#)));
        bodies.push(reply.body);
    }
    assert_eq!(bodies[0], bodies[1]);
}

#[tokio::test(start_paused = true)]
async fn lost_and_late_answers_are_unanswered() {
    let environment = Environment::simulated(7, at("2026-03-16T09:30:00Z"));
    let simulator = Simulator::in_process(SimulatorConfig::default(), environment.clone());
    let transport = simulator.transport();
    let token = token(&simulator, &transport).await;
    for action in [Action::lost_answer(), Action::Hang { after_commit: true }, Action::Truncate] {
        simulator.inject(Fault::on("A011", action.clone()).times(1));
        let outcome = transport.send(create(&simulator, &token)).await;
        assert!(matches!(outcome, Err(TransportError::Unanswered(_))), "{action:?}");
    }
    assert_eq!(simulator.creations().len(), 3);
    assert_eq!(environment.now(), at("2026-03-16T09:31:00Z"), "the hanging call took its whole time limit");
}
