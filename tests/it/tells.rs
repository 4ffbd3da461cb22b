//! Events told to hospital systems as HL7 v2: each once and in order, whatever stops in between.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ers_gateway::config::{Config, Destination};
use ers_gateway::environment::Environment;
use ers_gateway::mapping::MappingFiles;
use ers_gateway::simulator::{Simulator, SimulatorConfig};
use ers_gateway::store::{DispatchState, DispatchStep};
use serde_json::{Value, json};

use crate::support::receiver::{Habit, Receiver, TAKES};
use crate::support::referrals::{Patients, create, northmoor};
use crate::support::sender::{MllpSender, contains, field};
use crate::support::serve::Serve;
use crate::support::waiting::{client, get, until};
use crate::support::world::World;

const SOON: Duration = Duration::from_secs(30);
/// As many events as come in an hour at 10 a second; a smaller number shows the same.
const SOAK: (usize, usize) = (36_000, 600);

/// The shipped mappings with a dialect `tested` for destinations.
struct Mappings {
    folder: tempfile::TempDir,
}

impl Mappings {
    fn with(files: &[(&str, &str)]) -> Self {
        let mappings = Self { folder: tempfile::tempdir().expect("a folder") };
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/mappings");
        let copied = Command::new("cp").arg("-r").arg(shipped).arg(mappings.folder.path()).status();
        assert!(copied.expect("cp runs").success());
        for (name, text) in files {
            mappings.write(name, text);
        }
        mappings
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mappings")
    }

    fn write(&self, name: &str, text: &str) {
        let folder = self.path().join("outbound/tested");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(format!("{name}.yaml")), text).expect("written");
    }
}

