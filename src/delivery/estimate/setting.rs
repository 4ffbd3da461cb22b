//! From the queue as the store tells it to what is played, and to what is only counted.
//!
//! Enters: places with their oldest commands, and what each source's commands are carried out with. Leaves: those who
//! take part in the play; those who do not go on as things stand; and, once it was played, how many calls stand where.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use jiff::Timestamp;

use super::coarse::Bulk;
use super::play::{Entrant, Played, Stands};
use crate::command::{Class, CommandId};
use crate::store::{Queue, QueuePlace, QueueStanding, QueuedCommand};

/// A command that makes more calls is thought to make so many.
const CALLS_MAX: f64 = 100.0;
/// Of a command that nothing is known of.
const CALLS_UNKNOWN: f64 = 1.0;

/// What commands of a source are carried out with.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    /// Index of the application that calls for it.
    pub(super) application: usize,
    /// Planned, and not sent.
    pub(super) is_shadow: bool,
    /// Names of commands whose calls are given a rest.
    pub(super) resting: BTreeSet<String>,
}

#[derive(Default)]
pub(super) struct Setting {
    pub(super) entrants: Vec<Entrant>,
    /// Their source is paused or unknown, or their calls are given a rest.
    pub(super) stuck: Vec<CommandId>,
    /// Classes with commands whose calls are given a rest.
    pub(super) resting: BTreeSet<Class>,
    places: Vec<Place>,
}

/// A place of which some are played.
struct Place {
    application: usize,
    class: Class,
    played: Range<usize>,
    told: usize,
    count: u64,
    oldest: Timestamp,
    newest: Timestamp,
}

/// `grounds` by source, without those that are paused; `calls` by name.
pub(super) fn set(
    queue: &Queue,
    grounds: &HashMap<String, Ground>,
    calls: &HashMap<String, f64>,
    now: Timestamp,
) -> Setting {
    let mut setting = Setting::default();
    // What is left of an average when whole calls are taken of it, by name.
    let mut rest: HashMap<&str, f64> = HashMap::new();
    for place in &queue.places {
        match grounds.get(&place.source) {
            Some(ground) => setting.take(place, ground, calls, &mut rest, now),
            None => setting.stuck.extend(place.commands.iter().map(|command| command.id)),
        }
    }
    setting
}

impl Setting {
    fn take<'a>(
        &mut self,
        place: &'a QueuePlace,
        ground: &Ground,
        calls: &HashMap<String, f64>,
        rest: &mut HashMap<&'a str, f64>,
        now: Timestamp,
    ) {
        let first = self.entrants.len();
        for command in &place.commands {
            if ground.resting.contains(&command.name) {
                self.stuck.push(command.id);
                self.resting.insert(place.class);
                continue;
            }
            let Some(stands) = stands(place.standing, command, now) else { continue };
            let average = match ground.is_shadow {
                true => 0.0,
                false => calls.get(&command.name).copied().unwrap_or(CALLS_UNKNOWN).min(CALLS_MAX),
            };
            let rest = rest.entry(&command.name).or_default();
            *rest += average;
            let whole = rest.round().max(0.0);
            *rest -= whole;
            self.entrants.push(Entrant {
                id: command.id,
                number: command.number,
                thread: command.thread,
                class: place.class,
                application: ground.application,
                calls: whole as u32,
                stands,
            });
        }
        let oldest = place.commands.first().map_or(place.newest, |command| command.received_at);
        self.places.push(Place {
            application: ground.application,
            class: place.class,
            played: first..self.entrants.len(),
            told: place.commands.len(),
            count: place.count,
            oldest,
            newest: place.newest,
        });
    }

    /// How many calls stand where. Of those that were not told, as many go on as of those that were.
    pub(super) fn bulks(&self, played: &Played) -> Vec<Bulk> {
        let bulk = |place: &Place| {
            let goes_on = |entrant: &&Entrant| played.first_calls.contains_key(&entrant.id);
            let entrants = self.entrants[place.played.clone()].iter().filter(goes_on);
            let calls: f64 = entrants.map(|entrant| f64::from(entrant.calls)).sum();
            let times = place.count as f64 / place.told.max(1) as f64;
            let Place { application, class, oldest, newest, .. } = *place;
            Bulk { application, class, calls: calls * times.max(1.0), oldest, newest }
        };
        self.places.iter().map(bulk).collect()
    }

    /// Of each class that has more than is played: by which application, and when its newest came.
    pub(super) fn beyond(&self) -> impl Iterator<Item = (Class, usize, Timestamp)> {
        let beyond = self.places.iter().filter(|place| place.count > place.told as u64);
        beyond.map(|place| (place.class, place.application, place.newest))
    }
}

fn stands(standing: QueueStanding, command: &QueuedCommand, now: Timestamp) -> Option<Stands> {
    Some(match standing {
        QueueStanding::Ready => Stands::Ready,
        QueueStanding::Held => Stands::Held,
        QueueStanding::Running => Stands::Running,
        QueueStanding::Waiting => Stands::Due(command.due?.duration_since(now).try_into().unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    fn place(source: &str, count: u64, names: &[&str]) -> QueuePlace {
        let command = |(number, name): (usize, &&str)| QueuedCommand {
            id: CommandId(Uuid::from_u128(number as u128)),
            number: number as i64,
            thread: number as i64,
            name: (*name).to_owned(),
            received_at: at(number as i64),
            due: None,
        };
        QueuePlace {
            standing: QueueStanding::Ready,
            class: Class::Routine,
            source: source.into(),
            count,
            newest: at(1_000),
            commands: names.iter().enumerate().map(command).collect(),
        }
    }

    #[test]
    fn averages_become_whole_calls_and_those_not_told_are_like_those_told() {
        let ground = Ground { application: 0, is_shadow: false, resting: ["Rests".to_owned()].into() };
        let grounds = [("live".to_owned(), ground)].into();
        let calls = [("Create".to_owned(), 1.5)].into();
        let places =
            vec![place("live", 100, &["Create", "Create", "Rests", "Create"]), place("paused", 3, &["Create"])];
        let setting = set(&Queue { places }, &grounds, &calls, at(0));
        let made: Vec<u32> = setting.entrants.iter().map(|entrant| entrant.calls).collect();
        assert_eq!(made.iter().sum::<u32>(), 5, "1.5 each, the third rounded: {made:?}");
        assert_eq!((setting.stuck.len(), setting.resting.len()), (2, 1));
        let mut played = Played::default();
        played.first_calls.extend(setting.entrants.iter().map(|entrant| (entrant.id, Default::default())));
        assert_eq!(setting.bulks(&played)[0].calls, 125.0, "of four told three go on, and of a hundred as many");
        assert_eq!(setting.beyond().collect::<Vec<_>>(), [(Class::Routine, 0, at(1_000))]);
    }
}
