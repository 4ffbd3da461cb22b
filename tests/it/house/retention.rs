//! What was purged is still recognised when it comes again.

use ers_gateway::command::NhsNumber;
use ers_gateway::store::{Act, Held, LegalHold, MessageFilter, Purge, PurgePlace};
use serde_json::{Value, json};

use crate::support::referrals::{create, northmoor};
use crate::support::sender::{HttpSender, MllpSender, contains, field};
use crate::support::waiting::client;
use crate::support::world::World;

/// A test number that passes its checksum.
const NHS_NUMBER: &str = "9994120034";

/// Everything that is finished goes.
async fn purge(world: &World) {
    purge_what_may_go(world).await;
    assert_eq!(messages(world).await, 0);
}

async fn purge_what_may_go(world: &World) {
    world.settle().await;
    let now = Some(jiff::Timestamp::now());
    let mut from = Some(PurgePlace::START);
    while let Some(place) = from {
        let purge = Purge {
            messages_before: now,
            events_before: now,
            keep_unconfirmed: false,
            told_up_to: u64::MAX,
            max: 100,
            from: place,
        };
        from = world.gateway.store.purge(purge).await.expect("purged").next;
    }
}

async fn messages(world: &World) -> usize {
    let all = MessageFilter { max: 100, ..MessageFilter::default() };
    world.gateway.store.messages(all).await.expect("listed").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purged_referral_is_answered_again_and_never_made_again() {
    let world = World::start().await;
    let mut sender = MllpSender::new(world.mllp);
    let first = northmoor("NM1", "L1", NHS_NUMBER, None);
    assert_eq!(field(&sender.deliver_once(&first).await, b"MSA", 1), b"AA");
    purge(&world).await;
    assert_eq!(world.simulator.created(), 1);

    // The same bytes: the answer is made anew, and nothing is stored.
    let answer = sender.deliver_once(&first).await;
    assert_eq!((field(&answer, b"MSA", 1), field(&answer, b"MSA", 2)), (&b"AA"[..], &b"NM1"[..]));
    assert_eq!(messages(&world).await, 0);
    // The same control id with other content.
    let other = northmoor("NM1", "L1", NHS_NUMBER, Some("another"));
    let answer = sender.deliver_once(&other).await;
    assert_ne!(field(&answer, b"MSA", 1), b"AA");
    assert!(contains(&answer, b"205"), "{}", String::from_utf8_lossy(&answer));
    // The same referral under another control id.
    let renamed = northmoor("NM2", "L1", NHS_NUMBER, None);
    assert_eq!(field(&sender.deliver_once(&renamed).await, b"MSA", 1), b"AA");
    world.settle().await;
    assert_eq!(world.commands().await, [""; 0], "no command was made of it");
    // A changed one waits for a person.
    let changed = northmoor("NM3", "L1", NHS_NUMBER, Some("a diagnosis"));
    assert_eq!(field(&sender.deliver_once(&changed).await, b"MSA", 1), b"AA");
    world.settle().await;
    let failed = MessageFilter { state: Some("failed".into()), max: 10, ..MessageFilter::default() };
    assert_eq!(world.gateway.store.messages(failed).await.expect("listed").len(), 1);
    assert_eq!(world.simulator.created(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purged_command_is_still_known_by_its_idempotency_key() {
    let world = World::start().await;
    let url = format!("http://{}/v1/commands/CreateReferral?source=northmoor", world.http);
    let mut sender = HttpSender::new();
    let (_, first) = sender.deliver(&url, "k-1", &create("L1", NHS_NUMBER)).await;
    purge(&world).await;
    let (status, again) = sender.deliver(&url, "k-1", &create("L1", NHS_NUMBER)).await;
    assert!((200..300).contains(&status), "{status}: {again}");
    assert_eq!((&again["outcome"], &again["message"]), (&json!("duplicate"), &first["message"]));
    let mut other = create("L1", NHS_NUMBER);
    other["priority"] = Value::from("URGENT");
    assert_eq!(sender.deliver(&url, "k-1", &other).await.0, 409);
    assert_eq!(world.simulator.created(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_that_was_purged_is_refused_or_taken_as_new() {
    let world = World::start().await;
    let mut sender = MllpSender::new(world.mllp);
    let refused = northmoor("NM1", "L1", "9994120035", None);
    let answer = sender.deliver_once(&refused).await;
    assert_ne!(field(&answer, b"MSA", 1), b"AA");
    purge(&world).await;
    let answer = sender.deliver_once(&refused).await;
    assert_ne!(field(&answer, b"MSA", 1), b"AA", "never acknowledged without being stored");
    assert_eq!(messages(&world).await, 1);
    let mended = northmoor("NM2", "L1", NHS_NUMBER, None);
    assert_eq!(field(&sender.deliver_once(&mended).await, b"MSA", 1), b"AA");
    world.settle().await;
    assert_eq!(world.simulator.created(), 1);
    world.stop().await;
}

/// The second message names only the UBRN: what e-RS answers says whose it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_e_rs_answered_about_a_patient_is_found_and_held_with_the_rest() {
    let world = World::start().await;
    let url = |name: &str| format!("http://{}/v1/commands/{name}?source=northmoor", world.http);
    let mut sender = HttpSender::new();
    let (_, made) = sender.deliver(&url("CreateReferral"), "k-1", &create("L1", NHS_NUMBER)).await;
    let (_, other) = sender.deliver(&url("CreateReferral"), "k-2", &create("L2", "9994121405")).await;
    world.settle().await;
    let id = made["message"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let created = world.gateway.store.commands_of(id).await.expect("read").remove(0);
    let ubrn = created.known["ubrn"].as_str().expect("it was made").to_owned();
    let (_, read) = sender.deliver(&url("RetrieveReferral"), "k-3", &json!({ "ubrn": ubrn })).await;
    world.settle().await;
    let keys = world.keys();
    let found = async |number: &str| {
        let digest = keys.patient_digest(&NhsNumber::parse(number).expect("a number"));
        let found = world.gateway.store.messages_of_patient(digest, 0, 10).await.expect("read");
        (digest, found.into_iter().map(|placed| Value::from(placed.id.to_string())).collect::<Vec<_>>())
    };
    let (digest, of_one) = found(NHS_NUMBER).await;
    assert_eq!(of_one, [made["message"].clone(), read["message"].clone()]);
    assert_eq!(found("9994121405").await.1, [other["message"].clone()]);

    let hold = LegalHold {
        id: uuid::Uuid::from_u128(1),
        on: Held::Patient(digest),
        at: jiff::Timestamp::now(),
        by: "Grace".into(),
    };
    let act = || Act::of_person("Grace", "a test", "claim 4711", jiff::Timestamp::now());
    world.gateway.store.put_legal_hold(hold.clone(), act()).await.expect("held");
    purge_what_may_go(&world).await;
    assert_eq!(found(NHS_NUMBER).await.1, of_one);
    assert_eq!(messages(&world).await, 2);
    let shown = client().get(format!("http://{}/v1/messages/{id}", world.http)).send().await.expect("an answer");
    assert_eq!(shown.json::<Value>().await.expect("JSON")["legalHold"], true);
    world.gateway.store.lift_legal_hold(hold.id, act()).await.expect("lifted");
    purge(&world).await;
    world.gateway.store.verify().await.expect("whole");
    world.stop().await;
}
