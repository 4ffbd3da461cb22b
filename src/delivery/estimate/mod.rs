//! When queued commands will be sent, and how long each class's backlog takes to clear.
//!
//! Enters: every few seconds, the queue as the store tells it, the pace in force, what commands were measured to take,
//! and which breakers are open. Leaves: an estimate for any queued command, and a metric for each class. Guarantees:
//! what cannot be known is said, with its reason; a million queued take no longer than some thousands, for those too
//! far back are counted and not played; a question is answered from the last look and asks no store.
//!
//! [`setting`] says who takes part, `play` carries the queue out in memory by the rule of `line`; [`coarse`] reckons
//! with counts; [`measured`] knows how many calls a command takes.

mod coarse;
mod line;
mod measured;
mod play;
mod setting;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::time::Instant;

use self::coarse::{Bulk, calls_before};
use self::play::{Played, Scene, play};
use self::setting::{Ground, Setting, set};
use super::engine::Shared;
use super::pace::Speed;
use crate::command::{Class, CommandId, Estimate, Unforeseen, services};
use crate::config::Mode;
use crate::mapping::PlanContext;
use crate::store::{CommandView, InstanceStanding, Queue, StoreError};

pub(super) use self::measured::{Calls, Measured};

/// Between two looks at the queue.
const INTERVAL: Duration = Duration::from_secs(5);
/// Commands that are played; the others are counted.
const PLAYED_MAX: u64 = 10_000;
/// Commands of a name whose plans are made to learn what it calls, until it is measured.
const PLANS_MAX: usize = 5;
/// An older look says nothing of now.
const AGE_MAX: Duration = Duration::from_secs(60);

/// Says when queued commands will be sent. Cheap to clone.
#[derive(Clone)]
pub struct Estimator {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
}

#[derive(Default)]
struct Desk {
    latest: Mutex<Option<Arc<Forecast>>>,
    /// Groups of operations that commands of a name need, and the mapping set that said so.
    needs: Mutex<HashMap<String, (String, BTreeSet<String>)>>,
}

/// What the last look at the queue told.
struct Forecast {
    looked: Instant,
    at: Timestamp,
    first_calls: HashMap<CommandId, Duration>,
    /// Looked at, and not sent as things stand.
    stuck: HashSet<CommandId>,
    bulks: Vec<Bulk>,
    /// By application.
    speeds: Vec<Option<Speed>>,
    applications: HashMap<String, usize>,
}

