//! Marked patients go through everything, refusals and failures too; then every log line down to `trace`, metric, error
//! body, acknowledgement and header of a dead letter is searched for them, and so are the files of the store and a backup.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Action, Fault, Simulator, SimulatorConfig, SimulatorHandle};
use lapin::BasicProperties;
use serde_json::{Value, json};

use crate::support::canary::{Patient, leaks};
use crate::support::consumer::listen;
use crate::support::rabbitmq::{Client, RabbitMq};
use crate::support::referrals::Patients;
use crate::support::sender::{MllpSender, framed};
use crate::support::serve::{Serve, TRIAGE};
use crate::support::waiting::{client, get, until};

const EXCHANGE: &str = "ers.events";
const EVENTS: &str = "events";
const INPUT: &str = "referrals";
const SOON: Duration = Duration::from_secs(30);
/// A watch looks once a minute at most.
const LOOKED_AT_WITHIN: Duration = Duration::from_secs(90);

struct Canary {
    ers: SimulatorHandle,
    gateway: Serve,
    broker: Client,
    numbers: Patients,
    patients: Vec<Patient>,
    /// What came out, and where.
    heard: Vec<(String, Vec<u8>)>,
}

fn marked(numbers: &Patients, patients: &mut Vec<Patient>) -> Patient {
    let patient = Patient::marked(&format!("N{}x", patients.len()), numbers.next());
    patients.push(patient.clone());
    patient
}

impl Canary {
    async fn start(node: &RabbitMq, format: &str) -> Self {
        let simulator = SimulatorConfig { scan_delay: Duration::ZERO, ..SimulatorConfig::default() };
        let ers = Simulator::start(simulator, Environment::system()).expect("port 0 is free");
        let broker = node.client().await;
        let exchange = format!("{EXCHANGE}.{format}");
        let (events, input) = (format!("{EVENTS}.{format}"), format!("{INPUT}.{format}"));
        listen(&broker, &exchange, &events).await;
        broker.declare(&input).await;
        broker.declare(&format!("{input}.rejected")).await;
        let mut gateway = Serve::new(&ers);
        gateway.settings["log"] = json!({"format": format, "filter": "trace"});
        gateway.settings["broker"] = json!({
            "urls": [node.url()],
            "exchange": exchange,
            "inputs": [{"queue": input, "source": "southbeck", "dead_letter_exchange": format!("{input}.dlx")}],
        });
        gateway.source("eastvale")["reply"] = json!("result");
        gateway.source("eastvale")["reply_wait"] = json!("3s");
        gateway.source("westmere")["mode"] = json!("shadow");
        gateway.watches_triage();
        let dms = gateway.folder.path().join("dms");
        std::fs::create_dir(&dms).expect("a folder");
        gateway.settings["documents"] = json!({"in_events": "inline", "folders": [
            {"name": "dms", "path": dms, "tells": ["triage"]},
            {"name": "not-mounted", "path": dms.join("not-mounted"), "tells": ["triage"]},
        ]});
        gateway.start_and_wait().await;
        Self { ers, gateway, broker, numbers: Patients::new(), patients: Vec::new(), heard: Vec::new() }
    }

    fn patient(&mut self) -> Patient {
        marked(&self.numbers, &mut self.patients)
    }

    /// Sends a message and keeps its answer.
    async fn mllp(&mut self, what: &str, message: &[u8]) -> Vec<u8> {
        let mut sender = MllpSender::new(self.gateway.mllp);
        let answer = sender.deliver_once(message).await;
        // A typed reply (RRI) repeats the sender's own PID and PRD, as its structure demands; what the gateway
        // wrote itself is searched.
        let sent: Vec<&[u8]> = message.split(|byte| *byte == b'\r').collect();
        let written: Vec<&[u8]> = answer.split(|byte| *byte == b'\r').filter(|line| !sent.contains(line)).collect();
        self.heard.push((format!("the answer to {what}"), written.join(&b'\r')));
        answer
    }

