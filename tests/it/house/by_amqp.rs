//! In from a queue, out to a topic exchange.

use std::time::Duration;

use ers_gateway::config::{Broker, BrokerInput, QueueType, TopologyMode};
use ers_gateway::events::EventSchemas;
use lapin::BasicProperties;
use lapin::types::AMQPValue;
use serde_json::Value;

use crate::support::rabbitmq::{Client, RabbitMq};
use crate::support::referrals::{fhir_sample, sample};
use crate::support::waiting::until;
use crate::support::world::World;

const SOON: Duration = Duration::from_secs(30);

struct Wired {
    world: World,
    client: Client,
    queue: String,
    events: String,
}

/// A house with an input queue of `source`, and a queue that hears every event.
async fn wired(source: &str) -> Wired {
    let node = RabbitMq::shared();
    let name = uuid::Uuid::new_v4();
    let (queue, exchange, events) = (format!("in-{name}"), format!("ers.{name}"), format!("events-{name}"));
    let client = node.client().await;
    let options = lapin::options::ExchangeDeclareOptions { durable: true, ..Default::default() };
    let (kind, table) = (lapin::ExchangeKind::Topic, lapin::types::FieldTable::default());
    client.channel.exchange_declare(exchange.as_str().into(), kind, options, table).await.expect("an exchange");
    client.bind(&events, &exchange, "#").await;
    client.declare(&queue).await;
    client.declare(&format!("{queue}.rejected")).await;
    let broker = Broker {
        urls: vec![node.url()],
        exchange,
        topology: TopologyMode::Declare,
        queue_type: QueueType::Quorum,
        in_flight_max: 64,
        partitions: None,
        inputs: vec![BrokerInput {
            queue: queue.clone(),
            source: source.into(),
            prefetch: 16,
            dead_letter_exchange: format!("dlx-{name}"),
            single_active_consumer: true,
            consumers: 1,
        }],
    };
    let world = World::with(|config| config.broker = Some(broker)).await;
    Wired { world, client, queue, events }
}

fn hl7() -> BasicProperties {
    BasicProperties::default().with_content_type("application/hl7-v2; charset=utf-8".into())
}

fn fhir() -> BasicProperties {
    BasicProperties::default().with_content_type("application/fhir+json".into())
}

impl Wired {
    /// The next event, proved valid against its schema.
    async fn event(&self) -> Value {
        let delivery = self.client.take(&self.events, SOON).await.expect("an event");
        let event: Value = serde_json::from_slice(&delivery.data).expect("JSON");
        let name = event["type"].as_str().expect("a name");
        assert_eq!(delivery.routing_key.as_str(), name);
        assert_eq!(EventSchemas::built_in().violations(name, &event["data"]), [], "{event}");
        event
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referral_with_a_letter_comes_from_a_queue_and_is_told_to_another() {
    let wired = wired("southbeck").await;
    wired.client.send(&wired.queue, hl7(), &sample("03-")).await;
    let created = wired.event().await;
    assert_eq!(created["type"], "ReferralCreated", "{created}");
    let attached = wired.event().await;
    assert_eq!(attached["type"], "ReferralLetterAttached", "{attached}");
    assert_eq!(attached["partitionkey"], created["partitionkey"]);
    assert_eq!(attached["data"]["ubrn"], created["data"]["ubrn"]);
    assert!(attached["sequence"].as_str() > created["sequence"].as_str());
    let metrics = prometheus::TextEncoder::new().encode_to_string(&wired.world.gateway.metrics.gather());
    assert!(metrics.expect("text").contains("gateway_events_invalid_total 0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_nhs_number_goes_to_the_dead_letters_and_is_told_without_it() {
    let wired = wired("eastvale").await;
    let message = String::from_utf8(sample("56-")).expect("the sample is ASCII");
    wired.client.send(&wired.queue, hl7(), message.as_bytes()).await;
    let dead = wired.client.take(&format!("{}.rejected", wired.queue), SOON).await.expect("a dead letter");
    assert_eq!(dead.data, message.as_bytes());
    let headers = dead.properties.headers().as_ref().expect("headers").inner();
    let Some(AMQPValue::LongString(problems)) = headers.get("x-problems") else { panic!("{headers:?}") };
    assert!(problems.to_string().contains("PID-3"), "{problems}");
    let event = wired.event().await;
    assert_eq!(event["type"], "MessageRejected", "{event}");
    let Some(AMQPValue::LongString(id)) = headers.get("x-message-id") else { panic!("{headers:?}") };
    assert_eq!(event["data"]["message"].as_str(), Some(id.to_string().as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_that_is_delivered_again_is_refused_again() {
    let wired = wired("eastvale").await;
    for _ in 0..2 {
        wired.client.send(&wired.queue, hl7(), &sample("56-")).await;
        let dead = wired.client.take(&format!("{}.rejected", wired.queue), SOON).await.expect("a dead letter");
        let headers = dead.properties.headers().as_ref().expect("headers").inner();
        let Some(AMQPValue::LongString(problems)) = headers.get("x-problems") else { panic!("{headers:?}") };
        assert!(problems.to_string().contains("PID-3"), "{problems}");
    }
    assert_eq!(wired.event().await["type"], "MessageRejected");
    assert_eq!(wired.client.depth(&wired.events).await, 0, "told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fhir_message_comes_from_a_queue_and_its_redelivery_makes_nothing_new() {
    let wired = wired("southbeck").await;
    let sample = fhir_sample("01-");
    for message_id in ["m-1", "m-2"] {
        wired.client.send(&wired.queue, fhir().with_message_id(message_id.into()), sample.as_bytes()).await;
    }
    let created = wired.event().await;
    assert_eq!(created["type"], "ReferralCreated", "{created}");
    let attached = wired.event().await;
    assert_eq!(attached["type"], "ReferralLetterAttached", "{attached}");
    // The second is stored once the queue is empty and the metric tells so.
    until("both are taken", SOON, || {
        let metrics = prometheus::TextEncoder::new().encode_to_string(&wired.world.gateway.metrics.gather());
        metrics.is_ok_and(|text| text.contains("transport=\"amqp\",verdict=\"duplicate\"} 1"))
    })
    .await;
    wired.world.settle().await;
    assert_eq!(wired.world.simulator.created(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_fhir_message_goes_to_the_dead_letters_with_its_places() {
    let wired = wired("southbeck").await;
    let sample = fhir_sample("09-");
    wired.client.send(&wired.queue, fhir(), sample.as_bytes()).await;
    let dead = wired.client.take(&format!("{}.rejected", wired.queue), SOON).await.expect("a dead letter");
    assert_eq!(dead.data, sample.as_bytes());
    let headers = dead.properties.headers().as_ref().expect("headers").inner();
    let Some(AMQPValue::LongString(problems)) = headers.get("x-problems") else { panic!("{headers:?}") };
    let problems = problems.to_string();
    assert!(problems.contains("Bundle.entry[2].resource.identifier[0].value"), "{problems}");
    assert!(!problems.contains("9994120035") && !problems.contains("Madeuppe"), "{problems}");
    let event = wired.event().await;
    assert_eq!((&event["type"], &event["data"]["kind"]), (&"MessageRejected".into(), &"Bundle^message".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_house_with_a_broker_stops_in_order() {
    let wired = wired("northmoor").await;
    wired.client.send(&wired.queue, hl7(), &sample("01-")).await;
    assert_eq!(wired.event().await["type"], "ReferralCreated");
    assert!(wired.world.gateway.stop().await);
    assert_eq!(wired.client.depth(&wired.queue).await, 0);
}
