//! The one registry of a running gateway, with what is true of the whole process.

use prometheus::{IntGaugeVec, Opts};

use crate::config::{Config, EnvironmentName};
use crate::metrics::Registry;

/// A registry with memory, CPU and file handles of the process, and `gateway_build_info`.
pub fn registry(config: &Config) -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    #[cfg(target_os = "linux")]
    registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;

    let build = IntGaugeVec::new(
        Opts::new("gateway_build_info", "Always 1; its labels say what is running"),
        &["version", "instance", "environment"],
    )?;
    let environment = match config.environment {
        EnvironmentName::Simulator => "simulator",
        EnvironmentName::Int => "int",
        EnvironmentName::Production => "production",
    };
    build.with_label_values(&[env!("CARGO_PKG_VERSION"), &config.instance, environment]).set(1);
    registry.register(Box::new(build))?;
    Ok(registry)
}
