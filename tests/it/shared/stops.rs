//! An orderly stop, as a balancer sees it.

use std::time::{Duration, Instant};

use crate::support::cluster::Cluster;
use crate::support::postgres::Postgres;
use crate::support::referrals::{Patients, northmoor};
use crate::support::sender::{MllpSender, field};
use crate::support::waiting::get;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_falls_before_a_drain() {
    let mut cluster = Cluster::new(Postgres::shared(), 2).await;
    for gateway in &mut cluster.gateways {
        gateway.settings["stop_notice"] = "2s".into();
    }
    cluster.start().await;
    let patients = Patients::new();
    let mut sender = MllpSender::new(cluster.gateways[0].mllp);

    cluster.gateways[0].signal("TERM");
    let asked = Instant::now();
    let ready = cluster.gateways[0].url("/health/ready");
    while get(&ready).await.status() != 503 {
        assert!(asked.elapsed() < Duration::from_secs(1), "it says that it is ready");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut taken = 0;
    while asked.elapsed() < Duration::from_millis(1_500) {
        let key = format!("R-{taken}");
        let answer = sender.deliver_once(&northmoor(&key, &format!("NM-{taken}"), &patients.next(), None)).await;
        assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", String::from_utf8_lossy(&answer));
        taken += 1;
    }
    let draining = cluster.instances(1).await;
    assert_eq!(draining[0]["standing"], "draining", "{draining:?}");
    assert!(cluster.gateways[0].ended().await.success(), "{}", cluster.gateways[0].log_end());
    assert!(asked.elapsed() > Duration::from_secs(2), "its notice was 2 s");
    let stopped = cluster.instances(1).await;
    assert_eq!((&stopped[0]["standing"], &stopped[0]["alive"]), (&"stopped".into(), &false.into()), "{stopped:?}");

    // What it took, the other one carries out.
    cluster.settle(Duration::from_secs(30)).await;
    assert_eq!(cluster.ers.creations().len(), taken);
    cluster.stop().await;
}
