//! The control API, over HTTP.

use super::*;

async fn control(bench: &Bench, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = format!("{}{path}", bench.simulator.control_url());
    let mut request = bench.http.request(method, url);
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    let reply = seen(request.send().await.expect("an answer")).await;
    (reply.status, reply.json())
}

#[tokio::test]
async fn the_ledger_tells_what_was_done() {
    let bench = Bench::start().await;
    let request = bench.request(Method::POST, CREATE).header("Content-Type", FHIR).header("X-Correlation-ID", "c-1");
    request.body(referral_request().to_string()).send().await.expect("an answer");
    let (_, ledger) = control(&bench, Method::GET, "/ledger?after=1", None).await;
    let entry = &ledger[0];
    assert_eq!((&entry["number"], &entry["operation"], &entry["status"]), (&json!(2), &json!("A011"), &json!(201)));
    assert_eq!((&entry["correlation_id"], &entry["client_id"]), (&json!("c-1"), &json!(demonstration::USER_CLIENT_ID)));
    assert_eq!(entry["body_sha256"].as_str().map(str::len), Some(64));
    let (_, creations) = control(&bench, Method::GET, "/creations", None).await;
    assert_eq!(creations[0]["nhs_number"], "9912003888");
    assert_eq!(creations[0]["services"], json!(["11002"]));
    assert_eq!(creations[0]["ubrn"], entry["ubrn"]);
    assert_eq!(control(&bench, Method::GET, "/duplicates", None).await.1, json!([]));
    let ubrn = entry["ubrn"].as_str().expect("a UBRN");
    let (_, referral) = control(&bench, Method::GET, &format!("/referrals/{ubrn}"), None).await;
    assert_eq!((&referral["state"], &referral["version"]), (&json!("NOT_BOOKED"), &json!(3)));
    let (_, overview) = control(&bench, Method::GET, "", None).await;
    assert_eq!(overview["counters"]["referrals_created"], 1);
}

#[tokio::test]
async fn faults_locks_scans_clock_and_quota_can_be_set() {
    let bench = Bench::start().await;
    let fault = json!({"operation": "A005", "times": 1, "action": {"do": "answer", "status": 503}});
    let (status, made) = control(&bench, Method::POST, "/faults", Some(fault)).await;
    assert_eq!(status, 200);
    assert_eq!(bench.get("/STU3/ReferralRequest/000000070000").await.status, 503);
    assert_eq!(control(&bench, Method::GET, "/faults", None).await.1[0]["fired"], 1);
    let path = format!("/faults/{}", made["id"]);
    assert_eq!(control(&bench, Method::DELETE, &path, None).await.0, 200);
    assert_eq!(control(&bench, Method::DELETE, &path, None).await.0, 404);

    control(&bench, Method::PUT, "/locks/000000070000", None).await;
    assert_eq!(bench.post(APPOINTMENT, &triage("000000070000", 6, "50001")).await.status, 423);
    control(&bench, Method::DELETE, "/locks/000000070000", None).await;
    assert_eq!(bench.post(APPOINTMENT, &triage("000000070000", 6, "50001")).await.status, 201);

    let file = "/files/50f0c0d5-7ed1-4587-8fce-889c8685eb54";
    assert_eq!(control(&bench, Method::PUT, file, Some(json!({"availability": "VALIDATION_FAILED"}))).await.0, 200);
    let reply = bench.get("/R4/Binary/50f0c0d5-7ed1-4587-8fce-889c8685eb54").await;
    assert_eq!(reply.codes(), ["VALIDATION_FAILED"]);

    let threats = Some(json!({"availability": "THREATS_FOUND"}));
    assert_eq!(control(&bench, Method::PUT, "/scans/bad%20file.pdf", threats).await.0, 200);
    let bad = bench.upload("bad file.pdf", "application/pdf", None, b"%PDF-".to_vec()).await;
    control(&bench, Method::PUT, "/clock", Some(json!({"advance_ms": 30_000}))).await;
    assert_eq!(bench.get(&format!("/R4/{}", bad.header("Location"))).await.codes(), ["THREATS_FOUND"]);

    let clock = json!({"frozen": "2026-03-16T09:30:00Z"});
    assert_eq!(control(&bench, Method::PUT, "/clock", Some(clock)).await.1["now"], "2026-03-16T09:30:00Z");
    control(&bench, Method::PUT, "/clock", Some(json!({"advance_ms": 1000}))).await;
    assert_eq!(bench.simulator.clock().now(), at("2026-03-16T09:30:01Z"));
    control(&bench, Method::PUT, "/quota", Some(json!({"per_minute": 1, "spike_arrest_per_minute": 60}))).await;
    assert_eq!(bench.get("/STU3/CodeSystem/PRIORITY").await.status, 200);
    assert_eq!(bench.get("/STU3/CodeSystem/PRIORITY").await.status, 429);

    control(&bench, Method::POST, "/tokens/revoke", None).await;
    assert_eq!(bench.get("/STU3/CodeSystem/PRIORITY").await.status, 401);
    control(&bench, Method::POST, "/reset", None).await;
    assert_eq!(bench.simulator.referral("000000070000").expect("seeded again").state, "NOT_BOOKED");
    assert_eq!(bench.refresh(demonstration::REFRESH_TOKEN).await.status, 200);
}

#[tokio::test]
async fn nonsense_is_told_apart_from_what_is_not_there() {
    let bench = Bench::start().await;
    for (method, path, body, status) in [
        (Method::GET, "/nothing", None, 404),
        (Method::POST, "/faults", Some(json!({"action": {"do": "explode"}})), 400),
        (Method::PUT, "/clock", Some(json!({"now": "yesterday"})), 400),
        (Method::PUT, "/clock", Some(json!({"now": "2026-03-16T09:30:00Z", "advance_ms": 1})), 400),
        (Method::PUT, "/locks/7", None, 400),
        (Method::PUT, "/scans/bad.pdf", Some(json!({"availability": "INFECTED"})), 400),
        (Method::GET, "/referrals/000000099999", None, 404),
        (Method::GET, "/ledger?after=x", None, 400),
    ] {
        assert_eq!(control(&bench, method.clone(), path, body).await.0, status, "{method} {path}");
    }
}
