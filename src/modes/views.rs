//! How everything stands that can be switched, as the API and the console show it.

use jiff::Timestamp;
use serde::Serialize;

use super::foresight::in_words;
use super::{Asked, Modes, in_force, planned};
use crate::config::Mode;
use crate::store::{Switch, SwitchKind, Switched};

/// A source, connection or destination.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetView {
    pub name: String,
    /// Of now, whatever makes it so.
    pub mode: Mode,
    /// As the settings have it.
    pub settings: Mode,
    /// Grows with each decision: what an act that was decided on this view carries.
    pub version: u64,
    /// The decision that holds, where somebody took one.
    pub switched: Option<SwitchView>,
    pub planned: Option<SwitchView>,
    /// Services with a mode of their own, now or planned.
    pub services: Vec<ServiceView>,
    /// Of a source: connections of it that are paused, so that it waits.
    pub paused_connections: Vec<String>,
    /// Of a connection: the sources that go over it.
    pub used_by: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    pub service: String,
    /// Of now; absent while it goes with its source.
    pub mode: Option<Mode>,
    pub switched: Option<SwitchView>,
    pub planned: Option<SwitchView>,
}

#[derive(Clone, Debug, Serialize)]
pub struct SwitchView {
    pub mode: Mode,
    pub from: Timestamp,
    pub by: String,
    /// Only for who may read reasons: one may name a patient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    pub at: Timestamp,
}

impl Modes {
    /// In the order of the settings.
    pub fn targets(&self, kind: SwitchKind, with_reasons: bool) -> Vec<TargetView> {
        let names = self.targets.get(&kind).map(Vec::as_slice).unwrap_or_default();
        names.iter().map(|name| self.view(kind, name, with_reasons)).collect()
    }

    pub fn target(&self, kind: SwitchKind, name: &str, with_reasons: bool) -> Option<TargetView> {
        let is_known = self.targets.get(&kind).is_some_and(|names| names.iter().any(|known| known == name));
        is_known.then(|| self.view(kind, name, with_reasons))
    }

    /// How it stands, for who decided on something else; no reasons.
    pub(super) fn switched_meanwhile(&self, asked: &Asked) -> String {
        let Switched { switches, .. } = self.board.of(asked.kind, &asked.name);
        let view = self.view(asked.kind, &asked.name, false);
        let last = match switches.iter().max_by_key(|switch| switch.at) {
            Some(switch) => {
                let service = switch.service.as_ref().map(|id| format!(" for service {id}")).unwrap_or_default();
                let Switch { mode, from, by, at, .. } = switch;
                format!("the last decision that stands is by {by}, at {at:.0}: {}{service} from {from:.0}", mode.name())
            }
            None => "nothing is switched there any more".to_owned(),
        };
        let (kind, name, mode) = (asked.kind.name(), &asked.name, in_words(view.mode));
        format!("The {kind} {name} is {mode} now; {last}. Look at what this would come to as it stands now.")
    }

    fn view(&self, kind: SwitchKind, name: &str, with_reasons: bool) -> TargetView {
        let now = self.environment.now();
        let Switched { switches, version, .. } = self.board.of(kind, name);
        let settings = self.settings_mode(kind, name);
        let view = |switch: &Switch| SwitchView {
            mode: switch.mode,
            from: switch.from,
            by: switch.by.clone(),
            why: with_reasons.then(|| switch.why.clone()),
            at: switch.at,
        };
        let mut services: Vec<&str> = switches.iter().filter_map(|switch| switch.service.as_deref()).collect();
        services.sort_unstable();
        services.dedup();
        let source = self.configured.get(name).filter(|_| kind == SwitchKind::Source);
        let own = in_force(&switches, None, now);
        TargetView {
            name: name.to_owned(),
            mode: match source {
                Some(source) => self.board.source(source, now).mode,
                None => own.map_or(settings, |switch| switch.mode),
            },
            settings,
            version,
            switched: own.map(view),
            planned: planned(&switches, None, now).map(view),
            services: services
                .into_iter()
                .map(|service| {
                    let switched = in_force(&switches, Some(service), now);
                    ServiceView {
                        service: service.to_owned(),
                        mode: switched.map(|switch| switch.mode),
                        switched: switched.map(view),
                        planned: planned(&switches, Some(service), now).map(view),
                    }
                })
                .collect(),
            paused_connections: source
                .into_iter()
                .flat_map(|source| source.connections())
                .filter(|connection| self.board.is_paused(SwitchKind::Connection, connection, now))
                .map(str::to_owned)
                .collect(),
            used_by: match kind {
                SwitchKind::Connection => self.users_of(name).into_iter().map(str::to_owned).collect(),
                _ => Vec::new(),
            },
        }
    }
}