/// As a run sees them: those that it names, those that its referral was made for, or those of what it follows.
fn services_of(command: &CommandView) -> Vec<&str> {
    let named = services(&command.body);
    if !named.is_empty() {
        return named;
    }
    let listed = |value: &Value| value["services"].as_array().filter(|listed| !listed.is_empty()).is_some();
    let of = if listed(&command.known) { &command.known } else { &command.plan };
    of["services"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

impl Estimator {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, desk: Arc::default() }
    }

    /// Looks at the queue until the gateway stops.
    pub(super) async fn watch(self) {
        let shutdown = self.shared.environment.shutdown().clone();
        loop {
            let look = async {
                if let Err(error) = self.look().await {
                    tracing::debug!(%error, "the queue could not be looked at: nothing is estimated anew");
                }
                self.shared.environment.sleep(INTERVAL).await;
            };
            tokio::select! {
                () = look => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// From the last look. Of a command that is not queued it says when one that came now would be sent.
    pub fn estimate(&self, command: &CommandView) -> Estimate {
        match self.foresee(command) {
            Ok(estimate) => estimate,
            Err(why) => Estimate::Unknown(why),
        }
    }

    /// From the last look, or why not.
    fn foresee(&self, command: &CommandView) -> Result<Estimate, Unforeseen> {
        let shared = &self.shared;
        let sources = shared.sources.borrow().clone();
        let source = sources.get(&command.source).ok_or(Unforeseen::SourceUnknown)?;
        let member = shared.members.get(source.first_connection()).ok_or(Unforeseen::SourceUnknown)?;
        match source.mode_for(&services_of(command)) {
            Mode::Paused => return Err(Unforeseen::SourcePaused),
            Mode::Shadow => return Err(Unforeseen::Shadow),
            Mode::Live if command.plan.get("shadow") == Some(&Value::Bool(true)) => return Err(Unforeseen::Shadow),
            Mode::Live => {}
        }
        if self.rests(&command.name, source.first_connection()) {
            return Err(Unforeseen::BreakerOpen);
        }
        let latest = self.desk.latest.lock().clone();
        let forecast = latest.filter(|forecast| forecast.looked.elapsed() < AGE_MAX).ok_or(Unforeseen::NotCounted)?;
        // Of one that came since, what holds it must be known to go on.
        let came_since = command.received_at > forecast.at;
        let is_stuck = |by| forecast.stuck.contains(&by) || came_since && !forecast.first_calls.contains_key(&by);
        if forecast.stuck.contains(&command.id) || command.held_by.is_some_and(is_stuck) {
            return Err(Unforeseen::HeldBack);
        }
        let now = shared.environment.now();
        let estimated = |after: Duration, coarse| {
            let at = forecast.at.checked_add(after).unwrap_or(Timestamp::MAX);
            Estimate::At { at: at.max(now), coarse }
        };
        if let Some(after) = forecast.first_calls.get(&command.id) {
            return Ok(estimated(*after, false));
        }
        let application = *forecast.applications.get(&member.client.client_id).ok_or(Unforeseen::NotCounted)?;
        let calls = calls_before(&forecast.bulks, application, command.class, command.received_at);
        Ok(estimated(time_for(forecast.speeds[application], calls), true))
    }

    /// Whether calls that a command of this name needs are given a rest.
    fn rests(&self, name: &str, connection: &str) -> bool {
        let needs = self.desk.needs.lock();
        let mut groups = needs.get(name).into_iter().flat_map(|(_, groups)| groups);
        groups.any(|group| !self.shared.breakers.is_closed(connection, group))
    }

    async fn look(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        let queue = shared.store.queue(PLAYED_MAX).await?;
        let (looked, at) = (shared.environment.instant(), shared.environment.now());
        self.learn(&queue).await?;
        let (applications, speeds) = self.speeds().await?;
        let grounds = self.grounds(&queue, &applications);
        let setting = set(&queue, &grounds, &shared.measured.calls(), at);
        let mut scene = Scene { hands: shared.settings.parallel_max.max(1), speeds, answer: shared.measured.answer() };
        let (setting, scene, played) = match setting.entrants.is_empty() {
            true => (setting, scene, Played::default()),
            false => {
                scene.hands *= self.instances().await?;
                // Off the async threads: it takes as long as the queue is.
                let played = shared.environment.spawn_blocking_on(&Handle::current(), move || {
                    let played = play(&setting.entrants, &scene);
                    (setting, scene, played)
                });
                let Ok(played) = played.await else { return Ok(()) };
                played
            }
        };
        let bulks = setting.bulks(&played);
        self.show(&setting, &played, &bulks, &scene.speeds);
        let told = setting.stuck.into_iter().chain(setting.entrants.iter().map(|entrant| entrant.id));
        let stuck = told.filter(|id| !played.first_calls.contains_key(id)).collect();
        let (first_calls, speeds) = (played.first_calls, scene.speeds);
        let forecast = Forecast { looked, at, first_calls, stuck, bulks, speeds, applications };
        *self.desk.latest.lock() = Some(Arc::new(forecast));
        Ok(())
    }

    /// Makes plans for some of those that wait, where the calls of their name are not known, or those of another set.
    async fn learn(&self, queue: &Queue) -> Result<(), StoreError> {
        let mut unknown: BTreeMap<&str, Vec<CommandId>> = BTreeMap::new();
        let known = self.shared.sets.current();
        {
            let needs = self.desk.needs.lock();
            let commands = queue.places.iter().flat_map(|place| &place.commands);
            for command in commands {
                if needs.get(&command.name).is_none_or(|(set, _)| *set != known) {
                    unknown.entry(&command.name).or_default().push(command.id);
                }
            }
        }
        for (name, commands) in unknown {
            let (mut calls, mut groups) = (Vec::new(), BTreeSet::new());
            let apart = commands.len().div_ceil(PLANS_MAX);
            for id in commands.into_iter().step_by(apart) {
                let Some(command) = self.shared.store.command(id).await? else { continue };
                let planned = self.plan(&command).await;
                calls.extend(planned.as_ref().map(|planned| planned.len() as f64));
                groups.extend(planned.into_iter().flatten());
            }
            if !calls.is_empty() {
                self.shared.measured.begin(name, calls.iter().sum::<f64>() / calls.len() as f64);
            }
            self.desk.needs.lock().insert(name.to_owned(), (known.clone(), groups));
        }
        Ok(())
    }

    /// Groups of the operations that a command will call, one for each call, as far as its plan can be made now. Calls
    /// whose answers are kept for long are not counted.
    async fn plan(&self, command: &CommandView) -> Option<Vec<String>> {
        let sources = self.shared.sources.borrow().clone();
        let source = sources.get(&command.source)?;
        let member = self.shared.members.get(source.first_connection())?;
        let set = self.shared.sets.get(&command.mapping_set).await.ok()?.mappings;
        let (connection, settings) = (member.client.for_plan(), source.seen_by_mappings().into());
        let (id, now) = (command.id.to_string(), self.shared.environment.now().to_string());
        let context = PlanContext {
            command: &command.name,
            id: &id,
            body: &command.body,
            known: &command.known,
            connection: &connection,
            settings: &settings,
            now: &now,
        };
        let group = |call: &str| {
            let operation = set.operation(call).filter(|operation| operation.keep.is_zero());
            operation.map(|operation| operation.group.clone())
        };
        match set.preview(&context) {
            Ok(calls) => Some(calls.iter().filter_map(|call| group(&call.call)).collect()),
            // What it needs may not be known yet.
            Err(_) => Some(set.plan(&command.name)?.calls().filter_map(|(_, call)| group(call)).collect()),
        }
    }

    /// The paces of all applications, and the place of each among them by its client id.
    async fn speeds(&self) -> Result<(HashMap<String, usize>, Vec<Option<Speed>>), StoreError> {
        let (mut applications, mut speeds) = (HashMap::new(), Vec::new());
        for member in self.shared.members.values() {
            if !applications.contains_key(&member.client.client_id) {
                applications.insert(member.client.client_id.clone(), speeds.len());
                speeds.push(member.pacer.speed().await?);
            }
        }
        Ok((applications, speeds))
    }

    fn grounds(&self, queue: &Queue, applications: &HashMap<String, usize>) -> HashMap<String, Ground> {
        let sources = self.shared.sources.borrow().clone();
        let mut grounds = HashMap::new();
        for place in &queue.places {
            let Some(source) = sources.get(&place.source).filter(|source| source.mode != Mode::Paused) else {
                continue;
            };
            let Some(member) = self.shared.members.get(source.first_connection()) else { continue };
            let Some(application) = applications.get(&member.client.client_id).copied() else { continue };
            let is_shadow = source.mode == Mode::Shadow;
            let ground = grounds.entry(place.source.clone()).or_insert_with(|| Ground {
                application,
                is_shadow,
                resting: BTreeSet::new(),
            });
            let names: BTreeSet<&str> = place.commands.iter().map(|command| command.name.as_str()).collect();
            let resting = names.into_iter().filter(|name| self.rests(name, source.first_connection()));
            ground.resting.extend(resting.map(str::to_owned));
        }
        grounds
    }

    /// Instances that carry commands out.
    async fn instances(&self) -> Result<usize, StoreError> {
        let instances = self.shared.store.instances().await?;
        let serving =
            instances.iter().filter(|instance| instance.alive && instance.standing == InstanceStanding::Serving);
        Ok(serving.count().max(1))
    }

    fn show(&self, setting: &Setting, played: &Played, bulks: &[Bulk], speeds: &[Option<Speed>]) {
        let mut clears = played.ends.clone();
        for (class, application, newest) in setting.beyond() {
            let end = time_for(speeds[application], calls_before(bulks, application, class, newest));
            let known = clears.entry(class).or_default();
            *known = (*known).max(end);
        }
        for class in Class::ALL {
            let seconds = match setting.resting.contains(&class) {
                true => f64::NAN,
                false => clears.get(&class).copied().unwrap_or_default().as_secs_f64(),
            };
            self.shared.metrics.clears_in.with_label_values(&[class.name()]).set(seconds);
        }
    }
}

fn time_for(speed: Option<Speed>, calls: f64) -> Duration {
    speed.map_or(Duration::ZERO, |speed| speed.time_for(calls))
}
