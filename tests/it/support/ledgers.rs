//! What came of a load, put before the history checker.

use std::path::Path;

use ers_gateway::config::StoreUrl;
use ers_gateway::environment::Environment;
use ers_gateway::keys::Keys;
use ers_gateway::mapping::MappingSet;
use ers_gateway::simulator::SimulatorHandle;
use ers_gateway::store;

use super::consumer::Heard;
use super::load::Told;
use crate::history::kept::Kept;
use crate::history::{self, Asked, Done, History, Outcome, Sent};

/// Every promise was kept, and the store is whole.
pub async fn compare(
    told: &[Told],
    ers: &SimulatorHandle,
    (store, keys): (&StoreUrl, &Path),
    heard: &Heard,
) -> Outcome {
    let environment = Environment::system();
    let keys = Keys::load(keys, &environment).expect("the gateway made it");
    let store = store::open_to_act(store, Some(&keys), &environment).await.expect("the store is whole");
    let kept = Kept::by(&*store).await.expect("the store is whole");
    let sent = told.iter().flat_map(sent).collect();
    let history = History { sent, done: Done::by(ers), heard: heard.arrivals.clone(), kept };
    let outcome = history.expect_kept(&MappingSet::built_in().expect("the shipped mappings are whole"));
    store.verify().await.expect("the store is whole");
    outcome
}

/// A referral and the letters that followed it, all of which were acknowledged.
fn sent(told: &Told) -> Vec<Sent> {
    let taken = |key: &str, asked: Asked| Sent {
        source: told.source.into(),
        key: key.into(),
        referral: told.key.clone(),
        asked,
        answers: vec![history::Told::Taken(String::new())],
    };
    let referral = taken(&told.key, Asked::Referral { nhs_number: told.nhs_number.clone() });
    let letters = told.letters.iter().map(|letter| {
        let file_name = letter.file_name.clone();
        taken(&letter.key, Asked::Letter { file_name })
    });
    std::iter::once(referral).chain(letters).collect()
}
