//! What is said of one referral is done in the order in which it was said, whoever it was said to.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::cluster::Cluster;
use crate::support::postgres::Postgres;
use crate::support::referrals::{Patients, attach, create};
use crate::support::sender::HttpSender;

const THREADS: usize = 6;
const LETTERS: usize = 15;
/// "A letter", in base64.
const LETTER: &str = "QSBsZXR0ZXI=";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_holds_across_instances() {
    let mut cluster = Cluster::new(Postgres::shared(), 3).await;
    cluster.start().await;
    let patients = Patients::new();
    let mut senders = JoinSet::new();
    for thread in 0..THREADS {
        let urls: Vec<String> = cluster.gateways.iter().map(|gateway| gateway.url("/v1/commands")).collect();
        let nhs_number = patients.next();
        senders.spawn(async move {
            let mut http = HttpSender::new();
            let local_id = format!("EV-{thread}");
            for number in 0..=LETTERS {
                // To another one each time, as soon as the one before has said that it has it.
                let url = &urls[(thread + number) % urls.len()];
                let key = format!("T{thread}-{number}");
                let (command, body) = match number {
                    0 => ("CreateReferral", create(&local_id, &nhs_number)),
                    _ => ("AttachLetters", attach(&local_id, &format!("letter-{number:02}.txt"), LETTER)),
                };
                let (status, body) = http.deliver(&format!("{url}/{command}?source=eastvale"), &key, &body).await;
                assert_eq!(status, 202, "{body}");
            }
        });
    }
    while let Some(end) = senders.join_next().await {
        end.expect("all was accepted");
    }
    cluster.settle(Duration::from_secs(120)).await;

    let wanted: Vec<String> = (1..=LETTERS).map(|number| format!("letter-{number:02}.txt")).collect();
    let made = cluster.ers.creations();
    assert_eq!(made.len(), THREADS);
    for creation in &made {
        let ubrn = creation.ubrn.to_string();
        assert_eq!(cluster.ers.referral(&ubrn).expect("e-RS has it").letters, wanted, "{ubrn}");
    }
    let owners = cluster.ask("SELECT DISTINCT by FROM {}.transition WHERE by LIKE 'gateway-%' ORDER BY 1");
    let mut calls: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for entry in cluster.ers.ledger() {
        let Some(ubrn) = entry.ubrn else { continue };
        calls.entry(ubrn.to_string()).or_default().push(entry.operation);
    }
    for creation in &made {
        let calls = &calls[&creation.ubrn.to_string()];
        assert_eq!(calls[0], "A011", "the referral comes before its letters: {calls:?}");
        assert_eq!(calls.iter().filter(|call| **call == "A011").count(), 1, "{calls:?}");
    }
    assert_eq!(owners.lines().count(), 3, "all of them had a part in it: {owners}");
    cluster.stop().await;
}
