//! Whole stories: two hospitals, a gateway for each, and one e-RS between them. HL7 v2 goes in at one end and comes out at the
//! other, into a system whose HL7 libraries are not ours (`tests/pas`), and nothing happens twice.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ers_gateway::config::{Config, Destination, FirstSight, Mode, Watch};
use ers_gateway::environment::Environment;
use ers_gateway::gateway::{Gateway, ListenerKind, RunningGateway};
use ers_gateway::mapping::{Effect, MappingSet};
use ers_gateway::simulator::services::{Flow, Slot};
use ers_gateway::simulator::{Simulator, SimulatorConfig, SimulatorHandle, demonstration};
use ers_gateway::store::{DispatchFilter, DispatchState, DispatchView};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::support::consumer::listen;
use crate::support::pas::Pas;
use crate::support::rabbitmq::{Client, RabbitMq};
use crate::support::sender::{MllpSender, contains, field};
use crate::support::waiting::get;
use crate::support::world::settings;

const SOON: Duration = Duration::from_secs(30);
const LOOKS: Duration = Duration::from_secs(1);
/// Westport's, as those below.
const TRIAGE: &str = "20041";
const CLINIC: &str = "20012";
const ADVICE: &str = "20081";
const SLOT: &str = "20012001";
const PATIENT: &str = "9994121405";
const CLINICIAN: &str = "555012340001";

/// A queue that hears all that a hospital's gateway publishes.
struct Queue {
    broker: Client,
    name: String,
    heard: Mutex<Vec<Value>>,
}

impl Queue {
    async fn bound(node: &RabbitMq, exchange: &str) -> Self {
        let (broker, name) = (node.client().await, format!("{exchange}.all"));
        listen(&broker, exchange, &name).await;
        Self { broker, name, heard: Mutex::default() }
    }

    /// All so far. What comes again is the same event.
    async fn heard(&self) -> Vec<Value> {
        let mut heard = self.heard.lock().await;
        while let Some(delivery) = self.broker.take(&self.name, Duration::ZERO).await {
            let event: Value = serde_json::from_slice(&delivery.data).expect("JSON");
            match heard.iter().find(|known| known["id"] == event["id"]) {
                Some(known) => assert_eq!(*known, event),
                None => heard.push(event),
            }
        }
        heard.clone()
    }
}

/// One hospital: its gateway and its PAS, which is told what its watch sees.
struct Hospital {
    /// Where its events are read; without a broker, in the feed.
    queue: Option<Queue>,
    gateway: RunningGateway,
    mllp: SocketAddr,
    http: SocketAddr,
    pas: Pas,
    watch: &'static str,
    _folder: tempfile::TempDir,
}

