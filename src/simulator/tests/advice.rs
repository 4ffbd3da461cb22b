//! Advice requests: A044, A024, A025, A043, with the published samples.

use super::*;

pub const CREATE_ADVICE: &str = "/STU3/CommunicationRequest/$ers.createAdviceAndGuidance";
const INCLUDES: &str = "_include=Communication:requester-practitionerrole:PractitionerRole\
    &_include=Communication:sender-practitionerrole:PractionerRole\
    &_include=Communication:content-reference:DocumentReference";

/// The published request with a file that was just uploaded.
pub async fn request(bench: &Bench) -> Value {
    let upload = bench.upload("advice_attachment.txt", "text/plain", None, b"invented".to_vec()).await;
    assert_eq!(upload.status, 201, "{}", upload.text);
    let mut body = example("a044-create-advice-request/request-example-rca-with-attachments.json");
    body["parameter"][4]["resource"]["content"][0]["attachment"]["url"] = upload.header("Location").into();
    body
}

pub async fn administrator() -> Bench {
    Bench::start().await.acting_as("R69", "REFERRING_CLINICIAN_ADMIN")
}

#[tokio::test]
async fn the_advice_sample_makes_a_request_that_can_be_followed() {
    let bench = administrator().await;
    let reply = bench.post(CREATE_ADVICE, &request(&bench).await).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let created = reply.json()["parameter"][0]["resource"].clone();
    let ubrn = created["id"].as_str().expect("a UBRN").to_owned();
    assert_eq!(created["meta"]["versionId"], "1");
    assert!(bench.simulator.advice_requests().contains(&ubrn));

    let read = bench.get(&format!("/STU3/CommunicationRequest/{ubrn}")).await;
    assert_eq!((read.status, read.header("ETag")), (200, r#"W/"1""#), "{}", read.text);
    assert_eq!(read.json()["category"][0]["coding"][0]["code"], "PROVIDER_RESPONSE_REQUIRED");
    let sample = example("a024-retrieve-advice-request/response-with-attachment-file-reference.json");
    let provisioning = |request: &Value| {
        let parameters = request["contained"][0]["parameter"].as_array().cloned().unwrap_or_default();
        parameters.into_iter().find(|part| part["name"] == "commissioningProvisioning")
    };
    assert!(provisioning(&sample).is_some());
    assert_eq!(provisioning(&read.json()), provisioning(&sample), "whatever was asked for");
    let versioned = |version| format!("/STU3/CommunicationRequest/{ubrn}/_history/{version}");
    assert_eq!(bench.get(&versioned(1)).await.status, 200);
    assert_eq!(bench.get(&versioned(2)).await.status, 404);

    let conversation = |version: u32, more: &str| {
        format!("/STU3/Communication?based-on=CommunicationRequest/{ubrn}/_history/{version}&{more}")
    };
    let kinds = |reply: &Seen| -> Vec<String> {
        let bundle = reply.json();
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        entries.iter().filter_map(|one| one["resource"]["resourceType"].as_str().map(String::from)).collect()
    };
    let whole = bench.get(&conversation(1, INCLUDES)).await;
    assert_eq!(
        kinds(&whole),
        ["Communication", "PractitionerRole", "PractitionerRole", "DocumentReference"],
        "the administrator, the clinician, the file: {}",
        whole.text
    );
    assert_eq!(whole.json()["entry"][0]["resource"]["note"][0]["text"], "Request text.");
    let bare = bench.get(conversation(1, "").trim_end_matches('&')).await;
    assert_eq!(kinds(&bare), ["Communication"], "nothing is included that was not asked for");
    assert_eq!(bench.get(&conversation(2, INCLUDES)).await.status, 404, "the version must be the current one");

    let file = created["payload"][0]["contentReference"]["reference"].as_str().expect("a file");
    assert!(file.starts_with("#DocumentReference-"), "{file}");
    let path = format!("/STU3/CommunicationRequest/{ubrn}/$ers.generateCRI");
    let overview = seen(bench.request(Method::POST, &path).send().await.expect("an answer")).await;
    assert_eq!((overview.status, overview.header("Content-Type")), (200, "application/pdf"));
    assert!(overview.header("Content-Disposition").contains(&format!("{ubrn}-advice-and-guidance-")));
    assert!(overview.text.contains("Request text."), "{}", overview.text);
}

#[tokio::test]
async fn nothing_guards_the_creation_of_an_advice_request() {
    let bench = administrator().await;
    let before = bench.simulator.advice_requests().len();
    let mut body = request(&bench).await;
    body["parameter"].as_array_mut().expect("parameters").remove(4);
    for _ in 0..2 {
        assert_eq!(bench.post(CREATE_ADVICE, &body).await.status, 200);
    }
    assert_eq!(bench.simulator.advice_requests().len(), before + 2);
}

#[tokio::test]
async fn a_wrong_advice_request_gets_a_documented_code() {
    let bench = administrator().await;
    let good = request(&bench).await;
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body);
        body
    };
    let list = |body: &mut Value, ids: &[&str]| {
        let entry =
            |id: &&str| json!({"item": {"identifier": {"system": "http://fhir.nhs.net/Id/ers-service", "value": id}}});
        body["parameter"][2]["resource"]["entry"] = ids.iter().map(entry).collect();
    };
    let meant = bench.upload("meant.txt", "text/plain", Some("000000070000"), b"x".to_vec()).await;
    let meant = meant.header("Location").to_owned();
    let long = "x".repeat(8001);
    for (body, codes) in [
        (changed(&|body| body["parameter"][1]["valueCoding"]["code"] = "PERHAPS".into()), vec!["INVALID_CODE"]),
        (changed(&|body| list(body, &["11014", "11010"])), vec!["TOO_MANY_ITEMS"]),
        (changed(&|body| list(body, &["11002"])), vec!["SHORTLISTED_SERVICE_NOT_IN_RESULTS"]), // gives no advice
        (changed(&|body| body["parameter"][3]["valueString"] = "".into()), vec!["MISSING_VALUE"]),
        (changed(&|body| body["parameter"][3]["valueString"] = long.as_str().into()), vec!["INVALID_VALUE"]),
        (
            changed(&|body| body["parameter"][4]["resource"]["type"]["coding"][0]["code"] = "REFERRER".into()),
            vec!["INVALID_CODE"],
        ),
        (
            changed(&|body| {
                body["parameter"][4]["resource"]["content"][0]["attachment"]["url"] = meant.as_str().into();
            }),
            vec!["INAPPROPRIATE_VALUE"],
        ),
        (
            changed(&|body| {
                body["parameter"].as_array_mut().expect("parameters").pop();
            }),
            vec!["VALUE_IS_REQUIRED"],
        ),
        (changed(&|body| body["parameter"][0]["valueIdentifier"]["value"] = "1".into()), vec!["INVALID_VALUE"]),
    ] {
        let reply = bench.post(CREATE_ADVICE, &body).await;
        assert_eq!(
            (reply.status, reply.codes()),
            (422, codes.iter().map(|code| (*code).to_owned()).collect()),
            "{}",
            reply.text
        );
    }
    let clinician = bench.acting_as("R69", "REFERRING_CLINICIAN");
    assert_eq!(clinician.post(CREATE_ADVICE, &good).await.codes(), ["FIELD_NOT_PERMITTED"], "a clinician names nobody");
}

