//! Bulk replay: carries out what a person has decided about many.
//!
//! Enters: replays that the store has as running. Leaves: commands back in the queue, or messages taken in once more, each with its
//! item. Guarantees: one instance drives them at a time; what was begun goes on after a crash where it was; live messages have
//! precedence: what is replayed and not urgent goes behind them, and no more of a replay is on its way than its share, and no faster. A replay of which nothing gets through
//! pauses itself.

mod preview;
pub mod views;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use prometheus::{IntCounterVec, IntGauge, Opts};

pub use preview::preview;

use crate::command::State;
use crate::config::{Delivery, Pacing};
use crate::environment::Environment;
use crate::instances::Duty;
use crate::intake::{Again, Outcome, Receive};
use crate::metrics::Registry;
use crate::store::{
    Act, ActorKind, BulkReplay, ReplayCandidate, ReplayCandidates, ReplayItem, ReplayOutcome, ReplayStanding, Result,
    Share, Store, StoreError,
};

/// Calls of a command, as they are reckoned against the share of the quota: reads, a write, a read back.
const CALLS_OF_A_COMMAND: f64 = 3.0;
/// On their way at once, at least.
const WINDOW_MIN: usize = 4;
/// Items of one round.
const ROUND_MAX: usize = 64;
/// Replays at work at once; others wait for their turn.
const AT_WORK_MAX: usize = 16;
/// Looked at together, of what is on its way.
const ON_THEIR_WAY_MAX: usize = 1_000;
/// Ended replays of which something is still to come.
const LOOK_BACK_EVERY: Duration = Duration::from_secs(30);
/// Without a bell.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// After a bell: others come to rest in the same moment.
const GATHER: Duration = Duration::from_millis(20);
const STORE_WAIT: Duration = Duration::from_secs(1);
/// Where as many have failed again and none got through, a person looks before it goes on.
const FAILED_IN_VAIN: u64 = 20;
/// What may be saved up of a share: no burst.
const SAVED_SECONDS: f64 = 1.0;

pub struct ReplaysParts {
    pub store: Arc<dyn Store>,
    pub intake: Arc<dyn Receive>,
    pub settings: Delivery,
    pub duty: Duty,
    pub environment: Environment,
}

/// Drives bulk replays.
pub struct Replays {
    parts: ReplaysParts,
    items: IntCounterVec,
    running: IntGauge,
}

/// How many of a replay may leave now.
struct Allowance {
    pacing: Pacing,
    saved: f64,
    at: tokio::time::Instant,
}

impl Allowance {
    fn take(&mut self, share: Share, room: usize, now: tokio::time::Instant) -> usize {
        if !self.pacing.enabled {
            return room;
        }
        let per_second = self.pacing.per_second * share.part() / CALLS_OF_A_COMMAND;
        let most = (per_second * SAVED_SECONDS).max(1.0);
        self.saved = (self.saved + per_second * now.duration_since(self.at).as_secs_f64()).min(most);
        self.at = now;
        let taken = (self.saved.floor() as usize).min(room);
        let spent = taken as f64;
        self.saved -= spent;
        taken
    }
}

impl Replays {
    pub fn register(parts: ReplaysParts, registry: &Registry) -> std::result::Result<Self, prometheus::Error> {
        let help = "Items that bulk replays have come to, by what became of them at first";
        let items = IntCounterVec::new(Opts::new("gateway_bulk_replay_items_total", help), &["outcome"])?;
        for outcome in [ReplayOutcome::Sent, ReplayOutcome::Refused, ReplayOutcome::Overtaken, ReplayOutcome::Skipped] {
            items.with_label_values(&[outcome.name()]);
        }
        let help = "Bulk replays that run, as the instance sees it that drives them";
        let running = IntGauge::new("gateway_bulk_replays_running", help)?;
        registry.register(Box::new(items.clone()))?;
        registry.register(Box::new(running.clone()))?;
        Ok(Self { parts, items, running })
    }