/// A notice by its reason and the sender's name for the referral, if it has one.
const NOTICED: &str = "from: { event: MessageNoticed }
message: ADT^A31^ADT_A05
version: \"2.4\"
segments:
  - EVN: { 1: A31, 2: \"{{ event.at | hl7_time }}\" }
  - NTE: { 1: \"1\", 3: [\"{event.reason}\", \"{event.localId?}\"] }
";

fn notice(control_id: &str) -> Vec<u8> {
    let text = format!(
        "MSH|^~\\&|NMPAS|RXX00|ERSGW|RXX00|20260316||ADT^A31|{control_id}|P|2.4\rEVN|A31|20260316\r\
         PID|1||H100200^^^RXX00^MR||TESTERTON^ADELINE\rPV1|1|N\r"
    );
    text.into_bytes()
}

/// What Northmoor's events are told to.
fn pas(receiver: &Receiver, dialect: &str) -> Destination {
    at(receiver.address, dialect)
}

fn at(address: SocketAddr, dialect: &str) -> Destination {
    Destination {
        answer_timeout: Duration::from_secs(2),
        tells: vec!["northmoor".into()],
        dialect: dialect.into(),
        application: Some("NMPAS".into()),
        facility: Some("RXX00".into()),
        ..Destination::at("northmoor-pas", &address.to_string())
    }
}

fn tells(config: &mut Config, destination: Destination, mappings: Option<&Path>) {
    config.mappings = mappings.map(Path::to_owned);
    config.destinations.push(destination);
}

impl World {
    async fn has_dispatches(&self, state: DispatchState, count: usize) {
        let waiting = async {
            while self.dispatches().await.iter().filter(|one| one.state == state).count() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(SOON, waiting).await;
        assert!(waited.is_ok(), "{:?}\n{}", self.dispatches().await, self.story().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_told_to_the_system_that_asks_for_it() {
    let receiver = Receiver::start().await;
    let world = World::with(|config| {
        let mut destination = pas(&receiver, "default");
        destination.settings.insert("outcomes".into(), true.into());
        tells(config, destination, None);
    })
    .await;
    let patients = Patients::new();
    // Nobody asked for what another source's messages become.
    let url = format!("http://{}/v1/commands/CreateReferral?source=eastvale", world.http);
    let other = client().post(url).header("content-type", "application/json").header("prefer", "wait=10");
    let other = other.body(create("EV-T-1", &patients.next()).to_string()).send().await.expect("an answer");
    assert!(other.status().is_success(), "{}", other.text().await.unwrap_or_default());
    let answer = MllpSender::new(world.mllp).deliver(&northmoor("T1", "NM-T-1", &patients.next(), None)).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", String::from_utf8_lossy(&answer));
    world.delivered(1).await;
    let [told] = receiver.received().try_into().expect("one message");
    let shown = String::from_utf8_lossy(&told).into_owned();
    let msh = |number| String::from_utf8_lossy(field(&told, b"MSH", number)).into_owned();
    assert_eq!([2, 3, 4, 5].map(msh), ["ERS-GATEWAY", "", "NMPAS", "RXX00"], "{shown}");
    assert_eq!((msh(8), msh(11), msh(17)), ("RRI^I12^RRI_I12".into(), "2.4".into(), "UNICODE UTF-8".into()), "{shown}");
    // Tests are no production; an application answer is asked for as in original mode.
    assert_eq!((msh(10), msh(14), msh(15)), ("T".into(), String::new(), String::new()), "{shown}");
    assert!(msh(6).len() == 19 && msh(6).contains(['+', '-']), "with its offset: {shown}");
    assert_eq!(field(&told, b"RF1", 6), b"NM-T-1", "{shown}");
    assert_eq!(world.simulator.created(), 2, "{}", world.story().await);
    let ubrn = world.simulator.creations()[1].ubrn.to_string();
    assert_eq!(field(&told, b"RF1", 11), format!("{ubrn}^ERS^^UBRN").as_bytes(), "{shown}");
    let [dispatch] = world.dispatches().await.try_into().expect("one");
    assert_eq!((dispatch.control_id.as_str(), dispatch.kind.as_str()), (msh(9).as_str(), "RRI^I12"));
    assert!(dispatch.subject.starts_with("event ") && dispatch.control_id.len() == 20, "{dispatch:?}");
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_cannot_be_read_is_seen_and_holds_nothing() {
    let receiver = Receiver::start().await;
    let mappings = Mappings::with(&[("MessageNoticed", NOTICED)]);
    let set_up = |config: &mut Config| tells(config, pas(&receiver, "tested"), Some(&mappings.path()));
    let world = World::with(set_up).await;
    MllpSender::new(world.mllp).deliver(&notice("M1")).await;
    world.delivered(1).await;
    let world = world
        .restarted_with(|config| {
            set_up(config);
            let file = config.store.0.strip_prefix("sqlite:").expect("a file");
            let store = rusqlite::Connection::open(file).expect("a store");
            store.execute_batch("UPDATE outbox SET data = '{cut'; UPDATE told SET position = 0").expect("tampered");
        })
        .await;
    world.has_dispatches(DispatchState::Unmade, 1).await;
    let unmade = world.dispatches().await.into_iter().find(|one| one.state == DispatchState::Unmade).expect("one");
    assert!(unmade.why.contains("MessageNoticed, cannot be read"), "{unmade:?}");
    MllpSender::new(world.mllp).deliver(&notice("M2")).await;
    world.delivered(2).await;
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_cannot_be_made_is_seen_holds_nothing_and_is_made_after_mending() {
    let receiver = Receiver::start().await;
    let broken = NOTICED.replace("{event.localId?}", "{event.localId}");
    let mappings = Mappings::with(&[("MessageNoticed", &broken)]);
    let world = World::with(|config| tells(config, pas(&receiver, "tested"), Some(&mappings.path()))).await;
    let mut sender = MllpSender::new(world.mllp);
    sender.deliver(&notice("M1")).await;
    // One with a local id can be made: it does not wait.
    sender.deliver(&echo("M2", "NM-1")).await;
    world.delivered(1).await;
    world.has_dispatches(DispatchState::Unmade, 1).await;
    let url = |path: &str| format!("http://{}/v1/dispatches{path}", world.http);
    let unmade: Value = get(url("?state=unmade")).await.json().await.expect("JSON");
    let unmade = &unmade["dispatches"][0];
    let why = unmade["why"].as_str().expect("a reason");
    assert!(why.contains("outbound/tested/MessageNoticed.yaml:6:") && why.contains("event.localId"), "{why}");
    let act = json!({"by": "j.smith", "why": "the file is mended"});
    let replay = url(&format!("/{}/replay", unmade["id"].as_str().expect("an id")));

    // Not mended yet: it stays where it is.
    assert_eq!(client().post(&replay).json(&act).send().await.expect("an answer").status(), 200);
    world.has_dispatches(DispatchState::Unmade, 1).await;
    assert_eq!(receiver.fields("NTE", 3), ["ReferralEchoed^NM-1"]);
    mappings.write("MessageNoticed", NOTICED);
    world.gateway.reload_mappings().await.expect("it is whole");
    assert_eq!(client().post(&replay).json(&act).send().await.expect("an answer").status(), 200);
    world.delivered(2).await;
    assert_eq!(receiver.fields("NTE", 3), ["ReferralEchoed^NM-1", "PersonChanged"]);
    let ids = receiver.fields("MSH", 9);
    let known: Vec<String> = world.dispatches().await.into_iter().map(|one| one.control_id).collect();
    assert!(ids[0] != ids[1] && ids.iter().all(|id| known.contains(id)), "{ids:?} {known:?}");
    world.stop().await;
    receiver.stop().await;
}

/// A referral that e-RS has already: a notice with the sender's name for it.
fn echo(control_id: &str, local_id: &str) -> Vec<u8> {
    let message = String::from_utf8(northmoor(control_id, local_id, "9994120034", None)).expect("Unicode");
    message.replacen("|20260316\r", "|20260316||||000000070009^ERS\r", 1).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charset_and_its_escapes_are_kept_and_what_it_lacks_is_never_sent_as_something_else() {
    let receiver = Receiver::start().await;
    let mappings = Mappings::with(&[("MessageNoticed", NOTICED)]);
    let world = World::with(|config| {
        let destination = Destination { charset: "iso-8859-1".into(), ..pas(&receiver, "tested") };
        tells(config, destination, Some(&mappings.path()));
    })
    .await;
    let mut sender = MllpSender::new(world.mllp);
    sender.deliver(&echo("C1", "NM\\F\\Zoë\\S\\1")).await;
    sender.deliver(&echo("C2", "NM-Dŵr")).await;
    sender.deliver(&notice("C3")).await;
    world.delivered(2).await;
    let received = receiver.received();
    assert_eq!(field(&received[0], b"MSH", 17), b"8859/1");
    assert_eq!(
        field(&received[0], b"NTE", 3),
        b"ReferralEchoed^NM\\F\\Zo\xeb\\S\\1",
        "{}",
        String::from_utf8_lossy(&received[0])
    );
    let unmade: Vec<_> =
        world.dispatches().await.into_iter().filter(|one| one.state == DispatchState::Unmade).collect();
    assert_eq!(unmade.len(), 1, "{unmade:?}");
    assert_eq!(unmade[0].why, "NTE has a character that 8859/1 has not (charset of the destination)");
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_goes_along_as_it_came() {
    let receiver = Receiver::start().await;
    let letter = "from: { event: PatientLetterGenerated }
message: MDM^T02^MDM_T02
version: \"2.4\"
document: \"/v1/commands/{event.command}/documents/letter\"
segments:
  - TXA: { 1: \"1\", 14: [\"{event.ubrn}\", ERS] }
  - OBX: { 1: \"1\", 2: ED, 5: [\"\", application, pdf, Base64, \"{document.base64}\"], 11: F }
";
    let mappings = Mappings::with(&[("PatientLetterGenerated", letter)]);
    let world = World::with(|config| tells(config, pas(&receiver, "tested"), Some(&mappings.path()))).await;
    MllpSender::new(world.mllp).deliver(&northmoor("L1", "NM-L-1", &Patients::new().next(), None)).await;
    world.settle().await;
    let url = format!("http://{}/v1/commands/GeneratePatientLetter?source=northmoor", world.http);
    let asked = client().post(url).header("content-type", "application/json").header("prefer", "wait=10");
    let answer: Value = asked
        .body(json!({"localId": "NM-L-1"}).to_string())
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    world.delivered(1).await;
    let command = answer["commands"][0]["id"].as_str();
    let place = format!("http://{}/v1/commands/{}/documents/letter", world.http, command.expect("its id"));
    let served = get(place).await.bytes().await.expect("a document");
    let told = &receiver.received()[0];
    let sent = String::from_utf8_lossy(field(told, b"OBX", 5)).into_owned();
    let base64 = sent.rsplit('^').next().expect("a last component");
    assert!(served.starts_with(b"%PDF"));
    assert_eq!(STANDARD.decode(base64).ok().as_deref(), Some(&served[..]));
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_gateway_told_never_comes_back_as_a_new_referral() {
    let receiver = Receiver::start().await;
    // A receiver that repeats what it got, without the UBRN by which it would be known at once.
    let told = "from: { event: ReferralCreated }
message: REF^I12^REF_I12
version: \"2.4\"
segments:
  - RF1: { 1: P, 6: \"{message.referral}\" }
";
    let mappings = Mappings::with(&[("ReferralCreated", told)]);
    let mut world = World::with(|config| tells(config, pas(&receiver, "tested"), Some(&mappings.path()))).await;
    let patients = Patients::new();
    let mut sender = MllpSender::new(world.mllp);
    for number in 0..2 {
        let first = northmoor(&format!("E-{number}"), &format!("NM-E-{number}"), &patients.next(), None);
        sender.deliver(&first).await;
    }
    world.delivered(2).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let told: Vec<_> = receiver.fields("MSH", 9).into_iter().zip(receiver.fields("RF1", 6)).collect();
    let mut made = 2;
    for (number, (control_id, referral)) in told.iter().enumerate() {
        let restarted = number > 0;
        if restarted {
            world = world.restarted().await;
        }
        let mut sender = MllpSender::new(world.mllp);
        for (id, local, place) in [
            (control_id.clone(), format!("NM-E-1{number}"), "MSH^1^10"),
            (format!("E-2{number}"), referral.clone(), "RF1^1^6"),
        ] {
            let answer = sender.deliver(&northmoor(&id, &local, &patients.next(), None)).await;
            let shown = text(&answer);
            assert_eq!(field(&answer, b"MSA", 1), b"AR", "{shown}");
            assert!(contains(field(&answer, b"ERR", 1), format!("{place}^205").as_bytes()), "{shown}");
        }
        let url = format!("http://{}/v1/commands/CreateReferral?source=northmoor", world.http);
        let asked = client().post(url).header("content-type", "application/json");
        let answer = asked.body(create(referral, &patients.next()).to_string()).send().await.expect("an answer");
        assert_eq!(answer.status(), 409, "a duplicate key");
        // A name that only looks like one of ours is the sender's own.
        let similar = format!("{}0", &referral[..referral.len() - 1]);
        if similar != *referral && !restarted {
            made += 1;
            let answer = sender.deliver(&northmoor("E-3", &similar, &patients.next(), None)).await;
            assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", text(&answer));
        }
    }
    world.settle().await;
    assert_eq!(world.simulator.created(), made, "{}", world.story().await);
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_its_receiver_refuses_waits_for_a_person_and_holds_no_other() {
    let receiver = Receiver::start().await;
    receiver.does(|message| match field(message, b"NTE", 3) {
        b"ReferralEchoed^NM-2" => {
            Habit::Answers("AE", "ERR|||204^Unknown key identifier^HL70357|E||||no such patient\r")
        }
        _ => TAKES,
    });
    let mappings = Mappings::with(&[("MessageNoticed", NOTICED)]);
    let mut world = World::with(|config| tells(config, pas(&receiver, "tested"), Some(&mappings.path()))).await;
    let mut sender = MllpSender::new(world.mllp);
    for number in 1..=3 {
        sender.deliver(&echo(&format!("R{number}"), &format!("NM-{number}"))).await;
    }
    world.delivered(2).await;
    world.has_dispatches(DispatchState::Refused, 1).await;
    let all = ["ReferralEchoed^NM-1", "ReferralEchoed^NM-2", "ReferralEchoed^NM-3"];
    assert_eq!(receiver.fields("NTE", 3), all, "in their order, and the refused one is not sent again by itself");

    // Nor after a restart. The reason is mended, and a person has it sent again, as it was.
    world = world.restarted().await;
    receiver.does(|_| TAKES);
    let url = |path: &str| format!("http://{}/v1/dispatches{path}", world.http);
    let refused: Value = get(url("?state=refused&destination=northmoor-pas")).await.json().await.expect("JSON");
    let [refused] = refused["dispatches"].as_array().expect("a list").as_slice() else { panic!("{refused}") };
    let why = refused["why"].as_str().expect("a reason");
    assert!(why.starts_with("AE") && why.contains("204") && why.contains("no such patient"), "{why}");
    assert!(refused["subject"].as_str().is_some_and(|subject| subject.starts_with("event ")), "{refused}");
    assert_eq!(receiver.count(), 3);
    let replay = url(&format!("/{}/replay", refused["id"].as_str().expect("an id")));
    let act = json!({"by": "j.smith", "why": "the patient is known by now"});
    assert_eq!(client().post(&replay).json(&act).send().await.expect("an answer").status(), 200);
    world.delivered(3).await;
    let received = receiver.received();
    assert_eq!((received.len(), &received[3]), (4, &received[1]), "the same bytes, once more");
    assert_eq!(client().post(&replay).json(&act).send().await.expect("an answer").status(), 409, "it is delivered");
    let audit = world.acts_of_people().await;
    assert_eq!((audit[0].by.as_str(), audit[0].act.as_str()), ("j.smith", "replay"));
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_closes_after_each_answer_costs_no_try() {
    let receiver = Receiver::start().await;
    receiver.does(|_| Habit::TakesAndCloses);
    let mappings = Mappings::with(&[("MessageNoticed", NOTICED)]);
    let world = World::with(|config| tells(config, pas(&receiver, "tested"), Some(&mappings.path()))).await;
    let mut sender = MllpSender::new(world.mllp);
    for number in 1..=3 {
        sender.deliver(&echo(&format!("O{number}"), &format!("NM-{number}"))).await;
        world.delivered(number).await;
        // Until the gateway's side of the connection knows that it is closed.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let tries: Vec<_> = world.dispatches().await.iter().map(|one| one.tries).collect();
    assert_eq!((tries, receiver.count()), (vec![1, 1, 1], 3));
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_comes_back_into_the_settings_is_told_what_comes_and_the_rest_only_if_it_is_to_catch_up() {
    let receiver = Receiver::start().await;
    let mappings = Mappings::with(&[("MessageNoticed", NOTICED)]);
    let mut world = World::with(|config| tells(config, pas(&receiver, "tested"), Some(&mappings.path()))).await;
    let notices = async |world: &World, name: &str| {
        MllpSender::new(world.mllp).deliver(&echo(name, name)).await;
    };
    notices(&world, "T1").await;
    world.delivered(1).await;
    // A gateway that is only down for a while passes nothing over.
    world = world.restarted().await;
    for (name, catch_up, count) in [("LEFT", false, 2), ("CAUGHT-UP", true, 4)] {
        world = world.restarted_with(|config| config.destinations.clear()).await;
        notices(&world, name).await;
        // Nor does it matter how often it starts without the destination.
        world = world.restarted().await;
        world = world
            .restarted_with(|config| {
                config.destinations.push(Destination { catch_up, ..pas(&receiver, "tested") });
            })
            .await;
        notices(&world, &format!("AFTER-{name}")).await;
        world.delivered(count).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let expected = ["T1", "AFTER-LEFT", "CAUGHT-UP", "AFTER-CAUGHT-UP"].map(|name| format!("ReferralEchoed^{name}"));
    assert_eq!(receiver.fields("NTE", 3), expected);
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_person_gives_up_while_the_one_before_is_sent_is_not_sent() {
    let receiver = Receiver::start().await;
    let address = receiver.address;
    receiver.stop().await;
    let mappings = Mappings::with(&[("MessageNoticed", NOTICED)]);
    let receiving = Destination { answer_timeout: Duration::from_secs(10), ..at(address, "tested") };
    let world = World::with(|config| tells(config, receiving, Some(&mappings.path()))).await;
    let mut sender = MllpSender::new(world.mllp);
    for number in 1..=3 {
        sender.deliver(&echo(&format!("G{number}"), &format!("NM-{number}"))).await;
    }
    world.has_dispatches(DispatchState::Waiting, 3).await;
    // The first two are read together; the first is answered late.
    let (answer, answered) = std::sync::mpsc::channel::<()>();
    let answered = parking_lot::Mutex::new(answered);
    let receiver = Receiver::at_with(address, move |message| {
        if field(message, b"NTE", 3) == b"ReferralEchoed^NM-1" {
            let _ = tokio::task::block_in_place(|| answered.lock().recv_timeout(Duration::from_secs(8)));
        }
        TAKES
    })
    .await;
    until("the first is on its way", SOON, || receiver.count() == 1).await;
    let second = world.dispatches().await[1].id;
    let act = json!({"by": "j.smith", "why": "it was told by telephone"});
    let discard = format!("http://{}/v1/dispatches/{second}/discard", world.http);
    assert_eq!(client().post(&discard).json(&act).send().await.expect("an answer").status(), 200);
    answer.send(()).expect("it waits");
    world.delivered(2).await;
    assert_eq!(receiver.fields("NTE", 3), ["ReferralEchoed^NM-1", "ReferralEchoed^NM-3"]);
    assert_eq!(world.dispatches().await[1].state, DispatchState::Discarded);
    world.stop().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_now_is_counted_apart_from_sendings_that_nobody_answered() {
    let receiver = Receiver::start().await;
    let address = receiver.address;
    receiver.stop().await;
    let mappings = Mappings::with(&[("MessageNoticed", NOTICED)]);
    let world = World::with(|config| tells(config, at(address, "tested"), Some(&mappings.path()))).await;
    let mut sender = MllpSender::new(world.mllp);
    for number in 1..=2 {
        sender.deliver(&echo(&format!("N{number}"), &format!("NM-{number}"))).await;
    }
    world.has_dispatches(DispatchState::Waiting, 2).await;
    let [first, second]: [_; 2] = world.dispatches().await.try_into().expect("two");
    // One more "not now" would be the tenth try in vain of the first; and one more sending without an answer the fifth of the
    // second, so that it would be set aside when a third is answered.
    for (one, tries, put_off) in [(first, 9, 0), (second, 4, 4)] {
        let (at, state) = (jiff::Timestamp::now(), DispatchState::Waiting);
        let step = DispatchStep { id: one.id, at, state, tries, put_off, why: String::new() };
        world.gateway.store.step_dispatch(step).await.expect("noted");
    }
    sender.deliver(&echo("N3", "NM-3")).await;
    let sent = parking_lot::Mutex::new(std::collections::HashMap::<Vec<u8>, u32>::new());
    let receiver = Receiver::at_with(address, move |message| {
        let text = field(message, b"NTE", 3).to_vec();
        let mut sent = sent.lock();
        let times = sent.entry(text.clone()).or_default();
        *times += 1;
        match (text.last(), *times) {
            (Some(b'1'), 1) => Habit::Answers("AE", "ERR|||206^Application record locked|E\r"),
            (Some(b'2'), 1..=3) => Habit::HangsUp,
            _ => TAKES,
        }
    })
    .await;
    world.delivered(3).await;
    let notices: Vec<String> = receiver.fields("NTE", 3).into_iter().collect();
    let expected = ["1", "1", "2", "2", "2", "2", "3"].map(|number| format!("ReferralEchoed^NM-{number}"));
    assert_eq!(notices, expected, "nothing went before the second, as if it were at fault");
    world.stop().await;
    receiver.stop().await;
}

/// What reached the receiver: each message at its first arrival, by NTE-3; every repetition has to be the same bytes.
fn once(receiver: &Receiver) -> (Vec<String>, usize) {
    let mut first: std::collections::HashMap<Vec<u8>, Vec<u8>> = std::collections::HashMap::new();
    let mut order = Vec::new();
    let mut repeated = 0;
    for message in receiver.received() {
        let id = field(&message, b"MSH", 9).to_vec();
        match first.get(&id) {
            Some(known) => {
                repeated += 1;
                assert!(*known == message, "a repetition is the same bytes: {}", String::from_utf8_lossy(&message));
            }
            None => {
                order.push(String::from_utf8_lossy(field(&message, b"NTE", 3)).into_owned());
                first.insert(id, message);
            }
        }
    }
    (order, repeated)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_while_the_receiver_is_away_and_all_arrive_afterwards_in_order_through_kill_9() {
    let whole = std::env::var("ERS_GATEWAY_TEST_FULL").is_ok_and(|full| full == "1");
    let count = if whole { SOAK.0 } else { SOAK.1 };
    let limit = Duration::from_secs(if whole { 1_200 } else { 120 });
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let receiver = Receiver::start().await;
    let address = receiver.address;
    receiver.stop().await;
    let mappings = Mappings::with(&[("MessageNoticed", NOTICED)]);
    let mut gateway = Serve::new(&ers);
    gateway.settings["mappings"] = json!(mappings.path());
    gateway.start_and_wait().await;
    let mut sender = MllpSender::new(gateway.mllp);
    sender.deliver(&echo("BEFORE", "BEFORE")).await;
    gateway.kill();
    // A destination that is new begins with what comes after it.
    gateway.settings["destinations"] = json!([{
        "name": "pas", "address": address.to_string(), "answer_timeout": "2s", "tells": ["northmoor"], "dialect": "tested",
    }]);
    gateway.start_and_wait().await;
    let began = Instant::now();
    for number in 0..count {
        if number == count / 2 {
            gateway.kill();
            gateway.start_and_wait().await;
        }
        sender.deliver(&echo(&format!("S{number}"), &format!("S{number}"))).await;
    }
    let (came_in, began) = (began.elapsed(), Instant::now());

    let receiver = Receiver::at(address).await;
    let heard = parking_lot::Mutex::new(std::collections::HashSet::new());
    receiver.does(move |message| {
        let is_first = heard.lock().insert(field(message, b"MSH", 9).to_vec());
        if is_first && field(message, b"NTE", 3).ends_with(b"77") { Habit::HangsUp } else { TAKES }
    });
    until("a third arrives", limit, || receiver.count() > count / 3).await;
    gateway.kill();
    gateway.start_and_wait().await;
    let last = format!("ReferralEchoed^S{}", count - 1);
    until("all arrive", limit, || receiver.count() >= count && receiver.fields("NTE", 3).last() == Some(&last)).await;
    let arrived = began.elapsed();
    let (order, repeated) = once(&receiver);
    let expected: Vec<String> = (0..count).map(|number| format!("ReferralEchoed^S{number}")).collect();
    assert!(
        order == expected,
        "{} of {count} arrived, in order up to {:?}",
        order.len(),
        first_difference(&order, &expected)
    );
    assert!(repeated > 0, "some came twice");
    println!(
        "{count} events in {:.1} s while the receiver was away; all told in {:.1} s afterwards ({:.0} a second), {repeated} of them \
         twice, through 2 kills",
        came_in.as_secs_f64(),
        arrived.as_secs_f64(),
        count as f64 / arrived.as_secs_f64(),
    );
    assert!(gateway.stop().await.success());
    receiver.stop().await;
    ers.stop().await;
}

fn first_difference(one: &[String], other: &[String]) -> Option<(usize, String)> {
    let at = one.iter().zip(other).position(|(one, other)| one != other)?;
    Some((at, one[at].clone()))
}

#[test]
fn the_shipped_files_for_destinations_are_all_tested() {
    let files = MappingFiles::built_in();
    let tests: Vec<&str> =
        files.in_folder("outbound/default/tests", "yaml").into_iter().map(|(_, _, text)| text).collect();
    for (name, _, text) in files.in_folder("outbound/default", "yaml") {
        let kind = text.lines().find_map(|line| line.strip_prefix("message: ")).unwrap_or_else(|| panic!("{name}"));
        assert!(
            tests.iter().any(|test| test.contains(&format!("||{kind}|MESSAGE-"))),
            "{name}: no test expects {kind}"
        );
    }
}
