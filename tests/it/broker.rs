//! The broker stops, starts and is killed while the whole gateway works: events go out late, never lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Simulator, SimulatorConfig};
use serde_json::json;

use crate::support::consumer::{Heard, listen};
use crate::support::ledgers;
use crate::support::load::Load;
use crate::support::rabbitmq::RabbitMq;
use crate::support::serve::Serve;

const EXCHANGE: &str = "ers.events";
const EVENTS: &str = "events";
const INPUT: &str = "referrals";
const DRAINED_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_stops_and_kills_of_the_broker_referrals_go_on_and_every_event_arrives() {
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let node = Arc::new(RabbitMq::start_new());
    let client = node.client().await;
    listen(&client, EXCHANGE, EVENTS).await;
    client.declare(INPUT).await;
    drop(client);
    let mut gateway = Serve::new(&ers);
    gateway.settings["broker"] = json!({
        "urls": [node.url()],
        "exchange": EXCHANGE,
        "inputs": [{"queue": INPUT, "source": "southbeck", "dead_letter_exchange": "ers.rejected"}],
    });
    gateway.start_and_wait().await;
    let began = std::time::Instant::now();
    let load = Load::start(&gateway, &node, INPUT, 7);

    let harmed = node.clone();
    let harm = tokio::task::spawn_blocking(move || {
        for harm in [RabbitMq::stop, RabbitMq::kill] {
            std::thread::sleep(Duration::from_secs(1));
            harm(&harmed);
            std::thread::sleep(Duration::from_secs(1));
            harmed.start();
        }
    });
    let mut made_without_a_broker = 0;
    while !harm.is_finished() {
        let (_, unconfirmed) = gateway.standings();
        made_without_a_broker = unconfirmed.max(made_without_a_broker);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    harm.await.expect("the broker is up again");
    eprintln!("{:?}: the broker is up again", began.elapsed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = load.stop().await;
    let client = node.client().await;
    let told_at = Instant::now();
    while client.depth(INPUT).await > 0 {
        assert!(told_at.elapsed() < DRAINED_WITHIN, "the queue is not emptied\n{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gateway.settle(DRAINED_WITHIN).await;
    eprintln!("{:?}: the outbox is drained", began.elapsed());
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());

    let heard = Heard::all(&node, EVENTS).await;
    let found = ledgers::compare(&told, &ers, (&gateway.store_url(), &gateway.key_file()), &heard).await;
    eprintln!("{:?}: the ledgers are compared", began.elapsed());
    eprintln!("{found}; {made_without_a_broker} events waited for the broker, {} came again", heard.repeats);
    assert!(made_without_a_broker > 10, "the outbox held what the broker could not take");
    assert_eq!((found.in_doubt, found.held), (0, 0), "the broker is none of e-RS's business");
    ers.stop().await;
}
