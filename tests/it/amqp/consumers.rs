//! Several consumers of one queue, in one gateway or in several.

use std::sync::Arc;
use std::time::Duration;

use ers_gateway::config::{Broker, BrokerInput};
use ers_gateway::intake::Outcome;
use parking_lot::Mutex;

use super::input::{Taking, body_of, hl7, stored};
use super::{SOON, broker, input, unique, until};
use crate::support::intake::ScriptedIntake;
use crate::support::rabbitmq::RabbitMq;

/// What was taken, by which gateway, in the order of storing.
type Taken = Arc<Mutex<Vec<(&'static str, usize)>>>;

fn gateway(name: &'static str, broker: &Broker, taken: &Taken) -> Taking {
    let taken = taken.clone();
    let intake = ScriptedIntake::new(move |inbound| {
        // One is slower than the other, so that without care the order would be lost.
        std::thread::sleep(Duration::from_millis(if name == "first" { 5 } else { 1 }));
        let number = String::from_utf8(body_of(inbound)).expect("text").parse().expect("a number");
        taken.lock().push((name, number));
        stored(Outcome::Accepted)
    });
    Taking::over(broker, intake)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gateways_that_share_a_queue_keep_its_order_and_one_takes_over_from_the_other() {
    const COUNT: usize = 200;
    let node = RabbitMq::shared();
    let broker = Broker { inputs: vec![input(&unique("referrals"))], ..broker(&node.url(), "unused") };
    let taken = Taken::default();
    let first = gateway("first", &broker, &taken);
    until("the first is up", Duration::from_secs(60), || first.is_up()).await;
    let second = gateway("second", &broker, &taken);
    until("the second is up", Duration::from_secs(60), || second.is_up()).await;
    let client = node.client().await;
    for number in 0..COUNT {
        client.send(&first.queue, hl7(), number.to_string().as_bytes()).await;
    }
    until("some are taken", SOON, || taken.lock().len() > 20).await;
    assert!(taken.lock().iter().all(|(by, _)| *by == "first"), "the second stands by");
    assert!(first.environment.drain(SOON).await);
    let last = (COUNT - 1, "second");
    until("the other takes the rest", SOON, || taken.lock().last().is_some_and(|(by, n)| (*n, *by) == last)).await;
    let numbers: Vec<usize> = taken.lock().iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn by_setting_several_consumers_of_a_gateway_share_a_queue() {
    const COUNT: usize = 60;
    let node = RabbitMq::shared();
    let shared =
        BrokerInput { single_active_consumer: false, consumers: 3, prefetch: 1, ..input(&unique("referrals")) };
    let broker = Broker { inputs: vec![shared], ..broker(&node.url(), "unused") };
    let taken = Taken::default();
    let gateway = gateway("first", &broker, &taken);
    until("all are up", Duration::from_secs(60), || gateway.has_up(3)).await;
    let client = node.client().await;
    for number in 0..COUNT {
        client.send(&gateway.queue, hl7(), number.to_string().as_bytes()).await;
    }
    until("all are taken", SOON, || taken.lock().len() == COUNT).await;
    let mut numbers: Vec<usize> = taken.lock().iter().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
    let listed = node.control(&["list_consumers", "queue_name"]);
    assert_eq!(listed.lines().filter(|line| **line == gateway.queue).count(), 3, "{listed}");
}
