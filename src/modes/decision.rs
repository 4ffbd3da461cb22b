//! A decision about a mode: what it makes of what stood there before.
//!
//! Guarantees: of what is switched as a whole or for one service there is one decision in force, under a pause the one that
//! it goes back to, and one that is still to come; a decision that holds at once takes the place of the one to come.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::board::in_force;
use crate::config::Mode;
use crate::store::{Act, Switch, SwitchKind, Switched};

/// What a person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    Live,
    Shadow,
    Paused,
    /// The end of a pause: whatever held before it.
    Resumed,
    /// The end of everything that was switched: what the settings say.
    Settings,
}

impl Wish {
    pub const ALL: [Self; 5] = [Self::Live, Self::Shadow, Self::Paused, Self::Resumed, Self::Settings];

    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Shadow => "shadow",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Settings => "settings",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wish| wish.name() == name)
    }
}

/// What is to be switched, how, and from when on; `None`: at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub kind: SwitchKind,
    pub name: String,
    pub service: Option<String>,
    pub wish: Wish,
    pub from: Option<Timestamp>,
}

/// Ahead of now, at most: what is planned for later is forgotten by then.
const AHEAD_DAYS_MAX: i64 = 366;

impl Asked {
    /// For the audit log.
    pub fn subject(&self) -> String {
        let service = self.service.as_ref().map(|service| format!(" service {service}")).unwrap_or_default();
        let from = self.from.map(|from| format!(" from {from}")).unwrap_or_default();
        format!("{} {}{service}: {}{from}", self.kind.name(), self.name, self.wish.name())
    }

