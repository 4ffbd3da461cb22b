//! No referral for the wrong patient, for one who died, or for one whom nobody confirmed (`docs/reference/pds/reference.md`).

use std::path::PathBuf;
use std::time::Duration;

use ers_gateway::config::{EnvironmentName, Pds};
use ers_gateway::simulator::{Action, Fault, demonstration};
use serde_json::{Value, json};

use crate::support::referrals::{create, sample};
use crate::support::sender::{MllpSender, field};
use crate::support::waiting::{client, get};
use crate::support::world::World;

const ADELINE: &str = "9994120034";

fn pds(key: PathBuf) -> Pds {
    Pds {
        base_url: String::new(),
        token_url: String::new(),
        client_id: demonstration::PDS_CLIENT_ID.into(),
        private_key: key,
        kid: demonstration::KEY_ID.into(),
        organisation: Some("RXX00".into()),
        keep_finding: Duration::from_secs(300),
        per_second: 50.0,
    }
}

/// A gateway that asks the simulator's PDS.
struct Checked {
    world: World,
    _key: tempfile::NamedTempFile,
}

impl Checked {
    async fn start() -> Self {
        let key = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(key.path(), demonstration::PRIVATE_KEY_PEM).expect("a key");
        let path = key.path().to_owned();
        let world = World::with(|config| {
            let connection = &config.connections[0];
            let base_url = connection.base_url.replace("/referrals/FHIR", "/personal-demographics/FHIR/R4");
            config.pds = Some(Pds { base_url, token_url: connection.token_url.clone(), ..pds(path) });
        })
        .await;
        Self { world, _key: key }
    }

    /// How a referral for Adeline ends, and how often e-RS was asked to make one.
    async fn refer(&self, local_id: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut body = create(local_id, ADELINE);
        body["patient"] = json!({
            "nhsNumber": ADELINE, "family": "Testerton", "given": "Adeline Mae", "birthDate": "1957-03-14",
            "gender": "female"});
        change(&mut body);
        self.post("CreateReferral", body).await
    }

    async fn post(&self, name: &str, body: Value) -> Value {
        let url = format!("http://{}/v1/commands/{name}?source=northmoor", self.world.http);
        let request = client().post(url).header("content-type", "application/json");
        let answer = request.header("prefer", "wait=20").body(body.to_string()).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        answer["commands"][0].clone()
    }

    async fn replay(&self, command: &Value) {
        let id = command["id"].as_str().expect("an id");
        let url = format!("http://{}/v1/commands/{id}/replay", self.world.http);
        let request = client().post(url).header("content-type", "application/json");
        let body = json!({"by": "j.doe", "why": "spoke with the practice"}).to_string();
        let answer = request.body(body).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
        self.world.settle().await;
    }

    async fn command(&self, command: &Value) -> Value {
        let id = command["id"].as_str().expect("an id");
        let answer = get(format!("http://{}/v1/commands/{id}", self.world.http)).await;
        answer.json().await.expect("JSON")
    }

