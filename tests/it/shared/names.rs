//! Each gateway has a name of its own.

use crate::support::cluster::Cluster;
use crate::support::postgres::Postgres;
use crate::support::serve::Serve;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_name_is_taken_does_not_start() {
    let mut cluster = Cluster::new(Postgres::shared(), 1).await;
    cluster.start().await;
    let mut other = Serve::new(&cluster.ers).on_database("gateway-1", cluster.store_url().as_text(), &cluster.keys());
    other.start();
    assert!(!other.ended().await.success());
    let log = other.log();
    assert!(log.contains("another gateway named gateway-1 uses this store"), "{log}");

    // With its end the name is free.
    cluster.gateways[0].ready().await;
    cluster.gateways[0].kill();
    other.start_and_wait().await;
    assert!(other.stop().await.success(), "{}", other.log_end());
    cluster.stop().await;
}
