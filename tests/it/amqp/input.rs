//! Messages and commands from queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ers_gateway::amqp::BrokerLinks;
use ers_gateway::command::MessageId;
use ers_gateway::config::{Broker, TopologyMode};
use ers_gateway::environment::Environment;
use ers_gateway::inbound::amqp::{AmqpDeps, InputMetrics, start};
use ers_gateway::intake::{Answer, Content, Inbound, Outcome};
use ers_gateway::mapping::{Location, Problem};
use lapin::BasicProperties;
use lapin::types::AMQPValue;
use parking_lot::Mutex;
use serde_json::json;
use uuid::Uuid;

use super::{SOON, broker, input, unique, until};
use crate::support::intake::{ScriptedIntake, answer};
use crate::support::rabbitmq::{Client, RabbitMq};

/// A gateway's consumers of one queue.
pub struct Taking {
    pub environment: Environment,
    registry: ers_gateway::metrics::Registry,
    pub queue: String,
}

impl Taking {
    async fn start(node: &RabbitMq, topology: TopologyMode, intake: Arc<ScriptedIntake>) -> Self {
        let queue = unique("referrals");
        let broker = Broker { inputs: vec![input(&queue)], topology, ..broker(&node.url(), "unused") };
        let taking = Self::over(&broker, intake);
        if topology == TopologyMode::Declare {
            until("the consumer is up", Duration::from_secs(60), || taking.is_up()).await;
        }
        taking
    }

    /// Over the only input of these settings.
    pub fn over(broker: &Broker, intake: Arc<ScriptedIntake>) -> Self {
        let (environment, registry) = (Environment::system(), ers_gateway::metrics::Registry::new());
        let deps = AmqpDeps {
            intake,
            links: BrokerLinks::register(&registry).expect("registered once"),
            metrics: InputMetrics::register(&registry).expect("registered once"),
        };
        start(broker, &deps, &environment);
        Self { environment, registry, queue: broker.inputs[0].queue.clone() }
    }

    pub fn metrics(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).expect("text")
    }

    pub fn is_up(&self) -> bool {
        self.has_up(1)
    }

    /// Exactly so many of its consumers are connected.
    pub fn has_up(&self, count: usize) -> bool {
        self.metrics().contains(&format!("gateway_broker_up{{link=\"{}\"}} {count}\n", self.queue))
    }

    async fn is_empty(&self, client: &Client) {
        let empty = async {
            while client.depth(&self.queue).await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, empty).await.expect("the queue is emptied");
    }

    async fn stop(self, client: &Client) -> u32 {
        assert!(self.environment.drain(Duration::from_secs(10)).await, "the consumer did not stop");
        // The broker puts back what was not acknowledged when it sees the connection close.
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.depth(&self.queue).await
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.environment.shutdown().cancel();
    }
}

fn message_id() -> MessageId {
    MessageId(Uuid::from_u128(1))
}

pub fn stored(outcome: Outcome) -> Answer {
    Answer { message: Some(message_id()), ..answer(outcome) }
}

pub fn hl7() -> BasicProperties {
    BasicProperties::default().with_content_type("application/hl7-v2; charset=utf-8".into())
}

pub fn body_of(inbound: &Inbound) -> Vec<u8> {
    match &inbound.content {
        Content::Hl7v2 { bytes, .. } | Content::Command { bytes, .. } | Content::Fhir { bytes, .. } => bytes.to_vec(),
    }
}

#[tokio::test]
async fn messages_are_taken_in_their_order_and_acknowledged_once_stored() {
    let node = RabbitMq::shared();
    let intake = ScriptedIntake::new(|_| stored(Outcome::Accepted));
    let taking = Taking::start(node, TopologyMode::Declare, intake.clone()).await;
    let client = node.client().await;
    for number in 0..50 {
        client.send(&taking.queue, hl7(), format!("MSH|{number}").as_bytes()).await;
    }
    until("all are taken", SOON, || intake.acknowledged().len() == 50).await;
    let received = intake.received();
    let bodies: Vec<_> = received.iter().map(body_of).collect();
    let expected: Vec<_> = (0..50).map(|number| format!("MSH|{number}").into_bytes()).collect();
    assert_eq!(bodies, expected);
    assert!(received.iter().all(|inbound| inbound.source.as_deref() == Some("northmoor")));
    assert_eq!(taking.stop(&client).await, 0);
}

