//! `kill -9` at any instant, under load on three ways in; then three ledgers are compared: what senders were
//! told, what e-RS did, what consumers got.

use std::time::{Duration, Instant};

use ers_gateway::environment::Environment;
use ers_gateway::simulator::applications::{Access, Session};
use ers_gateway::simulator::{Action, Fault, Simulator, SimulatorConfig, SimulatorHandle};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::support::consumer::{Heard, listen};
use crate::support::ledgers;
use crate::support::load::Load;
use crate::support::rabbitmq::RabbitMq;
use crate::support::serve::Serve;

const EXCHANGE: &str = "ers.events";
const EVENTS: &str = "events";
const INPUT: &str = "referrals";

/// A life lasts so long, from the start of the process on: some end before it is ready.
const LIFE_MILLIS: std::ops::Range<u64> = 200..2_600;
/// A kill between "about to refresh" and its end makes a session wait for a minute (`ers/refresh_token.rs`).
const SETTLED_WITHIN: Duration = Duration::from_secs(180);

fn kills() -> u32 {
    std::env::var("ERS_GATEWAY_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

fn seed() -> u64 {
    std::env::var("ERS_GATEWAY_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random)
}

fn seed_token(sender: &str, life: u32) -> String {
    format!("crash-{sender}-{life}")
}

/// e-RS, with a sign-in of each sender's user for every life: a kill may cost a session.
fn ers(lives: u32) -> SimulatorHandle {
    let mut config = SimulatorConfig::default();
    for application in &mut config.applications {
        let Access::UserRestricted { sessions, .. } = &mut application.access else { continue };
        let signed_in = sessions.first().expect("the demonstration has sessions").clone();
        for life in 0..=lives {
            for sender in ["northmoor", "eastvale", "southbeck", "westmere"] {
                sessions.push(Session { refresh_token: seed_token(sender, life), ..signed_in.clone() });
            }
        }
    }
    Simulator::start(config, Environment::system()).expect("port 0 is free")
}

fn sign_in(gateway: &mut Serve, life: u32) {
    for sender in ["northmoor", "eastvale", "southbeck", "westmere"] {
        gateway.connection(sender)["refresh_token"] = seed_token(sender, life).into();
    }
}

/// Some answers are lost after e-RS has done what was asked; some calls are refused for now.
pub fn trouble(ers: &SimulatorHandle, random: &mut StdRng) {
    ers.clear_faults();
    ers.inject(Fault::on("A011", Action::lost_answer()).skip(random.random_range(0..30)).times(1));
    ers.inject(Fault::on("A012", Action::lost_answer()).skip(random.random_range(0..60)).times(1));
    ers.inject(Fault::on("A011", Action::answer(429)).skip(random.random_range(0..30)).times(2));
    ers.inject(Fault::on("A005", Action::answer(503)).skip(random.random_range(0..20)).times(2));
    ers.inject(Fault::on("A020", Action::lost_answer()).skip(random.random_range(0..20)).times(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_instant_nothing_acknowledged_is_missing_and_nothing_is_done_twice() {
    let (kills, seed) = (kills(), seed());
    eprintln!("{kills} kills; again with ERS_GATEWAY_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let ers = ers(kills);
    let node = RabbitMq::start_new();
    let client = node.client().await;
    listen(&client, EXCHANGE, EVENTS).await;
    client.declare(INPUT).await;
    client.declare(&format!("{INPUT}.rejected")).await;

    let mut gateway = Serve::new(&ers);
    gateway.settings["broker"] = json!({
        "urls": [node.url()],
        "exchange": EXCHANGE,
        "inputs": [{"queue": INPUT, "source": "southbeck", "dead_letter_exchange": "ers.rejected"}],
    });
    sign_in(&mut gateway, 0);
    gateway.start_and_wait().await;
    // A referral in doubt is looked for on lists of everything: thousands of these would take hours.
    let slower = u64::from(kills / 20).max(1);
    let load = Load::start_slower(&gateway, &node, INPUT, random.random(), slower);
    for life in 1..=kills {
        trouble(&ers, &mut random);
        tokio::time::sleep(Duration::from_millis(random.random_range(LIFE_MILLIS))).await;
        gateway.kill();
        sign_in(&mut gateway, life);
        gateway.start();
    }
    gateway.ready().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = load.stop().await;
    ers.clear_faults();
    let settled_within = SETTLED_WITHIN * (1 + kills / 100);
    let told_at = Instant::now();
    while client.depth(INPUT).await > 0 {
        assert!(told_at.elapsed() < settled_within, "the queue is not emptied\n{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gateway.settle(settled_within).await;
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    assert_eq!(client.depth(&format!("{INPUT}.rejected")).await, 0, "nothing was to be refused");

    let heard = Heard::all(&node, EVENTS).await;
    let found = ledgers::compare(&told, &ers, (&gateway.store_url(), &gateway.key_file()), &heard).await;
    eprintln!("{found}, {} events repeated", heard.repeats);
    assert!(found.referrals >= u64::from(kills) * 10 / slower, "there was hardly any load: {found}");
    ers.stop().await;
}
