//! Exactly what will happen if a mode is switched, in words and numbers, before anybody does it.

use jiff::Timestamp;
use serde::Serialize;

use super::{Asked, Modes, NotSwitched, Wish, in_force, planned};
use crate::command::services;
use crate::config::Mode;
use crate::store::{Act, MessageFilter, Queue, QueueStanding, Result, SwitchKind};

/// Commands that are looked into for their services.
const LOOKED_INTO_MAX: usize = 500;
/// Messages that were only rehearsed are counted up to this.
const REHEARSED_MAX: usize = 1_000;

/// What a decision would come to.
#[derive(Clone, Debug, Serialize)]
pub struct Foresight {
    /// How often its modes had been switched when this was seen: what the act carries.
    pub version: u64,
    /// Where it stands now, and where then.
    pub now: Mode,
    pub then: Mode,
    /// Commands that wait and are concerned; those that are on their way.
    pub waiting: u64,
    #[serde(rename = "onTheirWay")]
    pub running: u64,
    /// More than were looked into may wait.
    #[serde(rename = "atLeast")]
    pub at_least: bool,
    /// Messages of it that were only rehearsed.
    pub rehearsed: u64,
    /// In words.
    pub consequences: Vec<String>,
}

impl Modes {
    pub async fn foresee(&self, asked: &Asked) -> std::result::Result<Foresight, NotSwitched> {
        let before = self.before(asked).await?;
        let now = self.environment.now();
        let after = asked.decided(&before, &Act::of_gateway("", now)).map_err(NotSwitched::Impossible)?;
        let from = asked.from.unwrap_or(now);
        let service = asked.service.as_deref();
        let settings = self.settings_mode(asked.kind, &asked.name);
        // A service that is not switched goes with its source.
        let mode = |switches: &[_], at: Timestamp| {
            let own = in_force(switches, service, at);
            own.or_else(|| in_force(switches, None, at)).map_or(settings, |switch| switch.mode)
        };
        let (is, then) = (mode(&before.switches, now), mode(&after.switches, from));
        let counted = self.counted(asked).await?;
        let rehearsed = match asked.kind {
            SwitchKind::Source => self.rehearsed(&asked.name).await?,
            _ => 0,
        };
        let mut foresight = Foresight {
            version: before.version,
            now: is,
            then,
            waiting: counted.waiting,
            running: counted.running,
            at_least: counted.at_least,
            rehearsed,
            consequences: Vec::new(),
        };
        foresight.consequences = match asked.kind {
            SwitchKind::Source => of_source(asked, &foresight),
            SwitchKind::Connection => of_connection(&foresight, &self.users_of(&asked.name)),
            SwitchKind::Destination => of_destination(&foresight),
        };
        if let Some(other) = planned(&before.switches, service, now)
            && !after.switches.contains(other)
        {
            let mode = other.mode.name();
            let text = format!(
                "What {} planned, {mode} from {}, does not happen: this takes its place.",
                other.by, other.from
            );
            foresight.consequences.push(text);
        }
        foresight.consequences.push(match asked.from {
            Some(from) => format!("Until {from} everything stays as it is now. It can be taken back before and after."),
            None => "All instances obey within two seconds. It can be switched back.".to_owned(),
        });
        Ok(foresight)
    }

    pub(super) fn settings_mode(&self, kind: SwitchKind, name: &str) -> Mode {
        match kind {
            SwitchKind::Source => self.configured.get(name).map(|source| source.mode).unwrap_or_default(),
            SwitchKind::Connection | SwitchKind::Destination => Mode::Live,
        }
    }

    /// Sources, and watches, that are carried out over a connection.
    pub(super) fn users_of(&self, connection: &str) -> Vec<&str> {
        let uses = self.configured.iter().filter(|(_, source)| source.connections().any(|name| name == connection));
        uses.map(|(name, _)| name.as_str()).collect()
    }

    async fn rehearsed(&self, source: &str) -> Result<u64> {
        let filter = MessageFilter {
            source: Some(source.to_owned()),
            state: Some("shadowed".into()),
            max: REHEARSED_MAX,
            ..MessageFilter::default()
        };
        Ok(self.store.messages(filter).await?.len() as u64)
    }

    async fn counted(&self, asked: &Asked) -> Result<Counted> {
        let sources: Vec<&str> = match asked.kind {
            SwitchKind::Source => vec![asked.name.as_str()],
            SwitchKind::Connection => self.users_of(&asked.name),
            SwitchKind::Destination => {
                let depths = self.store.dispatch_depths().await?;
                let waiting = depths.iter().filter(|depth| depth.destination == asked.name && depth.is_waiting());
                return Ok(Counted { waiting: waiting.map(|depth| depth.count).sum(), ..Counted::default() });
            }
        };
        let max = if asked.service.is_some() { LOOKED_INTO_MAX as u64 * 4 } else { 0 };
        let queue = self.store.queue(max).await?;
        match &asked.service {
            Some(service) => self.of_service(&queue, &asked.name, service).await,
            None => {
                let mut counted = Counted::default();
                for place in queue.places.iter().filter(|place| sources.contains(&place.source.as_str())) {
                    counted.add(place.standing, place.count);
                }
                Ok(counted)
            }
        }
    }