    pub fn start(self) {
        let environment = self.parts.environment.clone();
        environment.spawn(async move { self.run().await });
    }

    async fn run(self) {
        let shutdown = self.parts.environment.shutdown().clone();
        while let Some(held) = self.parts.duty.hold().await {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    held.leave().await;
                    return;
                }
                () = held.lost() => {}
                () = self.drive() => {}
            }
            self.running.set(0);
        }
    }

    async fn drive(&self) {
        let now = self.parts.environment.instant();
        let mut allowance = Allowance { pacing: self.parts.settings.pacing.clone(), saved: 1.0, at: now };
        let mut looked_back: Option<tokio::time::Instant> = None;
        let mut settled = self.parts.store.signals().settled.subscribe();
        loop {
            let worked = match self.round(&mut allowance).await {
                Ok(worked) => worked,
                Err(error) => {
                    tracing::warn!(%error, "bulk replays cannot go on: trying again");
                    self.parts.environment.sleep(STORE_WAIT).await;
                    false
                }
            };
            if worked {
                continue;
            }
            let now = self.parts.environment.instant();
            if looked_back.is_none_or(|at| now.duration_since(at) >= LOOK_BACK_EVERY) {
                looked_back = Some(now);
                if let Err(error) = self.look_back().await {
                    tracing::debug!(%error, "what became of ended bulk replays is not known");
                }
            }
            tokio::select! {
                biased;
                () = self.parts.environment.sleep(LOOK_AGAIN) => {}
                // Whoever is behind only looks at once.
                _ = settled.recv(), if self.running.get() > 0 => self.parts.environment.sleep(GATHER).await,
            }
        }
    }

    /// What became of what was still to come when a replay ended.
    async fn look_back(&self) -> Result<()> {
        for standing in [ReplayStanding::Done, ReplayStanding::Cancelled] {
            for replay in self.parts.store.bulk_replays(Some(standing), AT_WORK_MAX).await? {
                if replay.count(ReplayOutcome::Sent) + replay.count(ReplayOutcome::InDoubt) > 0 {
                    self.see_to_items(&replay).await?;
                }
            }
        }
        Ok(())
    }

    /// One step of each that runs, the oldest first. Whether anything was sent.
    async fn round(&self, allowance: &mut Allowance) -> Result<bool> {
        let mut running = self.parts.store.bulk_replays(Some(ReplayStanding::Running), AT_WORK_MAX).await?;
        running.reverse();
        self.running.set(i64::try_from(running.len()).unwrap_or(i64::MAX));
        let mut worked = false;
        for replay in running {
            worked |= self.step(&replay, allowance).await?;
        }
        Ok(worked)
    }

    async fn step(&self, replay: &BulkReplay, allowance: &mut Allowance) -> Result<bool> {
        let on_their_way = self.see_to_items(replay).await?;
        if is_in_vain(replay) {
            let why = format!("the first {FAILED_IN_VAIN} failed again: see why, then resume or cancel");
            self.stand(replay, ReplayStanding::Paused, &why).await?;
            return Ok(false);
        }
        let window = window(replay.share, self.parts.settings.parallel_max);
        let room = window.saturating_sub(on_their_way).min(ROUND_MAX);
        let max = allowance.take(replay.share, room, self.parts.environment.instant());
        if max == 0 {
            return Ok(false);
        }
        let asked = ReplayCandidates {
            filter: replay.filter.clone(),
            except: Some(replay.id),
            after: replay.at,
            until: Some(replay.created_at),
            max,
        };
        let candidates = self.parts.store.replay_candidates(asked).await?;
        let Some(last) = candidates.last().map(|candidate| candidate.number) else {
            if on_their_way == 0 {
                self.stand(replay, ReplayStanding::Done, "everything was come to").await?;
            }
            return Ok(false);
        };
        let come_to = join_all(candidates.into_iter().map(|candidate| self.come_to(replay, candidate))).await;
        match come_to.into_iter().collect::<Result<()>>() {
            // A person stopped it meanwhile.
            Err(StoreError::Outdated(_)) => return Ok(false),
            done => done?,
        }
        self.parts.store.advance_replay(replay.id, last).await?;
        Ok(true)
    }

    async fn stand(&self, replay: &BulkReplay, to: ReplayStanding, why: &str) -> Result<()> {
        tracing::info!(replay.id = %replay.id, to = to.name(), why, "a bulk replay stands otherwise");
        let act = Act::of_gateway(why, self.parts.environment.now());
        match self.parts.store.stand_replay(replay.id, to, act).await {
            // A person was quicker.
            Err(StoreError::Outdated(_)) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One candidate. What cannot be is an item too.
    async fn come_to(&self, replay: &BulkReplay, candidate: ReplayCandidate) -> Result<()> {
        let store = &self.parts.store;
        if candidate.overtaken && !replay.overtaken {
            let why = "something later of the same referral is done already";
            return self.note(replay, ReplayItem::of(&candidate, ReplayOutcome::Overtaken, why)).await;
        }
        let act = act_of(replay, self.parts.environment.now());
        if candidate.command.is_none() {
            let item = self.take_again(&candidate, &act).await?;
            return self.note(replay, item).await;
        }
        match store.replay_in_bulk(replay.id, candidate.clone(), act).await {
            Ok(()) => {
                self.items.with_label_values(&[ReplayOutcome::Sent.name()]).inc();
                Ok(())
            }
            Err(StoreError::Outdated(why)) => self.not_replayed(replay, candidate, &why).await,
            Err(StoreError::NotFound) => self.not_replayed(replay, candidate, "it is not there any more").await,
            Err(error) => Err(error),
        }
    }

    async fn not_replayed(&self, replay: &BulkReplay, candidate: ReplayCandidate, why: &str) -> Result<()> {
        let now = self.parts.store.bulk_replay(replay.id).await?;
        if now.is_none_or(|now| now.standing != ReplayStanding::Running) {
            // It was stopped in the middle: what was not come to is not an item.
            return Err(StoreError::Outdated("it does not run any more".into()));
        }
        self.note(replay, ReplayItem::of(&candidate, ReplayOutcome::Skipped, why)).await
    }

    async fn take_again(&self, candidate: &ReplayCandidate, act: &Act) -> Result<ReplayItem> {
        let item = |outcome, why: &str| ReplayItem::of(candidate, outcome, why);
        Ok(match self.parts.intake.take_again_in_bulk(candidate.message, act).await {
            Ok(Again::Taken(answer)) => {
                let outcome = match answer.outcome {
                    Outcome::Accepted if !answer.commands.is_empty() => ReplayOutcome::Sent,
                    _ => ReplayOutcome::Completed,
                };
                ReplayItem { made: answer.message, ..item(outcome, "") }
            }
            Ok(Again::StillRefused(problems)) => {
                let why: Vec<String> = problems.iter().map(|problem| problem.text.clone()).collect();
                item(ReplayOutcome::Refused, &why.join("; "))
            }
            Ok(Again::Impossible(why)) => item(ReplayOutcome::Skipped, why),
            Err(StoreError::NotFound) => item(ReplayOutcome::Skipped, "it is not there any more"),
            Err(StoreError::Outdated(why)) => item(ReplayOutcome::Skipped, &why),
            Err(error) => return Err(error),
        })
    }

    async fn note(&self, replay: &BulkReplay, item: ReplayItem) -> Result<()> {
        self.items.with_label_values(&[item.outcome.name()]).inc();
        self.parts.store.note_replayed(replay.id, vec![item], self.parts.environment.now()).await
    }

    /// Notes what became of what was on its way, or in doubt. How many are on their way, those left out that are held behind
    /// others: they go when these do, and would be waited for in vain. What is in doubt may be for an hour, and is not waited for.
    async fn see_to_items(&self, replay: &BulkReplay) -> Result<usize> {
        let store = &self.parts.store;
        let (mut settled, mut on_their_way) = (Vec::new(), 0);
        for item in store.replays_on_their_way(replay.id, ON_THEIR_WAY_MAX).await? {
            let commands = match (item.command, item.made) {
                (Some(command), _) => store.command(command).await?.into_iter().collect(),
                (None, Some(made)) => store.commands_of(made).await?,
                (None, None) => Vec::new(),
            };
            let outcomes: Vec<_> = commands.iter().map(|command| outcome_of(&command.state)).collect();
            let is_held = commands.iter().all(|command| command.held_by.is_some());
            match outcomes.iter().min().copied() {
                // What is no more in the store was final.
                None => settled.push((item.subject(), ReplayOutcome::Completed)),
                Some(ReplayOutcome::Sent) => on_their_way += usize::from(!is_held),
                // Still in doubt, as it was.
                Some(outcome) if outcome == item.outcome => {}
                Some(outcome) => {
                    let worst = outcomes.into_iter().max().unwrap_or(outcome);
                    settled.push((item.subject(), worst));
                }
            }
        }
        if !settled.is_empty() {
            store.settle_replayed(replay.id, settled).await?;
        }
        Ok(on_their_way)
    }
}

/// Of one replay, on their way together.
fn window(share: Share, parallel_max: usize) -> usize {
    let part = (parallel_max as f64 * share.part()).ceil() as usize;
    part.max(WINDOW_MIN)
}

/// Nobody has looked since it began, and nothing of it gets through.
fn is_in_vain(replay: &BulkReplay) -> bool {
    replay.changed_at == replay.created_at
        && replay.count(ReplayOutcome::Completed) == 0
        && replay.count(ReplayOutcome::Failed) + replay.count(ReplayOutcome::Refused) >= FAILED_IN_VAIN
}

fn act_of(replay: &BulkReplay, at: jiff::Timestamp) -> Act {
    Act {
        by: replay.by.clone(),
        kind: ActorKind::Person,
        place: replay.place.clone(),
        why: format!("bulk replay {}: {}", replay.id, replay.why),
        at,
    }
}

fn outcome_of(state: &State) -> ReplayOutcome {
    match state {
        State::Queued | State::Running { .. } | State::Waiting { .. } => ReplayOutcome::Sent,
        State::Completed | State::Shadowed => ReplayOutcome::Completed,
        State::Failed { .. } => ReplayOutcome::Failed,
        State::InDoubt { .. } => ReplayOutcome::InDoubt,
        State::Unauthorised { .. } => ReplayOutcome::Unauthorised,
        State::Discarded => ReplayOutcome::Discarded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_replay_takes_its_share_of_the_quota_and_saves_up_no_burst() {
        let start = tokio::time::Instant::now();
        let pacing = Pacing { enabled: true, per_second: 9.0, gap_min: Duration::from_millis(84) };
        let mut allowance = Allowance { pacing, saved: 1.0, at: start };
        let (mut sent, half) = (0, Share::of(0.5).expect("a half"));
        for tenth in 1..=600 {
            sent += allowance.take(half, 64, start + Duration::from_millis(100 * tenth));
        }
        // A minute at half of nine calls a second, three for each.
        assert!((89..=91).contains(&sent), "{sent}");
        assert_eq!(allowance.take(half, 64, start + Duration::from_secs(3_600)), 1);
        allowance.pacing.enabled = false;
        assert_eq!(allowance.take(half, 64, start + Duration::from_secs(3_600)), 64);
        assert_eq!((window(Share::QUARTER, 64), window(Share::of(0.01).expect("a little"), 64)), (16, WINDOW_MIN));
    }
}
