//! How many connections to the broker are up, as a metric.

use prometheus::{IntGauge, IntGaugeVec, Opts};

use crate::metrics::Registry;

/// `gateway_broker_up{link}` for every connection that the gateway keeps to the broker.
#[derive(Clone)]
pub struct BrokerLinks {
    up: IntGaugeVec,
}

impl BrokerLinks {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help = "Connections to the broker that are up: 1 for events, on the one instance that publishes; for an input queue, as many as it has consumers";
        let up = IntGaugeVec::new(Opts::new("gateway_broker_up", help), &["link"])?;
        registry.register(Box::new(up.clone()))?;
        Ok(Self { up })
    }

    /// `events`, or the name of an input queue, whose consumers count together.
    pub fn link(&self, name: &str) -> BrokerLink {
        BrokerLink { all: self.up.with_label_values(&[name]), is_up: false }
    }
}

/// One connection's state. Down when it is dropped.
pub struct BrokerLink {
    all: IntGauge,
    is_up: bool,
}

impl BrokerLink {
    pub fn up(&mut self) {
        if !std::mem::replace(&mut self.is_up, true) {
            self.all.inc();
        }
    }

    pub fn down(&mut self) {
        if std::mem::replace(&mut self.is_up, false) {
            self.all.dec();
        }
    }
}

impl Drop for BrokerLink {
    fn drop(&mut self) {
        self.down();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_of_a_queue_count_together() {
        let links = BrokerLinks::register(&Registry::new()).expect("registered once");
        let (mut first, mut second) = (links.link("referrals"), links.link("referrals"));
        let up = || links.up.with_label_values(&["referrals"]).get();
        assert_eq!(up(), 0);
        first.up();
        first.up();
        second.up();
        assert_eq!(up(), 2);
        first.down();
        first.down();
        assert_eq!(up(), 1);
        drop(second);
        assert_eq!(up(), 0);
    }
}
