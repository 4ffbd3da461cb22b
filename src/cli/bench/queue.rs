//! What a claim costs, however much waits.
//!
//! A claim is one durable commit, with its fsync. Nothing else is asked of the store meanwhile.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::exit::CliError;
use super::Scale;
use super::figure::Figure;
use super::ground::{Filled, Ground};
use super::house::Folder;
use crate::command::State;
use crate::store::{Claim, ClaimedCommand, Progress, Store};

/// Claims of one command at each depth, and claims of [`MANY`].
const CLAIMS: u32 = 300;
const CLAIMS_OF_MANY: u32 = 20;
const MANY: usize = 16;
const LEASE: Duration = Duration::from_secs(3_600);

pub(super) async fn measure(scale: &Scale) -> Result<Vec<Figure>, CliError> {
    let folder = Folder::new_in(&scale.folder)?;
    measure_on(&Ground::sqlite(&folder.0.join("queue.db")), "SQLite", &scale.queue_depths).await
}

/// The same for any store.
async fn measure_on(ground: &Ground, name: &str, depths: &[u64]) -> Result<Vec<Figure>, CliError> {
    let (mut figures, mut medians, mut filled) = (Vec::new(), Vec::new(), 0);
    for depth in depths.iter().copied() {
        ground.fill(filled..depth, Filled::Waiting).await?;
        filled = depth;
        let store = ground.open().await?;
        // What a start left to be read is read now.
        claim_and_end(store.as_ref(), 1, 5).await?;
        let one = claim_and_end(store.as_ref(), 1, CLAIMS).await?;
        let many = claim_and_end(store.as_ref(), MANY, CLAIMS_OF_MANY).await?;
        medians.push(one.at(0.5));
        figures.extend([
            Figure::new(format!("{name}: claim of one, {depth} wait, p50"), one.at(0.5), "ms").less_than(2.0),
            Figure::new("  p99", one.at(0.99), "ms"),
            Figure::new(format!("  claim of {MANY}, p50"), many.at(0.5), "ms"),
        ]);
    }
    let (fastest, slowest) =
        medians.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), median| (low.min(*median), high.max(*median)));
    figures.push(
        Figure::new(format!("{name}: slowest claim over fastest, by what waits"), slowest / fastest, "times")
            .less_than(2.0),
    );
    Ok(figures)
}

/// Times of the claims. Each claimed command ends, so that the next claim finds no more running than this one.
async fn claim_and_end(store: &dyn Store, max: usize, claims: u32) -> Result<Times, CliError> {
    let mut times = Times::default();
    for _ in 0..claims {
        let now = Timestamp::now();
        let claim = Claim { max, now, owner: "bench".into(), lease_until: now + LEASE, paused: Vec::new() };
        let began = Instant::now();
        let claimed = store.claim(claim).await?;
        times.add(began.elapsed());
        if claimed.len() != max {
            return Err(CliError::No(format!("a claim of {max} found {}", claimed.len())));
        }
        for command in claimed {
            store.record(ended(&command, now)).await?;
        }
    }
    Ok(times)
}

fn ended(command: &ClaimedCommand, at: Timestamp) -> Progress {
    let state = Some((State::Completed, "bench".to_owned()));
    Progress { state, ..Progress::of(command.id, command.fence, at) }
}

/// How long each of some acts took.
#[derive(Default)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Milliseconds within which a share of them was done.
    pub fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = (sorted.len().saturating_sub(1) as f64 * share) as usize;
        sorted.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}
