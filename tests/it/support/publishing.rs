//! A publisher over rows in memory, or over whatever outbox a scenario has.

use std::sync::Arc;
use std::time::Duration;

use ers_gateway::amqp::BrokerLinks;
use ers_gateway::config::Broker;
use ers_gateway::environment::Environment;
use ers_gateway::events::{EventSchemas, Publisher, PublisherMetrics};
use ers_gateway::instances::Duty;
use ers_gateway::store::{OutboxStore, Signals};

use super::records::Records;

/// A running publisher; stops when it is dropped.
pub struct Publishing {
    pub environment: Environment,
    registry: ers_gateway::metrics::Registry,
}

impl Publishing {
    /// Over rows in memory.
    pub fn start(broker: Broker) -> (Self, Arc<Records>) {
        let records = Records::new();
        (Self::over(broker, records.clone(), records.signals.clone()), records)
    }

    pub fn over(broker: Broker, outbox: Arc<dyn OutboxStore>, signals: Signals) -> Self {
        Self::start_as(broker, outbox, signals, |publisher| publisher)
    }

    /// Over rows in memory; gives up a broker that does not confirm for so long.
    pub fn patient_for(limit: Duration, broker: Broker) -> (Self, Arc<Records>) {
        let records = Records::new();
        let limited = |publisher: Publisher| publisher.with_confirm_timeout(limit);
        (Self::start_as(broker, records.clone(), records.signals.clone(), limited), records)
    }

    fn start_as(
        broker: Broker,
        outbox: Arc<dyn OutboxStore>,
        signals: Signals,
        as_wanted: impl FnOnce(Publisher) -> Publisher,
    ) -> Self {
        let environment = Environment::system();
        let registry = ers_gateway::metrics::Registry::new();
        let schemas = EventSchemas::built_in();
        let links = BrokerLinks::register(&registry).expect("registered once");
        let metrics = PublisherMetrics::register(&registry, links, schemas.clone()).expect("registered once");
        let duty = Duty::new(Records::new(), "outbox", "gateway-1", &environment);
        let publisher = Publisher::new(broker, outbox, signals, duty, schemas, metrics, environment.clone());
        as_wanted(publisher).start();
        Self { environment, registry }
    }

    pub fn metrics(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).expect("text")
    }

    /// Waits until the publisher is connected and its exchange is there.
    pub async fn is_up(&self) {
        let up = async {
            while !self.metrics().contains(r#"gateway_broker_up{link="events"} 1"#) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), up).await.expect("the publisher connects");
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.environment.shutdown().cancel();
    }
}
