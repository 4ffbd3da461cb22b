//! Rules of traces: what leaves this machine is encrypted, and a share is a share.

use super::{Broken, broken_rule};
use crate::config::Config;
use crate::environment::is_this_machine;

pub(super) fn broken_in(config: &Config, broken: &mut Vec<Broken>) {
    let Some(traces) = &config.traces else { return };
    let is_safe = reqwest::Url::parse(&traces.endpoint).is_ok_and(|url| {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        url.scheme() == "https" || url.scheme() == "http" && is_this_machine(host)
    });
    if !is_safe {
        broken
            .push(broken_rule("traces.endpoint", "must be an absolute address with https (http on this machine only)"));
    }
    if !(0.0..=1.0).contains(&traces.share) {
        broken.push(broken_rule("traces.share", "must be 0 to 1"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn traces_go_over_tls_or_stay_here() {
        for (endpoint, share, keys) in [
            ("http://127.0.0.1:4318/v1/traces", 1.0, &[][..]),
            ("https://collector.trust.test/v1/traces", 0.0, &[]),
            ("http://collector.trust.test/v1/traces", 0.5, &["traces.endpoint"]),
            ("collector", 1.5, &["traces.endpoint", "traces.share"]),
        ] {
            let mut config = Config::demonstration();
            let traces = json!({ "endpoint": endpoint, "share": share });
            config.traces = Some(serde_json::from_value(traces).expect("settings"));
            let mut broken = Vec::new();
            broken_in(&config, &mut broken);
            assert_eq!(broken.into_iter().map(|broken| broken.key).collect::<Vec<_>>(), keys, "{endpoint}");
        }
    }
}
