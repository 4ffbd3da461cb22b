//! Faults: what the client sees, and what has happened all the same.

use super::*;
use crate::simulator::{Action, Fault};

async fn try_create(bench: &Bench) -> Result<Seen, reqwest::Error> {
    let request = bench.request(Method::POST, CREATE).header("Content-Type", FHIR).body(referral_request().to_string());
    Ok(seen(request.send().await?).await)
}

#[tokio::test]
async fn a_lost_answer_loses_the_answer_and_keeps_the_referral() {
    let bench = Bench::start().await;
    bench.simulator.inject(Fault::on("A011", Action::lost_answer()).times(1));
    let error = try_create(&bench).await.expect_err("no answer arrives");
    assert!(error.status().is_none() && !error.is_timeout(), "{error:?}");
    let created = bench.simulator.creations();
    assert_eq!(created.len(), 1, "the referral exists");
    assert!(bench.simulator.referral(&created[0].ubrn.to_string()).is_some());
    let entry = bench.simulator.ledger().into_iter().find(|entry| entry.operation == "A011").expect("in the ledger");
    assert_eq!((entry.delivered, entry.status, entry.ubrn), (false, 201, Some(created[0].ubrn)));
    assert_eq!(try_create(&bench).await.expect("the fault is used up").status, 201);
    assert_eq!(bench.simulator.duplicates().len(), 1, "a blind repeat is seen");
}

#[tokio::test]
async fn a_reset_before_the_commit_leaves_nothing_behind() {
    let bench = Bench::start().await;
    bench.simulator.inject(Fault::on("A011", Action::Reset { after_commit: false }).times(1));
    try_create(&bench).await.expect_err("no answer arrives");
    assert!(bench.simulator.creations().is_empty());
    assert_eq!(bench.simulator.calls(), ["A011"]);
}

#[tokio::test]
async fn a_truncated_answer_breaks_off_in_the_body() {
    let bench = Bench::start().await;
    bench.simulator.inject(Fault::on("A011", Action::Truncate).times(1));
    let request = bench.request(Method::POST, CREATE).header("Content-Type", FHIR).body(referral_request().to_string());
    let response = request.send().await.expect("a head");
    assert_eq!(response.status(), 201);
    assert!(response.bytes().await.is_err(), "the body is not whole");
    assert_eq!(bench.simulator.creations().len(), 1);
}

#[tokio::test]
async fn a_hanging_call_never_answers() {
    for (after_commit, made) in [(false, 0), (true, 1)] {
        let bench = Bench::start().await;
        bench.simulator.inject(Fault::on("A011", Action::Hang { after_commit }));
        let request =
            bench.request(Method::POST, CREATE).header("Content-Type", FHIR).body(referral_request().to_string());
        let error = request.timeout(Duration::from_millis(300)).send().await.expect_err("no answer");
        assert!(error.is_timeout(), "{error:?}");
        assert_eq!(bench.simulator.creations().len(), made, "after_commit: {after_commit}");
    }
}

#[tokio::test]
async fn a_delay_holds_the_call_or_only_its_answer() {
    for after_commit in [false, true] {
        let bench = Bench::start().await;
        bench.simulator.inject(Fault::on("A011", Action::Delay { millis: 200, after_commit }));
        let before = std::time::Instant::now();
        let early = tokio::join!(try_create(&bench), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            bench.simulator.creations().len()
        });
        assert_eq!(early.0.expect("an answer").status, 201);
        assert_eq!(early.1, usize::from(after_commit), "after 100 ms");
        assert!(before.elapsed() >= Duration::from_millis(200));
    }
}

#[tokio::test]
async fn answers_can_be_replaced_by_refusals_in_the_right_shape() {
    let bench = Bench::start().await;
    for (action, status, codes) in [
        (Action::answer(429), 429, vec![]),
        (Action::answer(503), 503, vec!["SYSTEM_UNAVAILABLE"]),
        (Action::answer(500), 500, vec![]),
        (Action::answer(401), 401, vec!["NO_ACCESS"]),
        (
            Action::Answer {
                status: 422,
                code: Some("PATIENT_ERROR".into()),
                diagnostics: None,
                retry_after: None,
                body: None,
            },
            422,
            vec!["PATIENT_ERROR"],
        ),
    ] {
        bench.simulator.clear_faults();
        bench.simulator.inject(Fault::on("A011", action.clone()));
        let reply = try_create(&bench).await.expect("an answer");
        assert_eq!(
            (reply.status, reply.codes()),
            (status, codes.iter().map(|code| (*code).to_owned()).collect()),
            "{action:?}"
        );
    }
    bench.simulator.clear_faults();
    let wait = Action::Answer { status: 503, code: None, diagnostics: None, retry_after: Some(7), body: None };
    bench.simulator.inject(Fault::on("A011", wait));
    assert_eq!(try_create(&bench).await.expect("an answer").header("Retry-After"), "7");
    bench.simulator.clear_faults();
    let broken = r#"{"fault":{"faultstring":"x","detail":{"errorcode":"entities.UnresolvedVariable"}}}"#;
    let fault =
        Action::Answer { status: 500, code: None, diagnostics: None, retry_after: None, body: Some(broken.into()) };
    bench.simulator.inject(Fault::on("A011", fault));
    assert_eq!(try_create(&bench).await.expect("an answer").text, broken);
    bench.simulator.inject(Fault::on("A030", Action::answer(503)));
    assert_eq!(bench.get("/R4/PractitionerRole").await.codes(), ["REC_UNAVAILABLE"]);
    assert!(bench.simulator.creations().is_empty());
}

#[tokio::test]
async fn a_fault_finds_the_patient_of_a_referral_behind_its_ubrn() {
    let bench = Bench::start().await;
    bench.simulator.inject(Fault::on("A005", Action::answer(503)).for_patient("9994121405"));
    assert_eq!(bench.get("/STU3/ReferralRequest/000000070001").await.status, 503);
    assert_eq!(bench.get("/STU3/ReferralRequest/000000070003").await.status, 200);
    bench.simulator.clear_faults();
    bench.simulator.inject(Fault::on("a005", Action::answer(503)).for_ubrn("000000070003"));
    assert_eq!(bench.get("/STU3/ReferralRequest/000000070001").await.status, 200);
    assert_eq!(bench.get("/STU3/ReferralRequest/000000070003").await.status, 503);
}

#[tokio::test]
async fn a_silent_pas_permits_the_deferral_that_slots_would_forbid() {
    let bench = Bench::start().await;
    bench.simulator.clock().set(at("2022-07-01T00:00:00Z"));
    let token = bench.refresh_after_reset().await;
    let bench = bench.signed_in_by(&token);
    let problem = example("a016-book-or-defer-appointment/request-deferral-booking-attempt-problem.json");
    assert_eq!(bench.post(APPOINTMENT, &problem).await.codes(), ["SLOTS_CURRENTLY_AVAILABLE"]);
    bench.simulator.inject(Fault::on("A016", Action::answer(504)).times(1));
    let booking = example("a016-book-or-defer-appointment/request-minimal-booking.json");
    assert_eq!(bench.post(APPOINTMENT, &booking).await.codes(), ["PAS_NOT_RESPONDING"]);
    assert_eq!(bench.post(APPOINTMENT, &problem).await.status, 201);
}

#[tokio::test]
async fn the_token_endpoint_fails_on_demand() {
    let bench = Bench::start().await;
    bench.simulator.inject(Fault::on("token", Action::answer(503)).times(1));
    assert_eq!(bench.refresh("x").await.status, 503);
    assert_eq!(bench.refresh("x").await.status, 401);
}
