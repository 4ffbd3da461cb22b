//! Publishing is the duty of one instance; when it dies, another has it.

use std::time::{Duration, Instant};

use crate::support::cluster::Cluster;
use crate::support::consumer::{Heard, listen};
use crate::support::postgres::Postgres;
use crate::support::rabbitmq::RabbitMq;
use crate::support::referrals::{Patients, create};
use crate::support::sender::HttpSender;

const EXCHANGE: &str = "ers.events.duties";
const EVENTS: &str = "events-duties";
/// A duty is held for 15 s, and asked for every 2 s.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(22);

async fn send(cluster: &Cluster, to: usize, patients: &Patients, numbers: std::ops::Range<u32>) {
    let mut http = HttpSender::new();
    let url = cluster.gateways[to].url("/v1/commands/CreateReferral?source=eastvale");
    for number in numbers {
        let (status, body) =
            http.deliver(&url, &format!("D-{number}"), &create(&format!("EV-{number}"), &patients.next())).await;
        assert_eq!(status, 202, "{body}");
    }
}

/// The holder, once there is one that is not `but`.
async fn holder(cluster: &Cluster, of: usize, but: Option<usize>) -> usize {
    let began = Instant::now();
    loop {
        if let Some(holder) = cluster.holder(of, "outbox").await
            && Some(holder) != but
        {
            return holder;
        }
        assert!(began.elapsed() < TAKEN_OVER_WITHIN, "nobody publishes: {:?}", cluster.instances(of).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_instance_publishes_and_another_takes_over() {
    let node = RabbitMq::shared();
    let client = node.client().await;
    listen(&client, EXCHANGE, EVENTS).await;
    let mut cluster = Cluster::new(Postgres::shared(), 3).await;
    cluster.set_broker(node, EXCHANGE, None);
    for gateway in &mut cluster.gateways {
        gateway.settings["delivery"]["lease"] = "6s".into();
    }
    cluster.start().await;
    let patients = Patients::new();
    let first = holder(&cluster, 0, None).await;
    for of in 1..3 {
        assert_eq!(holder(&cluster, of, None).await, first, "every instance says the same");
    }
    send(&cluster, first, &patients, 0..20).await;

    cluster.gateways[first].kill();
    let killed = Instant::now();
    let left = (first + 1) % 3;
    send(&cluster, left, &patients, 20..40).await;
    let second = holder(&cluster, left, Some(first)).await;
    eprintln!("taken over after {:?}", killed.elapsed());
    cluster.settle(Duration::from_secs(90)).await;
    assert_eq!(cluster.holder(left, "outbox").await, Some(second));

    // One that stops in order leaves its duty at once.
    assert!(cluster.gateways[second].stop().await.success(), "{}", cluster.gateways[second].log_end());
    let stopped = Instant::now();
    let last = 3 - first - second;
    assert_eq!(holder(&cluster, last, Some(second)).await, last);
    let taken = stopped.elapsed();
    eprintln!("taken over {taken:?} after an orderly stop");
    assert!(taken < Duration::from_secs(5), "{taken:?}");
    send(&cluster, last, &patients, 40..50).await;
    cluster.settle(Duration::from_secs(30)).await;

    let heard = Heard::all(node, EVENTS).await;
    eprintln!("{} events, {} repeated", heard.events.len(), heard.repeats);
    assert_eq!(heard.events.len() as u64, cluster.count("SELECT count(*) FROM {}.outbox"), "no event is lost");
    // The one that was killed may have been about to make some: those are in doubt, whether e-RS heard of them or not.
    let [done, in_doubt] = ["completed", "in_doubt"].map(|state| {
        cluster.count(&format!("SELECT count(*) FROM {{}}.command WHERE state::json->>'state' = '{state}'"))
    });
    assert_eq!(done + in_doubt, 50);
    let made = cluster.ers.creations().len() as u64;
    assert!((done..=50).contains(&made), "{made} made, {done} done, {in_doubt} in doubt");
    cluster.stop().await;
}