impl Hospital {
    async fn start(
        (ers, node): (&SimulatorHandle, Option<&RabbitMq>),
        source: &str,
        application: &str,
        facility: &str,
        watch: Watch,
    ) -> Self {
        let pas = Pas::start(application, facility).await;
        let exchange = format!("ers.events.{source}");
        let queue = match node {
            Some(node) => Some(Queue::bound(node, &exchange).await),
            None => None,
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let name = if source == "westport" { "provider" } else { "referrer" };
        let config = settings(ers, folder.path(), |config: &mut Config| {
            config.sources.retain(|one| one.name == source);
            config.connections.retain(|one| one.name == source);
            let mut told = Destination {
                tells: vec![name.into()],
                application: Some(application.into()),
                facility: Some(facility.into()),
                ..Destination::at("pas", &pas.address.to_string())
            };
            told.settings = json!({"documents": "inline", "appointments": true, "directlyBookableAppointments": true})
                .as_object()
                .expect("settings")
                .clone();
            config.destinations.push(told);
            config.broker = node.map(|node| {
                serde_json::from_value(json!({"urls": [node.url()], "exchange": exchange})).expect("settings")
            });
            config.watches.push(Watch { name: name.into(), connection: source.into(), ..watch });
        });
        let gateway = Gateway::start(config, Environment::system()).await.expect("the gateway starts");
        let address = |kind| gateway.address(kind).expect("a listener of each kind");
        let (mllp, http) = (address(ListenerKind::Mllp), address(ListenerKind::Http));
        Self { queue, gateway, mllp, http, pas, watch: name, _folder: folder }
    }

    async fn says(&self, message: &str) -> Vec<u8> {
        MllpSender::new(self.mllp).deliver(message.as_bytes()).await
    }

    /// The person at this PAS decides, and its gateway takes it.
    async fn decides(&mut self, decision: Value) {
        let answer = self.pas.decide(self.mllp, decision).await;
        assert_eq!(answer["answer"], "AA", "{answer}");
    }

    /// What it has published, oldest first.
    async fn events(&self) -> Vec<Value> {
        match &self.queue {
            Some(queue) => queue.heard().await,
            None => self.fed().await,
        }
    }

    async fn fed(&self) -> Vec<Value> {
        let page = get(format!("http://{}/v1/events?after=0&limit=1000", self.http)).await;
        let page: Value = page.json().await.expect("JSON");
        page["events"].as_array().expect("a list").clone()
    }

    async fn names(&self) -> Vec<String> {
        self.events().await.iter().filter_map(|event| event["type"].as_str().map(str::to_owned)).collect()
    }

    async fn event(&self, name: &str) -> Value {
        let waiting = async {
            loop {
                if let Some(event) = self.events().await.into_iter().find(|event| event["type"] == name) {
                    return event["data"].clone();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(SOON, waiting).await;
        match found {
            Ok(data) => data,
            Err(_) => panic!("{name} is not among {:?}", self.names().await),
        }
    }

    /// Those of its watch.
    async fn seen(&self) -> Vec<String> {
        let source = format!("/sources/{}", self.watch);
        let seen = self.events().await.into_iter().filter(|event| event["source"] == source);
        seen.filter_map(|event| event["type"].as_str().map(str::to_owned)).collect()
    }

    async fn dispatches(&self) -> Vec<DispatchView> {
        let filter = DispatchFilter { max: 500, ..DispatchFilter::default() };
        self.gateway.store.dispatches(filter).await.expect("the store answers")
    }
}

/// The two of them.
struct Story {
    ers: SimulatorHandle,
    referrer: Hospital,
    provider: Hospital,
}

impl Story {
    async fn between(referrers_list: &str, providers_list: &str) -> Self {
        Self::told(None, referrers_list, providers_list).await
    }

    /// With a broker, its events are read from that.
    async fn told(node: Option<&RabbitMq>, referrers_list: &str, providers_list: &str) -> Self {
        let mut simulator = SimulatorConfig { scan_delay: Duration::ZERO, ..SimulatorConfig::default() };
        let advice = simulator.services.iter_mut().find(|service| service.id == ADVICE).expect("it is there");
        (advice.organisation, advice.organisation_name) = ("RWW00".into(), "Westport".into());
        assert!(advice.takes(Flow::Advice));
        let at = |text: &str| text.parse().expect("an instant");
        simulator.slots.push(Slot {
            id: SLOT.into(),
            service: CLINIC.into(),
            start: at("2040-05-07T09:00:00Z"),
            end: at("2040-05-07T09:30:00Z"),
            clinician: None,
        });
        let ers = Simulator::start(simulator, Environment::system()).expect("port 0 is free");
        let services = if providers_list == "ADVICE_AND_GUIDANCE_REQUESTS" { &[ADVICE][..] } else { &[TRIAGE, CLINIC] };
        let (referrers, providers) = (watch(referrers_list, &[]), watch(providers_list, services));
        let referrer = Hospital::start((&ers, node), "eastvale", "EASTVALE", "RYY00", referrers).await;
        let provider = Hospital::start((&ers, node), "westport", "WESTPORT", "RWW00", providers).await;
        Self { ers, referrer, provider }
    }

    /// How often this was called at e-RS.
    fn calls(&self, operation: &str) -> usize {
        self.ers.calls().into_iter().filter(|call| *call == operation).count()
    }

    /// Some looks later nothing more has happened: no write, no event, no message; and the PAS found no fault.
    async fn ends(self) {
        let plans = MappingSet::built_in().expect("the shipped mappings are whole");
        let is_write = |call: &str| plans.operation(call).is_some_and(|one| !matches!(one.effect, Effect::Read));
        let writes = |story: &Self| -> Vec<&'static str> {
            story.ers.calls().into_iter().filter(|call| is_write(call)).collect()
        };
        let (written, looks) = (writes(&self), self.calls("A008") + self.calls("A023"));
        let before = (self.referrer.names().await, self.provider.names().await);
        let received = (self.referrer.pas.kinds(), self.provider.pas.kinds());
        tokio::time::sleep(LOOKS * 4).await;
        assert!(self.calls("A008") + self.calls("A023") >= looks + 4, "both go on looking");
        assert_eq!(writes(&self), written);
        assert_eq!((self.referrer.names().await, self.provider.names().await), before);
        assert_eq!((self.referrer.pas.kinds(), self.provider.pas.kinds()), received);
        assert_eq!(self.ers.duplicates(), Vec::<Vec<_>>::new());
        for hospital in [&self.referrer, &self.provider] {
            let received = hospital.pas.received();
            assert!(received.iter().all(|message| message["faults"] == json!([])), "{received:#?}");
            let ids: HashSet<&str> = received.iter().filter_map(|message| message["controlId"].as_str()).collect();
            assert_eq!(ids.len(), received.len(), "each once");
            let dispatches = hospital.dispatches().await;
            assert_eq!(dispatches.len(), received.len(), "{dispatches:#?}");
            assert!(dispatches.iter().all(|one| one.state == DispatchState::Delivered), "{dispatches:#?}");
            let (mut heard, mut fed) = (hospital.events().await, hospital.fed().await);
            for events in [&mut heard, &mut fed] {
                events.sort_by_key(|event| event["id"].to_string());
            }
            assert_eq!(heard, fed, "the same to everybody");
        }
        let Self { ers, referrer, provider } = self;
        referrer.gateway.stop().await;
        provider.gateway.stop().await;
        ers.stop().await;
    }
}

fn watch(list: &str, services: &[&str]) -> Watch {
    Watch {
        name: String::new(),
        connection: String::new(),
        list: list.into(),
        services: services.iter().map(|service| (*service).to_owned()).collect(),
        at: Vec::new(),
        every: Some(LOOKS),
        time_zone: "Europe/London".into(),
        first: FirstSight::Tell,
        mode: Mode::Live,
        settings: json!({"documents": true, "clinicalInformation": true}).as_object().expect("settings").clone(),
    }
}

/// What Eastvale's PAS sends about its patient; `\r` ends each segment.
fn eastvale(kind: &str, control_id: &str, segments: &[&str]) -> String {
    let patient = format!(
        "PID|1||{PATIENT}^^^NHS^NH~H100201^^^RXX00^MR||FAUXLEY^BERTRAM^^^MR||19811102|M|||2 IMAGINARY CLOSE^^TESTFORD^^ZZ99 2ZZ\
         |||||||||||||||||||||NSTS01"
    );
    let head = format!("MSH|^~\\&|EASTVALE|RYY00|ERSGW|RYY00|20260316093015||{kind}|{control_id}|P|2.4");
    let mut lines = vec![head];
    lines
        .extend(segments.iter().map(|segment| if *segment == "PID" { patient.clone() } else { (*segment).to_owned() }));
    lines.join("\r") + "\r"
}

const REFERRER: &str = "PRD|RP^Referring Provider^HL70286|FABRIKATOR^OLIVIA^^^DR||^^^Z99001|||555012345678^SDS^SDSID";

fn shown(message: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referral_goes_to_triage_with_its_letter_and_comes_back_with_advice() {
    let node = RabbitMq::shared();
    let mut story = Story::told(Some(node), "REJECTED_TRIAGE_RESPONSE", "REFERRALS_FOR_REVIEW").await;
    let letter = b"%PDF-1.4\nDear colleague, 6 months of chest pain \xc3\xa9 \x00\x01\xff.\n%%EOF\n";
    let enclosed =
        format!("OBX|1|ED|LETTER^letter.pdf^LOCAL||^application^pdf^Base64^{}||||||F", STANDARD.encode(letter));
    let referral = eastvale(
        "REF^I12^REF_I12",
        "EV-1",
        &[
            "RF1|P^Pending^HL70283|R^Routine^HL70280|CARD^Cardiology^LOCAL|AM|O|EV-S-1^EASTVALE^RYY00|20260316",
            REFERRER,
            "PID",
            &enclosed,
            "ZRX|TRIAGE|ROUTINE|CARDIOLOGY||NEED_TO_ADD_LATER|0",
            &format!("ZRS|1|{TRIAGE}|Assessment|RWW01|RAS|Y"),
        ],
    );
    let answer = story.referrer.says(&referral).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));

    // The provider's PAS gets the referral, and the letter as it was.
    story.provider.pas.until_received(&["REF^I12", "MDM^T02"]).await;
    let ubrn = story.ers.creations()[0].ubrn.to_string();
    let [received, document] = story.provider.pas.received().try_into().expect("two messages");
    assert_eq!((&received["ubrn"], &document["ubrn"]), (&json!(ubrn), &json!(ubrn)), "{received}");
    assert_eq!(received["nhsNumber"], json!([PATIENT]), "{received}");
    assert_eq!(document["nhsNumber"], json!([PATIENT]), "{document}");
    assert_eq!((&received["priority"], &received["state"]), (&json!("R"), &json!("AWAITING_TRIAGE")), "{received}");
    assert_eq!((&received["service"], &received["receiver"]), (&json!(TRIAGE), &json!(["WESTPORT", "RWW00"])));
    assert_eq!((&document["fileName"], &document["contentType"]), (&json!("letter.pdf"), &json!("application/pdf")));
    assert_eq!((&document["valueType"], &document["encoding"]), (&json!("ED"), &json!("Base64")), "{document}");
    assert_eq!(document["document"], STANDARD.encode(letter), "byte for byte");

    // Somebody there reads it, and gives it back.
    let advice = "Please try a statin first, and refer again after 3 months.";
    let decision = json!({"ubrn": ubrn, "clinician": CLINICIAN, "notes": [["L", advice]],
        "status": ["R", "Rejected", "HL70283", "RETURN", "Return to referrer with advice", "WPTRIAGE"]});
    story.provider.decides(decision).await;

    // The referrer's gateway sees that in its user's session, and tells its PAS.
    story.referrer.pas.until_received(&["RRI^I12"]).await;
    let [told] = story.referrer.pas.received().try_into().expect("one message");
    assert_eq!((&told["ubrn"], &told["state"]), (&json!(ubrn), &json!("TRIAGE_RESPONSE")), "{told}");
    assert_eq!(told["nhsNumber"], json!([PATIENT]), "{told}");
    assert_eq!(
        (&told["reason"], &told["notes"]),
        (&json!("RETURN_TO_REFERRER_WITH_ADVICE"), &json!([advice])),
        "{told}"
    );
    let returned = story.referrer.event("ReferralReturned").await;
    assert_eq!((&returned["ubrn"], &returned["comments"]), (&json!(ubrn), &json!(advice)), "{returned}");
    let ledger = story.ers.ledger();
    let mut looks = ledger.iter().filter(|entry| entry.operation == "A008");
    assert!(looks.all(|look| look.user.as_deref() == Some(demonstration::USER)), "in a user's session");

    // It is off the provider's list, which its PAS hears too.
    story.provider.pas.until_received(&["REF^I12", "MDM^T02", "RRI^I12"]).await;
    assert_eq!(story.provider.seen().await, ["ReferralReceived", "ReferralLeftReview"]);
    assert_eq!(story.referrer.seen().await, ["ReferralReturned"]);
    assert_eq!(story.provider.names().await.iter().filter(|name| *name == "ReviewOutcomeRecorded").count(), 1);
    for (write, count) in [("A011", 1), ("A020", 1), ("A012", 1), ("A028", 1)] {
        assert_eq!(story.calls(write), count, "{write}: {:?}", story.ers.calls());
    }
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_advice_becomes_a_referral() {
    let mut story = Story::between("AWAITING_BOOKING", "ADVICE_AND_GUIDANCE_REQUESTS").await;
    let question = "TSH 9.8, asymptomatic. Would you treat?";
    let request = eastvale(
        "REF^I12^REF_I12",
        "EV-1",
        &[
            "RF1|P^Pending^HL70283|R^Routine^HL70280|ENDO^Endocrinology^LOCAL|SO|O|EV-S-2^EASTVALE^RYY00|20260316",
            REFERRER,
            "PID",
            &format!("NTE|1|P|{question}"),
            "ZRX|ADVICE|ROUTINE|ENDOCRINOLOGY|||||||||AUTHORISED_TO_CONVERT",
            &format!("ZRS|1|{ADVICE}|Endocrine advice|RWW01|AG|Y"),
        ],
    );
    let answer = story.referrer.says(&request).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));

    story.provider.pas.until_received(&["REF^I12"]).await;
    let made = story.referrer.event("AdviceRequestCreated").await;
    let ubrn = made["ubrn"].as_str().expect("its UBRN").to_owned();
    let [asked] = story.provider.pas.received().try_into().expect("one message");
    assert_eq!((&asked["ubrn"], &asked["nhsNumber"]), (&json!(ubrn), &json!([PATIENT])), "{asked}");
    assert_eq!((&asked["priority"], &asked["disposition"]), (&json!("R"), &json!("SO")), "a question: {asked}");
    assert_eq!((&asked["service"], &asked["notes"]), (&json!(ADVICE), &json!([question])), "{asked}");

    let decision = json!({"ubrn": ubrn, "clinician": CLINICIAN,
        "status": ["A", "Accepted", "HL70283", "PROVIDER_CONVERTED", "", "ERSADVICE"],
        "notes": [["L", "We will see them in the clinic."], ["A", "Book within 4 weeks."]]});
    story.provider.decides(decision).await;
    let converted = story.provider.event("AdviceConverted").await;
    assert_eq!(converted["ubrn"], ubrn, "{converted}");

    // It left the list of questions, and says why.
    story.provider.pas.until_received(&["REF^I12", "RRI^I12"]).await;
    let left = story.provider.pas.received().pop().expect("a message");
    assert_eq!((&left["ubrn"], &left["state"]), (&json!(ubrn), &json!("ADVICE_CONVERTED")), "{left}");
    assert_eq!(story.provider.seen().await, ["AdviceRequested", "AdviceLeftList"]);

    // e-RS has no list on which the referrer would see it: the provider books from here on. Their PAS asks, by its own
    // number for what was a question, and hears of a referral.
    let asks = eastvale("REF^I15^REF_I12", "EV-2", &["RF1||||||EV-S-2^EASTVALE^RYY00", REFERRER, "PID"]);
    let answer = story.referrer.says(&asks).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));
    assert!(field(&answer, b"RF1", 11).starts_with(ubrn.as_bytes()), "{}", shown(&answer));
    assert!(contains(field(&answer, b"RF1", 1), b"TRIAGED_PROVIDER_TO_ACTION"), "{}", shown(&answer));

    assert_eq!(story.referrer.pas.kinds(), Vec::<String>::new());
    for (write, count) in [("A044", 1), ("A027", 1), ("A026", 0), ("A011", 0)] {
        assert_eq!(story.calls(write), count, "{write}: {:?}", story.ers.calls());
    }
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booked_referral_is_rejected() {
    let mut story = Story::between("REJECTED_TRIAGE_RESPONSE", "REFERRALS_FOR_REVIEW").await;
    let referral = eastvale(
        "REF^I12^REF_I12",
        "EV-1",
        &[
            "RF1|P^Pending^HL70283|A^ASAP^HL70280|CARD^Cardiology^LOCAL|AM|O|EV-S-3^EASTVALE^RYY00|20260316",
            REFERRER,
            "PID",
            "ZRX|REFER|URGENT|CARDIOLOGY||NEED_TO_ADD_LATER|0",
            &format!("ZRS|1|{CLINIC}|Clinic|RWW01|DBS|Y"),
        ],
    );
    let answer = story.referrer.says(&referral).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));
    let ubrn = story.referrer.event("ReferralCreated").await["ubrn"].as_str().expect("its UBRN").to_owned();
    let booking = eastvale(
        "SRM^S01^SRM_S01",
        "EV-2",
        &[
            &format!(
                "ARQ|EV-APT-3^EASTVALE||||||CONSULT^Consultation^LOCAL|ROUTINE|||\
                 20400507090000+0000^20400507093000+0000|||||||||||||{ubrn}^ERS"
            ),
            "PID",
            "RGS|1|A",
            &format!("AIS|1|A|{CLINIC}^Clinic^ERSSVC|20400507090000+0000|||30|MIN"),
            &format!("AIG|1|A|{SLOT}^Slot^ERSSLOT"),
        ],
    );
    let answer = story.referrer.says(&booking).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));

    story.provider.pas.until_received(&["REF^I12", "SIU^S12"]).await;
    let [received, booked] = story.provider.pas.received().try_into().expect("two messages");
    assert_eq!((&booked["ubrn"], &booked["state"]), (&json!(ubrn), &json!("Booked")), "{booked}");
    assert_eq!(booked["start"], "20400507090000+0000", "{booked}");
    assert_eq!((&received["ubrn"], &received["nhsNumber"]), (&json!(ubrn), &json!([PATIENT])), "{received}");
    assert_eq!((&received["priority"], &received["state"]), (&json!("A"), &json!("BOOKED")), "{received}");

    let why = "Does not meet the criteria; please see the local pathway.";
    let decision = json!({"ubrn": ubrn, "clinician": CLINICIAN, "notes": [["L", why]],
        "status": ["R", "Rejected", "HL70283"], "reason": "SERVICE_INAPPROPRIATE^Service inappropriate^ERSREJ"});
    story.provider.decides(decision).await;

    story.referrer.pas.until_received(&["RRI^I12"]).await;
    let [told] = story.referrer.pas.received().try_into().expect("one message");
    assert_eq!((&told["ubrn"], &told["nhsNumber"]), (&json!(ubrn), &json!([PATIENT])), "{told}");
    assert_eq!((&told["status"], &told["state"]), (&json!("R"), &json!("REJECTED")), "{told}");
    assert_eq!((&told["reason"], &told["notes"]), (&json!("SERVICE_INAPPROPRIATE"), &json!([why])), "{told}");
    let returned = story.referrer.event("ReferralReturned").await;
    assert_eq!((&returned["ubrn"], &returned["reason"]), (&json!(ubrn), &json!("SERVICE_INAPPROPRIATE")), "{returned}");

    story.provider.pas.until_received(&["REF^I12", "SIU^S12", "RRI^I12", "SIU^S15"]).await;
    let noticed = ["ReferralReceived", "AppointmentNoticed", "ReferralLeftReview", "AppointmentNoticed"];
    assert_eq!(story.provider.seen().await, noticed);
    let cancelled = story.provider.pas.received().pop().expect("a message");
    assert_eq!((&cancelled["ubrn"], &cancelled["state"]), (&json!(ubrn), &json!("Cancelled")), "{cancelled}");
    assert_eq!(cancelled["start"], booked["start"], "as it was: e-RS says it no more: {cancelled}");
    assert_eq!(story.referrer.seen().await, ["ReferralReturned"]);
    for (write, count) in [("A011", 1), ("A016", 1), ("A014", 1)] {
        assert_eq!(story.calls(write), count, "{write}: {:?}", story.ers.calls());
    }
    let names = story.provider.names().await;
    assert_eq!(names.iter().filter(|name| *name == "ReferralRejected").count(), 1, "{names:?}");
    story.ends().await;
}
