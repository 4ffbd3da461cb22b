//! Which machine sends as which source.

use ers_gateway::config::Config;

use crate::support::referrals::{Patients, northmoor};
use crate::support::sender::{MllpSender, contains, field};
use crate::support::world::World;

async fn answered(change: impl FnOnce(&mut Config)) -> (Vec<u8>, World) {
    let world = World::with(change).await;
    let message = northmoor("P-1", "NM-P1", &Patients::new().next(), None);
    (MllpSender::new(world.mllp).deliver_once(&message).await, world)
}

fn source(config: &mut Config) -> &mut ers_gateway::config::Source {
    config.sources.iter_mut().find(|source| source.name == "northmoor").expect("it is configured")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_sends_from_its_own_networks_only() {
    for (networks, is_taken) in [(r#"["127.0.0.0/8"]"#, true), (r#"["192.0.2.7", "10.0.0.0/8"]"#, false)] {
        let (answer, world) = answered(|config| {
            source(config).networks = serde_json::from_str(networks).expect("networks");
        })
        .await;
        assert_eq!(field(&answer, b"MSA", 1) == b"AA", is_taken, "{}", String::from_utf8_lossy(&answer));
        if !is_taken {
            assert!(contains(&answer, b"this machine does not send as that source"), "and is told why");
            assert!(world.calls().is_empty());
        }
        world.stop().await;
    }
}

/// Whose certificate a connection shows is told by the listener (`inbound::mllp::tests::tls`); this one shows none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_has_certificates_does_not_send_without_one() {
    let fingerprint = serde_json::json!(["a5".repeat(32)]);
    let (answer, world) = answered(|config| {
        source(config).certificates = serde_json::from_value(fingerprint).expect("a fingerprint");
    })
    .await;
    assert_eq!(field(&answer, b"MSA", 1), b"AR", "{}", String::from_utf8_lossy(&answer));
    assert!(world.calls().is_empty());
    world.stop().await;
}