#[tokio::test]
async fn a_command_brings_its_name_and_its_idempotency_key() {
    let node = RabbitMq::shared();
    let intake = ScriptedIntake::new(|_| stored(Outcome::Accepted));
    let taking = Taking::start(node, TopologyMode::Declare, intake.clone()).await;
    let client = node.client().await;
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_type("CreateReferral".into())
        .with_message_id("m-1".into());
    client.send(&taking.queue, properties, b"{}").await;
    until("it is taken", SOON, || intake.acknowledged().len() == 1).await;
    let received = intake.received();
    let Content::Command { name, idempotency_key, .. } = &received[0].content else { panic!("{received:?}") };
    assert_eq!((name.as_str(), idempotency_key.as_deref()), ("CreateReferral", Some("m-1")));
}

#[tokio::test]
async fn a_refused_message_goes_to_the_dead_letter_exchange_with_every_reason() {
    let node = RabbitMq::shared();
    let intake = ScriptedIntake::new(|_| Answer {
        problems: vec![
            Problem::new(Location::component("PID", 3, Some(1)), 101, "NHS number check digit"),
            Problem::new(Location::field("RF1", 1), 103, "not in table priority"),
        ],
        ..stored(Outcome::Rejected)
    });
    let taking = Taking::start(node, TopologyMode::Declare, intake).await;
    let client = node.client().await;
    client.send(&taking.queue, hl7().with_message_id("m-1".into()).with_expiration("600000".into()), b"MSH|bad").await;
    let dead = client.take(&format!("{}.rejected", taking.queue), SOON).await.expect("a dead letter");
    assert_eq!(dead.data, b"MSH|bad");
    assert_eq!(dead.properties.message_id().as_ref().map(|id| id.as_str()), Some("m-1"));
    assert_eq!(*dead.properties.expiration(), None);
    let headers = dead.properties.headers().as_ref().expect("headers").inner();
    let text = |name: &str| match headers.get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    };
    let problems: serde_json::Value = serde_json::from_str(&text("x-problems")).expect("JSON");
    assert_eq!(
        problems,
        json!([
            {"location": "PID-3.1", "code": 101, "text": "NHS number check digit"},
            {"location": "RF1-1", "code": 103, "text": "not in table priority"},
        ])
    );
    assert_eq!(text("x-message-id"), message_id().to_string());
    assert_eq!((text("x-outcome"), text("x-source")), ("rejected".to_owned(), "northmoor".to_owned()));
    assert_eq!(text("x-original-routing-key"), taking.queue);
    taking.is_empty(&client).await;
    let counted = format!("gateway_amqp_dead_lettered_total{{queue=\"{}\"}} 1", taking.queue);
    until("it is counted", SOON, || taking.metrics().contains(&counted)).await;
    assert_eq!(taking.stop(&client).await, 0);
}

#[tokio::test]
async fn what_no_one_can_read_goes_to_the_dead_letter_exchange_too() {
    let node = RabbitMq::shared();
    let intake = ScriptedIntake::new(|_| answer(Outcome::Unreadable));
    let taking = Taking::start(node, TopologyMode::Declare, intake.clone()).await;
    let client = node.client().await;
    let rejected = format!("{}.rejected", taking.queue);
    client.send(&taking.queue, BasicProperties::default().with_content_type("image/png".into()), b"\x89PNG").await;
    client.send(&taking.queue, hl7(), b"not HL7").await;
    assert_eq!(client.take(&rejected, SOON).await.expect("a dead letter").data, b"\x89PNG");
    assert_eq!(client.take(&rejected, SOON).await.expect("a dead letter").data, b"not HL7");
    assert_eq!(intake.received().len(), 1, "the picture never reached intake");
}

