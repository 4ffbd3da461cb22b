//! What a provider answers to a request for advice: A023, A026, A027.

use super::every_sample::become_advice;
use super::*;

const SAMPLE: &str = "000000070000";
const PROVIDER: &str = "SERVICE_PROVIDER_CLINICIAN";
const CONVERT: &str = "/STU3/ReferralRequest/$ers.createFromCommunicationRequestActionLater";

async fn asked(version: u32) -> Bench {
    let bench = Bench::start().await;
    become_advice(&bench, 70_000, version);
    bench.acting_as("R69", PROVIDER)
}

fn response(sample: &str) -> Value {
    example(&format!("a026-send-advice-response/request-{sample}.json"))
}

fn conversion() -> Value {
    example("a027-convert-advice-to-referral/request-no-attachments.json")
}

fn changed(mut body: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut body);
    body
}

fn document(name: &str, kind: &str, file: &str) -> Value {
    json!({"name": name, "resource": {
        "meta": {"profile": ["https://fhir.nhs.uk/STU3/StructureDefinition/eRS-DocumentReference-1"]},
        "resourceType": "DocumentReference",
        "type": {"coding": [{"system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-AttachmentType-1", "code": kind}]},
        "status": "current",
        "indexed": "2021-11-03T14:29:41.988Z",
        "content": [{"attachment": {"url": file}}],
    }})
}

impl Bench {
    async fn respond(&self, if_match: Option<&str>, body: &Value) -> Seen {
        let path = format!("/STU3/CommunicationRequest/{SAMPLE}/$ers.sendCommunicationToRequester");
        let mut request = self.request(Method::POST, &path).header("Content-Type", FHIR).body(body.to_string());
        if let Some(version) = if_match {
            request = request.header("If-Match", version);
        }
        seen(request.send().await.expect("an answer")).await
    }

    async fn advice_list(&self, change: impl FnOnce(&mut Value)) -> Seen {
        let sample = example("a023-retrieve-advice-worklist/request-minimal-advice-and-guidance-requests.json");
        self.post("/STU3/CommunicationRequest/$ers.fetchworklist", &changed(sample, change)).await
    }
}

