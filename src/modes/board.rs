//! What people have switched, as it was last read: shared by the rooms that obey it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::RwLock;

use crate::config::{Mode, Source, mode_for};
use crate::store::{Switch, SwitchKind, Switched};

/// The same for all who hold it. Without any switch everything is as the settings say.
#[derive(Clone, Default)]
pub struct Board(Arc<RwLock<BTreeMap<(SwitchKind, String), Switched>>>);

/// How a source stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStanding {
    pub mode: Mode,
    /// Services that have another mode than it.
    pub services: BTreeMap<String, Mode>,
    /// What it would be without any pause, and its services with it: what comes meanwhile is for that.
    pub beneath: Mode,
    pub services_beneath: BTreeMap<String, Mode>,
}

impl SourceStanding {
    pub fn mode_for<S: AsRef<str>>(&self, services: &[S]) -> Mode {
        mode_for(self.mode, &self.services, services)
    }

    /// As what something came, whether it waits or not.
    pub fn beneath_for<S: AsRef<str>>(&self, services: &[S]) -> Mode {
        mode_for(self.beneath, &self.services_beneath, services)
    }
}

impl Board {
    /// What stands switched there, to be decided about.
    pub fn of(&self, kind: SwitchKind, name: &str) -> Switched {
        let known = self.0.read().get(&(kind, name.to_owned())).cloned();
        known.unwrap_or_else(|| Switched::nothing(kind, name))
    }

    /// By its own switches, and by what it is sent over: a source waits while a connection of it is paused.
    pub fn source(&self, configured: &Source, at: Timestamp) -> SourceStanding {
        let own = self.of(SwitchKind::Source, &configured.name);
        let is_stopped = configured.connections().any(|name| self.is_paused(SwitchKind::Connection, name, at));
        let mode = match in_force(&own.switches, None, at) {
            _ if is_stopped => Mode::Paused,
            Some(switch) => switch.mode,
            None => configured.mode,
        };
        let unpaused: Vec<Switch> = own.switches.iter().filter(|switch| switch.mode != Mode::Paused).cloned().collect();
        let beneath = in_force(&unpaused, None, at).map_or(configured.mode, |switch| switch.mode);
        SourceStanding {
            mode,
            services: services_of(&own.switches, at),
            beneath,
            services_beneath: services_of(&unpaused, at),
        }
    }

    pub fn is_paused(&self, kind: SwitchKind, name: &str, at: Timestamp) -> bool {
        let known = self.0.read();
        let switched = known.get(&(kind, name.to_owned()));
        switched.and_then(|switched| in_force(&switched.switches, None, at)).is_some_and(|one| one.mode == Mode::Paused)
    }

    pub(super) fn replace(&self, switched: Vec<Switched>) {
        let mut known = self.0.write();
        let by_target = switched.into_iter().map(|one| {
            let target = (one.kind, one.name.clone());
            // What was read before a decision of now, and comes in behind it, is old.
            let newer = known.remove(&target).filter(|known| known.version > one.version);
            (target, newer.unwrap_or(one))
        });
        let by_target = by_target.collect();
        *known = by_target;
    }
}

fn services_of(switches: &[Switch], at: Timestamp) -> BTreeMap<String, Mode> {
    let names = switches.iter().filter_map(|switch| switch.service.as_deref());
    names.filter_map(|name| Some((name.to_owned(), in_force(switches, Some(name), at)?.mode))).collect()
}

/// The decision that holds for a source or target as a whole, or for one service, at a time: the last that has begun.
pub fn in_force<'s>(switches: &'s [Switch], service: Option<&str>, at: Timestamp) -> Option<&'s Switch> {
    of(switches, service).filter(|switch| switch.from <= at).max_by_key(|switch| switch.from)
}

/// The decision that is still to come, if any.
pub fn planned<'s>(switches: &'s [Switch], service: Option<&str>, at: Timestamp) -> Option<&'s Switch> {
    of(switches, service).find(|switch| switch.from > at)
}

fn of<'s>(switches: &'s [Switch], service: Option<&str>) -> impl Iterator<Item = &'s Switch> {
    switches.iter().filter(move |switch| switch.service.as_deref() == service)
}
