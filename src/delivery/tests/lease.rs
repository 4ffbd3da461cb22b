//! A write leaves only while its command is surely ours; who lost it leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::fake_ers::Does;
use super::halting_store::{HaltingStore, Halts};
use super::world::{Wanted, World};
use crate::command::CommandId;
use crate::config;
use crate::store::{DeliveryStore as _, QuotaAsk, SharedQuota, StoreError};

fn paced() -> Wanted {
    Wanted { settings: config::Delivery::default(), ..Wanted::default() }
}

async fn outcomes(world: &World, command: CommandId) -> Vec<Option<String>> {
    world.attempts(command).await.into_iter().map(|attempt| attempt.outcome).collect()
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_commit_hung_nearly_as_long_as_its_lease_is_withdrawn_and_sent_later() {
    let world = World::new(Wanted::default()).await;
    let store = HaltingStore::new(&world.store, &world.environment, Halts::Before, Duration::from_secs(55));
    world.start_on(Arc::new(store));
    let command = world.admit("R1").await;
    world.until(command, "completed").await;
    assert_eq!(world.ers.calls(), ["A011"]);
    assert_eq!(outcomes(&world, command).await, [Some("not_sent".into()), Some("ok".into())]);
    let why = world.reasons(command).await.join("; ");
    assert!(why.contains("A011 was not sent: its lease may have ended"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_write_is_never_sent_by_who_stood_still_while_another_took_over() {
    let world = World::new(Wanted::default()).await;
    let store = HaltingStore::new(&world.store, &world.environment, Halts::After, Duration::from_secs(100));
    let hands = world.start_on(Arc::new(store));
    let command = world.admit("R1").await;
    world.rest(Duration::from_secs(90)).await;
    assert_eq!(world.command(command).await.state.name(), "in_doubt", "its lease ended");
    assert!(hands.in_use() > 0, "who stood still knows nothing of it");
    world.rest(Duration::from_secs(3_600)).await;
    assert_eq!(world.command(command).await.state.name(), "in_doubt");
    assert_eq!(world.event_names().await, ["CommandInDoubt", "DecisionNeeded"]);
    let writes: Vec<_> = world.attempts(command).await.into_iter().filter(|attempt| attempt.is_write).collect();
    assert_eq!(writes.iter().map(|attempt| &attempt.outcome).collect::<Vec<_>>(), [&None]);
    assert!(!world.ers.calls().contains(&"A011"));
    assert_eq!(hands.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_during_a_call_ends_the_run_and_hinders_nobody() {
    let world = World::new(paced()).await;
    let hands = world.start();
    world.ers.will([Does::Hangs]);
    let command = world.admit("R1").await;
    while world.ers.calls().is_empty() {
        world.rest(Duration::from_millis(10)).await;
    }
    assert_eq!(hands.in_use(), 1);
    let recovered = world.store.recover(world.now()).await.expect("another instance takes over");
    assert_eq!(recovered.in_doubt, 1);
    world.rest(Duration::from_secs(21)).await; // the next renewal
    assert_eq!(hands.in_use(), 0, "the call is let go of");
    let mut others = Vec::new();
    for nth in 2..=10 {
        others.push(world.admit(&format!("R{nth}")).await);
    }
    let began = world.now();
    for other in others {
        world.until(other, "completed").await;
    }
    assert!(world.now().duration_since(began) < jiff::SignedDuration::from_secs(3), "at the full pace");
    assert_eq!(world.ers.calls().len(), 10);
    assert_eq!(world.command(command).await.state.name(), "in_doubt");
    let text = prometheus::TextEncoder::new().encode_to_string(&world.registry.gather()).expect("text");
    assert!(!text.contains("gateway_breaker_open{"), "it says nothing of e-RS: {text}");
}

/// Gives one departure at once and is away from then on.
#[derive(Default)]
struct OneDeparture {
    given: AtomicBool,
}

#[async_trait]
impl SharedQuota for OneDeparture {
    async fn reserve(&self, _ask: QuotaAsk) -> Result<Vec<Duration>, StoreError> {
        match self.given.swap(true, Ordering::SeqCst) {
            true => Err(StoreError::Unavailable("away".into())),
            false => Ok(vec![Duration::ZERO]),
        }
    }

    async fn rate(&self, _application: &str, per_second: f64) -> Result<f64, StoreError> {
        Ok(per_second)
    }

    async fn throttled(&self, _application: &str, _per_second: f64) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_takes_back_a_write_that_waits_for_another_departure() {
    let world = World::new(paced()).await;
    let mut store = HaltingStore::new(&world.store, &world.environment, Halts::Before, Duration::from_secs(1));
    store.quota = Some(Arc::new(OneDeparture::default()));
    world.start_on(Arc::new(store));
    let command = world.admit("R1").await;
    world.rest(Duration::from_secs(10)).await;
    assert_eq!(world.command(command).await.state.name(), "running");
    assert_eq!(outcomes(&world, command).await, [None], "about to be sent");
    assert!(world.environment.drain(Duration::from_secs(10)).await, "nothing holds the stop up");
    assert_eq!(world.command(command).await.state.name(), "queued");
    assert_eq!(outcomes(&world, command).await, [Some("not_sent".into())]);
    assert!(world.ers.calls().is_empty());
}
