//! What a claim costs, however much waits.
//!
//! A claim is one durable commit, with its fsync. Nothing else is asked of the store meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::exit::CliError;
use super::Scale;
use super::figure::Figure;
use super::ground::{Filled, Ground};
use super::house::Folder;
use crate::command::State;
use crate::store::{Claim, ClaimedCommand, Progress, Store};

/// Claims of one command from each store, and claims of [`MANY`].
const CLAIMS: u32 = 300;
const CLAIMS_OF_MANY: u32 = 20;
const MANY: usize = 16;
const LEASE: Duration = Duration::from_secs(3_600);

pub(super) async fn measure(scale: &Scale) -> Result<Vec<Figure>, CliError> {
    let folder = Folder::new_in(&scale.folder)?;
    let (mut queues, mut name) = (Vec::new(), "");
    for depth in scale.queue_depths {
        let ground = Ground::new_in(&folder.0, scale.server.as_ref()).await?;
        ground.fill(None, 0..depth, Filled::Waiting).await?;
        name = ground.name();
        let store = ground.open().await?;
        // What a start left to be read is read now.
        claim_and_end(store.as_ref(), 1, &mut Times::default()).await?;
        queues.push(Queue { depth, store, one: Times::default(), many: Times::default(), _ground: ground });
    }
    // In turn, so that whatever else the machine does slows all of them alike.
    for turn in 0..CLAIMS {
        for queue in &mut queues {
            claim_and_end(queue.store.as_ref(), 1, &mut queue.one).await?;
            if turn % (CLAIMS / CLAIMS_OF_MANY) == 0 {
                claim_and_end(queue.store.as_ref(), MANY, &mut queue.many).await?;
            }
        }
    }
    let mut figures = Vec::new();
    for Queue { depth, one, many, .. } in &queues {
        figures.extend([
            Figure::new(format!("{name}: claim of one, {depth} wait, p50"), one.at(0.5), "ms").less_than(2.0),
            Figure::new("  p99", one.at(0.99), "ms"),
            Figure::new(format!("  claim of {MANY}, p50"), many.at(0.5), "ms"),
        ]);
    }
    let medians = queues.iter().map(|queue| queue.one.at(0.5));
    let (fastest, slowest) =
        medians.fold((f64::INFINITY, 0.0_f64), |(low, high), median| (low.min(median), high.max(median)));
    figures.push(
        Figure::new(format!("{name}: slowest claim over fastest, by what waits"), slowest / fastest, "times")
            .less_than(2.0),
    );
    Ok(figures)
}

/// A store in which so many wait, and what claims of it took.
struct Queue {
    depth: u64,
    store: Arc<dyn Store>,
    one: Times,
    many: Times,
    // After the store that is on it.
    _ground: Ground,
}

/// What is claimed ends, so that the next claim finds no more running than this one.
async fn claim_and_end(store: &dyn Store, max: usize, times: &mut Times) -> Result<(), CliError> {
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
    Ok(())
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
