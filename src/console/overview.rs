//! `/console`: is it well? What waits, for how long, and what needs a person.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use jiff::Timestamp;

use super::page::{self, Frame, Trouble, ago};
use super::sources::tag;
use super::words::{class_text, state_tag};
use crate::command::Class;
use crate::config::Mode;
use crate::inbound::http::Shared;
use crate::modes::Modes;
use crate::store::SwitchKind;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    health: Health,
}

/// What is read again every few seconds.
#[derive(Template)]
#[template(path = "health.html")]
struct Health {
    /// What is wrong, the worst first; nothing is "all is well".
    wrong: Vec<Wrong>,
    backlog: Vec<BacklogRow>,
    outbox: String,
    are_patients_checked: bool,
    not_live: Vec<NotLiveRow>,
    sources: Vec<SourceRow>,
    instances: Vec<InstanceRow>,
    now: String,
}

struct Wrong {
    text: String,
    /// For patients.
    meaning: &'static str,
    link: String,
    is_grave: bool,
}

struct BacklogRow {
    state: &'static str,
    colour: &'static str,
    name: String,
    class: &'static str,
    count: u64,
    oldest: String,
    is_urgent: bool,
}

/// In shadow or paused.
struct NotLiveRow {
    what: String,
    mode: &'static str,
    colour: &'static str,
    since: String,
    by: String,
}

struct SourceRow {
    name: String,
    accepted: u64,
    rejected: u64,
    others: u64,
}

struct InstanceRow {
    name: String,
    version: String,
    standing: &'static str,
    holds: u64,
    seen: String,
    is_alive: bool,
}

