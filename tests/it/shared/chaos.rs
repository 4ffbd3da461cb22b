//! Gateways, their wires to the database, the database, the broker and e-RS's answers fail under load; then three
//! ledgers are compared: what senders were told, what e-RS did, what consumers got.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::crash::trouble;
use crate::support::cluster::Cluster;
use crate::support::consumer::{Heard, listen};
use crate::support::ledgers;
use crate::support::load::Load;
use crate::support::postgres::{Care, Postgres};
use crate::support::proxy::Wire;
use crate::support::rabbitmq::RabbitMq;

const EXCHANGE: &str = "ers.events";
const EVENTS: &str = "events";
const INPUT: &str = "referrals";
const GATEWAYS: usize = 3;
/// Short, so that a gateway can be stopped for longer.
const LEASE: &str = "6s";
const LONGER_THAN_THE_LEASE: Duration = Duration::from_millis(7_500);
/// Between two harms.
const PEACE_MILLIS: std::ops::Range<u64> = 200..2_000;
const SETTLED_WITHIN: Duration = Duration::from_secs(180);

#[derive(Clone, Copy, Debug)]
enum Harm {
    Kill,
    /// SIGSTOP for longer than the lease, then SIGCONT.
    Pause,
    /// All connections to the database, once.
    Cut,
    /// And no new ones for a while.
    Refuse,
    /// Nothing arrives for a while, and nobody is told.
    Stall,
    DatabaseCrash,
    DatabaseRestart,
    BrokerRestart,
}

const HARMS: [Harm; 8] = [
    Harm::Kill,
    Harm::Pause,
    Harm::Cut,
    Harm::Refuse,
    Harm::Stall,
    Harm::DatabaseCrash,
    Harm::DatabaseRestart,
    Harm::BrokerRestart,
];

impl Harm {
    async fn strike(self, cluster: &mut Cluster, node: &Arc<RabbitMq>, random: &mut StdRng) {
        let place = random.random_range(0..GATEWAYS);
        let for_a_while = Duration::from_millis(random.random_range(500..4_000));
        match self {
            Self::Kill => {
                cluster.kill_and_start(place);
                // One whose database goes away while it starts ends, and nobody here starts it again.
                cluster.gateways[place].ready().await;
            }
            Self::Pause => {
                cluster.gateways[place].signal("STOP");
                tokio::time::sleep(LONGER_THAN_THE_LEASE).await;
                cluster.gateways[place].signal("CONT");
            }
            Self::Cut => {
                cluster.wires[place].set(Wire::Cut);
                tokio::time::sleep(Duration::from_millis(20)).await;
                cluster.wires[place].set(Wire::Open);
            }
            Self::Refuse | Self::Stall => {
                let wire = if matches!(self, Self::Stall) { Wire::Stalled } else { Wire::Cut };
                cluster.wires[place].set(wire);
                tokio::time::sleep(for_a_while).await;
                cluster.wires[place].set(Wire::Open);
            }
            Self::DatabaseCrash | Self::DatabaseRestart => {
                let postgres = cluster.postgres.clone();
                let restarted = tokio::task::spawn_blocking(move || {
                    match self {
                        Self::DatabaseCrash => postgres.crash(),
                        _ => postgres.stop(),
                    }
                    postgres.start();
                });
                restarted.await.expect("the database is up again");
            }
            Self::BrokerRestart => {
                let (node, kill) = (node.clone(), random.random());
                let restarted = tokio::task::spawn_blocking(move || {
                    if kill {
                        node.kill()
                    } else {
                        node.stop()
                    }
                    node.start();
                });
                restarted.await.expect("the broker is up again");
            }
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Every harm once, unless more are asked for (`./test --full` asks for 50).
fn rounds() -> usize {
    number("ERS_GATEWAY_TEST_KILLS").and_then(|kills| usize::try_from(kills).ok()).unwrap_or(HARMS.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_killed_stopped_and_cut_off_lose_nothing_and_repeat_nothing() {
    let (rounds, seed) = (rounds(), number("ERS_GATEWAY_TEST_SEED").unwrap_or_else(rand::random));
    eprintln!("{rounds} rounds; again with ERS_GATEWAY_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let began = Instant::now();
    let mut cluster = Cluster::new(Arc::new(Postgres::start_new(Care::Durable)), GATEWAYS).await;
    let node = Arc::new(RabbitMq::start_new());
    let client = node.client().await;
    listen(&client, EXCHANGE, EVENTS).await;
    client.declare(INPUT).await;
    client.declare(&format!("{INPUT}.rejected")).await;
    drop(client);
    cluster.set_broker(&node, EXCHANGE, Some(INPUT));
    for gateway in &mut cluster.gateways {
        gateway.settings["delivery"]["lease"] = LEASE.into();
    }
    cluster.start().await;
    let gateways: Vec<_> = cluster.gateways.iter().collect();
    let load = Load::start_on(&gateways, &node, INPUT, random.random());

    let mut harms = Vec::new();
    for _ in 0..rounds {
        if harms.is_empty() {
            harms = HARMS.to_vec();
            harms.shuffle(&mut random);
        }
        let harm = harms.pop().expect("there are harms");
        trouble(&cluster.ers, &mut random);
        tokio::time::sleep(Duration::from_millis(random.random_range(PEACE_MILLIS))).await;
        eprintln!("{:?}: {harm:?}", began.elapsed());
        harm.strike(&mut cluster, &node, &mut random).await;
    }
    // Nobody starts again who was not killed.
    cluster.ready().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = load.stop().await;
    eprintln!("{:?}: everybody was told", began.elapsed());
    cluster.ers.clear_faults();
    let client = node.client().await;
    // A queue's depth leaves out what a gateway has in hand.
    let queued = told.iter().filter(|told| told.source == "southbeck").count() as u64;
    let told_at = Instant::now();
    while cluster.count("SELECT count(*) FROM {}.message WHERE control_id LIKE 'Q-%'") < queued {
        assert!(told_at.elapsed() < SETTLED_WITHIN, "the queue is not emptied\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.settle(SETTLED_WITHIN).await;
    eprintln!("{:?}: settled", began.elapsed());
    for gateway in &mut cluster.gateways {
        assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    }
    assert_eq!(client.depth(INPUT).await, 0, "what was in hand is stored");
    assert_eq!(client.depth(&format!("{INPUT}.rejected")).await, 0, "nothing was to be refused");

    let heard = Heard::all(&node, EVENTS).await;
    let found = ledgers::compare(&told, &cluster.ers, (&cluster.store_url(), &cluster.keys()), &heard).await;
    eprintln!("{:?}: {found}, {} events, {} repeated", began.elapsed(), heard.events.len(), heard.repeats);
    assert!(found.referrals >= rounds as u64 * 10, "there was hardly any load: {found}");
    cluster.stop().await;
}
