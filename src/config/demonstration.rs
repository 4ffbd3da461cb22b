//! The settings used without `--config`: five imaginary hospitals and the simulator.

use std::path::Path;

use super::Config;

const DEMONSTRATION: &str = include_str!("demonstration.yaml");

impl Config {
    /// Sources `northmoor`, `eastvale`, `southbeck`, `westmere` and `westport`, listeners on 127.0.0.1,
    /// connections to the simulator at its usual port.
    pub fn demonstration() -> Self {
        Self::parse(DEMONSTRATION, Path::new("demonstration.yaml"), &|_| None)
            .expect("the built-in settings are tested")
    }

    /// The file behind [`Config::demonstration`], as an example to start from.
    pub fn demonstration_text() -> &'static str {
        DEMONSTRATION
    }
}