#[tokio::test]
async fn an_answer_joins_the_conversation_with_its_files_and_ends_the_providers_turn() {
    let bench = asked(6).await;
    let file = bench.uploaded("leaflet.pdf", SAMPLE).await;
    let with_file = changed(response("return-to-referrer-with-advice"), |body| {
        let part = document("guidanceAttachmentFile", "GUIDANCE_RESPONSE", &file);
        body["parameter"].as_array_mut().expect("parameters").push(part);
    });
    let reply = bench.respond(Some(r#"W/"6""#), &with_file).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let read = bench.get(&format!("/STU3/CommunicationRequest/{SAMPLE}")).await.json();
    assert_eq!(read["category"][0]["coding"][0]["code"], "REFERRER_TO_REVIEW_RESPONSE");
    let version = read["meta"]["versionId"].as_str().expect("a version").to_owned();
    assert_ne!(version, "6");
    let conversation = bench
        .get(&format!(
            "/STU3/Communication?based-on=CommunicationRequest/{SAMPLE}/_history/{version}\
             &_include=Communication:content-reference:DocumentReference"
        ))
        .await;
    for shown in ["\"RESPONDER\"", "\"REQUESTER\"", "\"GUIDANCE_RESPONSE\"", "leaflet.pdf", "No evidence of serious"] {
        assert!(conversation.text.contains(shown), "{shown}: {}", conversation.text);
    }
    assert_eq!(bench.respond(Some(r#"W/"6""#), &with_file).await.status, 409, "a replay cannot act twice");
    let again = bench.respond(Some(&format!("W/\"{version}\"")), &response("require-further-information")).await;
    assert_eq!(again.codes(), ["INVALID_REQUEST_STATE"]);
    assert!(!bench.advice_list(|_| ()).await.text.contains(SAMPLE), "it waits no more");
}

#[tokio::test]
async fn a_converted_request_is_a_referral_with_the_same_ubrn() {
    let bench = asked(3).await;
    let file = bench.uploaded("for-the-clinic.pdf", SAMPLE).await;
    let body = changed(conversion(), |body| {
        let part = document("reviewAttachmentFile", "PROVIDER", &file);
        body["parameter"].as_array_mut().expect("parameters").push(part);
    });
    let reply = bench.post(CONVERT, &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(reply.json()["id"], SAMPLE);
    let referral = bench.get(&format!("/STU3/ReferralRequest/{SAMPLE}")).await;
    assert_eq!(referral.status, 200, "{}", referral.text);
    for shown in
        ["TRIAGED_PROVIDER_TO_ACTION", "for-the-clinic.pdf", "CommunicationRequest/000000070000", "conversation - "]
    {
        assert!(referral.text.contains(shown), "{shown}: {}", referral.text);
    }
    let advice = bench.get(&format!("/STU3/CommunicationRequest/{SAMPLE}")).await;
    assert_eq!(advice.json()["category"][0]["coding"][0]["code"], "ADVICE_CONVERTED", "{}", advice.text);
    let both = bench.get(&format!("/R4/ServiceRequest?identifier={SAMPLE}")).await;
    assert_eq!(both.json()["total"], 2, "{}", both.text);
    let stale = bench.post(CONVERT, &body).await;
    assert_eq!(stale.status, 409, "{}", stale.text);
}

#[tokio::test]
async fn a_wrong_answer_gets_a_documented_code() {
    let bench = asked(6).await;
    let six = Some(r#"W/"6""#);
    let code = |sample: &str, index: usize, code: &str| {
        changed(response(sample), |body| body["parameter"][index]["valueCoding"]["code"] = code.into())
    };
    let long = "x".repeat(8001);
    let advice = "return-to-referrer-with-advice";
    for (body, codes) in [
        (code(advice, 0, "PROVIDER_CONVERTED"), vec!["INVALID_VALUE"]), // by A027 only
        (code(advice, 1, "PERHAPS"), vec!["INVALID_VALUE"]),
        (code(advice, 3, "SOON"), vec!["INVALID_VALUE"]),
        (
            changed(response(advice), |body| body["parameter"][2]["valueString"] = long.as_str().into()),
            vec!["INVALID_VALUE"],
        ),
        (
            changed(response(advice), |body| {
                body["parameter"].as_array_mut().expect("parameters").remove(1);
            }),
            vec!["VALUE_IS_REQUIRED"],
        ),
        (json!({}), vec!["MISSING_VALUE", "MISSING_VALUE", "MISSING_VALUE"]),
    ] {
        let reply = bench.respond(six, &body).await;
        assert_eq!((reply.status, reply.codes()), (422, codes.iter().map(|c| (*c).to_owned()).collect()), "{body}");
    }
    let good = response(advice);
    assert_eq!(bench.respond(None, &good).await.status, 412);
    let strange = bench.uploaded("strange.pdf", "000000070001").await;
    let part = document("guidanceAttachmentFile", "GUIDANCE_RESPONSE", &strange);
    let body = changed(good.clone(), |body| body["parameter"].as_array_mut().expect("parameters").push(part));
    assert_eq!(bench.respond(six, &body).await.codes(), ["INAPPROPRIATE_VALUE"]);
    bench.simulator.lock(SAMPLE);
    assert_eq!(bench.respond(six, &good).await.status, 423);
    bench.simulator.unlock(SAMPLE);
    let stranger = bench.acting_as("RXX00", PROVIDER);
    assert_eq!(stranger.respond(six, &good).await.codes(), ["NO_RELATIONSHIP"]);
    let referrer = stranger.acting_as("R69", "REFERRING_CLINICIAN");
    assert_eq!(referrer.respond(six, &good).await.status, 403);
}

#[tokio::test]
async fn a_request_is_converted_only_where_its_referrer_allows_it() {
    let bench = asked(3).await;
    let forbid = |advice: &mut crate::simulator::advice::AdviceRequest| advice.conversion = "NOT_AUTHORISED_TO_CONVERT";
    bench.simulator.world.advice.with(crate::simulator::Ubrn(70_000), forbid).expect("it is there");
    assert_eq!(bench.post(CONVERT, &conversion()).await.codes(), ["INVALID_STATE"]);
    let wrong = |reference: &str| {
        changed(conversion(), |body| body["parameter"][0]["valueReference"]["reference"] = reference.into())
    };
    for (reference, status, codes) in [
        ("CommunicationRequest/000000070000/_history/2", 409, vec![]),
        ("CommunicationRequest/000000070000", 422, vec!["INVALID_VALUE"]),
        ("CommunicationRequest/000000070001/_history/3", 422, vec!["INVALID_REQUEST_TYPE"]),
        ("CommunicationRequest/000000099999/_history/3", 404, vec![]),
    ] {
        let reply = bench.post(CONVERT, &wrong(reference)).await;
        assert_eq!((reply.status, reply.codes()), (status, codes.iter().map(|c: &&str| (*c).to_owned()).collect()));
    }
}

#[tokio::test]
async fn the_list_of_advice_requests_takes_the_filters_of_providers() {
    let bench = asked(10).await;
    let service = |id: &str| json!({"name": "service", "valueIdentifier": {"system": "http://fhir.nhs.net/Id/ers-service", "value": id}});
    let add = |part: Value| move |body: &mut Value| body["parameter"].as_array_mut().expect("parameters").push(part);
    assert!(bench.advice_list(add(service("11014"))).await.text.contains(SAMPLE));
    assert!(!bench.advice_list(add(service("11010"))).await.text.contains(SAMPLE));
    assert_eq!(bench.advice_list(add(service("x"))).await.codes(), ["REFERENCE_NOT_FOUND"]);
    let wrong = bench.advice_list(|body| {
        body["parameter"][0]["valueCodeableConcept"]["coding"][0]["code"] = "REFERRALS_FOR_REVIEW".into();
    });
    assert_eq!(wrong.await.codes(), ["INVALID_CODE"]);
    let elsewhere = bench.acting_as("RXX00", PROVIDER);
    assert!(elsewhere.advice_list(|_| ()).await.text.contains("nilknown"));
    let referrer = elsewhere.acting_as("R69", "REFERRING_CLINICIAN");
    assert_eq!(referrer.advice_list(|_| ()).await.status, 403);
}