pub async fn show(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Trouble> {
    let frame = Frame::of(&request, &shared, "Overview");
    Ok(page::ok(&Overview { frame, health: health(&shared).await? }))
}

pub async fn live(shared: web::Data<Shared>) -> Result<HttpResponse, Trouble> {
    Ok(page::ok(&health(&shared).await?))
}

async fn health(shared: &Shared) -> Result<Health, Trouble> {
    let now = shared.environment.now();
    let depths = shared.deps.search.depths().await?;
    let outbox = shared.deps.search.outbox_depth().await?;
    let instances = shared.deps.instances.instances().await?;
    let metrics = Metrics::of(shared);
    let mut wrong: Vec<Wrong> = shared
        .deps
        .readiness
        .missing()
        .into_iter()
        .map(|(check, why)| Wrong {
            text: format!("Not ready: {check} ({why})"),
            meaning: "No new message is taken: senders keep theirs and send them again.",
            link: String::new(),
            is_grave: true,
        })
        .collect();
    for (state, what, meaning) in NEEDS_A_PERSON {
        let of_state = depths.iter().filter(|depth| depth.state == state);
        let (count, urgent, oldest) = of_state.fold((0, 0, None), |(count, urgent, oldest), depth| {
            let is_urgent = matches!(depth.class, Class::TwoWeekWait | Class::Urgent);
            let oldest = [oldest, depth.oldest].into_iter().flatten().min();
            (count + depth.count, urgent + if is_urgent { depth.count } else { 0 }, oldest)
        });
        if count == 0 {
            continue;
        }
        let urgent = if urgent > 0 { format!(", {urgent} of them two-week wait or urgent") } else { String::new() };
        let since = oldest.map(|at| format!(", the oldest {} old", ago(at, now))).unwrap_or_default();
        wrong.push(Wrong {
            text: format!("{count} {what}{urgent}{since}"),
            meaning,
            link: format!("/console/open?state={state}"),
            is_grave: !urgent.is_empty() || state != "unauthorised",
        });
    }
    for (group, open) in metrics.by_label("gateway_breaker_open", "group") {
        if open > 0.0 {
            wrong.push(Wrong {
                text: format!(
                    "e-RS keeps failing for {group}: its calls are given a rest, and tried again by themselves"
                ),
                meaning: "What needs them waits in its order, and goes when e-RS is back. Nothing is lost.",
                link: String::new(),
                is_grave: false,
            });
        }
    }
    let links = metrics.by_label("gateway_broker_up", "link");
    let has_broker = !links.is_empty();
    for (link, up) in links {
        if up < 1.0 {
            wrong.push(Wrong {
                text: format!("The broker is away ({link})"),
                meaning: "Events are kept and told in order when it is back; messages by queue wait there.",
                link: String::new(),
                is_grave: false,
            });
        }
    }
    wrong.extend(shared.deps.modes.as_deref().into_iter().flat_map(paused));
    wrong.sort_by_key(|wrong| !wrong.is_grave);
    let backlog = depths.iter().filter(|depth| depth.count > 0).map(|depth| {
        let tag = state_tag(&depth.state);
        BacklogRow {
            state: tag.text,
            colour: tag.colour,
            name: depth.state.clone(),
            class: class_text(depth.class),
            count: depth.count,
            oldest: depth.oldest.map(|at| ago(at, now)).unwrap_or_default(),
            is_urgent: matches!(depth.class, Class::TwoWeekWait | Class::Urgent),
        }
    });
    let outbox = match (outbox.count, outbox.oldest) {
        _ if !has_broker => "Events are read from the feed: there is no broker.".to_owned(),
        (0, _) => "No event waits for the broker.".to_owned(),
        (count, oldest) => format!(
            "{count} events wait for the broker{}.",
            oldest.map(|at| format!(", the oldest {} old", ago(at, now))).unwrap_or_default()
        ),
    };
    Ok(Health {
        wrong,
        backlog: backlog.collect(),
        outbox,
        are_patients_checked: shared.deps.are_patients_checked,
        not_live: shared.deps.modes.as_deref().into_iter().flat_map(|modes| not_live(modes, now)).collect(),
        sources: metrics.sources(),
        instances: instances
            .iter()
            .map(|instance| InstanceRow {
                name: instance.instance.clone(),
                version: instance.version.clone(),
                standing: instance.standing.name(),
                holds: instance.holds,
                seen: ago(instance.seen_at, now),
                is_alive: instance.alive,
            })
            .collect(),
        now: page::time(now),
    })
}

/// What somebody has paused is easily forgotten.
fn paused(modes: &Modes) -> impl Iterator<Item = Wrong> {
    let services = modes.not_live().into_iter().filter_map(|one| {
        let (service, switched) = (one.service.filter(|_| one.mode == Mode::Paused)?, one.switched);
        let by = switched.map(|(_, by)| format!(", by {by}")).unwrap_or_default();
        Some(format!("Service {service} of the {} {} is paused{by}", one.kind.name(), one.name))
    });
    let targets = SwitchKind::ALL
        .into_iter()
        .flat_map(|kind| modes.targets(kind, false).into_iter().map(move |target| (kind, target)));
    let targets =
        targets.filter(|(_, target)| target.mode == Mode::Paused).map(|(kind, target)| match &target.switched {
            Some(switch) => format!("The {} {} is paused, by {}", kind.name(), target.name, switch.by),
            None => format!("The {} {} is paused", kind.name(), target.name),
        });
    targets.chain(services).map(|text| Wrong {
        text,
        meaning: "What comes is kept and waits. Nothing of it goes on until somebody ends the pause.",
        link: "/console/sources".to_owned(),
        is_grave: false,
    })
}

/// What is in shadow or paused is easily forgotten, too.
fn not_live(modes: &Modes, now: Timestamp) -> Vec<NotLiveRow> {
    let rows = modes.not_live().into_iter().map(|one| {
        let (mode, colour) = tag(one.mode);
        let service = one.service.map(|service| format!(", service {service}")).unwrap_or_default();
        let (since, by) = match one.switched {
            Some((from, by)) => (format!("{} ({} ago)", page::time(from), ago(from, now)), by),
            None => (String::new(), "the settings".to_owned()),
        };
        NotLiveRow { what: format!("{} {}{service}", one.kind.name(), one.name), mode, colour, since, by }
    });
    rows.collect()
}

/// State, what it is called for several, and what it means for patients.
const NEEDS_A_PERSON: [(&str, &str, &str); 3] = [
    (
        "in_doubt",
        "in doubt",
        "It is not known whether e-RS did it. Most settle by themselves within minutes; what stays waits for a decision.",
    ),
    ("failed", "failed", "What these patients need was not done in e-RS, and nothing goes on until somebody acts."),
    ("unauthorised", "waiting for a signed-in user", "Nothing is sent for these patients until an NHS user signs in."),
];

/// The gateway's own metrics, as a page reads them.
struct Metrics(Vec<prometheus::proto::MetricFamily>);

impl Metrics {
    fn of(shared: &Shared) -> Self {
        Self(shared.deps.metrics.gather())
    }

    /// Values of a metric, summed by one of its labels.
    fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for metric in self.0.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric()) {
            let value = metric.get_gauge().get_value() + metric.get_counter().get_value();
            if let Some(pair) = metric.get_label().iter().find(|pair| pair.name() == label) {
                *sums.entry(pair.value().to_owned()).or_default() += value;
            }
        }
        sums
    }

    /// Messages since this process started.
    fn sources(&self) -> Vec<SourceRow> {
        let mut rows: BTreeMap<String, SourceRow> = BTreeMap::new();
        let families = self.0.iter().filter(|family| family.name() == "gateway_messages_total");
        for metric in families.flat_map(|family| family.get_metric()) {
            let value_of = |name: &str| {
                metric.get_label().iter().find(|pair| pair.name() == name).map(|pair| pair.value().to_owned())
            };
            let (Some(source), Some(verdict)) = (value_of("source"), value_of("verdict")) else { continue };
            let row =
                rows.entry(source.clone()).or_insert(SourceRow { name: source, accepted: 0, rejected: 0, others: 0 });
            let count = metric.get_counter().get_value() as u64;
            match verdict.as_str() {
                "accepted" => row.accepted += count,
                "rejected" => row.rejected += count,
                _ => row.others += count,
            }
        }
        rows.into_values().collect()
    }
}
