//! Application answers over a connection of the gateway's own: durable, in order, until the receiver has them.

use std::time::Duration;

use ers_gateway::config::{Config, Destination, DestinationTls};
use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Action, Fault, Simulator, SimulatorConfig};
use ers_gateway::store::{DispatchFilter, DispatchState, DispatchView};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::support::receiver::{Habit, Receiver, TAKES};
use crate::support::referrals::{Patients, northmoor};
use crate::support::sender::{MllpSender, contains, field};
use crate::support::serve::Serve;
use crate::support::waiting::{client, get, until};
use crate::support::world::World;

const SOON: Duration = Duration::from_secs(30);

/// A referral whose sender wants a commit answer at once and an application answer later.
fn enhanced(control_id: &str, local_id: &str, nhs_number: &str) -> Vec<u8> {
    let message = String::from_utf8(northmoor(control_id, local_id, nhs_number, None)).expect("ASCII");
    message.replacen("|P|2.3\r", "|P|2.3|||AL|AL\r", 1).into_bytes()
}

fn destination(address: impl ToString) -> Destination {
    Destination { answer_timeout: Duration::from_secs(2), ..Destination::at("northmoor-answers", &address.to_string()) }
}

fn answers_to(config: &mut Config, destination: Destination) {
    let northmoor = config.sources.iter_mut().find(|source| source.name == "northmoor").expect("it is configured");
    northmoor.answers_to = Some(destination.name.clone());
    config.destinations.push(destination);
}

impl World {
    /// Oldest first.
    pub async fn dispatches(&self) -> Vec<DispatchView> {
        let filter = DispatchFilter { max: 500, ..DispatchFilter::default() };
        let mut all = self.gateway.store.dispatches(filter).await.expect("the store answers");
        all.reverse();
        all
    }