#[tokio::test]
async fn advice_is_read_by_those_who_are_related_to_it() {
    let bench = administrator().await;
    let created = bench.post(CREATE_ADVICE, &request(&bench).await).await.json();
    let ubrn = created["parameter"][0]["resource"]["id"].as_str().expect("a UBRN").to_owned();
    let summary = format!("/STU3/CommunicationRequest/{ubrn}");
    let conversation = format!("/STU3/Communication?based-on=CommunicationRequest/{ubrn}/_history/1");
    let stranger = bench.acting_as("RXX00", "REFERRING_CLINICIAN");
    assert_eq!(stranger.get(&summary).await.codes(), ["NO_RELATIONSHIP"]);
    let refused = stranger.get(&conversation).await;
    assert_eq!((refused.status, refused.codes()), (400, vec!["NO_RELATIONSHIP".to_owned()]));
    let wrong = stranger.get("/STU3/CommunicationRequest/000000070000").await;
    assert_eq!((wrong.status, wrong.codes()), (422, vec!["INVALID_REQUEST_TYPE".to_owned()]));
    let wrong = stranger.get("/STU3/Communication?based-on=CommunicationRequest/000000070000/_history/6").await;
    assert_eq!((wrong.status, wrong.codes()), (400, vec!["INVALID_REQUEST_TYPE".to_owned()]));
    for query in ["", "?based-on=ReferralRequest/000000070000/_history/6", "?based-on=x&_include=everything"] {
        assert_eq!(stranger.get(&format!("/STU3/Communication{query}")).await.status, 400, "{query}");
    }
    assert_eq!(stranger.get("/STU3/CommunicationRequest/000000099999").await.status, 404);
    let provider = stranger.acting_as("RXX00", "SERVICE_PROVIDER_CLINICIAN");
    assert_eq!(provider.get(&summary).await.status, 200);
}
