//! Three nodes, of which one is killed under load, and another when that one is back (with `./test --full`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ers_gateway::config::{Broker, Partitions};
use ers_gateway::intake::Outcome;
use ers_gateway::store::Store as _;
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::input::{Taking, body_of, hl7, stored};
use super::{broker, input, until};
use crate::support::intake::ScriptedIntake;
use crate::support::outbox::Outbox;
use crate::support::publishing::Publishing;
use crate::support::rabbitmq::RabbitMq;

const LONG: Duration = Duration::from_secs(120);
const EXCHANGE: &str = "ers.events";
const INPUT: &str = "ers.in.northmoor";
/// The threads of the messages that go in.
const THREADS: u64 = 7;

/// Something with a thread and a place in it, and when it came.
struct Arrival {
    thread: String,
    sequence: u64,
    at: Instant,
}

/// Arrivals in their order.
type Arrivals = Arc<Mutex<Vec<Arrival>>>;

#[derive(Debug, PartialEq, Eq)]
struct Checked {
    distinct: u64,
    repeats: u64,
}

/// Each thread came in its order and without a gap, whatever came again.
fn check(what: &str, arrivals: &[Arrival]) -> Checked {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut checked = Checked { distinct: 0, repeats: 0 };
    for Arrival { thread, sequence, .. } in arrivals {
        let last = last.entry(thread).or_insert(0);
        if *sequence <= *last {
            checked.repeats += 1;
            continue;
        }
        assert_eq!(*sequence, *last + 1, "{what}: {thread} came out of order, or with a gap");
        *last = *sequence;
        checked.distinct += 1;
    }
    checked
}

/// The longest time between two arrivals.
fn longest_pause(arrivals: &[Arrival]) -> Duration {
    arrivals.windows(2).map(|two| two[1].at.saturating_duration_since(two[0].at)).max().unwrap_or_default()
}

/// A system beside the gateway that goes on with the next node when it loses one.
struct Elsewhere {
    urls: Vec<String>,
    turn: usize,
    channel: Option<(Connection, Channel)>,
}

impl Elsewhere {
    fn new(nodes: &[RabbitMq; 3], turn: usize) -> Self {
        Self { urls: nodes.iter().map(RabbitMq::url).collect(), turn, channel: None }
    }