    pub async fn delivered(&self, count: usize) {
        let waiting = async {
            loop {
                let all = self.dispatches().await;
                if all.iter().filter(|one| one.state == DispatchState::Delivered).count() >= count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(
            tokio::time::timeout(SOON, waiting).await.is_ok(),
            "{:?}\n{}",
            self.dispatches().await,
            self.story().await
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outcome_is_told_over_a_connection_of_its_own() {
    let receiver = Receiver::start().await;
    let world = World::with(|config| answers_to(config, destination(receiver.address))).await;
    let mut sender = MllpSender::new(world.mllp);
    let answer = sender.deliver(&enhanced("D1", "NM-D-1", &Patients::new().next())).await;
    assert_eq!(field(&answer, b"MSA", 1), b"CA", "{}", String::from_utf8_lossy(&answer));
    world.delivered(1).await;

    let [told] = receiver.received().try_into().expect("one message");
    let ubrn = world.simulator.creations()[0].ubrn.to_string();
    assert_eq!((field(&told, b"MSA", 1), field(&told, b"MSA", 2)), (&b"AA"[..], &b"D1"[..]));
    assert_eq!(field(&told, b"MSH", 8), b"RRI^I12", "{}", String::from_utf8_lossy(&told));
    assert!(contains(field(&told, b"RF1", 11), ubrn.as_bytes()), "{}", String::from_utf8_lossy(&told));
    // It is a message of ours: to the sender, with a control id of its own, and it asks for a commit answer.
    assert_eq!((field(&told, b"MSH", 4), field(&told, b"MSH", 5)), (&b"NMPAS"[..], &b"RXX00"[..]));
    assert_eq!((field(&told, b"MSH", 14), field(&told, b"MSH", 15)), (&b"AL"[..], &b"NE"[..]));
    let [dispatch] = world.dispatches().await.try_into().expect("one");
    assert_eq!(field(&told, b"MSH", 9), dispatch.control_id.as_bytes());
    assert_eq!((dispatch.kind.as_str(), dispatch.tries), ("RRI^I12", 1));
    // Nothing more comes on the sender's own connection.
    assert!(tokio::time::timeout(Duration::from_millis(300), sender.frame()).await.is_err());

    // A resend is answered as the first was, and told nothing twice; a notice is told at once.
    sender.deliver(&enhanced("D1", "NM-D-1", &Patients::new().next())).await;
    let notice = "MSH|^~\\&|NMPAS|RXX00|ERSGW|RXX00|20260316||ADT^A31|D2|P|2.4|||AL|AL\rEVN|A31|20260316\r\
                  PID|1||H100200^^^RXX00^MR||TESTERTON^ADELINE\rPV1|1|N\r";
    sender.deliver(notice.as_bytes()).await;
    world.delivered(2).await;
    assert_eq!(receiver.fields("MSA", 2), ["D1", "D2"]);
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_ers_is_told_with_what_was_wrong() {
    let receiver = Receiver::start().await;
    let world = World::with(|config| answers_to(config, destination(receiver.address))).await;
    let refused = Action::Answer {
        status: 422,
        code: Some("INVALID_VALUE".into()),
        diagnostics: None,
        retry_after: None,
        body: None,
    };
    world.simulator.inject(Fault::on("A011", refused));
    MllpSender::new(world.mllp).deliver(&enhanced("D1", "NM-D-1", &Patients::new().next())).await;
    world.delivered(1).await;
    let told = &receiver.received()[0];
    assert_eq!(field(told, b"MSA", 1), b"AE", "{}", String::from_utf8_lossy(told));
    assert!(contains(told, b"INVALID_VALUE"), "{}", String::from_utf8_lossy(told));
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_was_away_gets_everything_in_order_and_what_it_has_half_heard_again_as_it_was() {
    let receiver = Receiver::start().await;
    let address = receiver.address;
    receiver.stop().await;
    let mut world = World::with(|config| answers_to(config, destination(address))).await;
    let patients = Patients::new();
    let count = 20;
    let mut sender = MllpSender::new(world.mllp);
    for number in 0..count {
        sender.deliver(&enhanced(&format!("D{number}"), &format!("NM-D-{number}"), &patients.next())).await;
        world.settle().await;
    }
    until("the answers are made", SOON, || world.simulator.created() == 20).await;
    world = world.restarted().await;
    // It comes back, hears every third message for the first time without an answer, and hangs up.
    let receiver = Receiver::at(address).await;
    let heard = parking_lot::Mutex::new(std::collections::HashSet::new());
    receiver.does(move |message| {
        let id = field(message, b"MSH", 9).to_vec();
        let is_third = String::from_utf8_lossy(field(message, b"MSA", 2)).ends_with(['0', '3', '6', '9']);
        if heard.lock().insert(id) && is_third { Habit::HangsUp } else { TAKES }
    });
    world.delivered(count).await;
    let received = receiver.received();
    assert!(received.len() > count, "some came twice");
    let mut once: Vec<Vec<u8>> = Vec::new();
    for message in received {
        match once.iter().position(|known| field(known, b"MSH", 9) == field(&message, b"MSH", 9)) {
            None => once.push(message),
            Some(known) => assert!(known + 1 == once.len() && once[known] == message, "the same bytes, at once"),
        }
    }
    let order: Vec<String> =
        once.iter().map(|message| String::from_utf8_lossy(field(message, b"MSA", 2)).into_owned()).collect();
    assert_eq!(order, (0..count).map(|number| format!("D{number}")).collect::<Vec<_>>());
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_receiver_refuses_waits_for_a_person_and_holds_no_other() {
    let receiver = Receiver::start().await;
    receiver.does(|message| match field(message, b"MSA", 2) {
        b"D1" => Habit::Answers("AE", "ERR|||204^Unknown key identifier|E||||no such patient here\r"),
        _ => Habit::AnswersLate("AA"),
    });
    let world = World::with(|config| answers_to(config, destination(receiver.address))).await;
    let patients = Patients::new();
    let mut sender = MllpSender::new(world.mllp);
    for number in 0..3 {
        sender.deliver(&enhanced(&format!("D{number}"), &format!("NM-D-{number}"), &patients.next())).await;
        world.settle().await;
    }
    world.delivered(2).await;
    let url = |path: &str| format!("http://{}/v1/dispatches{path}", world.http);
    let refused: Value = get(url("?state=refused&destination=northmoor-answers")).await.json().await.expect("JSON");
    assert_eq!(refused["dispatches"].as_array().map(Vec::len), Some(1), "{refused}");
    let refused = &refused["dispatches"][0];
    let why = refused["why"].as_str().expect("a reason");
    assert!(why.starts_with("AE") && why.contains("204") && why.contains("no such patient here"), "{why}");

    // The reason is mended, and a person has it sent again, as it was.
    receiver.does(|_| TAKES);
    let id = refused["id"].as_str().expect("an id");
    let act = json!({"by": "j.smith", "why": "the patient is known by now"});
    let replayed = client().post(url(&format!("/{id}/replay"))).json(&act).send().await.expect("an answer");
    assert_eq!(replayed.status(), 200);
    world.delivered(3).await;
    let (first, last) = (receiver.received()[1].clone(), receiver.received()[3].clone());
    assert_eq!((field(&first, b"MSA", 2), first.clone()), (&b"D1"[..], last));
    let again = client().post(url(&format!("/{id}/replay"))).json(&act).send().await.expect("an answer");
    assert_eq!(again.status(), 409, "it is delivered");
    assert_eq!(get(url("?state=lost")).await.status(), 400);
    let one: Value = get(url(&format!("/{id}"))).await.json().await.expect("JSON");
    // Counted from the replay.
    assert_eq!((&one["state"], &one["tries"]), (&json!("delivered"), &json!(1)));
    let audit = world.acts_of_people().await;
    assert_eq!((audit[0].by.as_str(), audit[0].act.as_str()), ("j.smith", "replay"));
    assert_eq!(audit[0].subject, format!("dispatch {id}"));
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_its_receiver_never_answers_does_not_hold_the_others_for_ever() {
    let receiver = Receiver::start().await;
    receiver.does(|message| if field(message, b"MSA", 2) == b"D0" { Habit::HangsUp } else { TAKES });
    let world = World::with(|config| answers_to(config, destination(receiver.address))).await;
    let patients = Patients::new();
    let mut sender = MllpSender::new(world.mllp);
    for number in 0..2 {
        sender.deliver(&enhanced(&format!("D{number}"), &format!("NM-D-{number}"), &patients.next())).await;
        world.settle().await;
    }
    world.delivered(1).await;
    let states: Vec<DispatchState> = world.dispatches().await.iter().map(|one| one.state).collect();
    assert_eq!(states, [DispatchState::Refused, DispatchState::Delivered]);
    assert!(world.dispatches().await[0].why.contains("6 tries"), "{:?}", world.dispatches().await);
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_comes_back_between_two_messages_gets_both() {
    let receiver = Receiver::start().await;
    let asked = std::sync::atomic::AtomicUsize::new(0);
    receiver.does(move |message| {
        let is_first = field(message, b"MSA", 2) == b"D0";
        if is_first && asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 5 { Habit::HangsUp } else { TAKES }
    });
    let world = World::with(|config| answers_to(config, destination(receiver.address))).await;
    let patients = Patients::new();
    let mut sender = MllpSender::new(world.mllp);
    for number in 0..2 {
        sender.deliver(&enhanced(&format!("D{number}"), &format!("NM-D-{number}"), &patients.next())).await;
        world.settle().await;
    }
    world.delivered(2).await;
    let received = receiver.received();
    let asked_for: Vec<&[u8]> = received.iter().map(|message| field(message, b"MSA", 2)).collect();
    assert_eq!(asked_for, [b"D0", b"D0", b"D0", b"D0", b"D0", b"D1", b"D0"]);
    assert!(received.iter().all(|message| field(message, b"MSA", 2) == b"D1" || *message == received[0]));
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_says_not_now_is_asked_again() {
    let receiver = Receiver::start().await;
    let asked = std::sync::atomic::AtomicUsize::new(0);
    receiver.does(move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => Habit::Answers("AR", "ERR|MSH^1^10^207&Application internal error\r"),
        1 => Habit::Answers("AE", "ERR|||206^Application record locked|E\r"),
        _ => Habit::Answers("CA", ""),
    });
    let world = World::with(|config| answers_to(config, destination(receiver.address))).await;
    MllpSender::new(world.mllp).deliver(&enhanced("D1", "NM-D-1", &Patients::new().next())).await;
    world.delivered(1).await;
    let received = receiver.received();
    assert!(received.len() == 3 && received.iter().all(|message| *message == received[0]));
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_owed_survives_kill_9_at_every_stage() {
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let receiver = Receiver::start().await;
    receiver.does(|_| Habit::Silent);
    let mut gateway = Serve::new(&ers);
    gateway.source("northmoor")["answers_to"] = json!("answers");
    let mut paused = gateway.settings.clone();
    gateway.settings["destinations"] =
        json!([{"name": "answers", "address": receiver.address.to_string(), "answer_timeout": "1s"}]);
    paused["destinations"] = gateway.settings["destinations"].clone();
    // Owed, and its outcome not known yet.
    gateway.source("northmoor")["mode"] = json!("paused");
    gateway.start_and_wait().await;
    let message = enhanced("K1", "NM-K-1", &Patients::new().next());
    let answer = MllpSender::new(gateway.mllp).deliver(&message).await;
    assert_eq!(field(&answer, b"MSA", 1), b"CA");
    gateway.kill();
    // Known, made and sent, and not answered.
    gateway.source("northmoor")["mode"] = json!("live");
    gateway.start_and_wait().await;
    until("it is sent", SOON, || !receiver.received().is_empty()).await;
    gateway.kill();
    receiver.does(|_| TAKES);
    let heard = receiver.received().len();
    gateway.start_and_wait().await;
    until("it is sent again", SOON, || receiver.received().len() > heard).await;
    let delivered = format!("http://{}/v1/dispatches?state=delivered", gateway.http);
    let mut is_delivered = false;
    for _ in 0..200 {
        let found: Value = get(&delivered).await.json().await.expect("JSON");
        is_delivered = found["dispatches"].as_array().is_some_and(|list| list.len() == 1);
        if is_delivered {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_delivered, "it is noted as delivered");
    let received = receiver.received();
    assert!(received.iter().all(|message| *message == received[0]), "always the same bytes");
    assert!(gateway.stop().await.success());
    receiver.stop().await;
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_travel_over_tls_to_the_one_that_is_meant() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for (authority, leaves) in [("ours", &["localhost", "gateway"][..]), ("other", &[])] {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        std::fs::write(path(&format!("{authority}.pem")), ca.pem()).expect("a file");
        for leaf in leaves {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![(*leaf).to_owned()]).expect("a name");
            std::fs::write(path(&format!("{leaf}.pem")), params.signed_by(&key, &ca).expect("signed").pem())
                .expect("a file");
            std::fs::write(path(&format!("{leaf}.key")), key.serialize_pem()).expect("a file");
        }
    }
    let receiver = Receiver::with_tls(path("localhost.pem"), path("localhost.key"), path("ours.pem")).await;
    let port = receiver.address.port();
    let tls = |authority: &str, identity: bool| DestinationTls {
        ca: path(authority),
        server_name: None,
        certificate: identity.then(|| path("gateway.pem")),
        private_key: identity.then(|| path("gateway.key")),
    };
    for (settings, works) in
        [(tls("other.pem", true), false), (tls("ours.pem", false), false), (tls("ours.pem", true), true)]
    {
        let to = Destination { tls: Some(settings), ..destination(format!("localhost:{port}")) };
        let world = World::with(|config| answers_to(config, to)).await;
        let before = receiver.received().len();
        MllpSender::new(world.mllp).deliver(&enhanced("T1", "NM-T-1", &Patients::new().next())).await;
        if works {
            world.delivered(1).await;
        } else {
            world.settle().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(
                world.dispatches().await.iter().map(|one| one.state).collect::<Vec<_>>(),
                [DispatchState::Waiting]
            );
            assert_eq!(receiver.received().len(), before, "nothing is told to a stranger");
        }
        world.stop().await;
    }
    receiver.stop().await;
}