    fn asked(&self) -> usize {
        self.world.simulator.calls().into_iter().filter(|call| *call == "PDS").count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_who_is_confirmed_is_referred_and_asked_about_once_in_minutes() {
    let checked = Checked::start().await;
    for local_id in ["P1", "P2", "P3"] {
        assert_eq!(checked.refer(local_id, |_| {}).await["state"], "completed");
    }
    assert_eq!(checked.asked(), 1, "the finding is kept");
    // Other demographics are another question.
    let married = checked.refer("P4", |body| body["patient"]["gender"] = json!("unknown")).await;
    assert_eq!((married["state"].as_str(), checked.asked()), (Some("completed"), 2));
    // And an HL7 message as well as a command.
    let answer = MllpSender::new(checked.world.mllp).deliver(&sample("01-")).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA");
    checked.world.settle().await;
    assert_eq!(checked.world.simulator.created(), 5);
    checked.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_referred_whom_pds_does_not_confirm() {
    type Change = fn(&mut Value);
    let cases: &[(&str, Change, Change)] = &[
        (
            "PATIENT_DIFFERS",
            |body| {
                body["patient"]["family"] = json!("Fauxley");
                body["patient"]["birthDate"] = json!("1981-11-02");
            },
            |_| {},
        ),
        ("BIRTH_DATE_DIFFERS", |body| body["patient"]["birthDate"] = json!("1957-03-15"), |_| {}),
        ("FAMILY_NAME_DIFFERS", |body| body["patient"]["family"] = json!("Fauxley"), |_| {}),
        ("PATIENT_INCOMPLETE", |body| body["patient"] = json!({"nhsNumber": ADELINE}), |_| {}),
        (
            "PATIENT_DIED",
            |_| {},
            |record| {
                record["deceasedDateTime"] = json!("2026-01-02T00:00:00+00:00");
                record["extension"] = json!([{
                "url": "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-DeathNotificationStatus",
                "extension": [{"url": "deathNotificationStatus", "valueCodeableConcept": {"coding": [{"code": "2"}]}}]}]);
            },
        ),
        ("PATIENT_RESTRICTED", |_| {}, |record| record["meta"]["security"][0]["code"] = json!("R")),
        // A record that holds hides no other person behind it.
        (
            "PATIENT_DIFFERS",
            |body| {
                body["patient"]["family"] = json!("Fauxley");
                body["patient"]["birthDate"] = json!("1981-11-02");
            },
            |record| record["meta"]["security"][0]["code"] = json!("R"),
        ),
    ];
    for (code, claim, change) in cases {
        let checked = Checked::start().await;
        checked.world.simulator.change_patient(ADELINE, ADELINE, change);
        let command = checked.refer("P1", claim).await;
        assert_eq!((&command["state"], &command["why"]["code"]), (&json!("failed"), &json!(code)), "{command}");
        assert_eq!((checked.world.simulator.created(), checked.world.calls()), (0, Vec::new()), "{code}");
        let told = command.to_string();
        for private in ["Testerton", "TESTERTON", ADELINE, "1957", "2026-01-02"] {
            assert!(!told.contains(private), "{code}: {told}");
        }
        checked.world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_and_a_withdrawn_number_are_told_apart() {
    let checked = Checked::start().await;
    let unknown = checked.refer("P1", |body| body["patient"]["nhsNumber"] = json!("9994128256")).await;
    assert_eq!(unknown["why"]["code"], "NUMBER_UNKNOWN", "{unknown}");
    checked.world.simulator.withdraw_patient(ADELINE);
    let withdrawn = checked.refer("P2", |_| {}).await;
    assert_eq!(withdrawn["why"]["code"], "RECORD_WITHDRAWN", "{withdrawn}");
    assert_eq!(checked.world.simulator.created(), 0);
    checked.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merged_number_is_followed_and_the_sender_hears_of_it() {
    let checked = Checked::start().await;
    let survivor = "9994129627";
    checked.world.simulator.change_patient(ADELINE, ADELINE, |record| record["id"] = json!(survivor));
    assert_eq!(checked.refer("P1", |_| {}).await["state"], "completed");
    assert_eq!(checked.world.simulator.creations()[0].nhs_number.as_ref(), survivor);
    let events = get(format!("http://{}/v1/events?after=0", checked.world.http)).await;
    let events: Value = events.json().await.expect("JSON");
    let merged = &events["events"][0];
    assert_eq!((&merged["type"], &merged["data"]["nhsNumber"]), (&json!("PatientNumberSuperseded"), &json!(survivor)));
    assert_eq!(merged["data"]["localId"], "P1", "{merged}");
    checked.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merged_number_is_held_while_another_referral_of_the_patient_is_not_finished() {
    let checked = Checked::start().await;
    let open = checked.refer("P1", |body| body["patient"]["birthDate"] = json!("1957-03-15")).await;
    assert_eq!(open["why"]["code"], "BIRTH_DATE_DIFFERS", "a person has to look");
    let survivor = "9994129627";
    checked.world.simulator.change_patient(ADELINE, ADELINE, |record| record["id"] = json!(survivor));
    let held = checked.refer("P2", |_| {}).await;
    assert_eq!((&held["state"], &held["why"]["code"]), (&json!("failed"), &json!("PATIENT_OPEN_ELSEWHERE")), "{held}");
    let text = held["why"]["text"].as_str().expect("a text");
    assert!(text.contains(open["id"].as_str().expect("an id")) && !text.contains(survivor), "{text}");
    assert_eq!(checked.world.simulator.created(), 0);
    // It was not the same referral: both are as a person says, and nothing is open any more.
    checked.replay(&held).await;
    assert_eq!(checked.command(&held).await["state"], "completed");
    let url = format!("http://{}/v1/commands/{}/discard", checked.world.http, open["id"].as_str().expect("an id"));
    let body = json!({"by": "j.doe", "why": "sent with a slip of the pen"}).to_string();
    let discarded = client().post(url).header("content-type", "application/json").body(body).send().await;
    assert_eq!(discarded.expect("an answer").status(), 200);
    assert_eq!(checked.refer("P3", |_| {}).await["state"], "completed");
    let numbers: Vec<String> =
        checked.world.simulator.creations().iter().map(|made| made.nhs_number.to_string()).collect();
    assert_eq!(numbers, [survivor, survivor]);
    checked.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_was_told_may_release_what_is_held_but_never_what_is_refused() {
    let checked = Checked::start().await;
    let held = checked.refer("P1", |body| body["patient"]["birthDate"] = json!("1957-03-15")).await;
    checked.replay(&held).await;
    assert_eq!(checked.command(&held).await["state"], "completed");
    assert_eq!(checked.world.simulator.created(), 1);
    let refused = checked.refer("P2", |body| body["patient"]["nhsNumber"] = json!("9994128256")).await;
    checked.replay(&refused).await;
    let refused = checked.command(&refused).await;
    assert_eq!((&refused["state"], &refused["why"]["code"]), (&json!("failed"), &json!("NUMBER_UNKNOWN")));
    assert_eq!(checked.world.simulator.created(), 1);
    checked.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_released_is_asked_about_again_and_held_for_what_is_new() {
    let checked = Checked::start().await;
    let held = checked.refer("P1", |body| body["patient"]["birthDate"] = json!("1957-03-15")).await;
    assert_eq!((held["why"]["code"].as_str(), checked.asked()), (Some("BIRTH_DATE_DIFFERS"), 1));
    // While a person looks, the record becomes restricted; then the patient dies.
    checked
        .world
        .simulator
        .change_patient(ADELINE, ADELINE, |record| record["meta"]["security"][0]["code"] = json!("R"));
    checked.replay(&held).await;
    let again = checked.command(&held).await;
    assert_eq!((again["why"]["code"].as_str(), checked.asked()), (Some("PATIENT_RESTRICTED"), 2), "{again}");
    checked.world.simulator.change_patient(ADELINE, ADELINE, |record| {
        record["extension"] = json!([{
            "url": "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-DeathNotificationStatus",
            "extension": [{"url": "deathNotificationStatus", "valueCodeableConcept": {"coding": [{"code": "2"}]}}]}]);
    });
    checked.replay(&held).await;
    let died = checked.command(&held).await;
    assert_eq!((died["why"]["code"].as_str(), checked.asked()), (Some("PATIENT_DIED"), 3), "{died}");
    assert_eq!(checked.world.simulator.created(), 0);
    checked.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pds_that_is_away_is_waited_for_and_one_that_refuses_us_is_told() {
    let checked = Checked::start().await;
    checked.world.simulator.inject(Fault::on("PDS", Action::answer(503)).times(2));
    assert_eq!(checked.refer("P1", |_| {}).await["state"], "completed");
    assert_eq!(checked.asked(), 3);
    // A token that is not taken is replaced once; a second refusal is a matter of set-up.
    checked.world.simulator.inject(Fault::on("PDS", Action::answer(401)).times(1));
    let other = |body: &mut Value| body["patient"]["gender"] = json!("unknown");
    assert_eq!(checked.refer("P2", other).await["state"], "completed");
    checked.world.simulator.inject(Fault::on("PDS", Action::answer(403)).times(1));
    let refused = checked.refer("P3", |body| body["patient"]["gender"] = json!("other")).await;
    assert_eq!((&refused["state"], &refused["why"]["code"]), (&json!("failed"), &json!("PDS_REFUSED")), "{refused}");
    assert_eq!(checked.world.simulator.created(), 2);
    checked.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_nothing_for_a_patient_asks_nobody() {
    let checked = Checked::start().await;
    let command = checked.post("RetrieveReferenceData", json!({"codeSystem": "PRIORITY"})).await;
    assert_eq!((command["state"].as_str(), checked.asked()), (Some("completed"), 0));
    checked.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_checks_the_sender_must_say_who_is_meant() {
    let world = World::with(|config| config.environment = EnvironmentName::Int).await;
    let url = format!("http://{}/v1/commands/CreateReferral?source=northmoor", world.http);
    let ask = async |body: Value| {
        let request = client().post(&url).header("content-type", "application/json");
        let answer = request.header("prefer", "wait=20").body(body.to_string()).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
    };
    let (status, problem) = ask(create("P1", ADELINE)).await;
    let pointers: Vec<&Value> =
        problem["problems"].as_array().into_iter().flatten().map(|one| &one["pointer"]).collect();
    assert_eq!((status, pointers), (422, vec![&json!("/patient/family"), &json!("/patient/birthDate")]), "{problem}");
    let mut complete = create("P2", ADELINE);
    complete["patient"] = json!({"nhsNumber": ADELINE, "family": "Testerton", "birthDate": "1957-03-14"});
    let (status, answer) = ask(complete).await;
    assert_eq!((status, &answer["commands"][0]["state"]), (200, &json!("completed")), "{answer}");
    world.stop().await;
}