    async fn of_service(&self, queue: &Queue, source: &str, service: &str) -> Result<Counted> {
        let mut counted = Counted::default();
        let mut looked_into = 0;
        for place in queue.places.iter().filter(|place| place.source == source) {
            counted.at_least |= (place.commands.len() as u64) < place.count;
            for queued in &place.commands {
                if looked_into == LOOKED_INTO_MAX {
                    counted.at_least = true;
                    return Ok(counted);
                }
                looked_into += 1;
                let Some(command) = self.store.command(queued.id).await? else { continue };
                if services(&command.body).contains(&service) {
                    counted.add(place.standing, 1);
                }
            }
        }
        Ok(counted)
    }
}

#[derive(Default)]
struct Counted {
    waiting: u64,
    running: u64,
    at_least: bool,
}

impl Counted {
    fn add(&mut self, standing: QueueStanding, count: u64) {
        match standing {
            QueueStanding::Running => self.running += count,
            QueueStanding::Ready | QueueStanding::Held | QueueStanding::Waiting => self.waiting += count,
        }
    }
}

fn of_source(asked: &Asked, foresight: &Foresight) -> Vec<String> {
    let Foresight { waiting, running, at_least, rehearsed, now, then, .. } = foresight;
    let whose = asked.service.as_ref().map(|service| format!(" for service {service}")).unwrap_or_default();
    let who = &asked.name;
    let or_more = if *at_least { " or more" } else { "" };
    let mut told = Vec::new();
    if matches!(asked.wish, Wish::Resumed | Wish::Settings) {
        told.push(format!("{who}{whose} is {} then.", in_words(*then)));
    }
    match then {
        Mode::Live => {
            told.push(format!(
                "{} of {who}{whose} {waits} now {goes} to e-RS.",
                commands(*waiting, or_more),
                waits = waits(*waiting),
                goes = goes(*waiting)
            ));
            told.push(format!("What comes from then on{whose} is sent to e-RS. The old way must have stopped sending it, or it is done twice."));
            told.push(format!(
                "{} of {who} so far {} only rehearsed (shadow): never sent by themselves. To be sent, a message must come again under a new control id.",
                messages(*rehearsed), if *rehearsed == 1 { "was" } else { "were" }
            ));
        }
        Mode::Shadow => {
            told.push(format!(
                "{} of {who}{whose} {} now {} planned and not sent: shadowed, for good. What has begun to be written to e-RS is finished.",
                commands(*waiting, or_more), waits(*waiting), if *waiting == 1 { "is" } else { "are" }
            ));
            told.push(format!("What comes from then on{whose} is rehearsed only. The old way must send it."));
        }
        Mode::Paused => {
            told.push(format!("{} of {who}{whose} {} now, and {} on waiting; what comes from then on{whose} is stored, acknowledged, and waits too.", commands(*waiting, or_more), waits(*waiting), if *waiting == 1 { "goes" } else { "go" }));
            if asked.service.is_some() {
                told.push("A command for several services waits while one of them is paused. After the pause ends, each goes within ten minutes.".into());
            }
            told.push(format!("{running} on {} way to e-RS: finished.", if *running == 1 { "its" } else { "their" }));
            told.push(
                "What grows older than its priority allows waits for a person then, and says so: two-week waits first."
                    .into(),
            );
        }
    }
    if *now == Mode::Paused && asked.service.is_some() {
        told.push(format!("{who} is paused as a whole: nothing of it goes before that ends."));
    }
    told
}

fn of_connection(foresight: &Foresight, users: &[&str]) -> Vec<String> {
    let sources = if users.is_empty() { "no source".to_owned() } else { users.join(", ") };
    let Foresight { waiting, running, .. } = foresight;
    match foresight.then {
        Mode::Paused => vec![
            format!(
                "Nothing of {sources} is sent to e-RS: {} now, and what comes waits too. Messages are taken as before.",
                waiting_now(*waiting)
            ),
            format!("{running} on their way: finished."),
            "A source with several connections waits too, also for those that are not paused.".into(),
        ],
        _ => vec![format!(
            "{} of {sources} go to e-RS, the most urgent first, where nothing else holds them.",
            commands(*waiting, "")
        )],
    }
}

fn of_destination(foresight: &Foresight) -> Vec<String> {
    let waiting = foresight.waiting;
    match foresight.then {
        Mode::Paused => vec![
            format!(
                "{waiting} messages wait for it now, and go on waiting, in their order; what is to be told from then on waits behind them."
            ),
            "Nothing is lost, and nothing is told to it. A message that is being sent is finished.".into(),
        ],
        _ => vec![format!("{waiting} messages that wait are sent to it now, the oldest first.")],
    }
}

pub(super) fn in_words(mode: Mode) -> &'static str {
    match mode {
        Mode::Live => "live",
        Mode::Shadow => "in shadow",
        Mode::Paused => "paused",
    }
}

fn commands(count: u64, or_more: &str) -> String {
    if count == 1 { format!("1{or_more} command") } else { format!("{count}{or_more} commands") }
}

fn messages(count: u64) -> String {
    match count {
        1 => "1 message".into(),
        count if count as usize >= REHEARSED_MAX => format!("{count} messages or more"),
        count => format!("{count} messages"),
    }
}

fn waits(count: u64) -> &'static str {
    if count == 1 { "that waits" } else { "that wait" }
}

fn goes(count: u64) -> &'static str {
    if count == 1 { "goes" } else { "go" }
}

fn waiting_now(count: u64) -> String {
    if count == 1 { "1 command waits".into() } else { format!("{count} commands wait") }
}