    async fn http(&mut self, what: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> u16 {
        let client = client();
        let mut request = client.post(self.gateway.url(path)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.expect("a body").to_vec();
        self.heard.push((format!("{status} to {what}"), bytes));
        status
    }

    async fn get(&mut self, path: &str) {
        let answer = get(self.gateway.url(path)).await;
        let bytes = answer.bytes().await.expect("a body").to_vec();
        self.heard.push((format!("GET {path}"), bytes));
    }

    /// Dead letters hold the message, as they must; their headers are for everybody.
    async fn queue(&mut self, format: &str, what: &str, properties: BasicProperties, body: &[u8], refused: bool) {
        let input = format!("{INPUT}.{format}");
        self.broker.send(&input, properties, body).await;
        if refused {
            let dead = self.broker.take(&format!("{input}.rejected"), SOON).await.expect("a dead letter");
            let headers = format!("{:?}", dead.properties.headers());
            self.heard.push((format!("the headers of {what}"), headers.into_bytes()));
        }
    }
}

/// A REF^I12 of Northmoor with everything that may be said of a patient.
fn northmoor(control_id: &str, patient: &Patient, change: impl Fn(String) -> String) -> Vec<u8> {
    let Patient { nhs_number, family, given, street, telephone, hospital_number, note, letter, file_name } = patient;
    let message = format!(
        "MSH|^~\\&|NMPAS|RXX00|ERSGW|RXX00|20260316093015||REF^I12|{control_id}|P|2.3||||||UNICODE UTF-8\r\
         RF1|P|3|110^TRAUMA|AM|O|NM-{control_id}|20260316|||{note}\r\
         PRD|RP|FABRIKATOR^OLIVIA^^^DR|1 MADE UP STREET^^TESTFORD|^^^Z99001||555012345678^SDS~G9912345^GMP\r\
         PRD|RT|KNEE CLINIC A|||^^^RXX01|20001^ERS\r\
         PID|1|{nhs_number}|{hospital_number}||{family}^{given}^MAE^^MRS||19570314|F|||{street}^^T^^ZZ99 1ZZ||{telephone}\r\
         DG1|1|READ|N245.|{note}|20260301\r\
         NTE|1|P|{note}\r\
         OBX|1|FT|LETTER^{file_name}^L||{letter}||||||F\r\
         PV1|1|O\r"
    );
    change(message).into_bytes()
}

/// The same of Eastvale, v2.4, or of another sender that speaks the default dialect.
fn v24(application: &str, facility: &str, control_id: &str, patient: &Patient) -> Vec<u8> {
    let Patient { nhs_number, family, given, street, telephone, hospital_number, note, letter, file_name } = patient;
    let letter = STANDARD.encode(letter);
    format!(
        "MSH|^~\\&|{application}|{facility}|ERSGW|RXX00|20260316093015||REF^I12^REF_I12|{control_id}|P|2.4|||||GBR|UNICODE UTF-8\r\
         RF1|P|R^Routine^HL70280|110^TRAUMA|AM|O|EV-{control_id}^{application}|20260316||||\r\
         PRD|RP|FABRIKATOR^OLIVIA^^^DR|1 MADE UP STREET^^TESTFORD||||555012345678^SDS^SDSID~G9912345^GMP|20260316\r\
         PRD|RT||||||20011^ERS^ERSSVC\r\
         PID|1||{nhs_number}^^^NHS^NH~{hospital_number}^^^RYY00^MR||{family}^{given}^^^MR||19811102|M|||{street}^^T^N^ZZ99 2ZZ^GBR^H||{telephone}{}NSTS01\r\
         NTE|1|P|{note}\r\
         ZRX|REFER|ROUTINE|CARDIOLOGY|CHEST_PAIN|NEED_TO_ADD_LATER|0|X99|RYY0000000000EV55210|RYY00|20260316\r\
         ZRS|1|20011|Rapid chest pain clinic|RYY01|DBS|Y\r\
         OBX|1|ED|REFL^{file_name}^LOCAL||EV^TEXT^plain^Base64^{letter}||||||F\r",
        "|".repeat(19)
    )
    .into_bytes()
}

fn command(patient: &Patient, local_id: &str) -> Value {
    let Patient { nhs_number, family, given, letter, file_name, .. } = patient;
    json!({
        "localId": local_id,
        "patient": {"nhsNumber": nhs_number, "family": family, "given": given, "birthDate": "1957-03-14"},
        "referrer": {"sdsUserId": "555012345678"},
        "priority": "ROUTINE",
        "specialty": "TRAUMA_AND_ORTHOPAEDICS",
        "clinicType": "NOT_OTHERWISE_SPECIFIED",
        "shortlist": [{"service": "20001"}],
        "letterIntention": "NEED_TO_ADD_LATER",
        "firstReminderDays": 0,
        "letters": [{
            "fileName": format!("{file_name}.txt"),
            "contentType": "text/plain",
            "base64": STANDARD.encode(letter),
        }],
    })
}

const JSON: (&str, &str) = ("content-type", "application/json");
const HL7: (&str, &str) = ("content-type", "application/hl7-v2; charset=utf-8");

/// Good and bad messages of every kind over MLLP.
async fn by_mllp(canary: &mut Canary) {
    let good = canary.patient();
    let answer = canary.mllp("a good message", &northmoor("GOOD-1", &good, |m| m)).await;
    assert!(String::from_utf8_lossy(&answer).contains("MSA|AA|"), "{}", String::from_utf8_lossy(&answer));
    canary.mllp("its resend", &northmoor("GOOD-1", &good, |m| m)).await;
    canary.mllp("its control id with other content", &northmoor("GOOD-1", &good, |m| m.replace("|F|", "|M|"))).await;
    canary
        .mllp(
            "the same with a change",
            &northmoor("GOOD-2", &good, |m| m.replace("RF1|P|3|", "RF1|P|2|").replace("NM-GOOD-2", "NM-GOOD-1")),
        )
        .await;
    type Change = fn(String, &Patient) -> String;
    let changes: [(&str, Change); 12] = [
        ("a wrong NHS number", |m, p| {
            let check = p.nhs_number.as_bytes()[9];
            let wrong = format!("{}{}", &p.nhs_number[..9], if check == b'9' { '0' } else { char::from(check + 1) });
            m.replace(&p.nhs_number, &wrong)
        }),
        ("a name for an NHS number", |m, p| m.replace(&p.nhs_number, &p.given)),
        ("a name for a birth date", |m, p| m.replace("19570314", &p.given)),
        ("a name for a sex", |m, p| m.replace("|F|||", &format!("|{}|||", p.given))),
        ("a name for a service", |m, p| m.replace("20001^ERS", &format!("{}^ERS", p.given))),
        ("a name for a referrer", |m, p| m.replace("555012345678^SDS", &format!("{}^SDS", p.given))),
        ("a note for a letter's status", |m, p| m.replace("||||||F", &format!("||||||{}", p.note))),
        ("segments in no order", |m, p| m.replace("DG1|", &format!("{}|x\rDG1|", p.family))),
        ("a letter as a pointer", |m, p| {
            m.replace("OBX|1|FT|LETTER", "OBX|1|RP|DOC").replace(&p.letter, &format!("http://{}.example/", p.letter))
        }),
        ("a letter that is not base64", |m, p| {
            m.replace("OBX|1|FT|LETTER", "OBX|1|ED|DOC")
                .replace(&p.letter, &format!("NM^TEXT^plain^Base64^{}!", p.letter))
        }),
        ("an unknown version", |m, _| m.replace("|P|2.3|", "|P|9.9|")),
        ("an unknown trigger", |m, _| m.replace("REF^I12", "REF^I99")),
    ];
    for (number, (what, change)) in changes.iter().enumerate() {
        let patient = canary.patient();
        let message = northmoor(&format!("BAD-{number}"), &patient, |m| change(m, &patient));
        canary.mllp(what, &message).await;
    }
    let patient = canary.patient();
    let text = String::from_utf8(northmoor("CHARSET", &patient, |m| m)).expect("UTF-8");
    let mut broken = text.into_bytes();
    let name = broken.windows(3).position(|window| window == b"MAE").expect("her second name");
    broken[name] = 0xff;
    canary.mllp("text that is not UTF-8", &broken).await;
    let patient = canary.patient();
    canary.mllp("an unknown sender", &v24("NOBODY", "ZZZ99", "X-1", &patient)).await;
    let patient = canary.patient();
    let batch =
        [b"FHS|^~\\&|NMPAS|RXX00\rBHS|^~\\&|NMPAS|RXX00\r".to_vec(), northmoor("B-1", &patient, |m| m)].concat();
    canary.mllp("a batch without its end", &batch).await;
    // What is not HL7 v2, and frames cut short: nothing to answer to.
    let patient = canary.patient();
    let mut stream = tokio::net::TcpStream::connect(canary.gateway.mllp).await.expect("it listens");
    let junk = [patient.family.as_bytes(), &framed(patient.note.as_bytes()), b"\x0bMSH|", patient.given.as_bytes()];
    tokio::io::AsyncWriteExt::write_all(&mut stream, &junk.concat()).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// e-RS refuses, echoing what it was told; loses answers; is answered by rubbish.
async fn through_ers(canary: &mut Canary) {
    type Trouble = (&'static str, fn(&Patient) -> Action);
    let troubles: [Trouble; 7] = [
        ("A011", |p| Action::Answer {
            status: 422,
            code: Some("REFERENCE_NOT_FOUND".into()),
            diagnostics: Some(format!("{} {} {} was not found", p.nhs_number, p.family, p.note)),
            retry_after: None,
            body: None,
        }),
        ("A011", |p| Action::Answer {
            status: 422,
            code: Some(p.family.clone()),
            diagnostics: Some(p.nhs_number.clone()),
            retry_after: None,
            body: None,
        }),
        ("A011", |p| Action::Answer {
            status: 400,
            code: None,
            diagnostics: None,
            retry_after: None,
            body: Some(format!("<html>{} {}</html>", p.family, p.nhs_number)),
        }),
        ("A011", |p| Action::Answer {
            status: 500,
            code: None,
            diagnostics: Some(format!("{} {}", p.family, p.nhs_number)),
            retry_after: None,
            body: None,
        }),
        ("A011", |p| Action::Answer {
            status: 201,
            code: None,
            diagnostics: None,
            retry_after: None,
            body: Some(format!("{{\"resourceType\": \"{}\", \"id\": \"{}\"}}", p.family, p.nhs_number)),
        }),
        ("A011", |_| Action::lost_answer()),
        ("A020", |p| Action::Answer {
            status: 422,
            code: Some("FILE_SIZE_ERROR".into()),
            diagnostics: Some(format!("{} {}", p.file_name, p.letter)),
            retry_after: None,
            body: None,
        }),
    ];
    for (number, (call, action)) in troubles.iter().enumerate() {
        let patient = canary.patient();
        canary.ers.inject(Fault::on(call, action(&patient)).times(1));
        canary.mllp(&format!("trouble {number}"), &v24("EASTVALE", "RYY00", &format!("T-{number}"), &patient)).await;
        canary.ers.clear_faults();
    }
    let patient = canary.patient();
    canary.mllp("a message in shadow mode", &v24("WMCARE", "7XX00", "SHADOW-1", &patient)).await;
}

async fn by_http(canary: &mut Canary) {
    const CREATE: &str = "/v1/commands/CreateReferral?source=northmoor";
    let patient = canary.patient();
    let body = command(&patient, "C-1").to_string();
    let status = canary.http("a command", CREATE, &[JSON, ("prefer", "wait=10")], body.clone().into()).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&canary.heard.last().expect("heard").1));
    type Change = fn(&mut Value, &Patient);
    let changes: [(&str, Change); 7] = [
        ("a name for a number", |c, p| c["patient"]["nhsNumber"] = p.family.as_str().into()),
        ("an unknown member", |c, p| c["patient"][p.family.as_str()] = p.note.as_str().into()),
        ("an unknown member at the top", |c, p| c[p.note.as_str()] = json!(1)),
        ("a member of another type", |c, p| c["patient"]["family"] = json!([p.family])),
        ("a name for a date", |c, p| c["patient"]["birthDate"] = p.family.as_str().into()),
        ("a name for a code", |c, p| c["priority"] = p.given.as_str().into()),
        ("a letter that is not base64", |c, p| c["letters"][0]["base64"] = format!("{}!", p.letter).into()),
    ];
    for (number, (what, change)) in changes.iter().enumerate() {
        let patient = canary.patient();
        let mut body = command(&patient, &format!("C-BAD-{number}"));
        change(&mut body, &patient);
        let status = canary.http(what, CREATE, &[JSON], body.to_string().into()).await;
        assert!(status == 422 || status == 400, "{what}: {status}");
    }
    let patient = canary.patient();
    canary.http("cut JSON", CREATE, &[JSON], command(&patient, "CUT").to_string().into_bytes()[..90].to_vec()).await;
    let unquoted = format!("{{\"patient\": {}}}", patient.family);
    canary.http("JSON without quotes", CREATE, &[JSON], unquoted.into()).await;
    let key = patient.given.repeat(40);
    canary.http("a long key", CREATE, &[JSON, ("idempotency-key", &key)], b"{}".to_vec()).await;
    canary.http("a strange content type", CREATE, &[("content-type", &patient.given)], b"{}".to_vec()).await;
    canary.http("an unknown command", &format!("/v1/commands/{}", patient.given), &[JSON], b"{}".to_vec()).await;
    canary
        .http(
            "an unknown source",
            &format!("/v1/commands/CreateReferral?source={}", patient.given),
            &[JSON],
            b"{}".to_vec(),
        )
        .await;
    canary
        .http("an unknown setting", &format!("{CREATE}&{}={}", patient.given, patient.note), &[JSON], b"{}".to_vec())
        .await;
    for path in ["/", "/v1/messages/", "/v1/commands/", "/v1/events?after=", "/v1/messages?source=", "/v1/messages?"] {
        canary.get(&format!("{path}{}", patient.given)).await;
    }
    let patient = canary.patient();
    canary.http("HL7 v2", "/v1/hl7v2", &[HL7], northmoor("H-1", &patient, |m| m)).await;
    let patient = canary.patient();
    canary.http("bad HL7 v2", "/v1/hl7v2", &[HL7], northmoor("H-2", &patient, |m| m.replace("PRD|RT", "ZRT|RT"))).await;
    canary.http("no HL7 v2", "/v1/hl7v2/northmoor", &[HL7], patient.note.clone().into()).await;
}

/// A referral whose letter a watch fetches, at its next look.
async fn with_a_letter(canary: &mut Canary) {
    let patient = canary.patient();
    let mut body = command(&patient, "D-1");
    body["shortlist"][0]["service"] = TRIAGE.into();
    let made = canary.ers.creations().len();
    let create = "/v1/commands/CreateReferral?source=northmoor";
    assert_eq!(canary.http("a command", create, &[JSON, ("prefer", "wait=10")], body.to_string().into()).await, 200);
    let ubrn = canary.ers.creations()[made].ubrn.to_string();
    assert!(canary.ers.send_for_triage(&ubrn, TRIAGE));
}

/// Its letter: in events and a folder, where it belongs, and nowhere else.
async fn documents(canary: &mut Canary) {
    let dms = canary.gateway.folder.path().join("dms");
    let names = || std::fs::read_dir(&dms).expect("a folder").filter_map(|one| Some(one.ok()?.file_name()));
    until("letter and index", LOOKED_AT_WITHIN, || names().count() == 2).await;
    let names = names().map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>();
    canary.heard.push(("names in the folder".to_owned(), names.join("\n").into_bytes()));
    let began = Instant::now();
    loop {
        canary.get("/v1/dispatches").await;
        let listed = String::from_utf8_lossy(&canary.heard.last().expect("heard").1).into_owned();
        if listed.contains("not-mounted") && listed.contains("cannot be written") {
            break;
        }
        assert!(began.elapsed() < LOOKED_AT_WITHIN, "{listed}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn by_amqp(canary: &mut Canary, format: &str) {
    let hl7 = || BasicProperties::default().with_content_type("application/hl7-v2; charset=utf-8".into());
    let json = || BasicProperties::default().with_content_type("application/json".into());
    let create = || json().with_type("CreateReferral".into());
    let patient = canary.patient();
    canary.queue(format, "a good command", create(), command(&patient, "Q-1").to_string().as_bytes(), false).await;
    let mut bad = command(&patient, "Q-2");
    bad["patient"]["nhsNumber"] = patient.family.as_str().into();
    canary.queue(format, "a bad command", create(), bad.to_string().as_bytes(), true).await;
    canary.queue(format, "no JSON", create(), patient.note.as_bytes(), true).await;
    canary.queue(format, "an unknown command", json().with_type(patient.given.as_str().into()), b"{}", true).await;
    canary
        .queue(
            format,
            "a strange type",
            BasicProperties::default().with_content_type(patient.given.as_str().into()),
            b"{}",
            true,
        )
        .await;
    canary.queue(format, "no HL7 v2", hl7(), patient.note.as_bytes(), true).await;
    let patient = canary.patient();
    let message = String::from_utf8(v24("SBEPR", "RXX00", "Q-3", &patient)).expect("UTF-8");
    canary.queue(format, "a good message", hl7(), message.as_bytes(), false).await;
    let bad = message.replace("|Q-3|", "|Q-4|").replace(&patient.nhs_number, &patient.given);
    canary.queue(format, "a bad message", hl7(), bad.as_bytes(), true).await;
}

/// What events may say: file names and local identifiers, nothing else of a message.
async fn events(canary: &mut Canary, format: &str) {
    let mut events = Vec::new();
    while let Some(delivery) = canary.broker.take(&format!("{EVENTS}.{format}"), Duration::from_secs(1)).await {
        let mut event: Value = serde_json::from_slice(&delivery.data).expect("JSON");
        // A watch tells whose referral it is, and of its letters.
        if event["source"] == "/sources/triage" {
            continue;
        }
        for letter in event["data"]["letters"].as_array_mut().into_iter().flatten() {
            letter["fileName"] = Value::Null;
        }
        events.push(event.to_string());
    }
    assert!(events.len() > 20, "{events:?}");
    canary.heard.push(("an event".to_owned(), events.join("\n").into_bytes()));
}

/// With encryption, nobody reads anything in the store, its log or a backup.
fn store_files(canary: &mut Canary) {
    let folder = canary.gateway.folder.path();
    let (store, backup) = (folder.join("gateway.db"), folder.join("backup.db"));
    ers_gateway::store::back_up_file(&store, &backup).expect("backed up");
    for name in ["gateway.db", "gateway.db-wal", "backup.db"] {
        let Ok(bytes) = std::fs::read(folder.join(name)) else { continue };
        canary.heard.push((format!("the file {name}"), bytes));
    }
    assert!(canary.heard.iter().any(|(name, bytes)| name == "the file backup.db" && bytes.len() > 100_000));
}

async fn nothing_of_a_patient_is_told(format: &str) {
    let node = RabbitMq::shared();
    let mut canary = Canary::start(node, format).await;
    with_a_letter(&mut canary).await;
    by_mllp(&mut canary).await;
    through_ers(&mut canary).await;
    by_http(&mut canary).await;
    by_amqp(&mut canary, format).await;
    documents(&mut canary).await;
    canary.gateway.settle(SOON).await;
    for path in ["/metrics", "/health/live", "/health/ready", "/openapi.json", "/v1/audit?limit=1000"] {
        canary.get(path).await;
    }
    // Once more what was under way: recovery has its say too.
    canary.gateway.kill();
    for name in ["gateway.db", "gateway.db-wal"] {
        let bytes = std::fs::read(canary.gateway.folder.path().join(name)).expect("a crash left it");
        canary.heard.push((format!("the file {name} after a crash"), bytes));
    }
    canary.gateway.start_and_wait().await;
    canary.get("/metrics").await;
    assert!(canary.gateway.stop().await.success());
    events(&mut canary, format).await;

    store_files(&mut canary);
    let log = canary.gateway.log();
    assert!(log.lines().count() > 50, "hardly anything was logged:\n{log}");
    assert_eq!(log.lines().next().is_some_and(|line| line.starts_with('{')), format == "json", "{format}");
    canary.heard.push(("the log".to_owned(), log.into_bytes()));
    let found: Vec<String> = canary.heard.iter().flat_map(|(name, text)| leaks(&canary.patients, name, text)).collect();
    assert!(found.is_empty(), "{} leaks:\n{}", found.len(), found.join("\n"));
    canary.ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_patient_is_named_in_json_logs_metrics_errors_and_answers() {
    nothing_of_a_patient_is_told("json").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_patient_is_named_in_text_logs_metrics_errors_and_answers() {
    nothing_of_a_patient_is_told("text").await;
}
