//! What was purged is still recognised when it comes again.

use ers_gateway::store::{MessageFilter, Purge, PurgePlace};
use serde_json::{Value, json};

use crate::support::referrals::{create, northmoor};
use crate::support::sender::{HttpSender, MllpSender, contains, field};
use crate::support::world::World;

/// A test number that passes its checksum.
const NHS_NUMBER: &str = "9994120034";

/// Everything that is finished goes.
async fn purge(world: &World) {
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
    assert_eq!(messages(world).await, 0);
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
