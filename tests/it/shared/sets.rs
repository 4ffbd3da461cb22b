//! Gateways that share a store use one mapping set: the newest.

use std::time::{Duration, Instant};

use crate::support::cluster::{Cluster, mappings};
use crate::support::postgres::Postgres;

/// Everybody looks every 5 s.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(13);

/// The set of all instances, when all say the same that is not `but`.
async fn common_set(cluster: &Cluster, of: usize, but: &str) -> String {
    let began = Instant::now();
    loop {
        let instances = cluster.instances(of).await;
        let sets: Vec<&str> = instances.iter().filter_map(|instance| instance["mappingSet"].as_str()).collect();
        if sets.len() == cluster.gateways.len() && sets.iter().all(|set| *set == sets[0] && *set != but) {
            return sets[0].to_owned();
        }
        assert!(began.elapsed() < TAKEN_UP_WITHIN, "no common set: {instances:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_gateways_take_up_the_newest_mapping_set() {
    let mut cluster = Cluster::new(Postgres::shared(), 3).await;
    cluster.give_mappings();
    cluster.start().await;
    let old = common_set(&cluster, 2, "").await;

    let file = mappings(cluster.gateways[0].folder.path()).join("inbound/eastvale/REF_I12.yaml");
    let text = std::fs::read_to_string(&file).expect("a mapping");
    std::fs::write(&file, format!("{text}\n# another version\n")).expect("written");
    cluster.gateways[0].signal("HUP");
    let changed = Instant::now();
    let new = common_set(&cluster, 2, &old).await;
    eprintln!("taken up by all after {:?}", changed.elapsed());

    // Its files are the old ones still.
    cluster.kill_and_start(1);
    cluster.ready().await;
    let restarted = Instant::now();
    while restarted.elapsed() < Duration::from_secs(6) {
        for of in 0..3 {
            let instances = cluster.instances(of).await;
            let own =
                instances.iter().find(|instance| instance["instance"] == cluster.gateways[of].settings["instance"]);
            let set = own.expect("it knows itself")["mappingSet"].as_str().expect("text").to_owned();
            // Between its place and its first sign of life it has told of none.
            assert!(set == new || set.is_empty(), "{of}: {instances:?}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(common_set(&cluster, 1, &old).await, new);
    cluster.stop().await;
}