    async fn channel(&mut self) -> lapin::Result<&Channel> {
        if self.channel.is_none() {
            self.turn += 1;
            let url = &self.urls[self.turn % self.urls.len()];
            let connection = Connection::connect(url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            channel.basic_qos(16, BasicQosOptions::default()).await?;
            return Ok(&self.channel.insert((connection, channel)).1);
        }
        let (_, channel) = self.channel.as_ref().expect("it was there");
        Ok(channel)
    }

    /// Sends until the broker has it.
    async fn send(&mut self, queue: &str, body: &[u8]) {
        loop {
            let sending = async {
                let options = BasicPublishOptions { mandatory: true, immediate: false };
                let properties = hl7().with_delivery_mode(2);
                let channel = self.channel().await?;
                channel.basic_publish("".into(), queue.into(), options, body, properties).await?.await
            };
            if let Ok(Ok(confirm)) = tokio::time::timeout(Duration::from_secs(10), sending).await
                && confirm.is_ack()
                && confirm.take_message().is_none()
            {
                return;
            }
            // After a refusal too: such a channel may be refused for ever (`amqp::confirming_channel`).
            self.channel = None;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Takes from a queue for as long as it is let.
    async fn take(mut self, queue: String, arrivals: Arrivals) {
        loop {
            if let Err(error) = self.take_from_one_node(&queue, &arrivals).await {
                eprintln!("{queue}: {error}");
            }
            self.channel = None;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn take_from_one_node(&mut self, queue: &str, arrivals: &Arrivals) -> lapin::Result<()> {
        let begin = async {
            let channel = self.channel().await?;
            let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
            channel.basic_consume(queue.into(), "".into(), options, table).await
        };
        // A node that has just gone may leave a question unanswered.
        let Ok(consumer) = tokio::time::timeout(Duration::from_secs(10), begin).await else { return Ok(()) };
        let mut consumer = consumer?;
        while let Some(delivery) = consumer.next().await {
            let delivery = delivery?;
            arrivals.lock().push(arrival(&delivery));
            delivery.ack(BasicAckOptions::default()).await?;
        }
        Ok(())
    }
}

fn arrival(delivery: &lapin::message::Delivery) -> Arrival {
    let headers = delivery.properties.headers().as_ref().expect("headers").inner();
    let Some(AMQPValue::LongLongInt(sequence)) = headers.get("x-sequence") else { panic!("{headers:?}") };
    let Some(AMQPValue::LongString(thread)) = headers.get("x-thread") else { panic!("{headers:?}") };
    let sequence = u64::try_from(*sequence).expect("they count from 1");
    Arrival { thread: thread.to_string(), sequence, at: Instant::now() }
}

/// A gateway's consumer of the input, which stores into the same place as the other gateway.
fn gateway(broker: &Broker, taken: &Arrivals) -> Taking {
    let taken = taken.clone();
    let intake = ScriptedIntake::new(move |inbound| {
        let body = String::from_utf8(body_of(inbound)).expect("text");
        let (thread, sequence) = body.split_once(' ').expect("a thread and a number");
        let sequence = sequence.parse().expect("a number");
        taken.lock().push(Arrival { thread: thread.to_owned(), sequence, at: Instant::now() });
        stored(Outcome::Accepted)
    });
    Taking::over(broker, intake)
}

/// Numbered messages of several threads, one after the other, until it is told to stop. How many.
async fn send(mut sender: Elsewhere, stopping: Arc<AtomicBool>) -> u64 {
    let mut sent = 0;
    while !stopping.load(Ordering::Relaxed) {
        sender.send(INPUT, format!("thread-{} {}", sent % THREADS, sent / THREADS + 1).as_bytes()).await;
        sent += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sent
}

/// The place in `nodes` of the node that the process in the wanted line of a list runs on, `<name@host.1.2.3>`,
/// as soon as there is one.
fn place(nodes: &[RabbitMq; 3], list: &[&str], wanted: impl Fn(&str) -> bool) -> usize {
    let began = Instant::now();
    loop {
        let listed = nodes[0].control(list);
        if let Some(line) = listed.lines().find(|line| wanted(line)) {
            let found = nodes.iter().position(|node| line.contains(&format!("<{}.", node.name())));
            return found.unwrap_or_else(|| panic!("{line} is on none of the nodes"));
        }
        assert!(began.elapsed() < LONG, "not in {listed}");
    }
}

/// The node that the publisher is connected to.
fn publishers_node(nodes: &[RabbitMq; 3]) -> usize {
    place(nodes, &["list_connections", "pid", "client_properties"], |line| line.contains("ers-gateway events"))
}

/// The node that the active consumer of the input is connected to.
fn takers_node(nodes: &[RabbitMq; 3]) -> usize {
    let of_input = format!("{INPUT}\t");
    place(nodes, &["list_consumers", "queue_name", "channel_pid", "active"], |line| {
        line.starts_with(&of_input) && line.ends_with("\ttrue")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_that_loses_one_node_after_the_other_loses_no_message_and_no_order() {
    let began = Instant::now();
    let nodes = Arc::new(tokio::task::block_in_place(RabbitMq::start_cluster));
    eprintln!("{:?}: three nodes are up", began.elapsed());
    let partitions = Partitions::default();
    let settings = Broker {
        urls: nodes.iter().map(RabbitMq::url).collect(),
        partitions: Some(partitions.clone()),
        inputs: vec![input(INPUT)],
        ..broker("", EXCHANGE)
    };
    let outbox = Outbox::open().await;
    let publishing = Publishing::over(settings.clone(), outbox.store.clone(), outbox.store.signals().clone());
    publishing.is_up().await;
    let taken = Arrivals::default();
    let gateways = [gateway(&settings, &taken), gateway(&settings, &taken)];
    until("the inputs are up", LONG, || gateways.iter().all(Taking::is_up)).await;

    // Two consumers for each partition, on different nodes.
    let mut consumers = JoinSet::new();
    let mut heard = Vec::new();
    for (number, queue) in partitions.queue_names().enumerate() {
        let arrivals = Arrivals::default();
        for turn in [number, number + 1] {
            consumers.spawn(Elsewhere::new(&nodes, turn).take(queue.clone(), arrivals.clone()));
        }
        heard.push(arrivals);
    }
    let stopping = Arc::new(AtomicBool::new(false));
    let sending = tokio::spawn(send(Elsewhere::new(&nodes, 0), stopping.clone()));

    let harmed = nodes.clone();
    let harm = tokio::task::spawn_blocking(move || {
        let whole = std::env::var("ERS_GATEWAY_TEST_FULL").is_ok_and(|full| full == "1");
        let victims: [fn(&[RabbitMq; 3]) -> usize; 2] = [publishers_node, takers_node];
        for whose in &victims[..if whole { 2 } else { 1 }] {
            std::thread::sleep(Duration::from_millis(500));
            let node = &harmed[whose(&harmed)];
            eprintln!("{:?}: {} is killed", began.elapsed(), node.name());
            node.kill();
            std::thread::sleep(Duration::from_secs(3));
            if whole {
                node.start();
                // Quorum queues want two of three: no other is lost before this one is back.
                node.control(&["await_online_nodes", "3"]);
                eprintln!("{:?}: {} is up again", began.elapsed(), node.name());
            }
        }
    });
    while !harm.is_finished() {
        outbox.put().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    harm.await.expect("enough nodes are up");
    stopping.store(true, Ordering::Relaxed);
    let sent = tokio::time::timeout(LONG, sending).await.expect("the broker takes what is sent").expect("no panic");
    let arrived = async {
        let count = || heard.iter().map(|arrivals| check("events", &arrivals.lock()).distinct).sum::<u64>();
        while outbox.unconfirmed_count().await > 0
            || count() < outbox.put_count()
            || check("messages", &taken.lock()).distinct < sent
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let all = tokio::time::timeout(LONG, arrived).await;
    let messages = check("messages", &taken.lock());
    let events: Vec<Checked> = heard.iter().map(|arrivals| check("events", &arrivals.lock())).collect();
    let (put, left) = (outbox.put_count(), outbox.unconfirmed_count().await);
    assert!(all.is_ok(), "of {sent} messages: {messages:?}; of {put} events: {events:?}, {left} are in the outbox");
    consumers.shutdown().await;

    assert_eq!(messages.distinct, sent);
    assert_eq!(events.iter().map(|checked| checked.distinct).sum::<u64>(), outbox.put_count());
    let mut threads = BTreeSet::new();
    let mut all_heard = Vec::new();
    for arrivals in &heard {
        let mut arrivals = std::mem::take(&mut *arrivals.lock());
        for thread in arrivals.iter().map(|arrival| arrival.thread.clone()).collect::<BTreeSet<_>>() {
            assert!(threads.insert(thread.clone()), "{thread} is in two queues");
        }
        all_heard.append(&mut arrivals);
    }
    all_heard.sort_by_key(|arrival| arrival.at);
    eprintln!(
        "{:?}: {sent} messages, {} came again, longest pause {:?}; {} events, {} came again, longest pause {:?}",
        began.elapsed(),
        messages.repeats,
        longest_pause(&taken.lock()),
        outbox.put_count(),
        events.iter().map(|checked| checked.repeats).sum::<u64>(),
        longest_pause(&all_heard),
    );
}