#[tokio::test]
async fn while_the_store_takes_nothing_the_queue_is_held_in_its_order_without_a_hot_loop() {
    let node = RabbitMq::shared();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let kept = taken.clone();
    let intake = ScriptedIntake::new(move |inbound| {
        if counted.fetch_add(1, Ordering::SeqCst) < 3 {
            return answer(Outcome::Unavailable);
        }
        kept.lock().push(body_of(inbound));
        stored(Outcome::Accepted)
    });
    let taking = Taking::start(node, TopologyMode::Declare, intake).await;
    let client = node.client().await;
    let started = std::time::Instant::now();
    for body in [b"1", b"2", b"3"] {
        client.send(&taking.queue, hl7(), body).await;
    }
    until("all are taken", SOON, || taken.lock().len() == 3).await;
    assert_eq!(*taken.lock(), [b"1", b"2", b"3"]);
    assert_eq!(attempts.load(Ordering::SeqCst), 6);
    // Three pauses of at least half of 250, 500 and 1000 ms.
    assert!(started.elapsed() >= Duration::from_millis(875), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_was_not_stored_before_a_stop_is_still_in_the_queue() {
    let node = RabbitMq::shared();
    let intake = ScriptedIntake::new(|_| answer(Outcome::Unavailable));
    let taking = Taking::start(node, TopologyMode::Declare, intake.clone()).await;
    let client = node.client().await;
    for _ in 0..5 {
        client.send(&taking.queue, hl7(), b"MSH|").await;
    }
    until("one was tried", SOON, || !intake.received().is_empty()).await;
    assert_eq!(taking.stop(&client).await, 5);
}

#[tokio::test]
async fn an_unroutable_dead_letter_is_acknowledged_only_if_the_store_has_the_message() {
    let node = RabbitMq::shared();
    let client = node.client().await;
    for (outcome, message, left) in [(Outcome::Rejected, Some(message_id()), 0), (Outcome::TooLarge, None, 1)] {
        let intake = ScriptedIntake::new(move |_| Answer { message, ..answer(outcome) });
        let taking = Taking::start(node, TopologyMode::Check, intake).await;
        client.declare(&taking.queue).await;
        let options = lapin::options::ExchangeDeclareOptions { durable: true, ..Default::default() };
        let (exchange, kind) = (format!("{}.dlx", taking.queue), lapin::ExchangeKind::Topic);
        let table = lapin::types::FieldTable::default();
        client.channel.exchange_declare(exchange.as_str().into(), kind, options, table).await.expect("an exchange");
        until("the consumer is up", Duration::from_secs(60), || taking.is_up()).await;
        client.send(&taking.queue, hl7(), b"MSH|").await;
        let unroutable = format!("gateway_amqp_dead_letters_unroutable_total{{queue=\"{}\"}}", taking.queue);
        until("it had nowhere to go", SOON, || taking.metrics().contains(&unroutable)).await;
        assert_eq!(taking.stop(&client).await, left, "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_comes_back_after_the_broker_was_killed() {
    let node = RabbitMq::start_new();
    let intake = ScriptedIntake::new(|_| stored(Outcome::Accepted));
    let taking = Taking::start(&node, TopologyMode::Declare, intake.clone()).await;
    node.client().await.send(&taking.queue, hl7(), b"1").await;
    let has = |body: &[u8]| intake.received().iter().any(|inbound| body_of(inbound) == body);
    until("the first is taken", SOON, || has(b"1")).await;
    // RabbitMQ 3.10 notes a new quorum queue in its directory half a second later; a lone node that is killed
    // before that finds no leader for it again.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    tokio::task::block_in_place(|| {
        node.kill();
        node.start();
    });
    // The first may come again: the node died perhaps before it noted the acknowledgement.
    node.client().await.send(&taking.queue, hl7(), b"2").await;
    until("the second is taken", Duration::from_secs(60), || has(b"2")).await;
}
