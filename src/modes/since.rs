//! What is in shadow or paused, and since when: easily forgotten.
//!
//! Guarantees: as a metric, what somebody named is bounded; what is live has no series.

use std::collections::BTreeSet;

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus::{GaugeVec, Opts};

use super::{Modes, TargetView};
use crate::config::Mode;
use crate::metrics::Registry;
use crate::store::SwitchKind;

/// Services have the names that people gave when they switched them.
const SERVICES_MAX: usize = 100;

/// A source, connection or destination, or one service of a source, that is not live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotLive {
    pub kind: SwitchKind,
    pub name: String,
    pub service: Option<String>,
    pub mode: Mode,
    /// Since when and by whom, where somebody switched it; its settings say so otherwise.
    pub switched: Option<(Timestamp, String)>,
}

impl Modes {
    /// Sources first, each with its services behind it. What waits for a paused connection stands at that.
    pub fn not_live(&self) -> Vec<NotLive> {
        let targets = SwitchKind::ALL
            .into_iter()
            .flat_map(|kind| self.targets(kind, false).into_iter().flat_map(move |target| not_live(kind, target)));
        targets.collect()
    }
}

fn not_live(kind: SwitchKind, target: TargetView) -> Vec<NotLive> {
    let own = target.switched.as_ref().map_or(target.settings, |switch| switch.mode);
    let whole = (None, own, target.switched);
    let services = target.services.into_iter().filter_map(|one| Some((Some(one.service), one.mode?, one.switched)));
    let all = std::iter::once(whole).chain(services).filter(|(_, mode, _)| *mode != Mode::Live);
    let shown = all.map(|(service, mode, switched)| NotLive {
        kind,
        name: target.name.clone(),
        service,
        mode,
        switched: switched.map(|switch| (switch.from, switch.by)),
    });
    shown.collect()
}

/// `gateway_mode_seconds{kind,name,service,mode}`.
pub struct Since {
    seconds: GaugeVec,
    /// Labels of the series that there are.
    shown: Mutex<BTreeSet<[String; 4]>>,
    /// Of what the settings say it is not known for how long.
    began: Timestamp,
}

impl Since {
    pub fn register(registry: &Registry, began: Timestamp) -> prometheus::Result<Self> {
        let seconds = GaugeVec::new(
            Opts::new(
                "gateway_mode_seconds",
                "Time since a source, one service of it, a connection or a destination is in shadow or paused; where its settings \
                 say so, since this process started. What is live has no series",
            ),
            &["kind", "name", "service", "mode"],
        )?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self { seconds, shown: Mutex::default(), began })
    }

    pub(super) fn show(&self, not_live: &[NotLive], now: Timestamp) {
        let mut shown = self.shown.lock();
        let mut services = 0;
        let mut there = BTreeSet::new();
        for one in not_live {
            if one.service.is_some() {
                services += 1;
                if services > SERVICES_MAX {
                    continue;
                }
            }
            let since = one.switched.as_ref().map_or(self.began, |(from, _)| *from);
            let service = one.service.clone().unwrap_or_default();
            let labels = [one.kind.name().to_owned(), one.name.clone(), service, one.mode.name().to_owned()];
            let seconds = now.duration_since(since).as_secs_f64().max(0.0);
            self.seconds.with_label_values(&labels).set(seconds);
            there.insert(labels);
        }
        for gone in shown.difference(&there) {
            // It was there.
            drop(self.seconds.remove_label_values(gone));
        }
        *shown = there;
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn one(service: Option<&str>, mode: Mode, from: Option<Timestamp>) -> NotLive {
        NotLive {
            kind: SwitchKind::Source,
            name: "northmoor".into(),
            service: service.map(str::to_owned),
            mode,
            switched: from.map(|from| (from, "Grace".into())),
        }
    }

    #[test]
    fn what_is_not_live_has_a_series_as_long_as_it_is() {
        let registry = Registry::new();
        let began = Timestamp::UNIX_EPOCH;
        let since = Since::register(&registry, began).expect("the only one");
        let at = |seconds: i64| began + SignedDuration::from_secs(seconds);
        let shown = || {
            let families = registry.gather();
            let metrics = families.iter().flat_map(|family| family.get_metric());
            let series = metrics.map(|metric| {
                let labels: Vec<&str> = metric.get_label().iter().map(|pair| pair.value()).collect();
                (labels.join(" "), metric.get_gauge().get_value())
            });
            series.collect::<Vec<_>>()
        };
        since.show(&[one(None, Mode::Shadow, None), one(Some("11014"), Mode::Paused, Some(at(90)))], at(100));
        // Labels are in the order of their names: kind, mode, name, service.
        let expected =
            [("source paused northmoor 11014".to_owned(), 10.0), ("source shadow northmoor ".to_owned(), 100.0)];
        let mut found = shown();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(found, expected);
        since.show(&[one(None, Mode::Paused, Some(at(110)))], at(100));
        assert_eq!(shown(), [("source paused northmoor ".to_owned(), 0.0)], "nothing is before its time");
        since.show(&[], at(120));
        assert_eq!(shown(), []);
        let many: Vec<NotLive> =
            (0..500).map(|number| one(Some(&number.to_string()), Mode::Shadow, Some(at(0)))).collect();
        since.show(&many, at(130));
        assert_eq!(shown().len(), SERVICES_MAX);
    }
}
