//! FHIR in by HTTP: from the samples of `tests/data/fhir` to what e-RS has then.

use serde_json::{Value, json};

use crate::support::referrals::fhir_sample;
use crate::support::waiting::{get, post};
use crate::support::world::World;

const FHIR: (&str, &str) = ("content-type", "application/fhir+json; fhirVersion=4.0");
const WAIT: (&str, &str) = ("prefer", "wait=20");

/// The status and the OperationOutcome.
async fn outcome(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let content_type = response.headers().get("content-type").expect("a content type").to_str().expect("text");
    assert_eq!(content_type, "application/fhir+json");
    let outcome: Value = response.json().await.expect("JSON");
    assert_eq!(outcome["resourceType"], "OperationOutcome", "{outcome}");
    (status, outcome)
}

fn state(outcome: &Value) -> &str {
    outcome["issue"][0]["details"]["coding"][0]["code"].as_str().unwrap_or_default()
}

fn ubrn(outcome: &Value) -> Option<&str> {
    let extensions = outcome["issue"][0]["extension"].as_array()?;
    let found = extensions.iter().find(|extension| extension["url"] == "urn:ers-gateway:ubrn")?;
    found["valueIdentifier"]["value"].as_str()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_bundle_becomes_a_referral_with_its_letters_and_its_resend_the_same_answer() {
    let world = World::start().await;
    let sample = fhir_sample("01-");
    let (status, first) = outcome(post(&world, "/v1/fhir/southbeck", &[FHIR, WAIT], sample.clone()).await).await;
    assert_eq!((status, state(&first)), (200, "completed"), "{first}");
    let made = ubrn(&first).expect("the UBRN").to_owned();
    assert_eq!(world.calls(), ["A011", "A020", "A020", "A012"]);
    assert_eq!(world.simulator.referral(&made).expect("it is there").letters.len(), 2);

    let (status, again) = outcome(post(&world, "/v1/fhir/southbeck", &[FHIR, WAIT], sample.clone()).await).await;
    assert_eq!((status, &again["id"], ubrn(&again)), (200, &first["id"], Some(made.as_str())), "{again}");
    assert_eq!(world.simulator.created(), 1);

    // The same name, with something else in it.
    let changed = sample.replace("Prefers mornings.", "Prefers evenings.");
    let (status, reused) = outcome(post(&world, "/v1/fhir/southbeck", &[FHIR], changed).await).await;
    assert_eq!((status, &reused["issue"][0]["code"]), (409, &json!("duplicate")), "{reused}");
    assert_eq!(world.simulator.created(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_and_a_single_resource_become_referrals_too() {
    let world = World::start().await;
    for name in ["02-", "03-"] {
        let response = post(&world, "/v1/fhir?source=southbeck", &[FHIR, WAIT], fhir_sample(name)).await;
        let (status, outcome) = outcome(response).await;
        assert_eq!((status, state(&outcome)), (200, "completed"), "{name}: {outcome}");
    }
    assert_eq!(world.simulator.created(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referral_is_booked_given_a_letter_and_cancelled_by_its_ubrn() {
    let world = World::start().await;
    for (name, command) in [("06-", "BookAppointment"), ("08-", "AttachLetters"), ("04-", "CancelReferral")] {
        let response = post(&world, "/v1/fhir/southbeck", &[FHIR, WAIT], fhir_sample(name)).await;
        let (status, outcome) = outcome(response).await;
        assert_eq!((status, state(&outcome)), (200, "completed"), "{name}: {outcome}\n{}", world.story().await);
        let text = outcome["issue"][0]["details"]["text"].as_str().unwrap_or_default();
        assert!(text.contains(command), "{text}");
    }
    assert_eq!(world.commands().await, ["BookAppointment", "AttachLetters", "CancelReferral"]);
    assert_eq!(world.simulator.referral("000000070001").expect("seeded").state, "CANCELLED_REFERRAL");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_written_with_escapes_arrives_as_it_was() {
    let world = World::start().await;
    // As some serialisers write base64.
    let escaped = fhir_sample("08-").replace("JVBERi0x", "JVBER\\u0069\\u0030x");
    let (status, outcome) = outcome(post(&world, "/v1/fhir/southbeck", &[FHIR, WAIT], escaped).await).await;
    assert_eq!((status, state(&outcome)), (200, "completed"), "{outcome}\n{}", world.story().await);
    let letters = world.simulator.referral("000000070001").expect("seeded").letters;
    assert!(letters.contains(&"referral-letter.pdf".to_owned()), "{letters:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_problem_is_an_issue_at_its_fhirpath_and_no_value_is_repeated() {
    let world = World::start().await;
    let (status, refused) = outcome(post(&world, "/v1/fhir/southbeck", &[FHIR], fhir_sample("09-")).await).await;
    assert_eq!(status, 422);
    let text = refused.to_string();
    for value in ["9994120035", "Madeuppe", "1955-02-31", "Haemoglobin", "FH-REF-1009"] {
        assert!(!text.contains(value), "{value} in {text}");
    }
    let issues: Vec<(&str, &str)> = refused["issue"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|issue| (issue["expression"][0].as_str().unwrap_or_default(), issue["code"].as_str().unwrap_or_default()))
        .collect();
    for expected in [
        ("Bundle.entry[2].resource.identifier[0].value", "value"),
        ("Bundle.entry[1].resource.priority", "code-invalid"),
        ("Bundle.entry[3].resource.identifier.value", "required"),
        ("Bundle.entry[6].resource", "not-supported"),
    ] {
        assert!(issues.contains(&expected), "{expected:?} in {issues:?}");
    }
    // It is kept, and found under the id of the outcome.
    let kept = get(format!("http://{}/v1/messages/{}", world.http, refused["id"].as_str().expect("an id"))).await;
    let kept: Value = kept.json().await.expect("JSON");
    assert_eq!(kept["verdict"], "rejected", "{kept}");
    assert_eq!(world.calls(), Vec::<&str>::new());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_by_a_name_that_nobody_knows_is_refused_where_the_name_stands() {
    let world = World::start().await;
    let unknown = fhir_sample("04-").replace("https://fhir.nhs.uk/Id/UBRN", "https://example.invalid/Id/other");
    let (status, refused) = outcome(post(&world, "/v1/fhir/southbeck", &[FHIR], unknown).await).await;
    let issue = &refused["issue"][0];
    assert_eq!((status, &issue["code"]), (422, &json!("not-found")), "{refused}");
    assert_eq!(issue["expression"], json!(["Bundle.entry[1].resource.identifier[0].value"]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_fhir_is_refused_with_the_status_of_its_kind() {
    let world = World::start().await;
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let plain = ("content-type", "text/plain");
    let stu3 = ("content-type", "application/fhir+json; fhirVersion=3.0");
    let xml = ("content-type", "application/fhir+xml");
    for (path, header, body, expected) in [
        ("/v1/fhir/southbeck", FHIR, "{", 400),
        ("/v1/fhir/southbeck", FHIR, "MSH|^~\\&|", 400),
        ("/v1/fhir", FHIR, "{}", 400),
        ("/v1/fhir/nobody", FHIR, "{}", 404),
        ("/v1/fhir/southbeck", plain, "{}", 415),
        ("/v1/fhir/southbeck", stu3, "{}", 415),
        ("/v1/fhir/southbeck", xml, "<Bundle/>", 415),
        ("/v1/fhir/southbeck", FHIR, "{}", 422),
        ("/v1/fhir/southbeck", FHIR, r#"{"resourceType": "Observation"}"#, 422),
        ("/v1/fhir/southbeck", FHIR, deep.as_str(), 422),
    ] {
        let shown: String = body.chars().take(40).collect();
        let (status, refused) = outcome(post(&world, path, &[header], body.to_owned()).await).await;
        assert_eq!(status, expected, "{path} {header:?} {shown}: {refused}");
        assert_eq!(refused["issue"][0]["severity"], "error");
    }
    let large = " ".repeat(17 * 1024 * 1024);
    let (status, _) = outcome(post(&world, "/v1/fhir/southbeck", &[FHIR], large).await).await;
    assert_eq!(status, 413);
    world.stop().await;
}