    /// What stands there afterwards, or why not.
    pub fn decided(&self, before: &Switched, act: &Act) -> Result<Switched, &'static str> {
        let now = act.at;
        self.check(now)?;
        let service = self.service.as_deref();
        let is_other = |switch: &Switch| switch.service.as_deref() != service;
        let has_begun = |switch: &Switch| switch.from <= now;
        let is_pause = |switch: &Switch| switch.mode == Mode::Paused;
        let current = in_force(&before.switches, service, now);
        let mode = match self.wish {
            Wish::Live => Some(Mode::Live),
            Wish::Shadow => Some(Mode::Shadow),
            Wish::Paused if self.from.is_none() && current.is_some_and(is_pause) => return Err("It is paused already"),
            Wish::Paused => Some(Mode::Paused),
            Wish::Resumed if !current.is_some_and(is_pause) => {
                return Err("Nobody has paused it here: where its settings pause it, set it live or to shadow");
            }
            Wish::Settings if before.switches.iter().all(is_other) => {
                return Err("Nobody has switched it: it is as its settings say");
            }
            Wish::Resumed | Wish::Settings => None,
        };
        let stays = |switch: &&Switch| {
            is_other(switch)
                || match self.wish {
                    Wish::Settings => false,
                    Wish::Resumed => !is_pause(switch),
                    _ if self.from.is_some() => has_begun(switch),
                    Wish::Paused => has_begun(switch),
                    Wish::Live | Wish::Shadow => false,
                }
        };
        let mut switches: Vec<Switch> = before.switches.iter().filter(stays).cloned().collect();
        switches.extend(mode.map(|mode| Switch {
            service: self.service.clone(),
            mode,
            from: self.from.unwrap_or(now),
            by: act.by.clone(),
            why: act.why.clone(),
            at: now,
        }));
        Ok(Switched { version: before.version + 1, switches, ..before.clone() })
    }

    fn check(&self, now: Timestamp) -> Result<(), &'static str> {
        if self.kind != SwitchKind::Source && matches!(self.wish, Wish::Live | Wish::Shadow) {
            return Err("Only a source is live or in shadow: pause it, or end the pause");
        }
        if self.service.is_some() && self.kind != SwitchKind::Source {
            return Err("Only a source has services of their own");
        }
        let Some(from) = self.from else { return Ok(()) };
        if matches!(self.wish, Wish::Resumed | Wish::Settings) {
            return Err("What ends at a time is said by what begins then: live, shadow or paused");
        }
        if from <= now {
            return Err("The time is past already: leave it out to switch at once");
        }
        if from.duration_since(now).as_hours() > 24 * AHEAD_DAYS_MAX {
            return Err("The time is more than a year ahead");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modes::board::planned;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    fn asked(service: Option<&str>, wish: Wish, from: Option<i64>) -> Asked {
        let service = service.map(str::to_owned);
        Asked { kind: SwitchKind::Source, name: "northmoor".into(), service, wish, from: from.map(at) }
    }

    fn decides(before: &Switched, asked: &Asked, second: i64) -> Result<Switched, &'static str> {
        asked.decided(before, &Act::of_person("Grace", "here", "because", at(second)))
    }

    /// In force for the whole, and what is to come.
    fn stands(switched: &Switched, second: i64) -> (Option<Mode>, Option<Mode>) {
        let mode = |switch: &Switch| switch.mode;
        let switches = &switched.switches;
        (in_force(switches, None, at(second)).map(mode), planned(switches, None, at(second)).map(mode))
    }

    #[test]
    fn a_pause_ends_in_what_held_before_it() {
        let nothing = Switched::nothing(SwitchKind::Source, "northmoor");
        let shadow = decides(&nothing, &asked(None, Wish::Shadow, None), 1).expect("decided");
        let paused = decides(&shadow, &asked(None, Wish::Paused, None), 2).expect("decided");
        assert_eq!(stands(&paused, 2), (Some(Mode::Paused), None));
        assert!(decides(&paused, &asked(None, Wish::Paused, None), 3).is_err());
        let resumed = decides(&paused, &asked(None, Wish::Resumed, None), 3).expect("decided");
        assert_eq!(stands(&resumed, 3), (Some(Mode::Shadow), None));
        assert!(decides(&resumed, &asked(None, Wish::Resumed, None), 4).is_err());
        let settings = decides(&resumed, &asked(None, Wish::Settings, None), 4).expect("decided");
        assert_eq!((stands(&settings, 4), settings.version), ((None, None), 4));
        assert!(decides(&settings, &asked(None, Wish::Settings, None), 5).is_err());
    }

    #[test]
    fn what_is_planned_begins_at_its_time_and_a_decision_of_now_takes_its_place() {
        let nothing = Switched::nothing(SwitchKind::Source, "northmoor");
        let shadow = decides(&nothing, &asked(None, Wish::Shadow, None), 1).expect("decided");
        let planned = decides(&shadow, &asked(None, Wish::Live, Some(100)), 2).expect("decided");
        assert_eq!(stands(&planned, 99), (Some(Mode::Shadow), Some(Mode::Live)));
        assert_eq!(stands(&planned, 100), (Some(Mode::Live), None));
        let moved = decides(&planned, &asked(None, Wish::Live, Some(200)), 3).expect("decided");
        assert_eq!(stands(&moved, 150), (Some(Mode::Shadow), Some(Mode::Live)));
        // Somebody is worried on the evening before: nothing begins by itself in the morning.
        let paused = decides(&moved, &asked(None, Wish::Paused, None), 4).expect("decided");
        assert_eq!(stands(&paused, 300), (Some(Mode::Paused), None));
        assert!(decides(&paused, &asked(None, Wish::Live, Some(3)), 4).is_err(), "it is past");
        assert!(decides(&paused, &asked(None, Wish::Resumed, Some(9)), 4).is_err());
    }

    #[test]
    fn services_are_switched_and_paused_apart() {
        let nothing = Switched::nothing(SwitchKind::Source, "northmoor");
        let one = decides(&nothing, &asked(Some("11014"), Wish::Live, None), 1).expect("decided");
        let both = decides(&one, &asked(None, Wish::Shadow, None), 2).expect("decided");
        assert_eq!(in_force(&both.switches, Some("11014"), at(3)).map(|switch| switch.mode), Some(Mode::Live));
        assert_eq!(stands(&both, 3).0, Some(Mode::Shadow));
        let back = decides(&both, &asked(Some("11014"), Wish::Settings, None), 4).expect("decided");
        assert_eq!((in_force(&back.switches, Some("11014"), at(5)), stands(&back, 5).0), (None, Some(Mode::Shadow)));
        let mode = |switched: &Switched, service: Option<&str>| {
            in_force(&switched.switches, service, at(9)).map(|switch| switch.mode)
        };
        let paused = decides(&both, &asked(Some("11014"), Wish::Paused, None), 4).expect("decided");
        assert_eq!((mode(&paused, Some("11014")), mode(&paused, None)), (Some(Mode::Paused), Some(Mode::Shadow)));
        assert!(decides(&paused, &asked(None, Wish::Resumed, None), 5).is_err(), "the whole is not paused");
        let resumed = decides(&paused, &asked(Some("11014"), Wish::Resumed, None), 5).expect("decided");
        assert_eq!((mode(&resumed, Some("11014")), mode(&resumed, None)), (Some(Mode::Live), Some(Mode::Shadow)));
        let destination = Asked { kind: SwitchKind::Destination, ..asked(None, Wish::Shadow, None) };
        assert!(decides(&nothing, &destination, 4).is_err());
    }
}
