//! One version follows another while gateways run: the version before the newest migration is built from the history
//! (`./test` does that, and names it), starts a store, and works beside this one on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::cluster::Cluster;
use crate::support::consumer::{Heard, listen};
use crate::support::ledgers;
use crate::support::load::Load;
use crate::support::postgres::{Care, Postgres};
use crate::support::rabbitmq::RabbitMq;

const EXCHANGE: &str = "ers.events";
const EVENTS: &str = "events";
const INPUT: &str = "referrals";
const PREVIOUS: &str = "ERS_GATEWAY_TEST_PREVIOUS";
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// How far each phase of the newest migration came.
fn phase(cluster: &Cluster, phase: &str) -> u64 {
    cluster.count(&format!("SELECT coalesce(max(number), 0) FROM {{}}.migration WHERE phase = '{phase}'"))
}

async fn breathe() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_version_follows_another_under_load() {
    let Some(previous) = std::env::var_os(PREVIOUS).map(PathBuf::from) else {
        eprintln!("not run: {PREVIOUS} names no program of the version before the newest migration; ./test builds it");
        return;
    };
    let mut cluster = Cluster::new(Arc::new(Postgres::start_new(Care::Quick)), 2).await;
    let node = Arc::new(RabbitMq::start_new());
    let client = node.client().await;
    listen(&client, EXCHANGE, EVENTS).await;
    client.declare(INPUT).await;
    client.declare(&format!("{INPUT}.rejected")).await;
    drop(client);
    cluster.set_broker(&node, EXCHANGE, Some(INPUT));
    let this = cluster.gateways[0].program.clone();
    for gateway in &mut cluster.gateways {
        gateway.program.clone_from(&previous);
    }
    cluster.start().await;
    let before = phase(&cluster, "expand");
    let load = {
        let gateways: Vec<_> = cluster.gateways.iter().collect();
        Load::start_on(&gateways, &node, INPUT, 1)
    };
    breathe().await;

    // The first of the new version expands the store beside one of the old.
    assert!(cluster.gateways[0].stop().await.success(), "{}", cluster.logs());
    cluster.gateways[0].program.clone_from(&this);
    cluster.gateways[0].start_and_wait().await;
    assert!(phase(&cluster, "expand") > before, "a migration was expanded");
    assert!(phase(&cluster, "contract") <= before, "the old one needs what it knows");
    breathe().await;
    // The old one may still be killed and start again.
    cluster.kill_and_start(1);
    cluster.ready().await;
    breathe().await;
    // And the new one may be taken back.
    assert!(cluster.gateways[0].stop().await.success(), "{}", cluster.logs());
    cluster.gateways[0].program = previous;
    cluster.gateways[0].start_and_wait().await;
    breathe().await;
    for place in 0..2 {
        assert!(cluster.gateways[place].stop().await.success(), "{}", cluster.logs());
        cluster.gateways[place].program.clone_from(&this);
        cluster.gateways[place].start_and_wait().await;
    }
    breathe().await;
    let told = load.stop().await;
    let queued = told.iter().filter(|told| told.source == "southbeck").count() as u64;
    let told_at = Instant::now();
    while cluster.count("SELECT count(*) FROM {}.message WHERE control_id LIKE 'Q-%'") < queued {
        assert!(told_at.elapsed() < SETTLED_WITHIN, "the queue is not emptied\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.settle(SETTLED_WITHIN).await;
    for gateway in &mut cluster.gateways {
        assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    }
    let heard = Heard::all(&node, EVENTS).await;
    let found = ledgers::compare(&told, &cluster.ers, (&cluster.store_url(), &cluster.keys()), &heard).await;
    eprintln!("{found}, {} events repeated", heard.repeats);
    assert!(found.referrals > 20, "there was hardly any load: {found}");
    cluster.stop().await;
}
